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

use crate::digest::{hex, unhex};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::staging::{Staging, no_links};
use crate::unpack::{Sha256Bytes, Unpacker};
use crate::zip::{Directory, Entry, HEADER_BYTES, Local, Method, TRAILER_BYTES};

/// Read size when a spool is taken up again.
const SPOOL_READ_BYTES: usize = 1 << 20;

pub struct Stream {
    pub index: usize,
    /// Offset in the archive of the next byte that is wanted.
    pub position: u64,
    /// The local header so far, until it is complete.
    head: Vec<u8>,
    data_start: Option<u64>,
    has_descriptor: bool,
    /// The first bytes behind the data.
    trailer: Vec<u8>,
    unpacker: Unpacker,
    spool: Option<Spool>,
}

pub(crate) struct Spool {
    file: File,
    path: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedStream {
    index: usize,
    position: u64,
    head: String,
    data_start: Option<u64>,
    #[serde(default)]
    has_descriptor: bool,
    #[serde(default)]
    trailer: String,
    produced: u64,
    crc32: u32,
}

impl Stream {
    pub fn begin(directory: &Directory, index: usize, staging: &Staging, spool_path: &Path) -> Result<Self> {
        let entry = directory.entry(index);
        let spool = match entry.method() {
            Method::Stored => None,
            Method::Deflated | Method::Zstd => Some(Spool::create(spool_path)?),
        };
        Ok(Self {
            index,
            position: entry.offset,
            head: Vec::new(),
            data_start: None,
            has_descriptor: false,
            trailer: Vec::new(),
            unpacker: Unpacker::create(&entry, staging)?,
            spool,
        })
    }

    /// Takes up a saved stream; None when what it left on disk is not enough, or not what it left.  All
    /// of it is read again: a stored member's file, or the spool.
    pub fn resume(
        directory: &Directory,
        saved: &SavedStream,
        staging: &Staging,
        spool_path: &Path,
        job: &Job,
    ) -> Result<Option<Self>> {
        if saved.index >= directory.len() {
            return Ok(None);
        }
        let (start, end) = directory.extent(saved.index);
        let data_start = saved.data_start.unwrap_or(start);
        if saved.position < start || saved.position > end || data_start < start || data_start > end {
            return Ok(None);
        }
        let entry = directory.entry(saved.index);
        let Some(kept) = saved.kept_bytes(directory, &entry) else { return Ok(None) };
        let (unpacker, spool) = match entry.method() {
            Method::Stored => {
                let is_short =
                    || !entry.is_directory() && staging.size(&entry.name()).is_none_or(|size| size < kept);
                if saved.produced != kept || is_short() {
                    return Ok(None);
                }
                match Unpacker::reopen(&entry, staging, kept, saved.crc32, job)? {
                    Some(unpacker) => (unpacker, None),
                    None => return Ok(None),
                }
            }
            Method::Deflated | Method::Zstd => {
                let mut unpacker = Unpacker::create(&entry, staging)?;
                let replayed = Spool::replay(spool_path, kept, |data| {
                    job.check()?;
                    unpacker.push(directory, &entry, data)
                });
                match replayed {
                    Ok(Some(spool)) if saved.is_at(&unpacker) => (unpacker, Some(spool)),
                    // What is in the spool is not what was put in.
                    Ok(_) | Err(Error::Member { .. }) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        };
        let (Some(head), Some(trailer)) = (unhex(&saved.head), unhex(&saved.trailer)) else {
            return Ok(None);
        };
        Ok(Some(Self {
            index: saved.index,
            position: saved.position,
            head,
            data_start: saved.data_start,
            has_descriptor: saved.has_descriptor,
            trailer,
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
            has_descriptor: self.has_descriptor,
            trailer: hex(&self.trailer),
            produced: self.unpacker.produced,
            crc32: self.unpacker.crc32.clone().finalize(),
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
            let Some(local) = directory.local(self.index, &self.head)? else { return Ok(()) };
            self.has_descriptor = local.has_descriptor;
            *self.data_start.insert(entry.offset + local.data_start as u64)
        };
        // The header may have come in several chunks, the last of which holds the first data.
        let from = data_start.saturating_sub(self.position).min(chunk.len() as u64);
        let to = (data_start + entry.compressed_bytes).saturating_sub(self.position).min(chunk.len() as u64);
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (data, behind) = chunk[index(from)..].split_at(index(to.saturating_sub(from)));
        self.head = Vec::new();
        let room = TRAILER_BYTES - self.trailer.len().min(TRAILER_BYTES);
        self.trailer.extend_from_slice(&behind[..room.min(behind.len())]);
        if let Some(spool) = &mut self.spool {
            spool.append(data)?;
        }
        self.unpacker.push(directory, &entry, data)
    }

    /// It is damaged: what was unpacked of it goes.
    pub fn discard(self, staging: &Staging) {
        self.unpacker.discard(staging);
    }

    /// What is to be removed once the member is recorded: until then an interrupted run goes on from it.
    pub(crate) fn take_spool(&mut self) -> Option<Spool> {
        self.spool.take()
    }

    pub fn finish(self, directory: &Directory, staging: &Staging) -> Result<Sha256Bytes> {
        let entry = directory.entry(self.index);
        let sound = match self.data_start {
            None => Err(directory.refuse_member(&entry, "its local header is cut off")),
            Some(start) => {
                let data_start = usize::try_from(start - entry.offset).unwrap_or(usize::MAX);
                let local = Local { data_start, has_descriptor: self.has_descriptor };
                directory.check_trailer(self.index, local, &self.trailer)
            }
        };
        if let Err(error) = sound {
            self.unpacker.discard(staging);
            return Err(error);
        }
        self.unpacker.finish(directory, &entry, staging)
    }
}

impl SavedStream {
    /// How many bytes of the member's data were taken; None when the state cannot be one of this member,
    /// whoever wrote it.
    fn kept_bytes(&self, directory: &Directory, entry: &Entry<'_>) -> Option<u64> {
        let (offset, end) = directory.extent(self.index);
        if !(offset..=end).contains(&self.position) {
            return None;
        }
        let Some(start) = self.data_start else {
            let fits = self.head.len() as u64 == 2 * (self.position - offset) && self.trailer.is_empty();
            return fits.then_some(0);
        };
        let data_end = start.checked_add(entry.compressed_bytes)?;
        if start < offset + HEADER_BYTES as u64 || data_end > end || self.position < start {
            return None;
        }
        let behind = self.position.saturating_sub(data_end).min(TRAILER_BYTES as u64);
        (self.trailer.len() as u64 == 2 * behind).then(|| (self.position - start).min(entry.compressed_bytes))
    }

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

    pub(crate) fn remove(self) {
        // A spool that stays behind is removed with its folder when the target is finished.
        let _ = std::fs::remove_file(&self.path);
    }
}
