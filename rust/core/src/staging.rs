//! The folder where unpacked files wait until everything is verified.
//!
//! Files are opened relative to cached directory handles, never through a symbolic link, so that nothing
//! in an archive and nobody beside us can lead a write out of the folder.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::{Error, Result};

/// Directory handles kept open for each archive; the dataset needs five.
const HANDLES_MAX: usize = 16;
/// Where few files may be open, all handles of one archive are at most this share of them.
const HANDLES_SHARE: u64 = 16;

#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
    handles: Mutex<HashMap<String, Arc<OwnedFd>>>,
    handles_max: usize,
    /// Nothing is made or removed: somebody's own folder.
    read_only: bool,
}

impl Staging {
    /// Opens `root`, creating it and its parents.
    ///
    /// # Errors
    /// `Storage`.
    pub fn open(root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(|source| Error::storage("create folder", root, &source))?;
        let staging = Self {
            root: root.to_owned(),
            handles: Mutex::default(),
            handles_max: affordable_handles(),
            read_only: false,
        };
        staging.directory("")?;
        Ok(staging)
    }

    /// A folder that is only looked at, such as an installed tree; it need not be there.
    #[must_use]
    pub fn read_only(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            handles: Mutex::default(),
            handles_max: affordable_handles(),
            read_only: true,
        }
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A new empty file `name`; one that an earlier run left half-written is replaced.
    ///
    /// # Errors
    /// `Storage`.
    pub fn create(&self, name: &str) -> Result<File> {
        let (parent, leaf) = split(name);
        let directory = self.directory(parent)?;
        let open = || {
            openat(
                &*directory,
                leaf,
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o666),
            )
        };
        match open() {
            Err(Errno::EXIST) => unlinkat(&*directory, leaf, AtFlags::empty()).and_then(|()| open()),
            other => other,
        }
        .map(File::from)
        .map_err(|errno| self.refused("create file", name, errno))
    }

    /// The existing file `name`, for writing on.
    ///
    /// # Errors
    /// `Storage`.
    pub fn reopen(&self, name: &str) -> Result<File> {
        let (parent, leaf) = split(name);
        openat(
            &*self.directory(parent)?,
            leaf,
            OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(File::from)
        .map_err(|errno| self.refused("open file", name, errno))
    }

    /// The existing file `name`, for reading.
    ///
    /// # Errors
    /// `Storage`.
    pub fn open_file(&self, name: &str) -> Result<File> {
        let (parent, leaf) = split(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(&*self.directory(parent)?, leaf, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| self.refused("read", name, errno))
    }

    /// # Errors
    /// `Storage`.
    pub fn make_directory(&self, name: &str) -> Result<()> {
        self.directory(name.trim_end_matches('/')).map(drop)
    }

    /// The size of the regular file `name` in bytes; None where there is none.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<u64> {
        let (parent, leaf) = split(name);
        let stat = statat(&*self.directory(parent).ok()?, leaf, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        regular.then(|| u64::try_from(stat.st_size).ok()).flatten()
    }

    /// Removes `name` if it is there; leaves it in a folder that is only looked at.
    pub fn remove(&self, name: &str) {
        if self.read_only {
            return;
        }
        let (parent, leaf) = split(name);
        if let Ok(directory) = self.directory(parent) {
            // What cannot be removed is replaced by `create` or reported there.
            if let Err(Errno::ISDIR) = unlinkat(&*directory, leaf, AtFlags::empty()) {
                let _ = unlinkat(&*directory, leaf, AtFlags::REMOVEDIR);
            }
        }
    }

    fn directory(&self, name: &str) -> Result<Arc<OwnedFd>> {
        if let Some(handle) = self.handles.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Arc::clone(handle));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = if name.is_empty() {
            openat(CWD, &self.root, flags, Mode::empty())
        } else {
            let (parent, leaf) = split(name);
            let parent = self.directory(parent)?;
            let make = || match mkdirat(&*parent, leaf, Mode::from_raw_mode(0o777)) {
                Err(errno) if errno != Errno::EXIST => Err(errno),
                _ => Ok(()),
            };
            if self.read_only { Ok(()) } else { make() }
                .and_then(|()| openat(&*parent, leaf, flags, Mode::empty()))
        };
        let handle = Arc::new(opened.map_err(|errno| self.refused("create folder", name, errno))?);
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if handles.len() >= self.handles_max {
            handles.retain(|name, _| name.is_empty());
        }
        handles.insert(name.to_owned(), Arc::clone(&handle));
        Ok(handle)
    }

    fn refused(&self, action: &'static str, name: &str, errno: Errno) -> Error {
        Error::storage(action, &self.path(name), &io::Error::from(errno))
    }
}

/// Opening through a symbolic link fails: nobody leads what is written here to another place.
pub(crate) fn no_links(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
}

/// How many handles an archive may keep, by this process's limit on open files: with 64 of them, which is
/// little, five archives and their connections must do.
fn affordable_handles() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / HANDLES_SHARE).map_or(HANDLES_MAX, |share| share.clamp(2, HANDLES_MAX))
}

fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn files_land_in_folders_that_are_made_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(&folder.path().join("a/staging")).unwrap();
        for round in 0..2 {
            staging.create("train/images/1.png").unwrap().write_all(b"abc").unwrap();
            assert_eq!(staging.size("train/images/1.png"), Some(3), "round {round}");
        }
        staging.make_directory("val/images/").unwrap();
        assert!(folder.path().join("a/staging/val/images").is_dir());
        staging.remove("train/images/1.png");
        assert_eq!(staging.size("train/images/1.png"), None);
    }

    #[test]
    fn more_folders_than_handles_work() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(folder.path()).unwrap();
        for index in 0..3 * HANDLES_MAX {
            staging.create(&format!("{index}/deep/file")).unwrap();
        }
        assert!(folder.path().join("47/deep/file").is_file());
    }

    #[test]
    fn a_symbolic_link_in_the_way_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(&folder.path().join("staging")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("staging/train")).unwrap();
        let error = staging.create("train/file").unwrap_err();
        assert!(matches!(error, Error::Storage { .. }), "{error}");
        assert!(!folder.path().join("file").exists());
    }
}
