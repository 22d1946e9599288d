//! Per-file SHA-256: one fixed-size record a member while the archives arrive, one text file at the end.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::digest::hex;
use crate::error::{Error, Result};
use crate::unpack::Sha256Bytes;
use crate::zip::Directory;

const RECORD_BYTES: usize = 32;

/// The records of one archive, at 32 bytes times the member's number: written by any worker in any order,
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
        let file = File::options().write(true).create(true).truncate(!keep).open(path).map_err(refused)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// # Errors
    /// `Storage`.
    pub fn put(&self, index: usize, sha256: &Sha256Bytes) -> Result<()> {
        self.file
            .write_all_at(sha256, (index * RECORD_BYTES) as u64)
            .map_err(|source| Error::storage("write", &self.path, &source))
    }
}

/// Writes the manifest of everything that `parts` (directory and records of each archive) hold, in the
/// form that `sha256sum -c` reads; returns the number of files.
///
/// # Errors
/// `Storage`; `Member` when its record is missing.
pub fn write(path: &Path, parts: &[(&Directory, &Path)]) -> Result<u64> {
    let refused = |source: std::io::Error| Error::storage("write", path, &source);
    let mut out = BufWriter::new(File::create(path).map_err(refused)?);
    let mut files = 0;
    for (directory, records) in parts {
        let reading = |source: std::io::Error| Error::storage("read", records, &source);
        let mut records_in = std::io::BufReader::new(File::open(records).map_err(reading)?);
        let mut record: Sha256Bytes = [0; RECORD_BYTES];
        for index in 0..directory.len() {
            let complete = records_in.read_exact(&mut record).is_ok() && record != [0; RECORD_BYTES];
            let entry = directory.entry(index);
            if entry.is_directory() && complete {
                continue;
            }
            if !complete {
                return Err(directory.refuse_member(&entry, "its record is missing; run the command again"));
            }
            writeln!(out, "{}  {}", hex(&record), entry.name()).map_err(refused)?;
            files += 1;
        }
    }
    out.flush().map_err(refused)?;
    Ok(files)
}
