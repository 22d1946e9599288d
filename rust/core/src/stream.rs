//! A member too large for the window, unpacked as its bytes pass by, and resumable in the middle.
//!
//! What a deflated member needs to go on after a kill is its history, which no library gives away; so its
//! compressed bytes are kept beside the staging folder until it is done.  A stored member's own file is
//! history enough.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

use crate::digest::{hex, read_on, unhex};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::staging::{Staging, no_links};
use crate::unpack::{Sha256Bytes, Unpacker};
use crate::zip::{Directory, Method};

/// Read size when a spool is taken up again.
const SPOOL_READ_BYTES: usize = 1 << 20;

pub struct Stream {
    pub index: usize,
    /// Offset in the archive of the next byte that is wanted.
    pub position: u64,
    /// The local header so far, until it is complete.
    head: Vec<u8>,
    data_start: Option<u64>,
    unpacker: Unpacker,
    spool: Option<Spool>,
}

struct Spool {
    file: File,
    path: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedStream {
    index: usize,
    position: u64,
    head: String,
    data_start: Option<u64>,
    produced: u64,
    crc32: u32,
    sha256: String,
}

impl Stream {
    pub fn begin(directory: &Directory, index: usize, staging: &Staging, spool_path: &Path) -> Result<Self> {
        let entry = directory.entry(index);
        let spool = match entry.method() {
            Method::Stored => None,
            Method::Deflated => Some(Spool::create(spool_path)?),
        };
        Ok(Self {
            index,
            position: entry.offset,
            head: Vec::new(),
            data_start: None,
            unpacker: Unpacker::create(&entry, staging)?,
            spool,
        })
    }

    /// Takes up a saved stream; None when what it left on disk is not enough, or not what it left.  With
    /// `thorough` a stored member's file is read again; a deflated one's spool always is.
    pub fn resume(
        directory: &Directory,
        saved: &SavedStream,
        staging: &Staging,
        spool_path: &Path,
        thorough: bool,
        job: &Job,
    ) -> Result<Option<Self>> {
        let entry = directory.entry(saved.index);
        let (start, end) = directory.extent(saved.index);
        let data_start = saved.data_start.unwrap_or(start);
        if saved.position < start || saved.position > end || data_start < start || data_start > end {
            return Ok(None);
        }
        let (unpacker, spool) = match entry.method() {
            Method::Stored => {
                let state = unhex(&saved.sha256)
                    .and_then(|state| SerializedState::<Sha256>::try_from(state.as_slice()).ok())
                    .and_then(|state| Sha256::deserialize(&state).ok());
                let Some(sha256) = state else { return Ok(None) };
                if staging.size(&entry.name()).is_none_or(|size| size < saved.produced)
                    || thorough && !saved.is_in(staging, &entry.name(), job)?
                {
                    return Ok(None);
                }
                match Unpacker::reopen(&entry, staging, saved.produced, saved.crc32, sha256)? {
                    Some(unpacker) => (unpacker, None),
                    None => return Ok(None),
                }
            }
            Method::Deflated => {
                let kept = saved
                    .data_start
                    .map_or(0, |start| saved.position.saturating_sub(start))
                    .min(entry.compressed_bytes);
                let mut unpacker = Unpacker::create(&entry, staging)?;
                let replayed = Spool::replay(spool_path, kept, |data| {
                    job.check()?;
                    unpacker.push(directory, &entry, data)
                });
                let spool = match replayed {
                    Ok(Some(spool)) => spool,
                    Ok(None) | Err(Error::Member { .. }) => return Ok(None),
                    Err(error) => return Err(error),
                };
                if !saved.is_at(&unpacker) {
                    return Ok(None);
                }
                (unpacker, Some(spool))
            }
        };
        let Some(head) = unhex(&saved.head) else { return Ok(None) };
        Ok(Some(Self {
            index: saved.index,
            position: saved.position,
            head,
            data_start: saved.data_start,
            unpacker,
            spool,
        }))
    }

