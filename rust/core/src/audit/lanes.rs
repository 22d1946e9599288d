//! Files read and hashed by one thread: several ahead of their turn, and as many at once as share a kernel.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};

use rustix::fs::{Advice, fadvise};

use super::files::{Folders, affordable};
use super::{Audit, Fault, Order, blake, large};
use crate::digest::{Algorithm, Hasher, lanes, update_abreast};
use crate::error::Result;
use crate::job::Job;

/// What is read at once, for all lanes together: it stays in a core's second-level cache until it is hashed, and
/// takes two milliseconds of MD5 at most, so that cancelling is prompt.
const READ_BYTES: usize = 1 << 20;
/// And for one lane.
const LANE_BYTES: usize = 128 << 10;
/// Files that a thread has opened ahead of their turn, so that the disk has something to do meanwhile.
const AHEAD_FILES: usize = 16;
/// Of the files that this process may have open, those of all threads are at most such a share.
const AHEAD_SHARE: u64 = 4;
/// And their bytes: what one thread has claimed another one that is out of work cannot have.
const AHEAD_BYTES: u64 = 4 << 20;
/// From this size on a file is read by a thread of its own, beside the one that hashes it.
const LARGE_BYTES: u64 = 32 << 20;
/// Streams of MD5 that cost a core as much as one.
const FEW_LANES: usize = 4;
/// Of the files that this process may have open, those being read are at most such a share.
const LANES_SHARE: u64 = 8;

/// A file of the list that is open.
pub(super) struct Opened {
    pub index: usize,
    pub file: File,
    pub bytes: u64,
}

pub(super) struct Worker<'a> {
    audit: &'a Audit,
    order: &'a Order,
    folders: Folders,
    job: &'a Job,
    ahead: VecDeque<Opened>,
    ahead_bytes: u64,
    ahead_files: usize,
    lanes_max: usize,
}

impl<'a> Worker<'a> {
    pub(super) fn new(audit: &'a Audit, order: &'a Order, folders: Folders, job: &'a Job) -> Self {
        let ahead_files = affordable(AHEAD_SHARE, order.workers, AHEAD_FILES);
        // As many as leave some to the other threads; but a few cost one thread no more time than a single one, and
        // no other any.
        let each = audit.sums.len().div_ceil(order.workers).max(FEW_LANES);
        let lanes_max = affordable(LANES_SHARE, order.workers, each);
        Self { audit, order, folders, job, ahead: VecDeque::new(), ahead_bytes: 0, ahead_files, lanes_max }
    }

    pub(super) fn run(mut self) -> Result<()> {
        let mut lanes: Vec<Lane> = Vec::new();
        // Buffers of lanes that have ended.
        let mut spare: Vec<Vec<u8>> = Vec::new();
        loop {
            self.job.check()?;
            self.fill_lanes(&mut lanes, &mut spare)?;
            if lanes.is_empty() {
                return Ok(());
            }
            self.read(&mut lanes, &mut spare);
            step(&mut lanes);
            let (ended, going): (Vec<Lane>, Vec<Lane>) = lanes.into_iter().partition(Lane::is_over);
            lanes = going;
            for lane in ended {
                self.audit.compare(lane.opened.index, lane.had, lane.hasher.finish());
                spare.push(lane.buffer);
            }
        }
    }

    fn fill_lanes(&mut self, lanes: &mut Vec<Lane>, spare: &mut Vec<Vec<u8>>) -> Result<()> {
        loop {
            // Lanes of other algorithms would only wait for each other.
            let current = lanes.first().map(|lane| lane.hasher.algorithm());
            if current.is_some_and(|algorithm| lanes.len() >= self.lanes(algorithm)) {
                return Ok(());
            }
            self.open_ahead();
            let next = self.ahead.front().map(|opened| self.audit.sums.algorithm(opened.index));
            if current.is_some() && next != current {
                return Ok(());
            }
            let Some(opened) = self.ahead.pop_front() else { return Ok(()) };
            self.ahead_bytes -= opened.bytes;
            let algorithm = self.audit.sums.algorithm(opened.index);
            if algorithm == Algorithm::Blake3 && opened.bytes >= LARGE_BYTES {
                blake::hash(self.audit, &opened, self.order.workers, self.job)?;
            } else if opened.bytes >= LARGE_BYTES && (algorithm != Algorithm::Md5 || self.are_few()) {
                large::hash(self.audit, opened, self.job)?;
            } else {
                let bytes = (READ_BYTES / self.lanes(algorithm)).min(LANE_BYTES);
                lanes.push(Lane::new(opened, algorithm, bytes, spare.pop()));
            }
        }
    }

