//! One member from its bytes to its file: inflate, CRC-32, size, SHA-256, write, in one pass.

use std::fs::File;
use std::io::{IoSlice, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, Operation as _};

use crate::digest::{Sha256, sha256_many};
use crate::error::{Error, Result};
use crate::inflate::{Inflater, Outcome};
use crate::job::Job;
use crate::staging::Staging;
use crate::zip::{Directory, Entry, Local, Method, TRAILER_BYTES};

/// Members that unpack to at most this are inflated in one call; PNGs of the dataset are a tenth of it.
const ONE_SHOT_BYTES: u64 = 1 << 20;
/// What packs something so small into more than this does it to have the memory: it is kept from member to member.
const PACKED_BYTES: u64 = 2 * ONE_SHOT_BYTES;
/// What a larger member is inflated through.
const INFLATE_BUFFER_BYTES: usize = 1 << 18;
/// A zstd frame may ask for a window of up to 128 MiB, which is what `zstd --ultra --long` writes; one that
/// asks for more is refused before anything is allocated.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

const BYTES_BEHIND: &str = "it has bytes behind the end of its deflate data";

pub type Sha256Bytes = [u8; 32];

/// What one worker keeps between members, so that no member allocates.
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
    inflater: Inflater,
    /// Made when the first member needs it.
    zstd: Option<Decoder<'static>>,
    wants_sha256: bool,
}

impl Default for Scratch {
    fn default() -> Self {
        let inflater = Inflater::new();
        Self { input: Vec::new(), output: Vec::new(), inflater, zstd: None, wants_sha256: true }
    }
}

impl Scratch {
    /// For members whose SHA-256 nobody wants: it takes longer than everything else that is computed.
    #[must_use]
    pub fn without_sha256() -> Self {
        Self { wants_sha256: false, ..Self::default() }
    }
}

/// A member whose whole extent is in `chunks`.
#[derive(Clone, Copy)]
pub struct Whole<'a> {
    pub directory: &'a Directory,
    pub index: usize,
    pub chunks: &'a [Bytes],
    pub staging: &'a Staging,
}

/// What became of a member that was looked at.
enum Checked<'a> {
    /// What its file is to hold.
    Contents(Vec<&'a [u8]>),
    /// The file is written: it was too large for one call.
    Written(Sha256Bytes),
}

/// Unpacks `member` and returns its file's SHA-256, if that is wanted.
///
/// # Errors
/// `Member` when it is damaged, `Storage`, or `Cancelled`.
pub fn unpack_member(member: Whole<'_>, scratch: &mut Scratch, job: &Job) -> Result<Sha256Bytes> {
    let wants_sha256 = scratch.wants_sha256;
    let contents = match check(member, scratch, job)? {
        Checked::Contents(contents) => contents,
        Checked::Written(sha256) => return Ok(sha256),
    };
    let digests = if wants_sha256 { sha256_many(&[&contents]) } else { Vec::new() };
    write(member, &contents)?;
    Ok(digests.first().copied().unwrap_or_default())
}