    pub fn save(&self) -> SavedStream {
        SavedStream {
            index: self.index,
            position: self.position,
            head: hex(&self.head),
            data_start: self.data_start,
            produced: self.unpacker.produced,
            crc32: self.unpacker.crc32.clone().finalize(),
            sha256: hex(&self.unpacker.sha256.serialize()),
        }
    }

    /// Takes the chunks that follow `position`.
    pub fn push(&mut self, directory: &Directory, chunks: &[Bytes], job: &Job) -> Result<()> {
        for chunk in chunks {
            job.check()?;
            self.push_chunk(directory, chunk)?;
            self.position += chunk.len() as u64;
        }
        Ok(())
    }

    fn push_chunk(&mut self, directory: &Directory, chunk: &[u8]) -> Result<()> {
        let entry = directory.entry(self.index);
        let data_start = if let Some(start) = self.data_start {
            start
        } else {
            self.head.extend_from_slice(chunk);
            let Some(start) = directory.data_start(self.index, &self.head)? else { return Ok(()) };
            *self.data_start.insert(entry.offset + start as u64)
        };
        // The header may have come in several chunks, the last of which holds the first data.
        let from = data_start.saturating_sub(self.position).min(chunk.len() as u64);
        let to = (data_start + entry.compressed_bytes).saturating_sub(self.position).min(chunk.len() as u64);
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let data = &chunk[index(from)..index(to.max(from))];
        self.head = Vec::new();
        if let Some(spool) = &mut self.spool {
            spool.append(data)?;
        }
        self.unpacker.push(directory, &entry, data)
    }

    pub fn finish(self, directory: &Directory, staging: &Staging) -> Result<Sha256Bytes> {
        if let Some(spool) = self.spool {
            spool.remove();
        }
        self.unpacker.finish(directory, &directory.entry(self.index), staging)
    }
}

impl SavedStream {
    pub fn index(&self) -> usize {
        self.index
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether what was unpacked again is what was unpacked before.
    fn is_at(&self, unpacker: &Unpacker) -> bool {
        unpacker.produced == self.produced && unpacker.crc32.clone().finalize() == self.crc32
    }

    /// Whether the member's file begins with what was written to it.
    fn is_in(&self, staging: &Staging, name: &str, job: &Job) -> Result<bool> {
        let Ok(mut file) = staging.open_file(name) else { return Ok(false) };
        let mut crc32 = crc32fast::Hasher::new();
        let read = read_on(&mut file, &staging.path(name), self.produced, job, |data| crc32.update(data));
        job.check()?;
        Ok(matches!(read, Ok(count) if count == self.produced) && crc32.finalize() == self.crc32)
    }
}

impl Spool {
    fn create(path: &Path) -> Result<Self> {
        let refused = |source: std::io::Error| Error::storage("create file", path, &source);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(refused)?;
        }
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        Ok(Self { file: no_links(&mut options).open(path).map_err(refused)?, path: path.to_owned() })
    }

    /// Feeds the first `kept` bytes to `take` and goes on behind them; None when they are not all there.
    fn replay(path: &Path, kept: u64, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<Option<Self>> {
        let refused = |source: std::io::Error| Error::storage("read", path, &source);
        let mut options = File::options();
        let Ok(mut file) = no_links(options.read(true).write(true)).open(path) else { return Ok(None) };
        if file.metadata().map_err(refused)?.len() < kept {
            return Ok(None);
        }
        file.set_len(kept).map_err(refused)?;
        let mut buffer = vec![0; SPOOL_READ_BYTES];
        loop {
            match file.read(&mut buffer).map_err(refused)? {
                0 => break,
                count => take(&buffer[..count])?,
            }
        }
        Ok(Some(Self { file, path: path.to_owned() }))
    }

    fn append(&mut self, data: &[u8]) -> Result<()> {
        self.file.write_all(data).map_err(|source| Error::storage("write", &self.path, &source))
    }

    fn remove(self) {
        // A spool that stays behind is removed with its folder when the target is finished.
        let _ = std::fs::remove_file(&self.path);
    }
}
