//! What an earlier run unpacked, looked at again before it is built upon.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use crate::digest::{forget_cached, read_on};
use crate::error::Result;
use crate::job::Job;
use crate::manifest::Records;
use crate::staging::Staging;
use crate::threads;
use crate::unpack::Sha256Bytes;
use crate::zip::{Directory, Entry};

/// What the staging folder and the records of one archive should hold.
pub struct Unpacked<'a> {
    pub directory: &'a Directory,
    pub staging: &'a Staging,
    pub records: &'a Path,
    pub workers: usize,
}

/// Members that must be unpacked again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Their numbers, in ascending order.
    pub members: Vec<usize>,
    /// How many of them have lost their record as well: only their CRC-32 can tell them right from wrong.
    pub unrecorded: usize,
}

enum State {
    Sound,
    /// Whether its record is still there.
    Lost(bool),
}

impl Unpacked<'_> {
    /// Looks at every member that ends at or below `below`: its size and record, and with `thorough` its
    /// bytes too.  What is not as it was left is removed, so that the next run sees it as well.
    ///
    /// # Errors
    /// `Storage`, `Cancelled`.
    pub fn recheck(&self, below: u64, thorough: bool, job: &Job) -> Result<Lost> {
        let members: Vec<usize> = (0..self.members_below(below)).collect();
        self.recheck_members(&members, thorough, job)
    }

    /// The same for `members`, in ascending order.
    ///
    /// # Errors
    /// `Storage`, `Cancelled`.
    pub fn recheck_members(&self, members: &[usize], thorough: bool, job: &Job) -> Result<Lost> {
        if members.is_empty() {
            return Ok(Lost::default());
        }
        let records = Records::open(self.records, true)?;
        let (next, found) = (AtomicUsize::new(0), Mutex::new((Vec::new(), Ok(()))));
        threads::together(self.workers, |_| {
            while let Some(&index) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.look_at(index, &records, thorough, job) {
                    Ok(State::Sound) => {}
                    Ok(State::Lost(recorded)) => {
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.0.push((index, recorded));
                    }
                    Err(error) => {
                        found.lock().unwrap_or_else(PoisonError::into_inner).1 = Err(error);
                        next.store(members.len(), Ordering::Relaxed);
                    }
                }
            }
        });
        let (mut lost, outcome) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome?;
        lost.sort_unstable();
        Ok(Lost {
            unrecorded: lost.iter().filter(|(_, recorded)| !recorded).count(),
            members: lost.into_iter().map(|(index, _)| index).collect(),
        })
    }

    fn members_below(&self, below: u64) -> usize {
        let first = self.directory.first_ending_after(below);
        // An empty extent at the very end, of an archive that is wholly below.
        first.min(self.directory.len())
    }

    fn look_at(&self, index: usize, records: &Records, thorough: bool, job: &Job) -> Result<State> {
        job.check()?;
        let entry = self.directory.entry(index);
        let name = entry.name();
        let record = records.get(index);
        if entry.is_directory() {
            self.staging.make_directory(&name)?;
            if record.is_none() {
                records.put(index, &Sha256::digest([]).into())?;
            }
            return Ok(State::Sound);
        }
        let mut sound = self.staging.size(&name) == Some(entry.bytes);
        if sound && (thorough || record.is_none()) {
            let contents = read(self.staging, &entry, record.is_some(), job)?;
            sound = match (contents, record) {
                (Some((sha256, _)), Some(record)) => sha256 == record,
                (Some((sha256, crc32)), None) if crc32 == entry.crc32 => {
                    records.put(index, &sha256)?;
                    true
                }
                _ => false,
            };
        }
        if sound {
            return Ok(State::Sound);
        }
        self.staging.remove(&name);
        Ok(State::Lost(record.is_some()))
    }
}

/// SHA-256 and CRC-32 of a staged file; None where the disk cannot read it any more.
fn read(
    staging: &Staging,
    entry: &Entry<'_>,
    has_record: bool,
    job: &Job,
) -> Result<Option<(Sha256Bytes, u32)>> {
    let name = entry.name();
    let Ok(mut file) = staging.open_file(&name) else { return Ok(None) };
    // Of what others have unpacked there is none, and no doubt.
    if has_record {
        forget_cached(&file);
    }
    let (mut sha256, mut crc32) = (Sha256::new(), crc32fast::Hasher::new());
    let read = read_on(&mut file, &staging.path(&name), u64::MAX, job, |data| {
        sha256.update(data);
        crc32.update(data);
    });
    job.check()?;
    let whole = matches!(read, Ok(count) if count == entry.bytes);
    Ok(whole.then(|| (sha256.finalize().into(), crc32.finalize())))
}

/// Whether a member was unpacked, checked and recorded, and its file is the one of the record.
///
/// # Errors
/// `Cancelled`.
pub(crate) fn is_whole(
    directory: &Directory,
    index: usize,
    staging: &Staging,
    records: &Records,
    job: &Job,
) -> Result<bool> {
    let (entry, record) = (directory.entry(index), records.get(index));
    if record.is_none() || staging.size(&entry.name()) != Some(entry.bytes) {
        return Ok(false);
    }
    let contents = read(staging, &entry, true, job)?;
    Ok(contents.is_some_and(|(sha256, crc32)| Some(sha256) == record && crc32 == entry.crc32))
}
