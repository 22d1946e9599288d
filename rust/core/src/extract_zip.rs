//! A zip in a local file: workers take batches of neighbouring members, read them by one call, unpack them.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::error::Result;
use crate::extract::{Course, Goal, LocalArchive};
use crate::extract_large::{Larges, is_large};
use crate::threads;
use crate::unpack::{Scratch, Whole, unpack_member};
use crate::zip::Directory;

/// A batch is read by one call; a second of work for nobody, and enough that taking it costs nothing.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_MEMBERS: usize = 128;

pub(crate) fn unpack(
    archive: &LocalArchive,
    directory: &Directory,
    goal: &Goal,
    course: &Course,
) -> Result<()> {
    let workers = goal.workers.max(1);
    let queue = Queue::new(directory.len(), workers);
    let larges = Larges::new(archive, directory, goal, course);
    threads::together(larges.threads(workers), |number| {
        // Large ones first, as small ones fill what time is left at the end.
        course.note(larges.run());
        if number < workers {
            course.note(Worker::new(archive, directory, goal, course).run(&queue, number));
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
        loop {
            let own = if parts[worker].is_empty() {
                (0..parts.len()).max_by_key(|&part| parts[part].len())?
            } else {
                worker
            };
            if parts[own].is_empty() {
                return None;
            }
            let batch = next_batch(&mut parts[own], directory);
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }
}

/// Takes neighbours from `part`; none if only large members are left, which others do.
fn next_batch(part: &mut Range<usize>, directory: &Directory) -> Range<usize> {
    while part.start < part.end && is_large(directory, part.start) {
        part.start += 1;
    }
    let start = part.start;
    while part.start < part.end && part.start - start < BATCH_MEMBERS && !is_large(directory, part.start) {
        let bytes = directory.extent(part.start).1 - directory.extent(start).0;
        if bytes > BATCH_BYTES && part.start > start {
            break;
        }
        part.start += 1;
    }
    start..part.start
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
            spare = self.whole(batch, start, end, spare)?;
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
            self.archive.count(self.directory, index);
        }
        Ok(span.try_into_mut().map(Vec::from).unwrap_or_default())
    }
}