/// Unpacks members, each with a scratch of its own, and returns their files' SHA-256s.  These are computed
/// together, since two take three quarters of the time of one after the other.
pub fn unpack_together(
    members: &[Whole<'_>],
    scratches: &mut [Scratch],
    job: &Job,
) -> Vec<Result<Sha256Bytes>> {
    let checked: Vec<Result<Checked<'_>>> =
        members.iter().zip(scratches).map(|(&member, scratch)| check(member, scratch, job)).collect();
    let messages = checked.iter().filter_map(|checked| match checked {
        Ok(Checked::Contents(contents)) => Some(contents.as_slice()),
        _ => None,
    });
    let mut digests = sha256_many(&messages.collect::<Vec<_>>()).into_iter();
    let finish = |(checked, &member): (Result<Checked<'_>>, &Whole<'_>)| match checked? {
        Checked::Written(sha256) => Ok(sha256),
        Checked::Contents(contents) => {
            let sha256 = digests.next().unwrap_or_default();
            write(member, &contents).map(|()| sha256)
        }
    };
    checked.into_iter().zip(members).map(finish).collect()
}

/// Checks headers, size and CRC-32, and inflates what is small enough for one call.
fn check<'a>(member: Whole<'a>, scratch: &'a mut Scratch, job: &Job) -> Result<Checked<'a>> {
    let Whole { directory, index, chunks, staging } = member;
    let entry = directory.entry(index);
    let local = local_header(directory, index, chunks, &mut scratch.input)?;
    let mut data = Vec::with_capacity(chunks.len());
    cut(chunks, local.data_start, entry.compressed_bytes, &mut data);
    check_trailer(directory, index, local, chunks)?;
    let is_small = entry.bytes <= ONE_SHOT_BYTES && entry.compressed_bytes <= PACKED_BYTES;
    if !is_small && entry.method() != Method::Stored {
        let mut unpacker = Unpacker::create(&entry, staging)?;
        unpacker.wants_sha256 = scratch.wants_sha256;
        for slice in data {
            job.check()?;
            if let Err(error) = unpacker.push(directory, &entry, slice) {
                unpacker.discard(staging);
                return Err(error);
            }
        }
        return unpacker.finish(directory, &entry, staging).map(Checked::Written);
    }
    let contents = match entry.method() {
        Method::Stored => data,
        Method::Deflated | Method::Zstd => vec![inflate(directory, &entry, &data, scratch)?],
    };
    let mut crc32 = crc32fast::Hasher::new();
    for slice in &contents {
        crc32.update(slice);
    }
    check_crc32(directory, &entry, crc32)?;
    Ok(Checked::Contents(contents))
}

/// Writes the file, or makes the folder, which was validated to have no contents.
fn write(member: Whole<'_>, contents: &[&[u8]]) -> Result<()> {
    let Whole { directory, index, staging, .. } = member;
    let entry = directory.entry(index);
    let name = entry.name();
    if entry.is_directory() {
        return staging.make_directory(&name);
    }
    let mut file = staging.create(&name)?;
    write_slices(&mut file, contents).map_err(|source| Error::storage("write", &staging.path(&name), &source))
}

/// The local header at the start of the extent that `chunks` hold.
fn local_header(
    directory: &Directory,
    index: usize,
    chunks: &[Bytes],
    scratch: &mut Vec<u8>,
) -> Result<Local> {
    if let Some(local) = directory.local(index, chunks.first().map_or(&[], |chunk| chunk))? {
        return Ok(local);
    }
    // The header lies across chunks: join as many as it takes.
    scratch.clear();
    for chunk in chunks {
        scratch.extend_from_slice(chunk);
        if let Some(local) = directory.local(index, scratch)? {
            return Ok(local);
        }
    }
    Err(directory.refuse_member(&directory.entry(index), "its local header is cut off"))
}

/// Checks what follows the data.
fn check_trailer(directory: &Directory, index: usize, local: Local, chunks: &[Bytes]) -> Result<()> {
    let compressed_bytes = directory.entry(index).compressed_bytes;
    // The header was checked to leave that much room, so this is an offset within the chunks.
    let end = local.data_start + usize::try_from(compressed_bytes).unwrap_or(usize::MAX);
    let mut slices = Vec::new();
    cut(chunks, end, TRAILER_BYTES as u64, &mut slices);
    let trailer: Vec<u8> = slices.concat();
    directory.check_trailer(index, local, &trailer)
}

/// The `length` bytes from `start` on, as slices.
fn cut<'a>(chunks: &'a [Bytes], mut start: usize, length: u64, out: &mut Vec<&'a [u8]>) {
    let mut left = usize::try_from(length).unwrap_or(usize::MAX);
    for chunk in chunks {
        if start >= chunk.len() {
            start -= chunk.len();
            continue;
        }
        let end = start.saturating_add(left).min(chunk.len());
        if end > start {
            out.push(&chunk[start..end]);
        }
        left -= end - start;
        start = 0;
        if left == 0 {
            return;
        }
    }
}

fn inflate<'a>(
    directory: &Directory,
    entry: &Entry<'_>,
    data: &[&[u8]],
    scratch: &'a mut Scratch,
) -> Result<&'a [u8]> {
    let Scratch { input, output, inflater, zstd, .. } = scratch;
    let input = match data {
        [] => &[],
        [only] => *only,
        several => {
            input.clear();
            for slice in several {
                input.extend_from_slice(slice);
            }
            input.as_slice()
        }
    };
    // At most ONE_SHOT_BYTES, checked by the caller.
    let size = usize::try_from(entry.bytes).unwrap_or(0);
    if output.len() < size {
        output.resize(size, 0);
    }
    let output = &mut output[..size];
    let other_size = || directory.refuse_member(entry, "it unpacks to another size than declared");
    if entry.method() == Method::Zstd {
        return match unzstd(zstd, input, output) {
            Ok(true) => Ok(output),
            Ok(false) => Err(other_size()),
            Err(source) => Err(zstd_damaged(directory, entry, &source)),
        };
    }
    match inflater.inflate(input, output) {
        Outcome::Exact => Ok(output),
        Outcome::OtherSize => Err(other_size()),
        Outcome::BytesBehind => Err(directory.refuse_member(entry, BYTES_BEHIND)),
        Outcome::Damaged => Err(directory.refuse_member(entry, "its deflate data is damaged")),
    }
}

