//! A tree held against a list of digests, on all cores: what is missing, what is damaged, what nobody expects.
//!
//! Files are taken in the list's order, which for our manifest is that of the archives, and so about the one
//! in which they were written to the disk.

mod blake;
mod files;
mod lanes;
mod large;
pub mod sizes;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::digest::{Algorithm, Hasher};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::sums::Sums;
use files::{Folders, Found, affordable};

/// Sizes that nobody has told.
const UNKNOWN_BYTES: u64 = u64::MAX;
/// Each thread has some eight files open at least: this share of what the process may have open are threads.
const WORKERS_SHARE: u64 = 16;
/// Entries that are looked at together when nothing is read.
const QUICK_BATCH: usize = 64;

/// How a tree is to be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub workers: usize,
    /// Look at kinds and sizes, and read nothing.
    pub is_quick: bool,
    /// Names stay in the folder: no link in it is followed.
    pub is_closed: bool,
    /// Report other files in the folder as well.
    pub finds_extra: bool,
}

/// What is wrong with a file of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Missing,
    /// Its digest is another one: this, in hexadecimal.
    Digest(String),
    Size {
        expected: u64,
        found: u64,
    },
    /// It has no bytes, and should have some.
    Empty,
    /// It is no regular file.
    Kind(&'static str),
    /// A folder on the way to it is a link.
    LinkedFolder,
    /// It, or a folder, cannot be read: the system's error number.
    Unreadable(i32),
}

#[derive(Debug, Default)]
pub struct Counters {
    /// Files of the list that are done with, whatever came of it.
    pub files: AtomicU64,
    pub bytes: AtomicU64,
    pub faults: AtomicU64,
}

#[derive(Debug, Default)]
struct Findings {
    /// By number in the list.
    faults: Vec<(usize, Fault)>,
    /// Files that are not in the list.
    extra: Vec<Vec<u8>>,
    /// Folders that could not be looked into.
    closed: Vec<(Vec<u8>, i32)>,
}

#[derive(Debug)]
pub struct Audit {
    root: PathBuf,
    sums: Sums,
    /// Size of each file of the list in bytes: as somebody said, later as it was found.
    sizes: Vec<AtomicU64>,
    next: AtomicUsize,
    counters: Counters,
    findings: Mutex<Findings>,
}

impl Audit {
    #[must_use]
    pub fn new(root: &Path, sums: Sums) -> Self {
        Self {
            root: root.to_owned(),
            sizes: (0..sums.len()).map(|_| AtomicU64::new(UNKNOWN_BYTES)).collect(),
            sums,
            next: AtomicUsize::new(0),
            counters: Counters::default(),
            findings: Mutex::default(),
        }
    }

    /// Takes `<bytes>  <path>` lines; other lines, and paths that are not in the list, do not count.
    /// Returns how many there were, and their sum.
    pub fn take_sizes(&self, text: &[u8]) -> (usize, u64) {
        let (mut next, mut known, mut sum) = (0, 0, 0_u64);
        for line in text.split(|&byte| byte == b'\n') {
            let Some(end) = line.iter().position(|&byte| byte == b' ') else { continue };
            let Some(name) = line[end..].strip_prefix(b"  ") else { continue };
            let Some(bytes) = std::str::from_utf8(&line[..end]).ok().and_then(|digits| digits.parse().ok())
            else {
                continue;
            };
            // They come in the list's order; what is not in it moves nothing.
            let expected = (next < self.sums.len() && self.sums.name(next) == name).then_some(next);
            let Some(index) = expected.or_else(|| self.sums.find(name)) else { continue };
            // A path may be there twice, and is one file.
            if self.sizes[index].swap(bytes, Ordering::Relaxed) == UNKNOWN_BYTES {
                known += 1;
                sum = sum.saturating_add(bytes);
            }
            next = index + 1;
        }
        (known, sum)
    }

    /// The lines that `take_sizes` takes, of all files whose size is known.
    #[must_use]
    pub fn size_lines(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for index in 0..self.sums.len() {
            if let Some(bytes) = self.size(index) {
                text.extend(format!("{bytes}  ").as_bytes());
                text.extend(self.sums.name(index));
                text.push(b'\n');
            }
        }
        text
    }

    fn size(&self, index: usize) -> Option<u64> {
        Some(self.sizes[index].load(Ordering::Relaxed)).filter(|&bytes| bytes != UNKNOWN_BYTES)
    }

