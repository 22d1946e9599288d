//! A local archive into a staging folder: what kind it is, and what all kinds have in common.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, ErrorKind, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, tell};
use rustix::io::Errno;

use crate::decode::Format;
use crate::digest::{Algorithm, Hasher};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::names::Names;
use crate::policy::Policy;
use crate::staging::Staging;
use crate::threads;
use crate::zip::{Directory, Parsed};

/// The end of a zip: most directories of a few thousand members are in it.
const TAIL_BYTES: u64 = 1 << 18;
/// A zip's end record with the longest comment.
const END_BYTES_MAX: u64 = 22 + 0xffff;
/// Read size: large enough for few calls, small enough for the cache.
pub(crate) const READ_BYTES: usize = 1 << 18;
/// A pipe that says nothing is asked this often whether the job was cancelled.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// What "-" is called where the system refuses it.
const STANDARD_INPUT: &str = "/dev/stdin";

/// An archive in a file that is open, or in a pipe.
#[derive(Debug)]
pub struct LocalArchive {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Size in bytes; None for a pipe.
    pub(crate) total: Option<u64>,
    pub(crate) format: Format,
    pub(crate) directory: Option<Directory>,
    pub(crate) policy: Policy,
    /// What was read of a pipe to see what it is.
    pub(crate) head: Vec<u8>,
    pub(crate) counters: Counters,
}

/// Read by whoever shows progress.
#[derive(Debug, Default)]
pub struct Counters {
    pub read_bytes: AtomicU64,
    pub members: AtomicU64,
    pub files: AtomicU64,
    pub unpacked_bytes: AtomicU64,
    pub is_checked: AtomicBool,
}

/// Where an archive goes.
#[derive(Debug, Clone)]
pub struct Goal {
    pub staging: Arc<Staging>,
    pub names: Arc<Names>,
    /// The archive's number among those that share `names`.
    pub number: u32,
    pub workers: usize,
    /// Algorithm and value that the whole archive must have.
    pub digest: Option<(Algorithm, String)>,
}