    /// How many files of an algorithm are hashed at once: no more than share a kernel, and as many are left to the
    /// other threads.
    fn lanes(&self, algorithm: Algorithm) -> usize {
        lanes(algorithm).min(self.lanes_max)
    }

    /// Whether each file can have a thread of its own, which is better for MD5 than sharing one.
    fn are_few(&self) -> bool {
        self.audit.sums.len() <= self.order.workers
    }

    /// Opens the next files, and lets the system begin to read them.
    fn open_ahead(&mut self) {
        while self.ahead.len() < self.ahead_files && self.ahead_bytes < AHEAD_BYTES {
            let Some(index) = self.audit.take() else { return };
            match self.folders.file(self.audit.sums.name(index)) {
                Ok((file, bytes)) => {
                    let advice = if bytes < LARGE_BYTES { Advice::WillNeed } else { Advice::Sequential };
                    // Advice is all it is.
                    let _ = fadvise(&file, 0, None, advice);
                    self.ahead_bytes += bytes;
                    self.ahead.push_back(Opened { index, file, bytes });
                }
                Err(fault) => self.audit.done(index, Err(fault)),
            }
        }
    }

    /// Gives each lane that has nothing to hash its next bytes; one that cannot be read is out.
    fn read(&self, lanes: &mut Vec<Lane>, spare: &mut Vec<Vec<u8>>) {
        let mut at = 0;
        while let Some(lane) = lanes.get_mut(at) {
            match lane.refill() {
                Ok(count) => {
                    self.audit.count_bytes(count);
                    at += 1;
                }
                Err(source) => {
                    let lane = lanes.remove(at);
                    self.audit.done(lane.opened.index, Err(unreadable(&source)));
                    spare.push(lane.buffer);
                }
            }
        }
    }
}

/// What a file has next, as much as one call gives; nothing at its end.
pub(super) fn read_some(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

pub(super) fn unreadable(source: &io::Error) -> Fault {
    Fault::Unreadable(source.raw_os_error().unwrap_or(0))
}

/// A file that is being hashed, with the bytes of it that wait.
struct Lane {
    opened: Opened,
    hasher: Hasher,
    buffer: Vec<u8>,
    /// What waits is at `start..end` of the buffer.
    start: usize,
    end: usize,
    /// Bytes read so far.
    had: u64,
    is_read: bool,
}

impl Lane {
    fn new(opened: Opened, algorithm: Algorithm, bytes: usize, buffer: Option<Vec<u8>>) -> Self {
        let mut buffer = buffer.unwrap_or_default();
        buffer.resize(bytes, 0);
        Self { opened, hasher: Hasher::new(algorithm), buffer, start: 0, end: 0, had: 0, is_read: false }
    }

    fn is_over(&self) -> bool {
        self.is_read && self.start == self.end
    }

    /// Reads on if nothing waits; returns how many bytes came.
    fn refill(&mut self) -> io::Result<usize> {
        if self.start < self.end || self.is_read {
            return Ok(0);
        }
        let count = read_some(&mut self.opened.file, &mut self.buffer)?;
        (self.start, self.end) = (0, count);
        self.had += count as u64;
        // One read less for each file: at the size that it had when it was opened, it is over.
        self.is_read = count == 0 || (self.opened.bytes > 0 && self.had >= self.opened.bytes);
        Ok(count)
    }
}

/// Hashes what all lanes have; of several, as much as the one with the least has, so that they go on together.
fn step(lanes: &mut [Lane]) {
    let waiting = |lane: &Lane| lane.end - lane.start;
    let least = lanes.iter().map(waiting).filter(|&count| count > 0).min().unwrap_or(0);
    // At block boundaries lanes go on without copying; a rest of less than a block goes alone.
    let together = if least >= 64 { least - least % 64 } else { least };
    let is_alone = least < 64;
    let mut work: Vec<(&mut Hasher, &[u8])> = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let count = waiting(lane);
        if count == 0 || (is_alone && count != least) {
            continue;
        }
        work.push((&mut lane.hasher, &lane.buffer[lane.start..lane.start + together]));
        lane.start += together;
    }
    update_abreast(&mut work);
}
