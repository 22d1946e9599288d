//! Where each image's entry lies in a metadata file, so that one can be read without the others.

use std::path::Path;

use crate::error::{Error, Result};
use crate::job::Job;
use crate::metadata::{self, Entry, Flaw, Visitor};

/// The largest number that fits in the signed 64 bits of Python's arrays, and of `NumPy`'s.
pub const NUMBER_MAX: u64 = i64::MAX as u64;

/// A column each, in the order of the images' numbers; `starts` and `ends` are bytes of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    pub numbers: Vec<u64>,
    pub starts: Vec<u64>,
    pub ends: Vec<u64>,
}

impl Offsets {
    /// Finds the entries of the file at `path`, on `workers` threads.
    ///
    /// # Errors
    /// As [`metadata::scan`]; also where an entry's key is no number, or two keys are the same number.
    pub fn find(path: &Path, workers: usize, job: &Job) -> Result<Self> {
        let mut places = metadata::scan(path, workers, job, Places::default)?.visitor.0;
        job.check()?;
        places.sort_unstable();
        if let Some(twice) = places.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let later = twice[0].1.max(twice[1].1);
            let reason = format!("image {} is there twice, written in two ways", twice[0].0);
            return Err(Error::Metadata { path: path.to_owned(), offset: later, reason });
        }
        Ok(Self {
            numbers: places.iter().map(|place| place.0).collect(),
            starts: places.iter().map(|place| place.1).collect(),
            ends: places.iter().map(|place| place.2).collect(),
        })
    }
}

/// The number that an entry's key is.
///
/// # Errors
/// A `Flaw` where it is none.
pub fn number(entry: &Entry<'_>) -> std::result::Result<u64, Flaw> {
    let key = entry.key().decode();
    let digits = std::str::from_utf8(&key).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).filter(|&number| number <= NUMBER_MAX).ok_or_else(|| Flaw {
        offset: entry.offset(),
        reason: format!("{:?} is no image number", String::from_utf8_lossy(&key)),
    })
}

/// Number, start and end of each entry.
#[derive(Default)]
struct Places(Vec<(u64, u64, u64)>);

impl Visitor for Places {
    const FIELDS: &'static [&'static str] = &[];

    fn entry(&mut self, entry: &Entry<'_>) -> std::result::Result<(), Flaw> {
        let span = entry.span();
        self.0.push((number(entry)?, span.start, span.end));
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}
