//! What kind of archive some bytes begin, and the decompressors for tars: one stream in, one stream out.
//!
//! All of them take several streams one behind the other (as `pigz`, `pzstd`, `pixz` and `pbzip2` write
//! them), check the checksums that are there, and refuse what is cut off or followed by something else.
//! Zeros are nothing else: `bsdtar`, which is macOS's `tar`, fills up what it writes to the standard output.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::stream::{Action, MtStreamBuilder, Status, Stream};
use zstd::stream::raw::{DParameter, Decoder as ZstdFrame, Operation as _};

use crate::tar_header::{BLOCK_BYTES, Block, checksum_fits};

/// What a decompressor may ask for before it begins: `zstd --long=27` and `xz -9` stay below.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const XZ_MEMORY_BYTES: u64 = 256 << 20;
/// Above this much memory xz blocks are decoded one at a time.
const XZ_PARALLEL_BYTES: u64 = 192 << 20;
/// liblzma gives control back this often while its threads work, so that a cancel is seen.
const XZ_PATIENCE_MILLISECONDS: u32 = 40;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_CHECKSUM_FLAG: u8 = 4;

/// A stream header of xz up to its flags, of which the low half of the last byte says what is checked.
const XZ_FLAGS_BYTES: usize = 8;
/// CRC-32, CRC-64 and SHA-256: those that liblzma computes. It passes over others, and zero is none.
const XZ_CHECKS: [u8; 3] = [1, 4, 10];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Zip,
    Tar,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Format {
    /// What `head`, the first bytes of a file (512 of them, if it has so many), begin; None where they do not
    /// tell, as those of a zip with something in front of it.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        let starts = |magic: &[u8]| head.starts_with(magic);
        if let Some(Ok(block)) = head.get(..BLOCK_BYTES).map(Block::try_from)
            && (checksum_fits(&block) && block[0] != 0 || block == [0; BLOCK_BYTES])
        {
            return Some(Self::Tar);
        }
        if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if starts(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if starts(&ZSTD_MAGIC) || (head.get(1..4) == Some(&[0x2a, 0x4d, 0x18]) && head[0] >> 4 == 5) {
            Some(Self::Zstd)
        } else if starts(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if starts(b"BZh") {
            Some(Self::Bzip2)
        } else {
            None
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Tar => "tar",
            Self::Gzip => "tar.gz",
            Self::Zstd => "tar.zst",
            Self::Xz => "tar.xz",
            Self::Bzip2 => "tar.bz2",
        }
    }

    /// What undoes the compression of a file that holds no tar.
    #[must_use]
    pub fn single_file_program(self) -> Option<&'static str> {
        match self {
            Self::Zip | Self::Tar => None,
            Self::Gzip => Some("gzip -d"),
            Self::Zstd => Some("zstd -d"),
            Self::Xz => Some("xz -d"),
            Self::Bzip2 => Some("bzip2 -d"),
        }
    }
}

/// The contents of a compressed file, and whether a checksum stands behind them.
pub struct Decoded<'a> {
    pub stream: Box<dyn Read + Send + 'a>,
    /// False once a part without a checksum was read.
    pub is_checked: Arc<AtomicBool>,
}

/// Decompresses `source`, which is of `format`; `threads` for what can use several.
///
/// # Errors
/// When the decompressor cannot be set up.
pub fn decode<'a>(
    format: Format,
    source: impl BufRead + Send + 'a,
    threads: usize,
) -> io::Result<Decoded<'a>> {
    let is_checked = Arc::new(AtomicBool::new(true));
    let stream: Box<dyn Read + Send + 'a> = match format {
        Format::Zip | Format::Tar => {
            is_checked.store(false, Ordering::Relaxed);
            Box::new(source)
        }
        Format::Gzip => Box::new(Streams::<_, GzDecoder<_>>::new(source)),
        Format::Zstd => Box::new(ZstdFrames::new(source, Arc::clone(&is_checked))?),
        Format::Xz => Box::new(XzStreams::new(source, threads, Arc::clone(&is_checked))),
        Format::Bzip2 => Box::new(Streams::<_, BzDecoder<_>>::new(source)),
    };
    Ok(Decoded { stream, is_checked })
}

