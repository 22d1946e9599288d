//! One member from its bytes to its file: inflate, CRC-32, size, SHA-256, write, in one pass.

use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::path::PathBuf;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::job::Job;
use crate::staging::Staging;
use crate::zip::{Directory, Entry, Method};

/// Members that unpack to at most this are inflated in one call; PNGs of the dataset are a tenth of it.
const ONE_SHOT_BYTES: u64 = 1 << 20;
/// What a larger member is inflated through.
const INFLATE_BUFFER_BYTES: usize = 1 << 18;

pub type Sha256Bytes = [u8; 32];

/// What one worker keeps between members, so that no member allocates.
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
    inflater: libdeflater::Decompressor,
    wants_sha256: bool,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            input: Vec::new(),
            output: Vec::new(),
            inflater: libdeflater::Decompressor::new(),
            wants_sha256: true,
        }
    }
}

impl Scratch {
    /// For members whose SHA-256 nobody wants: it takes longer than everything else that is computed.
    pub fn without_sha256() -> Self {
        Self { wants_sha256: false, ..Self::default() }
    }
}

/// Unpacks member `index`, whose whole extent is in `chunks`, and returns its file's SHA-256.
///
/// # Errors
/// `Member` when it is damaged, `Storage`, or `Cancelled`.
pub fn unpack_member(
    directory: &Directory,
    index: usize,
    chunks: &[Bytes],
    staging: &Staging,
    scratch: &mut Scratch,
    job: &Job,
) -> Result<Sha256Bytes> {
    let entry = directory.entry(index);
    let start = data_start(directory, index, chunks, &mut scratch.input)?;
    let mut data = Vec::with_capacity(chunks.len());
    cut(chunks, start, entry.compressed_bytes, &mut data);
    if entry.is_directory() {
        staging.make_directory(&entry.name())?;
        return Ok(Sha256::digest([]).into());
    }
    if entry.bytes > ONE_SHOT_BYTES && entry.method() == Method::Deflated {
        let mut unpacker = Unpacker::create(&entry, staging)?;
        unpacker.wants_sha256 = scratch.wants_sha256;
        for slice in data {
            job.check()?;
            unpacker.push(directory, &entry, slice)?;
        }
        return unpacker.finish(directory, &entry, staging);
    }
    let wants_sha256 = scratch.wants_sha256;
    let contents: &[&[u8]] = match entry.method() {
        Method::Stored => &data,
        Method::Deflated => &[inflate(directory, &entry, &data, scratch)?],
    };
    let (mut crc32, mut sha256) = (crc32fast::Hasher::new(), Sha256::new());
    for slice in contents {
        // Both checks run over the same bytes while they are in the cache.
        for block in slice.chunks(1 << 15) {
            crc32.update(block);
            if wants_sha256 {
                sha256.update(block);
            }
        }
    }
    check_crc32(directory, &entry, crc32)?;
    let name = entry.name();
    let mut file = staging.create(&name)?;
    write_slices(&mut file, contents)
        .map_err(|source| Error::storage("write", &staging.path(&name), &source))?;
    Ok(sha256.finalize().into())
}

/// Where the data starts in the extent that `chunks` hold.
fn data_start(directory: &Directory, index: usize, chunks: &[Bytes], scratch: &mut Vec<u8>) -> Result<usize> {
    if let Some(start) = directory.data_start(index, chunks.first().map_or(&[], |chunk| chunk))? {
        return Ok(start);
    }
    // The header lies across chunks: join as many as it takes.
    scratch.clear();
    for chunk in chunks {
        scratch.extend_from_slice(chunk);
        if let Some(start) = directory.data_start(index, scratch)? {
            return Ok(start);
        }
    }
    Err(directory.refuse_member(&directory.entry(index), "its local header is cut off"))
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
    let Scratch { input, output, inflater, .. } = scratch;
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
    match inflater.deflate_decompress(input, &mut output[..size]) {
        Ok(written) if written == size => Ok(&output[..size]),
        Ok(_) | Err(libdeflater::DecompressionError::InsufficientSpace) => {
            Err(directory.refuse_member(entry, "it unpacks to another size than declared"))
        }
        Err(libdeflater::DecompressionError::BadData) => {
            Err(directory.refuse_member(entry, "its deflate data is damaged"))
        }
    }
}

