//! Worker threads over the archives of one run.
//!
//! One lock guards the bookkeeping and is held for microseconds; hashing, inflating and writing happen
//! outside it, on chunks that are shared, not copied.  Python feeds chunks in, and hears of what happened
//! by waiting in a thread of its own; nothing here calls Python.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::archive::{Archive, Unpacking, Work, passed_of};
pub use crate::archive::{Spec, UNKNOWN_BYTES, UnpackSpec};
use crate::digest::{Algorithm, Hasher, lanes, update_together};
use crate::error::{Error, Result};
use crate::hunger::Hunger;
use crate::intake::{Intake, Receiver};
use crate::job::Job;
pub use crate::recheck::{Lost, Unpacked};
use crate::slab::Pool;
use crate::stream::Stream;
use crate::unpack::{Scratch, Whole, unpack_together};
use crate::untar::Untar;

/// One step of an in-order consumer: long enough to make the lock invisible, short enough to cancel.
const STEP_BYTES: u64 = 4 << 20;
/// Below this an in-order consumer waits for more, unless nothing else is to be done.
const STEP_LEAST_BYTES: u64 = 1 << 20;
/// MD5 lanes are filled before they run; this is how much each must have.
const LANE_LEAST_BYTES: u64 = 1 << 20;
/// How long a digest waits for company in its lanes.
const LANE_PATIENCE: Duration = Duration::from_millis(40);
/// So many streams that have their bytes are company enough; a kernel takes more where there are more.
const LANES: usize = 4;
/// While so much of what was received is not done with, workers rather look after that; and once it is less than
/// the other, they rather receive more.  In between they go on with what they are at, so that members and
/// streams come together whose digests keep each other company.
const READ_MOST_BYTES: usize = 48 << 20;
const READ_LEAST_BYTES: usize = 24 << 20;
/// Members that a worker takes at once: enough for their SHA-256s to keep each other company, and so few that the
/// others have some too.
const BATCH_MEMBERS: usize = 16;
const BATCH_BYTES: u64 = 2600 << 10;
/// How long fewer of them wait for more: 16 SHA-256s side by side take two thirds of the time that they take by fours,
/// and what is received meanwhile brings more.
const BATCH_PATIENCE: Duration = Duration::from_millis(3);
/// How often the last caller looks whether the workers are done.
const CATCH_UP_POLL: Duration = Duration::from_millis(2);
/// Read size for archives that are on this machine already.
const LOCAL_READ_BYTES: usize = 1 << 20;

/// What the other side must know.
#[derive(Debug, Clone)]
pub enum Event {
    /// Some frontier moved: there is room for more.
    Moved,
    /// A member is damaged: its span has been forgotten and must arrive again.
    Damaged {
        archive: usize,
        start: u64,
        end: u64,
        error: Error,
    },
    /// The archive is complete and, where a digest was expected, has it.
    Finished {
        archive: usize,
        digest: Option<String>,
    },
    Failed {
        archive: usize,
        error: Error,
    },
}

/// Counters of one archive, in bytes and members.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    pub arrived: u64,
    pub frontier: u64,
    pub unpacked: u64,
    pub finished: bool,
}

pub struct Engine {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    pool: Arc<Pool>,
    /// See `READ_MOST_BYTES`.
    reads_first: AtomicBool,
    /// None where this process may open no files for it: then Python reads everything itself.
    /// Gone after `close`, with its files.
    intake: Mutex<Option<Arc<Intake>>>,
    state: Mutex<State>,
    work: Condvar,
    news: Condvar,
    /// A task is over.
    rest: Condvar,
    job: Job,
}