/// A decompressor that ends where its stream does, and leaves what is behind it.
trait OneStream<R>: Read {
    fn begin(source: R) -> Self;
    fn into_source(self) -> R;
}

impl<R: BufRead> OneStream<R> for GzDecoder<R> {
    fn begin(source: R) -> Self {
        Self::new(source)
    }

    fn into_source(self) -> R {
        self.into_inner()
    }
}

impl<R: BufRead> OneStream<R> for BzDecoder<R> {
    fn begin(source: R) -> Self {
        Self::new(source)
    }

    fn into_source(self) -> R {
        self.into_inner()
    }
}

/// The libraries' own readers of several streams take zeros behind the last one for damage.
struct Streams<R, D> {
    /// None while a stream is read: its decompressor has it then.
    source: Option<R>,
    stream: Option<D>,
    is_first: bool,
}

impl<R: BufRead, D: OneStream<R>> Streams<R, D> {
    fn new(source: R) -> Self {
        Self { source: Some(source), stream: None, is_first: true }
    }

    /// Begins the next stream; false at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        let Some(source) = &mut self.source else { return Ok(false) };
        if !self.is_first && is_over(source)? {
            return Ok(false);
        }
        self.is_first = false;
        self.stream = self.source.take().map(D::begin);
        Ok(true)
    }
}

impl<R: BufRead, D: OneStream<R>> Read for Streams<R, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(stream) = &mut self.stream {
                let count = stream.read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
                self.source = self.stream.take().map(D::into_source);
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}

/// Whether nothing follows, or zeros up to the end of the file. Behind some of them nothing else may come, not
/// even another stream: programs disagree on what that would be.
fn is_over(source: &mut impl BufRead) -> io::Result<bool> {
    let mut padding = 0;
    loop {
        let input = source.fill_buf()?;
        if input.is_empty() {
            return Ok(true);
        }
        let zeros = input.iter().take_while(|&&byte| byte == 0).count();
        let has_more = zeros < input.len();
        source.consume(zeros);
        padding += zeros;
        if has_more && padding > 0 {
            return Err(io::Error::other("zeros, and then something else"));
        }
        if has_more {
            return Ok(false);
        }
    }
}

/// The library's own reader takes a wait for its threads for damage, and several streams only with one thread.
struct XzStreams<R> {
    source: R,
    threads: u32,
    stream: Option<Stream>,
    /// Bytes since the last stream; their number must be divisible by four.
    padding: u64,
    is_first: bool,
    /// The first bytes of the stream under way.
    head: Vec<u8>,
    is_checked: Arc<AtomicBool>,
}

impl<R: BufRead> XzStreams<R> {
    fn new(source: R, threads: usize, is_checked: Arc<AtomicBool>) -> Self {
        let threads = u32::try_from(threads).unwrap_or(1).max(1);
        let head = Vec::with_capacity(XZ_FLAGS_BYTES);
        Self { source, threads, stream: None, padding: 0, is_first: true, head, is_checked }
    }

    /// Each stream says for itself how it is checked, and it may be by nothing (`xz --check=none`).
    fn look_at_flags(&self) {
        let check = self.head.last().map_or(0, |flags| flags & 0x0f);
        if !XZ_CHECKS.contains(&check) {
            self.is_checked.store(false, Ordering::Relaxed);
        }
    }