/// Whether the frames of `input` unpack to exactly `output`.  By the streaming call, which has a limit for
/// the window where the one for whole buffers has none.
fn unzstd(kept: &mut Option<Decoder<'static>>, input: &[u8], output: &mut [u8]) -> std::io::Result<bool> {
    let decoder = match kept {
        Some(decoder) => {
            decoder.reinit()?;
            decoder
        }
        None => kept.insert(new_decoder()?),
    };
    let (mut taken, mut given, mut ended) = (0, 0, false);
    loop {
        if ended && taken == input.len() {
            return Ok(given == output.len());
        }
        let step = decoder.run_on_buffers(&input[taken..], &mut output[given..])?;
        if step.bytes_read == 0 && step.bytes_written == 0 {
            return Ok(false);
        }
        taken += step.bytes_read;
        given += step.bytes_written;
        ended = step.remaining == 0;
    }
}

fn new_decoder() -> std::io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(decoder)
}

fn zstd_damaged(directory: &Directory, entry: &Entry<'_>, source: &std::io::Error) -> Error {
    directory.refuse_member(entry, &format!("its zstd data is damaged, or unpacks to more: {source}"))
}

pub(crate) fn check_crc32(directory: &Directory, entry: &Entry<'_>, crc32: crc32fast::Hasher) -> Result<()> {
    let computed = crc32.finalize();
    if computed == entry.crc32 {
        return Ok(());
    }
    Err(directory.refuse_member(
        entry,
        &format!("its CRC-32 is {computed:08x}, the directory says {:08x}", entry.crc32),
    ))
}