impl LocalArchive {
    /// Opens `path` (`-` for the standard input), sees what it is, and reads a zip's directory.
    ///
    /// # Errors
    /// `Storage`; `Archive` or `Member` where it is no archive that can be unpacked.
    pub fn open(path: &Path, name: &str, policy: Policy, job: &Job) -> Result<Self> {
        let is_standard_input = path.as_os_str() == "-";
        let path = if is_standard_input { Path::new(STANDARD_INPUT) } else { path };
        let refused = |source: io::Error| Error::storage("read", path, &source);
        let refuse = |reason: &str| {
            Err(Error::Archive { archive: name.to_owned(), offset: 0, reason: reason.to_owned() })
        };
        // A device is not even opened: that alone may do something, such as to wind a tape.
        if !is_standard_input && is_device(&std::fs::metadata(path).map_err(refused)?) {
            return refuse("it is a device, not a file");
        }
        let file = if is_standard_input { standard_input() } else { open_at_once(path) }.map_err(refused)?;
        let data = file.metadata().map_err(refused)?;
        if data.is_dir() {
            return Err(refused(Errno::ISDIR.into()));
        }
        if is_device(&data) {
            return refuse("it is a device, not a file");
        }
        // Of a standard input that somebody has read from, the rest is meant, as with a pipe.
        let is_whole = data.is_file() && (!is_standard_input || tell(&file) == Ok(0));
        let total = is_whole.then_some(data.len());
        let mut archive = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            file,
            total,
            format: Format::Tar,
            directory: None,
            policy,
            head: Vec::new(),
            counters: Counters::default(),
        };
        archive.head = archive.read_head(job)?;
        archive.format = match (Format::of(&archive.head), total) {
            (Some(Format::Zip), None) => {
                return refuse("a zip cannot be read from a pipe: its directory is at its end");
            }
            (Some(format), _) => format,
            (None, Some(total)) if archive.ends_like_a_zip(total)? => Format::Zip,
            (None, _) if archive.head.is_empty() => return refuse("it is empty"),
            (None, _) => {
                return refuse(
                    "it is neither a zip nor a tar, nor a tar compressed by gzip, zstd, xz or bzip2",
                );
            }
        };
        if let (Format::Zip, Some(total)) = (archive.format, total) {
            archive.directory = Some(archive.read_directory(total, job)?);
        }
        Ok(archive)
    }

    fn read_head(&self, job: &Job) -> Result<Vec<u8>> {
        let mut head = Vec::with_capacity(crate::tar_header::BLOCK_BYTES);
        let mut block = [0; crate::tar_header::BLOCK_BYTES];
        while head.len() < block.len() {
            let room = block.len() - head.len();
            let count = match self.total {
                Some(_) => self.file.read_at(&mut block[..room], head.len() as u64),
                None => wait_and_read(&self.file, &mut block[..room], job),
            };
            match count {
                Ok(0) => break,
                Ok(count) => head.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => job.check()?,
                Err(error) => return Err(self.read_failed(&error, job)),
            }
        }
        Ok(head)
    }

    /// A zip may have something in front of it, so its end record decides.
    fn ends_like_a_zip(&self, total: u64) -> Result<bool> {
        let start = total.saturating_sub(END_BYTES_MAX);
        Ok(memory_find(&self.read_span(start, total)?, b"PK\x05\x06"))
    }

    fn read_directory(&self, total: u64, job: &Job) -> Result<Directory> {
        let mut start = total.saturating_sub(TAIL_BYTES);
        loop {
            job.check()?;
            let tail = Bytes::from(self.read_span(start, total)?);
            match Directory::parse(&self.name, &tail, total, &self.policy)? {
                Parsed::Complete(directory) => return Ok(directory),
                Parsed::NeedFrom(offset) => start = offset.min(start.saturating_sub(1)),
            }
        }
    }

    fn read_span(&self, start: u64, end: u64) -> Result<Vec<u8>> {
        let mut data = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
        self.read_exactly(&mut data, start)?;
        Ok(data)
    }

    pub(crate) fn read_exactly(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                Error::Archive {
                    archive: self.name.clone(),
                    offset,
                    reason: "the file became shorter while it was read".into(),
                }
            } else {
                Error::storage("read", &self.path, &source)
            }
        })
    }

    /// Takes the names of a zip's files, which are known before it is unpacked.
    ///
    /// # Errors
    /// `Member`, when another archive has one of them.
    pub fn claim(&self, names: &Names, number: u32, job: &Job) -> Result<()> {
        self.directory.as_ref().map_or(Ok(()), |directory| names.claim_directory(number, directory, job))
    }

    /// Unpacks all of it; what lies in staging after an error is of no use.
    ///
    /// # Errors
    /// `Member`, `Archive`, `Digest`, `Storage`, `Cancelled`.
    pub fn unpack(&self, goal: &Goal, job: &Job) -> Result<()> {
        let course = Course::new(job);
        std::thread::scope(|scope| {
            let check = goal.digest.as_ref().map(|(algorithm, value)| {
                let course = &course;
                move || course.note(self.check_digest(*algorithm, value, course))
            });
            // Without a thread for it, it comes behind the unpacking.
            let check = check.filter(|&check| threads::beside(scope, check).is_err());
            match &self.directory {
                Some(directory) => course.note(crate::extract_zip::unpack(self, directory, goal, &course)),
                None => crate::extract_tar::unpack(self, goal, &course),
            }
            if let Some(check) = check {
                check();
            }
        });
        course.outcome()
    }

    /// Beside the unpacking, over the same open file; it is in the page cache when the second one comes.
    fn check_digest(&self, algorithm: Algorithm, expected: &str, course: &Course) -> Result<()> {
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; READ_BYTES];
        let mut offset = 0;
        let total =
            self.total.ok_or_else(|| Error::Unusable("the digest of a pipe cannot be checked".into()))?;
        while offset < total {
            course.check()?;
            let count = buffer.len().min(usize::try_from(total - offset).unwrap_or(usize::MAX));
            self.read_exactly(&mut buffer[..count], offset)?;
            hasher.update(&buffer[..count]);
            offset += count as u64;
        }
        let computed = hasher.finish();
        if computed == *expected {
            return Ok(());
        }
        let with_name = |value: &str| format!("{}:{value}", algorithm.name());
        Err(Error::Digest {
            archive: self.name.clone(),
            expected: with_name(expected),
            computed: with_name(&computed),
        })
    }

    /// What the archive's own checksums are worth: `crc32`, or `none` where there are none.
    #[must_use]
    pub fn verified(&self) -> &'static str {
        if self.counters.is_checked.load(Ordering::Relaxed) { "crc32" } else { "none" }
    }

    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    #[must_use]
    pub fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A member is done.
    pub(crate) fn count(&self, directory: &Directory, index: usize) {
        let entry = directory.entry(index);
        self.counters.members.fetch_add(1, Ordering::Relaxed);
        self.counters.files.fetch_add(u64::from(!entry.is_directory()), Ordering::Relaxed);
        self.counters.unpacked_bytes.fetch_add(entry.bytes, Ordering::Relaxed);
    }

    pub(crate) fn read_failed(&self, error: &io::Error, job: &Job) -> Error {
        if job.is_cancelled() { Error::Cancelled } else { Error::storage("read", &self.path, error) }
    }
}

