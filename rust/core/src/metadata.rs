//! A metadata file, `fdf_metainfo.json`, in one pass: one object, keyed by image number, of objects.
//!
//! What a [`Visitor`] sees is what a loop over `json.load(file).items()` would see, whatever the order of keys,
//! escapes, nesting, unknown fields and duplicates (the last one counts), without the file ever being in
//! memory.
//!
//! ```text
//!   file ──► pieces of 1 MiB ──► entries ──► Visitor::entry        (a visitor for each piece, in parallel)
//!                                            └──► Visitor::merge   (in the order of the file)
//! ```

mod duplicates;
mod entry;
mod pass;
mod walk;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::job::Job;

pub use entry::{Entry, FIELDS_MAX, Flaw, Text, Value};

use duplicates::Places;
use walk::InOrder;

/// The most that one entry may have, key, value and whitespace together.  Those of FDF256 have about a
/// thousand bytes; memory is bounded by this.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// What takes part in a pass.  One is made for each piece of the file; in the end they are merged into the
/// first, in the order of the file.
///
/// Where a file has a key twice, which shows only in passing, the visitors so far are dropped, and a new one is
/// shown the entries that count, one after the other.
pub trait Visitor: Send {
    /// The fields it wants, at most [`FIELDS_MAX`]; [`Entry::field`] finds them by their place here.
    const FIELDS: &'static [&'static str];

    /// Takes one image's entry.
    ///
    /// # Errors
    /// A `Flaw` where the entry lacks what is needed, or has something of another kind.  The pass goes on
    /// (what follows may replace the entry), and fails in the end.
    fn entry(&mut self, entry: &Entry<'_>) -> std::result::Result<(), Flaw>;

    /// Takes what a visitor of a later part of the file has.
    fn merge(&mut self, later: Self);
}

/// What a pass over a whole file has found.
#[derive(Debug)]
pub struct Scanned<V> {
    pub visitor: V,
    /// Images, each counted once.
    pub entries: u64,
    pub bytes: u64,
}

/// Shows a visitor every entry of the file at `path`, on `workers` threads.
///
/// # Errors
/// `Metadata` with the byte at which the file is no JSON, or not of that layout; `Storage`; `Cancelled`.
pub fn scan<V: Visitor>(
    path: &Path,
    workers: usize,
    job: &Job,
    fresh: impl Fn() -> V + Sync,
) -> Result<Scanned<V>> {
    Reader::open(path, workers, job, fresh).map(|(_, scanned)| scanned)
}

/// A file for who takes its entries in order, at his own pace.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    places: Places,
    order: InOrder,
}

impl Reader {
    /// Makes a first pass like [`scan`], so that what is wrong with the file is known before the first entry
    /// is given out; `next` gives them to a visitor of the same kind.
    ///
    /// # Errors
    /// As [`scan`].
    pub fn open<V: Visitor>(
        path: &Path,
        workers: usize,
        job: &Job,
        fresh: impl Fn() -> V + Sync,
    ) -> Result<(Self, Scanned<V>)> {
        let source = Source::open(path)?;
        let first = pass::pass(&source, workers, job, &fresh)?;
        let places = if first.suspects.is_empty() {
            Places::default()
        } else {
            Places::find(&source, &first.suspects, job)?
        };
        let mut reader = Self { source, places, order: InOrder::new(V::FIELDS) };
        if reader.places.is_empty() {
            return match first.flaw {
                Some(flaw) => Err(reader.source.flawed(flaw)),
                None => Ok((reader, first.scanned)),
            };
        }
        // Some of what that visitor was shown, and of what is wrong, is replaced further down.
        let mut scanned = Scanned { visitor: fresh(), entries: 0, bytes: first.scanned.bytes };
        while let Some(count) = reader.next(job, &mut scanned.visitor)? {
            scanned.entries += count;
        }
        reader.order = InOrder::new(V::FIELDS);
        Ok((reader, scanned))
    }

    /// Shows `visitor` the entries of about a MiB more; returns how many, None when there are none left.
    ///
    /// # Errors
    /// As [`scan`], where the file was changed since `open`.
    pub fn next<V: Visitor>(&mut self, job: &Job, visitor: &mut V) -> Result<Option<u64>> {
        self.order.next(&self.source, &self.places, job, visitor)
    }
}

/// A file that may be changed by others while it is read: then there is an error, and nothing worse.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        // A pipe in its place must not keep the thread until somebody writes into it.
        let without_waiting = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(without_waiting)
            .open(path)
            .and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let (file, metadata) = opened.map_err(|error| Error::storage("read", path, &error))?;
        if !metadata.is_file() {
            let kind = if metadata.is_dir() { rustix::io::Errno::ISDIR } else { rustix::io::Errno::INVAL };
            return Err(Error::storage("read", path, &io::Error::from(kind)));
        }
        Ok(Self { file, path: path.to_owned(), size: metadata.len() })
    }

    /// Fills `bytes` from `offset` on; less only at the end of the file.
    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::storage("read", &self.path, &error)),
            }
        }
        Ok(filled)
    }

    fn error(&self, offset: u64, reason: impl Into<String>) -> Error {
        Error::Metadata { path: self.path.clone(), offset, reason: reason.into() }
    }

    fn flawed(&self, flaw: Flaw) -> Error {
        self.error(flaw.offset, flaw.reason)
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