struct State {
    archives: Vec<Archive>,
    /// Those with anything left to do, in ascending order: a run may have had thousands that are done with.
    live: Vec<usize>,
    /// Members whose bytes are all here: archive and member number.
    complete: VecDeque<(usize, usize)>,
    events: VecDeque<Event>,
    last_digest: Instant,
    /// Workers that are at digests.
    digesting: usize,
    /// Workers that wait for something to do.  A wake-up is a system call even when nobody sleeps, so none
    /// is sent for nothing: that took five of them per member down to less than one.
    idle: usize,
    /// Those that are at a task.
    busy: usize,
    /// The archives of these tasks, each as often as there are tasks for it.
    at_work: Vec<usize>,
    /// One of those that have nothing to do waits for bytes.
    receiving: bool,
    hunger: Hunger,
    /// Nothing more is to come: digests do not wait for company any more.
    is_last: bool,
    closing: bool,
}

enum Next {
    /// Read from the body of this number.
    Read(u64),
    Task(Task),
}

/// A member whose bytes are all here.
struct Complete {
    archive: usize,
    index: usize,
    unpacking: Arc<Unpacking>,
    chunks: Vec<Bytes>,
}

impl Complete {
    fn whole(&self) -> Whole<'_> {
        let Unpacking { directory, staging, .. } = &*self.unpacking;
        Whole { directory, index: self.index, chunks: &self.chunks, staging }
    }
}

enum Task {
    Members(Vec<Complete>),
    File { archive: usize, work: Work<Arc<File>>, path: PathBuf },
    Digest(Vec<(usize, Work<Hasher>)>),
    BeginStream { archive: usize, index: usize, unpacking: Arc<Unpacking>, spool: PathBuf },
    Stream { archive: usize, unpacking: Arc<Unpacking>, stream: Box<Stream>, chunks: Vec<Bytes> },
    Untar { archive: usize, untar: Box<Untar>, chunks: Vec<Bytes>, is_last: bool },
}