    /// Begins the next stream; false at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let input = self.source.fill_buf()?;
            let zeros = input.iter().take_while(|&&byte| byte == 0 && !self.is_first).count();
            let (is_over, has_more) = (input.is_empty(), zeros < input.len());
            self.source.consume(zeros);
            self.padding += zeros as u64;
            if is_over && self.is_first {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if (is_over || has_more) && !self.padding.is_multiple_of(4) {
                return Err(io::Error::other("padding of an odd length"));
            }
            if is_over {
                return Ok(false);
            }
            if has_more {
                break;
            }
        }
        (self.padding, self.is_first) = (0, false);
        let stream = MtStreamBuilder::new()
            .threads(self.threads)
            .timeout_ms(XZ_PATIENCE_MILLISECONDS)
            .memlimit_threading(XZ_PARALLEL_BYTES)
            .memlimit_stop(XZ_MEMORY_BYTES)
            .decoder()
            .map_err(io::Error::from)?;
        self.stream = Some(stream);
        self.head.clear();
        Ok(true)
    }
}

impl<R: BufRead> Read for XzStreams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut fruitless = 0;
        loop {
            if self.stream.is_none() && !self.begin()? {
                return Ok(0);
            }
            let Some(stream) = &mut self.stream else { return Ok(0) };
            let input = self.source.fill_buf()?;
            let at_end = input.is_empty();
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.process(input, buffer, if at_end { Action::Finish } else { Action::Run })?;
            let consumed = usize::try_from(stream.total_in() - before_in).unwrap_or(usize::MAX);
            let written = usize::try_from(stream.total_out() - before_out).unwrap_or(usize::MAX);
            let missing = XZ_FLAGS_BYTES - self.head.len();
            self.head.extend_from_slice(&input[..missing.min(consumed)]);
            self.source.consume(consumed);
            if status == Status::StreamEnd {
                self.stream = None;
            }
            if missing > 0 && self.head.len() == XZ_FLAGS_BYTES {
                self.look_at_flags();
            }
            if written > 0 {
                return Ok(written);
            }
            // Ok without progress only says that the threads are still at work.
            if status == Status::MemNeeded && consumed == 0 {
                fruitless += 1;
                if at_end || fruitless > 2 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

/// Zstandard, frame by frame: each says for itself whether it has a checksum.
struct ZstdFrames<R> {
    source: R,
    frame: ZstdFrame<'static>,
    /// The first bytes of the frame under way.
    head: Vec<u8>,
    is_within: bool,
    is_checked: Arc<AtomicBool>,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(source: R, is_checked: Arc<AtomicBool>) -> io::Result<Self> {
        let mut frame = ZstdFrame::new()?;
        frame.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self { source, frame, head: Vec::with_capacity(5), is_within: false, is_checked })
    }

    fn look_at_frame(&self) {
        let has_checksum = self.head.get(4).is_some_and(|flags| flags & ZSTD_CHECKSUM_FLAG != 0);
        if self.head.starts_with(&ZSTD_MAGIC) && !has_checksum {
            self.is_checked.store(false, Ordering::Relaxed);
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let input = self.source.fill_buf()?;
            if input.is_empty() && !self.is_within {
                return Ok(0);
            }
            let at_end = input.is_empty();
            let status = self.frame.run_on_buffers(input, buffer)?;
            let missing = 5_usize.saturating_sub(self.head.len()).min(status.bytes_read);
            self.head.extend_from_slice(&input[..missing]);
            self.source.consume(status.bytes_read);
            self.is_within = status.remaining != 0;
            if !self.is_within {
                self.look_at_frame();
                self.head.clear();
                self.frame.reinit()?;
            }
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
            if at_end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Why decompressing failed, in words; the libraries' own are for programmers.
#[must_use]
pub fn reason(format: Format, error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.to_lowercase();
    if error.kind() == io::ErrorKind::UnexpectedEof || words.contains("premature eof") {
        return "it is cut off: its compressed data end too early".into();
    }
    if format == Format::Zstd && words.contains("too much memory") {
        return format!(
            "it was compressed with a window of more than {} MiB (zstd --long=28 or more), which is not unpacked",
            (1_u64 << ZSTD_WINDOW_LOG_MAX) >> 20
        );
    }
    if format == Format::Xz && words.contains("memory") {
        return format!("unpacking it would take more than {} MiB of memory", XZ_MEMORY_BYTES >> 20);
    }
    format!("its compressed data are damaged, or something is behind them ({text})")
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