pub(crate) fn write_slices(file: &mut File, slices: &[&[u8]]) -> std::io::Result<()> {
    let mut vectors: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let mut rest = vectors.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A member that is unpacked bit by bit, because it is too large for one call or for the window.
pub struct Unpacker {
    inflate: Inflate,
    buffer: Vec<u8>,
    /// None for a folder, which takes no bytes.
    file: Option<File>,
    path: PathBuf,
    name: String,
    pub crc32: crc32fast::Hasher,
    pub sha256: Sha256,
    wants_sha256: bool,
    pub produced: u64,
}

enum Inflate {
    Stored,
    Deflated {
        state: Box<Decompress>,
        ended: bool,
    },
    /// `ended` is true between frames: there may be several.
    Zstd {
        state: Box<Decoder<'static>>,
        ended: bool,
    },
}

impl Inflate {
    fn new(method: Method, path: &Path) -> Result<Self> {
        // What can fail is the allocation.
        let refused = |source| Error::storage("unpack", path, &source);
        Ok(match method {
            Method::Stored => Self::Stored,
            Method::Deflated => Self::Deflated { state: Box::new(Decompress::new(false)), ended: false },
            Method::Zstd => Self::Zstd { state: Box::new(new_decoder().map_err(refused)?), ended: false },
        })
    }

    /// Unpacks some of `data` into `buffer`: how much was taken and how much was given, both zero when
    /// there is nothing more to do.
    fn step(&mut self, data: &[u8], buffer: &mut [u8]) -> std::io::Result<(usize, usize)> {
        match self {
            Self::Deflated { ended: true, .. } | Self::Stored => Ok((0, 0)),
            Self::Deflated { state, ended } => {
                let (before_in, before_out) = (state.total_in(), state.total_out());
                let status = state.decompress(data, buffer, FlushDecompress::None)?;
                *ended = status == Status::StreamEnd;
                let taken = usize::try_from(state.total_in() - before_in).unwrap_or(0);
                Ok((taken, usize::try_from(state.total_out() - before_out).unwrap_or(0)))
            }
            // More of nothing behind the end of a frame would begin another one.
            Self::Zstd { ended: true, .. } if data.is_empty() => Ok((0, 0)),
            Self::Zstd { state, ended } => {
                let done = state.run_on_buffers(data, buffer)?;
                *ended = done.remaining == 0;
                Ok((done.bytes_read, done.bytes_written))
            }
        }
    }

    fn ended(&self) -> bool {
        match self {
            Self::Stored => true,
            Self::Deflated { ended, .. } | Self::Zstd { ended, .. } => *ended,
        }
    }
}

impl Unpacker {
    pub fn create(entry: &Entry<'_>, staging: &Staging) -> Result<Self> {
        let name = entry.name();
        let file = if entry.is_directory() {
            staging.make_directory(&name)?;
            None
        } else {
            Some(staging.create(&name)?)
        };
        Self::over(entry, staging, name, file)
    }

    /// Goes on with a stored member of which `produced` bytes are on disk; None when they are not those that
    /// `crc32` was of.  They are read again: the SHA-256 that goes into the manifest is never taken on trust.
    pub fn reopen(
        entry: &Entry<'_>,
        staging: &Staging,
        produced: u64,
        crc32: u32,
        job: &Job,
    ) -> Result<Option<Self>> {
        if entry.is_directory() {
            return Self::create(entry, staging).map(Some);
        }
        let name = entry.name();
        let path = staging.path(&name);
        let refused = |source: std::io::Error| Error::storage("resume", &path, &source);
        let mut file = staging.reopen(&name)?;
        if file.metadata().map_err(refused)?.len() < produced {
            return Ok(None);
        }
        file.set_len(produced).map_err(refused)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(produced)).map_err(refused)?;
        let mut unpacker = Self::over(entry, staging, name, Some(file))?;
        let mut kept = File::open(&path).map_err(refused)?;
        let mut buffer = vec![0; INFLATE_BUFFER_BYTES];
        while unpacker.produced < produced {
            job.check()?;
            let count = kept.read(&mut buffer).map_err(refused)?;
            if count == 0 {
                return Ok(None);
            }
            unpacker.crc32.update(&buffer[..count]);
            unpacker.sha256.update(&buffer[..count]);
            unpacker.produced += count as u64;
        }
        let same = unpacker.produced == produced && unpacker.crc32.clone().finalize() == crc32;
        Ok(same.then_some(unpacker))
    }

    fn over(entry: &Entry<'_>, staging: &Staging, name: String, file: Option<File>) -> Result<Self> {
        let path = staging.path(&name);
        let inflate = Inflate::new(entry.method(), &path)?;
        let stored = matches!(inflate, Inflate::Stored);
        Ok(Self {
            inflate,
            buffer: if stored { Vec::new() } else { vec![0; INFLATE_BUFFER_BYTES] },
            path,
            file,
            name,
            crc32: crc32fast::Hasher::new(),
            sha256: Sha256::default(),
            wants_sha256: true,
            produced: 0,
        })
    }

    /// Its `finish` then returns the SHA-256 of nothing.
    #[must_use]
    pub fn without_sha256(self) -> Self {
        Self { wants_sha256: false, ..self }
    }

    /// Takes the next bytes of the member's data.
    pub fn push(&mut self, directory: &Directory, entry: &Entry<'_>, data: &[u8]) -> Result<()> {
        if matches!(self.inflate, Inflate::Stored) {
            return self.emit(directory, entry, data);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.inflate_into(directory, entry, &mut buffer, data);
        self.buffer = buffer;
        result
    }

    fn inflate_into(
        &mut self,
        directory: &Directory,
        entry: &Entry<'_>,
        buffer: &mut [u8],
        mut data: &[u8],
    ) -> Result<()> {
        loop {
            let (taken, written) =
                self.inflate.step(data, buffer).map_err(|source| match entry.method() {
                    Method::Zstd => zstd_damaged(directory, entry, &source),
                    _ => directory.refuse_member(entry, "its deflate data is damaged"),
                })?;
            data = &data[taken..];
            if !data.is_empty() && matches!(self.inflate, Inflate::Deflated { ended: true, .. }) {
                return Err(directory.refuse_member(entry, BYTES_BEHIND));
            }
            self.emit(directory, entry, &buffer[..written])?;
            if taken == 0 && written == 0 || data.is_empty() && written < buffer.len() {
                return Ok(());
            }
        }
    }

    fn emit(&mut self, directory: &Directory, entry: &Entry<'_>, data: &[u8]) -> Result<()> {
        self.produced += data.len() as u64;
        if self.produced > entry.bytes {
            return Err(directory.refuse_member(entry, "it unpacks to more than its declared size"));
        }
        for block in data.chunks(1 << 15) {
            self.crc32.update(block);
            if self.wants_sha256 {
                self.sha256.update(block);
            }
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(data).map_err(|source| Error::storage("write", &self.path, &source))
    }

    /// Checks size and CRC-32; a member that fails leaves no file.
    pub fn finish(self, directory: &Directory, entry: &Entry<'_>, staging: &Staging) -> Result<Sha256Bytes> {
        let sound = if self.produced != entry.bytes {
            let reason = format!("it unpacks to {} bytes, {} are declared", self.produced, entry.bytes);
            Err(directory.refuse_member(entry, &reason))
        } else if !self.inflate.ended() {
            Err(directory.refuse_member(entry, "its compressed data has no end"))
        } else {
            check_crc32(directory, entry, self.crc32.clone())
        };
        if let Err(error) = sound {
            self.discard(staging);
            return Err(error);
        }
        Ok(self.sha256.finish())
    }

    /// Leaves no file.
    pub fn discard(self, staging: &Staging) {
        if self.file.is_some() {
            staging.remove(&self.name);
        }
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