fn check_crc32(directory: &Directory, entry: &Entry<'_>, crc32: crc32fast::Hasher) -> Result<()> {
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
    inflate: Option<Box<Decompress>>,
    buffer: Vec<u8>,
    file: File,
    path: PathBuf,
    name: String,
    pub crc32: crc32fast::Hasher,
    pub sha256: Sha256,
    wants_sha256: bool,
    pub produced: u64,
    ended: bool,
}

impl Unpacker {
    pub fn create(entry: &Entry<'_>, staging: &Staging) -> Result<Self> {
        let name = entry.name();
        let file = staging.create(&name)?;
        Ok(Self::over(entry, staging, name, file))
    }

    /// Goes on with a stored member of which `produced` bytes are on disk.
    pub fn reopen(
        entry: &Entry<'_>,
        staging: &Staging,
        produced: u64,
        crc32: u32,
        sha256: Sha256,
    ) -> Result<Option<Self>> {
        let name = entry.name();
        let mut file = staging.reopen(&name)?;
        let refused = |source: &std::io::Error| Error::storage("resume", &staging.path(&name), source);
        if file.metadata().map_err(|source| refused(&source))?.len() < produced {
            return Ok(None);
        }
        file.set_len(produced).map_err(|source| refused(&source))?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(produced))
            .map_err(|source| refused(&source))?;
        let mut unpacker = Self::over(entry, staging, name, file);
        unpacker.produced = produced;
        unpacker.crc32 = crc32fast::Hasher::new_with_initial_len(crc32, produced);
        unpacker.sha256 = sha256;
        Ok(Some(unpacker))
    }

    fn over(entry: &Entry<'_>, staging: &Staging, name: String, file: File) -> Self {
        let deflated = entry.method() == Method::Deflated;
        Self {
            inflate: deflated.then(|| Box::new(Decompress::new(false))),
            buffer: if deflated { vec![0; INFLATE_BUFFER_BYTES] } else { Vec::new() },
            path: staging.path(&name),
            file,
            name,
            crc32: crc32fast::Hasher::new(),
            sha256: Sha256::new(),
            wants_sha256: true,
            produced: 0,
            ended: false,
        }
    }

    /// Its `finish` then returns the SHA-256 of nothing.
    pub fn without_sha256(self) -> Self {
        Self { wants_sha256: false, ..self }
    }

    /// Takes the next bytes of the member's data.
    pub fn push(&mut self, directory: &Directory, entry: &Entry<'_>, data: &[u8]) -> Result<()> {
        let Some(mut inflate) = self.inflate.take() else {
            return self.emit(directory, entry, data);
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.inflate_into(directory, entry, &mut inflate, &mut buffer, data);
        self.inflate = Some(inflate);
        self.buffer = buffer;
        result
    }

    fn inflate_into(
        &mut self,
        directory: &Directory,
        entry: &Entry<'_>,
        inflate: &mut Decompress,
        buffer: &mut [u8],
        mut data: &[u8],
    ) -> Result<()> {
        while !self.ended {
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status = inflate
                .decompress(data, buffer, FlushDecompress::None)
                .map_err(|_| directory.refuse_member(entry, "its deflate data is damaged"))?;
            let taken = usize::try_from(inflate.total_in() - before_in).unwrap_or(0);
            let written = usize::try_from(inflate.total_out() - before_out).unwrap_or(0);
            data = &data[taken..];
            self.emit(directory, entry, &buffer[..written])?;
            self.ended = status == Status::StreamEnd;
            if taken == 0 && written == 0 || data.is_empty() && written < buffer.len() {
                break;
            }
        }
        Ok(())
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
        self.file.write_all(data).map_err(|source| Error::storage("write", &self.path, &source))
    }

    /// Checks size and CRC-32; a member that fails leaves no file.
    pub fn finish(self, directory: &Directory, entry: &Entry<'_>, staging: &Staging) -> Result<Sha256Bytes> {
        let sound = if self.produced == entry.bytes {
            check_crc32(directory, entry, self.crc32)
        } else {
            Err(directory.refuse_member(
                entry,
                &format!("it unpacks to {} bytes, {} are declared", self.produced, entry.bytes),
            ))
        };
        if let Err(error) = sound {
            staging.remove(&self.name);
            return Err(error);
        }
        Ok(self.sha256.finalize().into())
    }
}
