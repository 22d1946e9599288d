//! A zip in a local file: workers take batches of neighbouring members, read them by one call, unpack them.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::error::Result;
use crate::extract::{Course, Goal, LocalArchive, READ_BYTES};
use crate::unpack::{Scratch, Unpacker, Whole, unpack_member};
use crate::zip::{Directory, HEADER_BYTES, TRAILER_BYTES};

/// Extents up to this size are read whole; larger members pass through block by block.
const WHOLE_BYTES: u64 = 4 << 20;
/// A batch is read by one call; a second of work for nobody, and enough that taking it costs nothing.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_MEMBERS: usize = 128;
/// A local header with the longest name and extra field.
const HEAD_BYTES: u64 = HEADER_BYTES as u64 + 2 * 0xffff;

pub(crate) fn unpack(
    archive: &LocalArchive,
    directory: &Directory,
    goal: &Goal,
    course: &Course,
) -> Result<()> {
    let queue = Queue::new(directory.len(), goal.workers.max(1));
    std::thread::scope(|scope| {
        for worker in 0..goal.workers.max(1) {
            let queue = &queue;
            scope.spawn(move || {
                course.note(Worker::new(archive, directory, goal, course).run(queue, worker));
            });
        }
    });
    course.check()?;
    archive.counters.read_bytes.store(directory.total(), Ordering::Relaxed);
    archive.counters.is_checked.store(true, Ordering::Relaxed);
    Ok(())
}

/// Members that nobody has taken yet.  Each worker has a part of the archive of its own, so that they are
/// in different folders where there are several: creating files in one folder is done one by one.
struct Queue(Mutex<Vec<Range<usize>>>);

impl Queue {
    fn new(members: usize, workers: usize) -> Self {
        let bound = |part: usize| members * part / workers;
        Self(Mutex::new((0..workers).map(|part| bound(part)..bound(part + 1)).collect()))
    }

    /// The next members for `worker`: of its own part, or else of what is most behind.
    fn take(&self, worker: usize, directory: &Directory) -> Option<Range<usize>> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = if parts[worker].is_empty() {
            (0..parts.len()).max_by_key(|&part| parts[part].len())?
        } else {
            worker
        };
        let part = &mut parts[own];
        if part.start >= part.end {
            return None;
        }
        let start = part.start;
        let first = directory.extent(part.start).0;
        while part.start < part.end && part.start - start < BATCH_MEMBERS {
            let fits = directory.extent(part.start).1 - first <= BATCH_BYTES;
            if !fits && part.start > start {
                break;
            }
            part.start += 1;
        }
        Some(start..part.start)
    }
}

struct Worker<'a> {
    archive: &'a LocalArchive,
    directory: &'a Directory,
    goal: &'a Goal,
    course: &'a Course,
    scratch: Scratch,
}

impl<'a> Worker<'a> {
    fn new(archive: &'a LocalArchive, directory: &'a Directory, goal: &'a Goal, course: &'a Course) -> Self {
        Self { archive, directory, goal, course, scratch: Scratch::without_sha256() }
    }

    fn run(mut self, queue: &Queue, worker: usize) -> Result<()> {
        let mut spare = Vec::new();
        while let Some(batch) = queue.take(worker, self.directory) {
            self.course.check()?;
            let (start, end) = (self.directory.extent(batch.start).0, self.directory.extent(batch.end - 1).1);
            if end - start > WHOLE_BYTES {
                self.stream(batch.start)?;
            } else {
                spare = self.whole(batch, start, end, spare)?;
            }
            let read = &self.archive.counters.read_bytes;
            read.fetch_add(end - start, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads the span of some members into one buffer, which is `spare` where possible, and unpacks each.
    fn whole(&mut self, batch: Range<usize>, start: u64, end: u64, mut spare: Vec<u8>) -> Result<Vec<u8>> {
        spare.resize(usize::try_from(end - start).unwrap_or(usize::MAX), 0);
        self.archive.read_exactly(&mut spare, start)?;
        let span = Bytes::from(spare);
        for index in batch {
            self.course.check()?;
            let (from, to) = self.directory.extent(index);
            let within = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX);
            let extent = span.slice(within(from)..within(to));
            let member =
                Whole { directory: self.directory, index, chunks: &[extent], staging: &self.goal.staging };
            unpack_member(member, &mut self.scratch, self.course.job())?;
            self.count(index);
        }
        Ok(span.try_into_mut().map(Vec::from).unwrap_or_default())
    }

    /// A member of any size, in bounded memory.
    fn stream(&mut self, index: usize) -> Result<()> {
        let entry = self.directory.entry(index);
        let (start, end) = self.directory.extent(index);
        let mut buffer = vec![0; usize::try_from(HEAD_BYTES.min(end - start)).unwrap_or(0)];
        self.archive.read_exactly(&mut buffer, start)?;
        let local = self
            .directory
            .local(index, &buffer)?
            .ok_or_else(|| self.directory.refuse_member(&entry, "its local header is cut off"))?;
        let data_start = start + local.data_start as u64;
        let data_end = data_start + entry.compressed_bytes;
        let trailer_bytes = usize::try_from(end - data_end).unwrap_or(usize::MAX).min(TRAILER_BYTES);
        let mut trailer = vec![0; trailer_bytes];
        self.archive.read_exactly(&mut trailer, data_end)?;
        self.directory.check_trailer(index, local, &trailer)?;
        if entry.is_directory() {
            self.goal.staging.make_directory(&entry.name())?;
            self.count(index);
            return Ok(());
        }
        let mut unpacker = Unpacker::create(&entry, &self.goal.staging)?.without_sha256();
        buffer.resize(READ_BYTES, 0);
        let mut offset = data_start;
        while offset < data_end {
            self.course.check()?;
            let count = buffer.len().min(usize::try_from(data_end - offset).unwrap_or(usize::MAX));
            self.archive.read_exactly(&mut buffer[..count], offset)?;
            unpacker.push(self.directory, &entry, &buffer[..count])?;
            offset += count as u64;
        }
        unpacker.finish(self.directory, &entry, &self.goal.staging)?;
        self.count(index);
        Ok(())
    }

    fn count(&self, index: usize) {
        let entry = self.directory.entry(index);
        let counters = &self.archive.counters;
        counters.members.fetch_add(1, Ordering::Relaxed);
        counters.files.fetch_add(u64::from(!entry.is_directory()), Ordering::Relaxed);
        counters.unpacked_bytes.fetch_add(entry.bytes, Ordering::Relaxed);
    }
}