impl Engine {
    /// Starts `workers` threads, or as many of them as the system allows.
    ///
    /// # Errors
    /// `Thread` when it allows none.
    pub fn start(job: &Job, workers: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            pool: Arc::default(),
            reads_first: AtomicBool::new(true),
            intake: Mutex::new(Intake::new().ok().map(Arc::new)),
            state: Mutex::new(State {
                archives: Vec::new(),
                live: Vec::new(),
                complete: VecDeque::new(),
                events: VecDeque::new(),
                last_digest: Instant::now(),
                digesting: 0,
                idle: 0,
                busy: 0,
                at_work: Vec::new(),
                receiving: false,
                hunger: Hunger::default(),
                is_last: false,
                closing: false,
            }),
            work: Condvar::new(),
            news: Condvar::new(),
            rest: Condvar::new(),
            job: job.clone(),
        });
        let mut threads = Vec::new();
        for _ in 0..workers.max(1) {
            let its_own = Arc::clone(&shared);
            match Builder::new().spawn(move || its_own.run_worker()) {
                Ok(thread) => threads.push(thread),
                Err(source) if threads.is_empty() => {
                    return Err(Error::Thread { errno: source.raw_os_error().unwrap_or(0) });
                }
                Err(_) => break,
            }
        }
        Ok(Self { shared, threads: Mutex::new(threads) })
    }

    /// Adds an archive, taking up `saved` if given, and returns its number.
    ///
    /// # Errors
    /// `Unusable` when `saved` cannot be taken up (start anew without it); `Storage`.
    pub fn add(&self, spec: Spec, saved: Option<&str>) -> Result<usize> {
        let archive = Archive::new(spec, saved, &self.shared.job)?;
        let mut state = self.shared.lock();
        state.archives.push(archive);
        let number = state.archives.len() - 1;
        state.live.push(number);
        // An empty or already complete archive gets no chunk that would wake anybody.
        self.shared.settle(&mut state, number);
        self.shared.wake_one(state);
        Ok(number)
    }

    /// How many bytes the frontier went back when the saved state of `archive` was taken up.
    #[must_use]
    pub fn lost(&self, archive: usize) -> u64 {
        self.shared.lock().archives[archive].lost
    }

    /// What `saved` (everything, without it) has unpacked and is not in staging as it was left.
    ///
    /// # Errors
    /// `Storage`, `Cancelled`.
    pub fn recheck(&self, unpacked: &Unpacked<'_>, saved: Option<&str>, thorough: bool) -> Result<Lost> {
        // A state that cannot be read is refused by `add`.
        let below = saved.map_or(Some(u64::MAX), passed_of).unwrap_or(0);
        unpacked.recheck(below, thorough, &self.shared.job)
    }

    /// The same for some members, in ascending order.
    ///
    /// # Errors
    /// `Storage`, `Cancelled`.
    pub fn recheck_members(
        &self,
        unpacked: &Unpacked<'_>,
        members: &[usize],
        thorough: bool,
    ) -> Result<Lost> {
        unpacked.recheck_members(members, thorough, &self.shared.job)
    }

    /// Takes the chunk of `archive` at `offset`.
    pub fn write(&self, archive: usize, offset: u64, data: &Bytes) {
        self.shared.write(archive, offset, data);
    }

    /// Where workers read bodies from their sockets; None where they cannot.
    #[must_use]
    pub fn intake(&self) -> Option<Arc<Intake>> {
        self.shared.intake()
    }

    /// Where one connection's bytes go.
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        Receiver::new(&self.shared.pool)
    }

    /// Wakes a worker that can look after what was given to the intake.
    pub fn look(&self) {
        self.shared.wake_one(self.shared.lock());
    }

    /// Reads `start..end` of `archive` from the file at `path` on this machine, instead of a chunk from
    /// the network.
    ///
    /// # Errors
    /// `Storage` (also when the file is shorter), `Cancelled`.
    pub fn read_local(&self, archive: usize, path: &Path, start: u64, end: u64) -> Result<()> {
        let refused = |source: std::io::Error| Error::storage("read", path, &source);
        let file = File::open(path).map_err(refused)?;
        let mut offset = start;
        while offset < end {
            self.shared.job.check()?;
            let want = usize::try_from(end - offset).unwrap_or(usize::MAX).min(LOCAL_READ_BYTES);
            let mut buffer = vec![0; want];
            file.read_exact_at(&mut buffer, offset).map_err(refused)?;
            self.write(archive, offset, &buffer.into());
            offset += want as u64;
        }
        Ok(())
    }

    /// Tells the size of an archive that was added without one.
    pub fn set_total(&self, archive: usize, total: u64) {
        let mut state = self.shared.lock();
        state.archives[archive].total = total;
        self.shared.settle(&mut state, archive);
        self.shared.wake_all(state);
    }

    /// Sets how far ahead of the frontier bytes of `archive` may arrive.
    pub fn set_window(&self, archive: usize, window_bytes: u64) {
        let mut state = self.shared.lock();
        state.archives[archive].set_window(window_bytes);
        self.shared.wake_one(state);
    }

    /// For how long, all in all, some worker has had nothing to do but to wait for bytes.
    #[must_use]
    pub fn hungry(&self) -> Duration {
        self.shared.lock().hunger.total(Instant::now())
    }

    /// Gives up `archive`: what arrives for it from now on is dropped, no event tells of it any more.
    pub fn abandon(&self, archive: usize) {
        let mut state = self.shared.lock();
        state.live.retain(|&other| other != archive);
        let window = state.archives[archive].abandon();
        drop(state);
        drop(window);
    }

    /// Waits until no worker is at `archive`, which is abandoned: nothing is written to its staging after that.
    pub fn rest(&self, archive: usize) {
        let mut state = self.shared.lock();
        while state.at_work.contains(&archive) {
            state = self.shared.rest.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until there is something to know; empty after `patience`.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn wait(&self, patience: Duration) -> Result<Vec<Event>> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            self.shared.job.check()?;
            if !state.events.is_empty() {
                return Ok(state.events.drain(..).collect());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            state = self.shared.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    #[must_use]
    pub fn status(&self, archive: usize) -> Status {
        let state = self.shared.lock();
        let archive = &state.archives[archive];
        Status {
            arrived: archive.arrived,
            frontier: archive.frontier(),
            unpacked: archive.unpacked,
            finished: archive.finished,
        }
    }

    /// The parts of `start..end` that have neither arrived nor been released.
    #[must_use]
    pub fn missing(&self, archive: usize, start: u64, end: u64) -> Vec<(u64, u64)> {
        let state = self.shared.lock();
        state.archives[archive]
            .window
            .missing(start..end)
            .into_iter()
            .map(|gap| (gap.start, gap.end))
            .collect()
    }

    /// The state of `archive` for the journal.
    #[must_use]
    pub fn save(&self, archive: usize) -> String {
        self.shared.lock().archives[archive].save()
    }

    /// Receives nothing more, and waits until all that was received is done with as far as it can be, at most
    /// so long: what a last journal then claims need not come again.
    pub fn catch_up(&self, patience: Duration) {
        if let Some(intake) = self.shared.intake() {
            intake.stop_all();
        }
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        state.is_last = true;
        loop {
            self.shared.wake_all(state);
            // Nobody tells of every piece of work, and this happens once.  Before the first look, too: what a worker
            // has just read it takes up meanwhile.
            std::thread::sleep(CATCH_UP_POLL);
            state = self.shared.lock();
            if !state.has_work() || self.shared.job.is_cancelled() || Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Sets the job's flag and wakes whoever waits.
    pub fn cancel(&self) {
        self.shared.job.cancel();
        // The lock orders the flag before the wake-up: nobody can check, miss it, and sleep.
        self.shared.wake_all(self.shared.lock());
        self.shared.news.notify_all();
    }

    /// Ends the workers and waits for them; what they were at is finished or, after `cancel`, dropped.
    /// Then lets go of all bytes and open files, whoever may still hold the engine.
    pub fn close(&self) {
        if let Some(intake) = self.shared.intake() {
            intake.stop_all();
        }
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.wake_all(state);
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A worker's panic was caught and reported where it happened.
            let _ = thread.join();
        }
        // The last who had its files.
        *self.shared.intake.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut state = self.shared.lock();
        let windows: Vec<_> = state.archives.iter_mut().map(Archive::abandon).collect();
        drop(state);
        drop(windows);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.cancel();
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant is broken half-way: a panic can only come from outside the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_worker(&self) {
        let mut scratches: Vec<Scratch> = (0..BATCH_MEMBERS).map(|_| Scratch::default()).collect();
        let intake = self.intake();
        while let Some(next) = self.next(intake.as_deref()) {
            let is_task = matches!(next, Next::Task(_));
            let archives = match (&next, &intake) {
                (Next::Task(task), _) => task.archives(),
                (Next::Read(number), Some(intake)) => intake.archive(*number).into_iter().collect(),
                (Next::Read(_), None) => Vec::new(),
            };
            let done = catch_unwind(AssertUnwindSafe(|| match next {
                Next::Read(number) => {
                    if let Some(intake) = &intake {
                        intake.read(number, |archive, offset, data| self.write(archive, offset, &data));
                    }
                }
                Next::Task(task) => self.perform(task, &mut scratches),
            }));
            if let Err(panic) = done {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(ToString::to_string)
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                for &archive in &archives {
                    self.fail(archive, Error::Internal(text.clone().unwrap_or_default()));
                }
            }
            if is_task {
                self.rested(&archives);
            }
        }
    }

    /// A task for `archives` is over.
    fn rested(&self, archives: &[usize]) {
        let mut state = self.lock();
        state.busy -= 1;
        for archive in archives {
            if let Some(place) = state.at_work.iter().position(|other| other == archive) {
                state.at_work.swap_remove(place);
            }
        }
        drop(state);
        self.rest.notify_all();
    }

    /// What a worker does next; waits until there is something.  None when it is to end.
    fn next(&self, intake: Option<&Intake>) -> Option<Next> {
        // What is received while there is little at hand keeps the others busy; beyond that it would only
        // wait, and leave the cache.
        if let Some(intake) = intake
            && intake.is_open()
            && self.rather_reads()
            && !self.job.is_cancelled()
            && let Some(number) = intake.ready()
        {
            return Some(Next::Read(number));
        }
        let until = Instant::now() + BATCH_PATIENCE;
        let mut state = self.lock();
        loop {
            if state.closing || self.job.is_cancelled() {
                return None;
            }
            let is_patient = Instant::now() < until;
            if let Some(task) = state.next_task(is_patient) {
                // Somebody else looks after the connections meanwhile.
                if state.idle > 0 && !state.receiving && intake.is_some_and(Intake::is_open) {
                    self.work.notify_one();
                }
                state.busy += 1;
                state.at_work.extend(task.archives());
                return Some(Next::Task(task));
            }
            let patience = if state.complete.is_empty() {
                state.digest_pending().then_some(LANE_PATIENCE)
            } else {
                Some(BATCH_PATIENCE)
            };
            if let Some(intake) = intake
                && intake.is_open()
                && !state.receiving
                // Where there is plenty, it lies cold by the time that it is written: who is at work comes to
                // receive when there is room.  2 GB into one file took 2.3 s of system time without this, 1.6 with.
                // Archives that wait for a digest must not keep the others from unpacking.
                && (state.busy == 0 || self.pool.used_bytes() < READ_MOST_BYTES || state.unpacks())
            {
                state.receiving = true;
                state.hunger.begin(Instant::now());
                drop(state);
                let ready = intake.wait(patience);
                state = self.lock();
                state.hunger.end(Instant::now());
                state.receiving = false;
                if let Some(number) = ready {
                    return Some(Next::Read(number));
                }
                continue;
            }
            // No answer has come yet, or the event loop is at them.
            let is_hungry = !intake.is_some_and(Intake::is_open);
            if is_hungry {
                state.hunger.begin(Instant::now());
            }
            state.idle += 1;
            state = match patience {
                Some(patience) => {
                    self.work.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.idle -= 1;
            if is_hungry {
                state.hunger.end(Instant::now());
            }
        }
    }

    /// Whether receiving comes before what is at hand.
    fn rather_reads(&self) -> bool {
        let used = self.pool.used_bytes();
        let before = self.reads_first.load(Ordering::Relaxed);
        let now = used < if before { READ_MOST_BYTES } else { READ_LEAST_BYTES };
        if now != before {
            self.reads_first.store(now, Ordering::Relaxed);
        }
        now
    }

    fn write(&self, archive: usize, offset: u64, data: &Bytes) {
        let mut state = self.lock();
        let target = &mut state.archives[archive];
        if target.failed || target.finished {
            return;
        }
        let complete = target.insert(offset, data);
        let more = complete.len() > 1;
        // What is taken in order, and a member that streams, may go on with any chunk.
        let is_work = !complete.is_empty() || state.archives[archive].takes_chunks();
        state.complete.extend(complete.into_iter().map(|index| (archive, index)));
        // Bytes that nobody has to look at any more: the directory of an archive without a digest.
        let gone = state.archives[archive].release();
        self.settle(&mut state, archive);
        if is_work && more {
            self.wake_all(state);
        } else if is_work {
            self.wake_one(state);
        }
        drop(gone);
    }

    /// Lets go of the lock, and wakes a worker if one has nothing to do.
    fn wake_one(&self, state: MutexGuard<'_, State>) {
        let (idle, receiving) = (state.idle, state.receiving);
        drop(state);
        if idle > 0 {
            self.work.notify_one();
        } else if receiving && let Some(intake) = self.intake() {
            intake.wake();
        }
    }

    fn wake_all(&self, state: MutexGuard<'_, State>) {
        let (idle, receiving) = (state.idle, state.receiving);
        drop(state);
        if idle > 0 {
            self.work.notify_all();
        }
        if receiving && let Some(intake) = self.intake() {
            intake.wake();
        }
    }

    fn intake(&self) -> Option<Arc<Intake>> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn perform(&self, task: Task, scratches: &mut [Scratch]) {
        match task {
            Task::Members(batch) => self.perform_members(&batch, scratches),
            Task::File { archive, work, path } => {
                let mut offset = work.start;
                let result = work.chunks.iter().try_for_each(|chunk| {
                    work.inner.write_all_at(chunk, offset)?;
                    offset += chunk.len() as u64;
                    Ok(())
                });
                self.update(archive, |state| match result {
                    Ok(()) => {
                        state.file_done(work.end, work.generation);
                        Outcome::Going
                    }
                    Err(source) => Outcome::Failed(Error::storage("write", &path, &source)),
                });
            }
            Task::Digest(batch) => self.perform_digest(batch),
            Task::BeginStream { archive, index, unpacking, spool } => {
                let result = Stream::begin(&unpacking.directory, index, &unpacking.staging, &spool);
                self.update(archive, |state| match result {
                    Ok(stream) => {
                        state.stream_advanced(Box::new(stream));
                        Outcome::Going
                    }
                    Err(error) => Outcome::Failed(error),
                });
            }
            Task::Stream { archive, unpacking, stream, chunks } => {
                self.perform_stream(archive, &unpacking, stream, &chunks);
            }
            Task::Untar { archive, mut untar, chunks, is_last } => {
                let pushed = untar.push(&chunks, &self.job);
                let result = pushed.and_then(|()| if is_last { untar.finish() } else { Ok(()) });
                self.update(archive, |state| match result {
                    Ok(()) => {
                        state.untar_advanced(untar);
                        Outcome::Going
                    }
                    Err(error) => Outcome::Failed(error),
                });
            }
        }
    }

    fn perform_members(&self, batch: &[Complete], scratches: &mut [Scratch]) {
        let members: Vec<Whole<'_>> = batch.iter().map(Complete::whole).collect();
        let results = unpack_together(&members, scratches, &self.job);
        for (&Complete { archive, index, ref unpacking, .. }, result) in batch.iter().zip(results) {
            let result = result.and_then(|sha256| unpacking.record(index, &sha256));
            self.update(archive, |state| match result {
                Ok(()) => {
                    state.member_done(index);
                    Outcome::Going
                }
                // Also where a streamed member before it has gone back meanwhile: this one's bytes are still there.
                Err(error @ Error::Member { .. }) => Outcome::damaged(state.member_damaged(index), error),
                Err(error) => Outcome::Failed(error),
            });
        }
    }

    fn perform_digest(&self, batch: Vec<(usize, Work<Hasher>)>) {
        let (ends, mut work): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|(archive, work)| ((archive, work.end, work.generation), (work.inner, work.chunks)))
            .unzip();
        update_together(&mut work);
        self.lock().digesting -= 1;
        for ((archive, end, generation), (hasher, _)) in ends.into_iter().zip(work) {
            self.update(archive, |state| {
                state.digest_done(hasher, end, generation);
                Outcome::Going
            });
        }
    }

    fn perform_stream(
        &self,
        archive: usize,
        unpacking: &Unpacking,
        mut stream: Box<Stream>,
        chunks: &[Bytes],
    ) {
        let Unpacking { directory, staging, .. } = unpacking;
        let index = stream.index;
        let (_, end) = directory.extent(index);
        let pushed = stream.push(directory, chunks, &self.job);
        let result = match pushed {
            Ok(()) if stream.position < end => {
                self.update(archive, |state| {
                    state.stream_advanced(stream);
                    Outcome::Going
                });
                return;
            }
            Ok(()) => {
                let spool = stream.take_spool();
                let recorded =
                    stream.finish(directory, staging).and_then(|sha256| unpacking.record(index, &sha256));
                if let (Ok(()), Some(spool)) = (&recorded, spool) {
                    spool.remove();
                }
                recorded
            }
            Err(error @ Error::Member { .. }) => {
                // It may have its full size, and a record from before.
                stream.discard(staging);
                Err(error)
            }
            Err(error) => Err(error),
        };
        self.update(archive, |state| match result {
            Ok(()) => {
                state.stream_finished(end);
                Outcome::Going
            }
            Err(error @ Error::Member { .. }) => Outcome::damaged(state.stream_damaged(index), error),
            Err(error) => Outcome::Failed(error),
        });
    }

    /// Reports a task's outcome under the lock, and what follows from it.
    fn update(&self, number: usize, report: impl FnOnce(&mut Archive) -> Outcome) {
        let mut state = self.lock();
        let archive = &mut state.archives[number];
        let outcome = report(archive);
        let gone = archive.release();
        match outcome {
            Outcome::Going => {}
            Outcome::Damaged { start, end, error } => {
                state.events.push_back(Event::Damaged { archive: number, start, end, error });
            }
            Outcome::Failed(error) => state.fail(number, error),
        }
        self.settle(&mut state, number);
        let told = !state.events.is_empty();
        if !state.complete.is_empty() || state.archives[number].takes_chunks() {
            self.wake_one(state);
        } else {
            drop(state);
        }
        // Chunks are let go without the lock: their owner may have work to do.
        drop(gone);
        if told {
            self.news.notify_all();
        }
    }

    /// Ends an archive that is complete, and notes a frontier that moved.
    fn settle(&self, state: &mut State, number: usize) {
        let archive = &mut state.archives[number];
        if archive.is_complete() {
            match archive.verdict() {
                Ok(digest) => {
                    archive.finished = true;
                    state.live.retain(|&other| other != number);
                    state.events.push_back(Event::Finished { archive: number, digest });
                }
                Err(error) => state.fail(number, error),
            }
            self.news.notify_all();
        } else if archive.take_news() && !state.events.iter().any(|event| matches!(event, Event::Moved)) {
            state.events.push_back(Event::Moved);
            self.news.notify_all();
        }
    }

    fn fail(&self, number: usize, error: Error) {
        self.lock().fail(number, error);
        self.news.notify_all();
    }
}

enum Outcome {
    Going,
    Damaged { start: u64, end: u64, error: Error },
    Failed(Error),
}

impl Outcome {
    fn damaged(again: Option<std::ops::Range<u64>>, error: Error) -> Self {
        match again {
            Some(span) => Self::Damaged { start: span.start, end: span.end, error },
            None => Self::Failed(error),
        }
    }
}

impl State {
    fn fail(&mut self, number: usize, error: Error) {
        if !matches!(error, Error::Cancelled) && !self.archives[number].failed {
            self.archives[number].failed = true;
            self.live.retain(|&other| other != number);
            self.events.push_back(Event::Failed { archive: number, error });
        }
    }

    fn live(&self) -> impl Iterator<Item = &Archive> {
        self.live.iter().map(|&number| &self.archives[number])
    }

    /// What to do next.  Consumers that must go in order come before members, since they free the window;
    /// they take small helpings only when nothing else is to be done.
    fn next_task(&mut self, is_patient: bool) -> Option<Task> {
        let lanes_full = self.is_last || self.lanes_ready();
        if lanes_full && let Some(task) = self.digest_task() {
            return Some(task);
        }
        self.in_order_task(STEP_LEAST_BYTES)
            .or_else(|| {
                if is_patient && self.complete.len() < BATCH_MEMBERS { None } else { self.member_task() }
            })
            .or_else(|| self.in_order_task(1))
            .or_else(|| {
                let waits = self.digests_wait() || self.last_digest.elapsed() < LANE_PATIENCE;
                if waits { None } else { self.digest_task() }
            })
    }

    fn member_task(&mut self) -> Option<Task> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_MEMBERS && bytes < BATCH_BYTES {
            let Some((archive, index)) = self.complete.pop_front() else { break };
            let state = &self.archives[archive];
            if state.failed {
                continue;
            }
            if let Some((unpacking, chunks)) = state.member_chunks(index) {
                let (start, end) = unpacking.directory.extent(index);
                bytes += unpacking.directory.entry(index).bytes.max(end - start);
                batch.push(Complete { archive, index, unpacking, chunks });
            }
        }
        (!batch.is_empty()).then_some(Task::Members(batch))
    }

    fn in_order_task(&mut self, least: u64) -> Option<Task> {
        for &number in &self.live {
            let archive = &mut self.archives[number];
            if let Some(work) = archive.file_work(least, STEP_BYTES) {
                return Some(Task::File { archive: number, work, path: archive.file_path.clone() });
            }
            if let Some((unpacking, index, spool)) = archive.stream_to_begin() {
                archive.stream_claim(index);
                return Some(Task::BeginStream { archive: number, index, unpacking, spool });
            }
            if let Some((unpacking, stream, chunks)) = archive.stream_work(least, STEP_BYTES) {
                return Some(Task::Stream { archive: number, unpacking, stream, chunks });
            }
            if let Some((untar, chunks, is_last)) = archive.untar_work(least, STEP_BYTES) {
                return Some(Task::Untar { archive: number, untar, chunks, is_last });
            }
        }
        None
    }

    /// Whether the digests should run now: as many streams have bytes as share a kernel, or somebody waits.
    fn lanes_ready(&self) -> bool {
        let active = self.live().filter(|archive| archive.digest_active()).count();
        let full = self.live().filter(|archive| {
            archive
                .digest_ready()
                .is_some_and(|ready| ready >= LANE_LEAST_BYTES || (ready > 0 && archive.digest_at_end()))
        });
        let full = full.count();
        if self.digests_wait() {
            return self.live().any(Archive::digest_urgent);
        }
        full > 0 && (full >= active.min(LANES) || self.live().any(Archive::digest_urgent))
    }

    /// MD5s are one worker's at a time, unless one holds up the window: streams that run without the longest of
    /// them cost as much again, since that one then runs without them.
    fn digests_wait(&self) -> bool {
        self.digesting > 0 && self.live().all(Archive::is_md5)
    }

    /// Whether there is more to do with what comes than to write it down.
    fn unpacks(&self) -> bool {
        self.live().any(|archive| archive.unpacking.is_some())
    }

    /// Whether anybody is at work, or would be.
    fn has_work(&self) -> bool {
        self.busy > 0 || !self.complete.is_empty() || self.digest_pending()
    }

    fn digest_pending(&self) -> bool {
        self.live().any(|archive| archive.digest_ready().is_some_and(|ready| ready > 0))
    }

    fn digest_task(&mut self) -> Option<Task> {
        let mut waiting: Vec<(u64, usize)> = self
            .live
            .iter()
            .filter_map(|&number| {
                Some((self.archives[number].digest_ready().filter(|&ready| ready > 0)?, number))
            })
            .collect();
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        waiting.truncate(lanes(Algorithm::Md5));
        // What one stream has more than the others would run alone, and cost as much as with them: it waits
        // for the next batch, unless it holds up the window or is all there is.
        let shared = waiting.iter().map(|&(ready, _)| ready).filter(|&ready| ready >= LANE_LEAST_BYTES).min();
        self.last_digest = Instant::now();
        let mut batch = Vec::new();
        for (_, number) in waiting {
            let archive = &mut self.archives[number];
            let most = if self.is_last || archive.digest_urgent() {
                STEP_BYTES
            } else {
                shared.unwrap_or(STEP_BYTES)
            };
            batch.extend(archive.digest_work(most.min(STEP_BYTES)).map(|work| (number, work)));
        }
        self.digesting += usize::from(!batch.is_empty());
        (!batch.is_empty()).then_some(Task::Digest(batch))
    }
}

impl Task {
    /// Those that it is for, each once.
    fn archives(&self) -> Vec<usize> {
        let mut archives: Vec<usize> = match self {
            Self::File { archive, .. }
            | Self::BeginStream { archive, .. }
            | Self::Stream { archive, .. }
            | Self::Untar { archive, .. } => vec![*archive],
            Self::Members(batch) => batch.iter().map(|member| member.archive).collect(),
            Self::Digest(batch) => batch.iter().map(|(archive, _)| *archive).collect(),
        };
        archives.sort_unstable();
        archives.dedup();
        archives
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