/// What the threads of one `unpack` share: whether to go on, and the first error.
pub(crate) struct Course {
    job: Job,
    failure: Mutex<Option<Error>>,
    has_failed: AtomicBool,
}

impl Course {
    pub(crate) fn new(job: &Job) -> Self {
        Self { job: job.clone(), failure: Mutex::default(), has_failed: AtomicBool::new(false) }
    }

    pub(crate) fn note(&self, result: Result<()>) {
        if let Err(error) = result {
            let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            // Threads that end because of an error may be heard before the one that had it.
            if matches!(*first, None | Some(Error::Cancelled)) {
                *first = Some(error);
            }
            self.has_failed.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.has_failed.load(Ordering::Acquire) || self.job.is_cancelled()
    }

    /// # Errors
    /// `Cancelled`, when there is no use in going on.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_over() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    pub(crate) fn outcome(self) -> Result<()> {
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// The bytes of a file from its start, or of a pipe, for a decompressor.  Counts them, and ends with an
/// error when the work is over.
pub(crate) struct Source<'a> {
    archive: &'a LocalArchive,
    course: &'a Course,
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
    offset: u64,
}

impl<'a> Source<'a> {
    pub(crate) fn new(archive: &'a LocalArchive, course: &'a Course) -> Self {
        let mut source =
            Self { archive, course, buffer: vec![0; READ_BYTES], taken: 0, filled: 0, offset: 0 };
        if archive.total.is_none() {
            source.buffer[..archive.head.len()].copy_from_slice(&archive.head);
            source.filled = archive.head.len();
        }
        source
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.course.is_over() {
            return Err(io::Error::other("the work is over"));
        }
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = match self.archive.total {
                Some(_) => self.archive.file.read_at(&mut self.buffer, self.offset)?,
                None => wait_and_read(&self.archive.file, &mut self.buffer, self.course.job())?,
            };
            self.offset += self.filled as u64;
        }
        Ok(&self.buffer[self.taken..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
        self.archive.counters.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

fn is_device(data: &Metadata) -> bool {
    data.file_type().is_char_device() || data.file_type().is_block_device()
}

/// Opens `path` without waiting for somebody who writes into it, which for a named pipe may be for ever; the
/// waiting is done by `wait_and_read`, which hears of a cancel.
fn open_at_once(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// The very file that is there, not `/dev/stdin` opened anew: that would begin at its first byte, whatever was
/// read before, and a socket cannot be opened.
fn standard_input() -> io::Result<File> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// Reads from a pipe or a socket, in which nothing may come for a long time.
///
/// Nothing to read is the end only once somebody has opened it to write: before that the system tells of no
/// event, while a read would say that it is over.
fn wait_and_read(mut file: &File, buffer: &mut [u8], job: &Job) -> io::Result<usize> {
    loop {
        if job.is_cancelled() {
            return Err(io::Error::other("the work is over"));
        }
        let ready = match poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&PATIENCE)) {
            Err(Errno::INTR) => 0,
            ready => ready?,
        };
        if ready == 0 {
            continue;
        }
        match file.read(buffer) {
            // Somebody else who reads from the same pipe was faster.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            read => return read,
        }
    }
}

fn memory_find(data: &[u8], wanted: &[u8]) -> bool {
    data.windows(wanted.len()).any(|window| window == wanted)
}
