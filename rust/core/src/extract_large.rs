//! The large members of a local zip: stored ones in parts, which several threads read, check and write at once;
//! compressed ones each by one thread, as many at the same time as come out even.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::extract::{Course, Goal, LocalArchive, READ_BYTES};
use crate::unpack::{Unpacker, check_crc32};
use crate::zip::{Directory, HEADER_BYTES, Method, TRAILER_BYTES};

/// Extents up to this size are read whole; larger members pass through block by block.
pub(crate) const WHOLE_BYTES: u64 = 4 << 20;
/// A part of a stored member: large enough that taking it costs nothing, small enough to come out even.
const PART_BYTES: u64 = 8 << 20;
/// A local header with the longest name and extra field.
const HEAD_BYTES: u64 = HEADER_BYTES as u64 + 2 * 0xffff;

/// Whether a member is one of those that this module unpacks.
pub(crate) fn is_large(directory: &Directory, index: usize) -> bool {
    let (start, end) = directory.extent(index);
    end - start > WHOLE_BYTES
}

/// The large members that are still to be done.
pub(crate) struct Larges<'a> {
    archive: &'a LocalArchive,
    directory: &'a Directory,
    goal: &'a Goal,
    course: &'a Course,
    state: Mutex<State>,
    compressed: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<usize>,
    begun: Vec<Arc<Split>>,
}

impl<'a> Larges<'a> {
    pub(crate) fn new(
        archive: &'a LocalArchive,
        directory: &'a Directory,
        goal: &'a Goal,
        course: &'a Course,
    ) -> Self {
        let waiting: VecDeque<_> = (0..directory.len()).filter(|&index| is_large(directory, index)).collect();
        let is_compressed = |&&index: &&usize| directory.entry(index).method() != Method::Stored;
        let compressed = waiting.iter().filter(is_compressed).count();
        let state = Mutex::new(State { waiting, begun: Vec::new() });
        Self { archive, directory, goal, course, state, compressed }
    }

    /// How many threads there should be for `workers` cores.  Three members on two cores take twice as long as
    /// one, if each core has one at a time, and half as long again if all three share the cores.
    pub(crate) fn threads(&self, workers: usize) -> usize {
        workers.max(self.compressed.min(2 * workers - 1))
    }

    /// Unpacks large members, and parts of them, until nobody has begun with the last one.
    pub(crate) fn run(&self) -> Result<()> {
        let mut buffer = Vec::new();
        loop {
            self.course.check()?;
            let next = self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front();
            if let Some(index) = next {
                self.begin(index, &mut buffer)?;
            } else if let Some(split) = self.most_behind() {
                self.take_parts(&split, &mut buffer)?;
            } else {
                return Ok(());
            }
        }
    }

    fn begin(&self, index: usize, buffer: &mut Vec<u8>) -> Result<()> {
        let entry = self.directory.entry(index);
        let (start, end) = self.check_headers(index)?;
        if entry.is_directory() {
            self.goal.staging.make_directory(&entry.name())?;
            self.archive.count(self.directory, index);
            return Ok(());
        }
        if entry.method() != Method::Stored {
            return self.inflate(index, start, end, buffer);
        }
        if end - start != entry.bytes {
            return Err(self.directory.refuse_member(&entry, "it unpacks to another size than declared"));
        }
        let name = entry.name();
        let file = self.goal.staging.create(&name)?;
        let split = Arc::new(Split::new(index, (start, end), file, self.goal.staging.path(&name)));
        self.state.lock().unwrap_or_else(PoisonError::into_inner).begun.push(Arc::clone(&split));
        self.take_parts(&split, buffer)
    }

