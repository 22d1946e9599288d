//! What was unpacked of an archive that has no directory: a line for each member, in the order they came.
//!
//! `<CRC-32 of the rest> <SHA-256 or - for a folder> <bytes> <name>`; a line that is torn or changed is none.

use std::collections::HashSet;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::digest::{Algorithm, Hasher, forget_cached, read_on};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::staging::{Staging, no_links};
use crate::threads;

/// No line is as long: a name has at most 4096 bytes.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// Lines that are being added.
#[derive(Debug)]
pub struct Listing {
    file: File,
    path: PathBuf,
    waiting: Vec<u8>,
    bytes: u64,
}

/// One member; a folder has no `sha256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub name: String,
    pub bytes: u64,
    pub sha256: Option<String>,
}

impl Listing {
    /// Opens the listing at `path`, cut to its first `keep_bytes`.
    ///
    /// # Errors
    /// `Storage`; `Unusable` when it is shorter than that.
    pub fn open(path: &Path, keep_bytes: u64) -> Result<Self> {
        let refused = |source: std::io::Error| Error::storage("write", path, &source);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(refused)?;
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = no_links(&mut options).open(path).map_err(refused)?;
        if file.metadata().map_err(refused)?.len() < keep_bytes {
            return Err(Error::Unusable(format!("{} is shorter than it was", path.display())));
        }
        file.set_len(keep_bytes).map_err(refused)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(keep_bytes)).map_err(refused)?;
        Ok(Self { file, path: path.to_owned(), waiting: Vec::new(), bytes: keep_bytes })
    }

    pub fn put(&mut self, line: &Line) {
        self.waiting.extend_from_slice(line.text().as_bytes());
    }

    /// Writes what waits; only then `bytes` counts it.
    ///
    /// # Errors
    /// `Storage`.
    pub fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            let refused = |source: std::io::Error| Error::storage("write", &self.path, &source);
            self.file.write_all(&self.waiting).map_err(refused)?;
            self.bytes += self.waiting.len() as u64;
            self.waiting.clear();
        }
        Ok(())
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Line {
    fn text(&self) -> String {
        let sha256 = self.sha256.as_deref().unwrap_or("-");
        let rest = format!("{sha256} {} {}", self.bytes, self.name);
        format!("{:08x} {rest}\n", crc32fast::hash(rest.as_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (check, rest) = text.strip_suffix('\n')?.split_once(' ')?;
        if u32::from_str_radix(check, 16).ok()? != crc32fast::hash(rest.as_bytes()) {
            return None;
        }
        let mut fields = rest.splitn(3, ' ');
        let (sha256, bytes, name) = (fields.next()?, fields.next()?, fields.next()?);
        let sha256 = (sha256 != "-").then(|| sha256.to_owned());
        Some(Self { name: name.to_owned(), bytes: bytes.parse().ok()?, sha256 })
    }
}

/// The lines in the first `upto` bytes of the listing at `path`.
///
/// # Errors
/// `Storage`; `Unusable` when a line is not as it was written, or something is missing.
pub fn read(path: &Path, upto: u64) -> Result<Vec<Line>> {
    let refused = |source: std::io::Error| Error::storage("read", path, &source);
    let mut options = File::options();
    let file = no_links(options.read(true)).open(path).map_err(refused)?;
    let end = if upto == u64::MAX { file.metadata().map_err(refused)?.len() } else { upto };
    let damaged = || Error::Unusable(format!("{} is damaged", path.display()));
    let mut lines = Vec::new();
    let mut reader = BufReader::new(file);
    let mut position = 0;
    while position < end {
        let mut text = Vec::new();
        let mut limited = std::io::Read::take(&mut reader, LINE_BYTES_MAX);
        position += limited.read_until(b'\n', &mut text).map_err(refused)? as u64;
        let line = std::str::from_utf8(&text).ok().and_then(Line::parse).ok_or_else(damaged)?;
        lines.push(line);
    }
    if position == end { Ok(lines) } else { Err(damaged()) }
}

/// How far the listing at `path` goes, at most to `upto`, before the first line that is none, or the first file
/// that is not in `staging` as it was left.
///
/// # Errors
/// `Storage`, `Cancelled`.
pub fn sound_bytes(path: &Path, upto: u64, staging: &Staging, thorough: bool, job: &Job) -> Result<u64> {
    let mut options = File::options();
    // What cannot be read is as good as lost.
    let Ok(file) = no_links(options.read(true)).open(path) else { return Ok(0) };
    let mut reader = BufReader::new(file);
    let mut position = 0;
    loop {
        let mut text = Vec::new();
        let read = std::io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut text);
        let line = read.ok().and_then(|_| Line::parse(std::str::from_utf8(&text).ok()?));
        let end = position + text.len() as u64;
        match line {
            Some(line) if end <= upto && is_there(&line, staging, thorough, job)? => position = end,
            _ => return Ok(position),
        }
    }
}

/// How many of the files in `lines` are not in `staging` as they were left: by their sizes, with `thorough`
/// by all their bytes.  Folders are made again.
///
/// # Errors
/// `Storage`, `Cancelled`.
pub fn count_lost(
    lines: &[Line],
    staging: &Staging,
    thorough: bool,
    workers: usize,
    job: &Job,
) -> Result<usize> {
    let (next, lost, failure) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
    threads::together(workers, |_| {
        while let Some(line) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
            match is_there(line, staging, thorough, job) {
                Ok(true) => {}
                Ok(false) => drop(lost.fetch_add(1, Ordering::Relaxed)),
                Err(error) => {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    next.store(lines.len(), Ordering::Relaxed);
                }
            }
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(lost.into_inner()),
    }
}

fn is_there(line: &Line, staging: &Staging, thorough: bool, job: &Job) -> Result<bool> {
    job.check()?;
    let Some(sha256) = &line.sha256 else {
        staging.make_directory(&line.name)?;
        return Ok(true);
    };
    if staging.size(&line.name) != Some(line.bytes) {
        return Ok(false);
    }
    if !thorough {
        return Ok(true);
    }
    if let Ok(file) = staging.open_file(&line.name) {
        forget_cached(&file);
    }
    Ok(hash(staging, &line.name, line.bytes, job)?.is_some_and(|found| found.finish() == *sha256))
}

/// The SHA-256 state over the first `bytes` of a staged file; None where the disk does not have them.
pub(crate) fn hash(staging: &Staging, name: &str, bytes: u64, job: &Job) -> Result<Option<Hasher>> {
    let Ok(mut file) = staging.open_file(name) else { return Ok(None) };
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let read = read_on(&mut file, &staging.path(name), bytes, job, |data| hasher.update(data));
    job.check()?;
    Ok(matches!(read, Ok(count) if count == bytes).then_some(hasher))
}

/// Adds the files of the listing at `records`, but for those in `without`, to the manifest at `path`; returns
/// how many.
///
/// # Errors
/// `Storage`, `Unusable`.
pub fn append_sums<S: BuildHasher>(path: &Path, records: &Path, without: &HashSet<String, S>) -> Result<u64> {
    let refused = |source: std::io::Error| Error::storage("write", path, &source);
    let lines = read(records, u64::MAX)?;
    let mut options = File::options();
    let mut out = BufWriter::new(no_links(options.append(true)).open(path).map_err(refused)?);
    let mut files = 0;
    for line in lines.iter().filter(|line| !without.contains(&line.name)) {
        if let Some(sha256) = &line.sha256 {
            writeln!(out, "{sha256}  {}", line.name).map_err(refused)?;
            files += 1;
        }
    }
    out.flush().map_err(refused)?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, sha256: Option<&str>) -> Line {
        Line { name: name.into(), bytes: 7, sha256: sha256.map(Into::into) }
    }

    #[test]
    fn lines_come_back_as_they_were_put_and_a_cut_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records/a");
        let lines = [line("a b/c", Some(&"0".repeat(64))), line("a b", None)];
        let mut listing = Listing::open(&path, 0).unwrap();
        for line in &lines {
            listing.put(line);
        }
        listing.flush().unwrap();
        let first = lines[0].text().len() as u64;
        assert_eq!(read(&path, u64::MAX).unwrap(), lines);
        assert_eq!(read(&path, first).unwrap(), lines[..1]);
        assert_eq!(listing.bytes(), std::fs::metadata(&path).unwrap().len());
        assert!(matches!(read(&path, first + 3), Err(Error::Unusable(_))));
        assert!(matches!(read(&path, listing.bytes() + 1), Err(Error::Unusable(_))));
        assert!(Listing::open(&path, listing.bytes() + 1).is_err());
    }

    #[test]
    fn every_changed_byte_of_a_line_is_noticed() {
        let text = line("train/images/1.png", Some(&"7".repeat(64))).text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let parsed = std::str::from_utf8(&bytes).ok().and_then(Line::parse);
            assert!(parsed.is_none(), "byte {at}");
        }
    }
}
