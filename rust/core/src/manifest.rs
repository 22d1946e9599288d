//! Per-file SHA-256: one fixed-size record a member while the archives arrive, one text file at the end.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::digest::hex;
use crate::error::{Error, Result};
use crate::staging::no_links;
use crate::unpack::Sha256Bytes;
use crate::zip::Directory;

/// A SHA-256, and a CRC-32 over it and the member's number: a record that is torn, of zeros, or in another's
/// place is none.
const RECORD_BYTES: usize = 32 + 4;

/// The records of one archive, at their size times the member's number: written by any worker in any order,
/// and complete for every member below the frontier after whatever ended the run.
#[derive(Debug)]
pub struct Records {
    file: File,
    path: PathBuf,
}

impl Records {
    /// Opens the records at `path`, empty unless `keep`.
    ///
    /// # Errors
    /// `Storage`.
    pub fn open(path: &Path, keep: bool) -> Result<Self> {
        let refused = |source: std::io::Error| Error::storage("create file", path, &source);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(refused)?;
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(!keep);
        Ok(Self { file: no_links(&mut options).open(path).map_err(refused)?, path: path.to_owned() })
    }

    /// # Errors
    /// `Storage`.
    pub fn put(&self, index: usize, sha256: &Sha256Bytes) -> Result<()> {
        let mut record = [0; RECORD_BYTES];
        record[..32].copy_from_slice(sha256);
        record[32..].copy_from_slice(&check(index, sha256));
        self.file
            .write_all_at(&record, (index * RECORD_BYTES) as u64)
            .map_err(|source| Error::storage("write", &self.path, &source))
    }

    /// The SHA-256 of member `index`; None where there is none that can be believed.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Sha256Bytes> {
        let mut record = [0; RECORD_BYTES];
        // What cannot be read is as good as lost.
        self.file.read_exact_at(&mut record, (index * RECORD_BYTES) as u64).ok()?;
        let (sha256, found) = record.split_first_chunk::<32>()?;
        (found == check(index, sha256)).then_some(*sha256)
    }
}

fn check(index: usize, sha256: &Sha256Bytes) -> [u8; 4] {
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(&(index as u64).to_le_bytes());
    crc32.update(sha256);
    crc32.finalize().to_le_bytes()
}

/// What one archive adds to the manifest.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub directory: &'a Directory,
    pub records: &'a Path,
    /// Only these members, in ascending order; without it all.
    pub members: Option<&'a [usize]>,
}

/// Writes the manifest of everything that `parts` hold, in the form that `sha256sum -c` reads; returns the
/// number of files.
///
/// # Errors
/// `Storage`; `Member` when its record is missing.
pub fn write(path: &Path, parts: &[Part<'_>]) -> Result<u64> {
    let refused = |source: std::io::Error| Error::storage("write", path, &source);
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    let mut out = BufWriter::new(no_links(&mut options).open(path).map_err(refused)?);
    let mut files = 0;
    for Part { directory, records, members } in parts {
        let records = Records::open(records, true)?;
        let all = 0..if members.is_some() { 0 } else { directory.len() };
        for index in all.chain(members.unwrap_or_default().iter().copied()) {
            let entry = directory.entry(index);
            let Some(sha256) = records.get(index) else {
                return Err(directory.refuse_member(&entry, "its record is missing; run the command again"));
            };
            if !entry.is_directory() {
                writeln!(out, "{}  {}", hex(&sha256), entry.name()).map_err(refused)?;
                files += 1;
            }
        }
    }
    out.flush().map_err(refused)?;
    Ok(files)
}
