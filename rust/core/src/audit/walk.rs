//! What lies in a folder that the list does not have.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::PoisonError;

use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::files::{Folders, open_folder};
use super::{Audit, Fault};
use crate::error::Result;
use crate::job::Job;

/// The folder in a target that belongs to this program.
const OWN_FOLDER: &[u8] = b".fdf256";
/// Folders in folders, each of which keeps a handle open; deeper ones are reported and not looked into.
const DEPTH_MAX: usize = 64;

pub(super) fn find_extra(audit: &Audit, job: &Job) -> Result<()> {
    let folders = Folders::open(&audit.root, true)?;
    Walk { audit, job }.folder(folders.root(), &mut Vec::new(), 0)
}

struct Walk<'a> {
    audit: &'a Audit,
    job: &'a Job,
}

impl Walk<'_> {
    /// Looks into a folder; `path` is its own, with a slash at its end unless it is the root.
    fn folder(&self, folder: &OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<()> {
        let mut entries = match Dir::read_from(folder) {
            Ok(entries) => entries,
            Err(errno) => {
                self.closed(path, errno.raw_os_error());
                return Ok(());
            }
        };
        let above = path.len();
        while let Some(entry) = entries.read() {
            self.job.check()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    self.closed(path, errno.raw_os_error());
                    return Ok(());
                }
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || (depth == 0 && name == OWN_FOLDER) {
                continue;
            }
            path.extend_from_slice(name);
            if is_folder(folder, OsStr::from_bytes(name), entry.file_type()) && depth < DEPTH_MAX {
                match open_folder(folder, OsStr::from_bytes(name)) {
                    Ok(inner) => {
                        path.push(b'/');
                        self.folder(&inner, path, depth + 1)?;
                    }
                    Err(Fault::Unreadable(errno)) => self.closed(path, errno),
                    // It has gone, or is something else by now.
                    Err(_) => {}
                }
            } else if self.audit.sums.find(path).is_none() {
                let mut findings = self.audit.findings.lock().unwrap_or_else(PoisonError::into_inner);
                findings.extra.push(path.clone());
            }
            path.truncate(above);
        }
        Ok(())
    }

    fn closed(&self, path: &[u8], errno: i32) {
        let path = path.strip_suffix(b"/").unwrap_or(path).to_owned();
        self.audit.counters.faults.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut findings = self.audit.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.closed.push((path, errno));
    }
}

/// Not every file system tells kinds together with names.
fn is_folder(above: &OwnedFd, name: &OsStr, told: FileType) -> bool {
    match told {
        FileType::Unknown => statat(above, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()),
        kind => kind.is_dir(),
    }
}