    /// Where a member's data lie, once what is before and behind them fits the directory.
    fn check_headers(&self, index: usize) -> Result<(u64, u64)> {
        let entry = self.directory.entry(index);
        let (start, end) = self.directory.extent(index);
        let mut head = vec![0; usize::try_from(HEAD_BYTES.min(end - start)).unwrap_or(0)];
        self.archive.read_exactly(&mut head, start)?;
        let local = self
            .directory
            .local(index, &head)?
            .ok_or_else(|| self.directory.refuse_member(&entry, "its local header is cut off"))?;
        let data_start = start + local.data_start as u64;
        let data_end = data_start + entry.compressed_bytes;
        let trailer_bytes = usize::try_from(end - data_end).unwrap_or(usize::MAX).min(TRAILER_BYTES);
        let mut trailer = vec![0; trailer_bytes];
        self.archive.read_exactly(&mut trailer, data_end)?;
        self.directory.check_trailer(index, local, &trailer)?;
        Ok((data_start, data_end))
    }

    /// A compressed member of any size, in bounded memory.
    fn inflate(&self, index: usize, start: u64, end: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let entry = self.directory.entry(index);
        let mut unpacker = Unpacker::create(&entry, &self.goal.staging)?.without_sha256();
        self.each_block(start, end, buffer, |_, data| unpacker.push(self.directory, &entry, data))?;
        unpacker.finish(self.directory, &entry, &self.goal.staging)?;
        self.archive.count(self.directory, index);
        Ok(())
    }

    /// The member under way with the most parts that nobody has taken.  Threads share one only when there is
    /// no other: writes to one file wait for each other.
    fn most_behind(&self) -> Option<Arc<Split>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let split = state.begun.iter().max_by_key(|split| split.parts_left())?;
        (split.parts_left() > 0).then(|| Arc::clone(split))
    }

    fn take_parts(&self, split: &Split, buffer: &mut Vec<u8>) -> Result<()> {
        while let Some((number, start, end)) = split.take() {
            let mut crc32 = crc32fast::Hasher::new();
            self.each_block(start, end, buffer, |offset, data| {
                crc32.update(data);
                split
                    .file
                    .write_all_at(data, offset - split.data.0)
                    .map_err(|source| Error::storage("write", &split.path, &source))
            })?;
            if let Some(whole) = split.done(number, crc32) {
                check_crc32(self.directory, &self.directory.entry(split.index), whole)?;
                self.archive.count(self.directory, split.index);
            }
        }
        Ok(())
    }

    /// Reads from `start` to `end` of the archive, and hands each block on with its offset.
    fn each_block(
        &self,
        start: u64,
        end: u64,
        buffer: &mut Vec<u8>,
        mut take: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        buffer.resize(READ_BYTES, 0);
        let mut offset = start;
        while offset < end {
            self.course.check()?;
            let count = buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            self.archive.read_exactly(&mut buffer[..count], offset)?;
            take(offset, &buffer[..count])?;
            offset += count as u64;
            self.archive.counters.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A stored member whose parts are done by whoever has nothing else to do.
struct Split {
    index: usize,
    /// Where its data lie in the archive.
    data: (u64, u64),
    file: File,
    path: PathBuf,
    parts: usize,
    next: AtomicUsize,
    /// The CRC-32 of each part that is done.
    checked: Mutex<Vec<Option<crc32fast::Hasher>>>,
}

impl Split {
    fn new(index: usize, data: (u64, u64), file: File, path: PathBuf) -> Self {
        let parts = usize::try_from((data.1 - data.0).div_ceil(PART_BYTES)).unwrap_or(usize::MAX);
        let checked = Mutex::new(vec![None; parts]);
        Self { index, data, file, path, parts, next: AtomicUsize::new(0), checked }
    }

    fn parts_left(&self) -> usize {
        self.parts.saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// The next part: its number, and where it lies in the archive.
    fn take(&self) -> Option<(usize, u64, u64)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let start = self.data.0 + (number as u64).checked_mul(PART_BYTES)?;
        (number < self.parts).then(|| (number, start, self.data.1.min(start + PART_BYTES)))
    }

    /// Takes a part's CRC-32; returns that of the whole when it was the last.
    fn done(&self, number: usize, crc32: crc32fast::Hasher) -> Option<crc32fast::Hasher> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked[number] = Some(crc32);
        let mut whole = crc32fast::Hasher::new();
        for part in checked.iter() {
            whole.combine(part.as_ref()?);
        }
        Some(whole)
    }
}