    #[must_use]
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is wrong, in the list's order.
    #[must_use]
    pub fn faults(&self) -> Vec<(usize, Fault)> {
        let mut faults = self.findings.lock().unwrap_or_else(PoisonError::into_inner).faults.clone();
        faults.sort_by_key(|&(index, _)| index);
        faults
    }

    /// Files in the folder that are not in the list, sorted.
    #[must_use]
    pub fn extra(&self) -> Vec<Vec<u8>> {
        let mut extra = self.findings.lock().unwrap_or_else(PoisonError::into_inner).extra.clone();
        extra.sort_unstable();
        extra
    }

    /// Folders that could not be looked into for files that are not in the list, and the system's error number.
    #[must_use]
    pub fn closed(&self) -> Vec<(Vec<u8>, i32)> {
        let mut closed = self.findings.lock().unwrap_or_else(PoisonError::into_inner).closed.clone();
        closed.sort_unstable();
        closed
    }

    /// Looks at everything; once for each audit.
    ///
    /// # Errors
    /// `Storage` when the folder itself cannot be opened; `Thread`, `Cancelled`.
    pub fn run(&self, order: &Order, job: &Job) -> Result<()> {
        // So that a folder that is not there is one error, and not one for each of its files.
        Folders::open(&self.root, order.is_closed, 1)?;
        let most = affordable(WORKERS_SHARE, 1, usize::MAX);
        let order = &Order { workers: order.workers.clamp(1, most), ..*order };
        let workers = order.workers.min(self.sums.len().max(1));
        let outcome = std::thread::scope(|scope| {
            let start = |work: &'static str| std::thread::Builder::new().name(format!("audit {work}"));
            let refused =
                |source: std::io::Error| Error::Thread { errno: source.raw_os_error().unwrap_or(0) };
            let mut threads = Vec::new();
            if order.finds_extra {
                let walk = move || walk::find_extra(self, job);
                threads.push(start("walk").spawn_scoped(scope, walk).map_err(refused)?);
            }
            for number in 0..workers {
                match start("files").spawn_scoped(scope, move || self.work(order, job)) {
                    Ok(thread) => threads.push(thread),
                    // One of them does it, if slower.
                    Err(source) if number == 0 => return Err(refused(source)),
                    Err(_) => break,
                }
            }
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(Error::Internal("an audit's thread panicked".into())))
            })
        });
        job.check()?;
        outcome
    }

    fn work(&self, order: &Order, job: &Job) -> Result<()> {
        let folders = Folders::open(&self.root, order.is_closed, order.workers)?;
        if order.is_quick {
            self.look(folders, job)
        } else {
            lanes::Worker::new(self, order, folders, job).run()
        }
    }

    /// Kinds and sizes.
    fn look(&self, mut folders: Folders, job: &Job) -> Result<()> {
        loop {
            job.check()?;
            let start = self.next.fetch_add(QUICK_BATCH, Ordering::Relaxed);
            if start >= self.sums.len() {
                return Ok(());
            }
            for index in start..self.sums.len().min(start + QUICK_BATCH) {
                let outcome =
                    folders.look(self.sums.name(index)).and_then(|found| self.size_fits(index, found));
                self.done(index, outcome);
            }
        }
    }

    fn size_fits(&self, index: usize, found: u64) -> Found<()> {
        match self.size(index) {
            Some(expected) if expected != found => Err(Fault::Size { expected, found }),
            None if found == 0 && !is_of_nothing(self.sums.algorithm(index), self.sums.digest(index)) => {
                Err(Fault::Empty)
            }
            _ => {
                self.sizes[index].store(found, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// The next entry that nobody has taken.
    fn take(&self) -> Option<usize> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.sums.len()).then_some(index)
    }

    /// Compares the digest of a file, of so many bytes, with the list's.
    fn compare(&self, index: usize, bytes: u64, digest: String) {
        let outcome = if digest == crate::digest::hex(self.sums.digest(index)) {
            self.sizes[index].store(bytes, Ordering::Relaxed);
            Ok(())
        } else {
            Err(Fault::Digest(digest))
        };
        self.done(index, outcome);
    }

    fn done(&self, index: usize, outcome: Found<()>) {
        if let Err(fault) = outcome {
            self.counters.faults.fetch_add(1, Ordering::Relaxed);
            let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
            findings.faults.push((index, fault));
        }
        self.counters.files.fetch_add(1, Ordering::Relaxed);
    }

    fn count_bytes(&self, bytes: usize) {
        self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Whether a digest is that of no bytes.
fn is_of_nothing(algorithm: Algorithm, digest: &[u8]) -> bool {
    Hasher::new(algorithm).finish() == crate::digest::hex(digest)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
