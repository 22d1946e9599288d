//! The state of one archive between its first and its last byte.  Pure bookkeeping: nothing here reads,
//! writes or hashes; the engine's workers do that without holding the lock, and report back.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rangemap::RangeSet;

use crate::digest::{Algorithm, Hasher};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::manifest::Records;
use crate::staging::{Staging, no_links};
use crate::stream::{SavedStream, Stream};
use crate::unpack::Sha256Bytes;
use crate::untar::{SavedUntar, Untar, UntarSpec};
use crate::window::Window;
use crate::zip::Directory;

mod saved;
pub(crate) use saved::passed as passed_of;
use saved::{Checkpoint, Mark, Saved};

/// How often a member may arrive damaged before the archive is given up: it is fetched again one time less.
const MEMBER_TRIES: u32 = 4;
/// The size of an archive whose origin does not tell.
pub const UNKNOWN_BYTES: u64 = u64::MAX;

/// What is to be made of an archive.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    /// Size in bytes, or [`UNKNOWN_BYTES`].
    pub total: u64,
    /// How far ahead of the frontier bytes may arrive.
    pub window_bytes: u64,
    /// Where the bytes themselves go, in order: the part file of a plain download, or a kept archive.
    pub file: Option<PathBuf>,
    /// The digest to compute over all bytes, and the value that it must have, if one is known.
    pub digest: Option<(Algorithm, Option<String>)>,
    pub unpack: Option<UnpackSpec>,
    /// Instead of `unpack`, for what has no directory.
    pub untar: Option<UntarSpec>,
    /// Believe nothing on disk that is not read and proven: the machine was started anew since.
    pub thorough: bool,
    /// Only these members are wanted, in ascending order: everything else is had already.
    pub redo: Option<Vec<usize>>,
}

#[derive(Debug, Clone)]
pub struct UnpackSpec {
    pub directory: Arc<Directory>,
    pub staging: Arc<Staging>,
    /// Where the members' SHA-256 records go.
    pub records: PathBuf,
    /// Where the compressed bytes of a member larger than the window wait.
    pub spool: PathBuf,
}

/// What the workers share of an archive that is unpacked.
pub struct Unpacking {
    pub directory: Arc<Directory>,
    pub staging: Arc<Staging>,
    pub records: Records,
    spool: PathBuf,
    /// Members that were unpacked before must become the same files again.
    pub again: bool,
}

impl Unpacking {
    /// Notes that member `index` is unpacked.  One that was unpacked before must be the same file: the
    /// archive's digest was computed over that one.
    pub fn record(&self, index: usize, sha256: &Sha256Bytes) -> Result<()> {
        if self.again && self.records.get(index).is_some_and(|before| before != *sha256) {
            let entry = self.directory.entry(index);
            self.staging.remove(&entry.name());
            let reason = "it is another file than the one that was verified before";
            return Err(self.directory.refuse_member(&entry, reason));
        }
        self.records.put(index, sha256)
    }
}

pub struct Archive {
    pub name: String,
    pub total: u64,
    pub window: Window,
    window_bytes: u64,
    pub arrived: u64,
    pub unpacked: u64,
    pub finished: bool,
    pub failed: bool,
    /// Everything below was checked (or has no check of its own).
    passed: u64,
    /// Checked already, above `passed`.
    passed_ahead: RangeSet<u64>,
    pub unpacking: Option<Arc<Unpacking>>,
    tries: HashMap<usize, u32>,
    /// Raised whenever the state moves back, so that a worker's result from before is dropped.
    pub generation: u64,
    file: Option<InOrder<Arc<File>>>,
    pub file_path: PathBuf,
    digest: Option<InOrder<Hasher>>,
    algorithm: Option<Algorithm>,
    pub expected: Option<String>,
    stream: StreamSlot,
    saved_stream: Option<SavedStream>,
    /// The member that is streamed, from its claim to its end.
    streaming: Option<usize>,
    /// Where to go back to when the member that is streamed turns out to be damaged.
    rewind: Option<Rewind>,
    untar: UntarSlot,
    saved_untar: Option<SavedUntar>,
    /// Where it can go back to when the disk has lost what came later.
    checkpoints: Vec<Checkpoint>,
    /// The next one of them, until the digest is there as well.
    pending: Option<SavedUntar>,
    announced: u64,
    /// Where the digest was on its way through the file.
    marks: Vec<Mark>,
    /// How many bytes the frontier went back when the saved state was taken up.
    pub lost: u64,
}

/// A consumer that takes the bytes in order, one worker at a time.
struct InOrder<T> {
    inner: T,
    position: u64,
    busy: bool,
}

enum StreamSlot {
    Idle,
    Busy,
    Waiting(Box<Stream>),
}

/// Whose bytes are taken in order by what unpacks them, before the file and the digest.
enum UntarSlot {
    None,
    Busy,
    Waiting(Box<Untar>),
}

#[derive(Clone)]
struct Rewind {
    start: u64,
    hasher: Option<Hasher>,
}

/// What `digest_work` and `file_work` hand to a worker.
pub struct Work<T> {
    pub inner: T,
    pub start: u64,
    pub end: u64,
    pub chunks: Vec<Bytes>,
    pub generation: u64,
}

impl Archive {
    pub fn new(spec: Spec, saved: Option<&str>, job: &Job) -> Result<Self> {
        let mut saved = saved.map(|text| Saved::read(text, &spec)).transpose()?;
        let again = spec.redo.is_some();
        let keep = saved.is_some() || again;
        let unpacking = spec.unpack.map(|unpack| {
            Ok::<_, Error>(Arc::new(Unpacking {
                records: Records::open(&unpack.records, keep)?,
                directory: unpack.directory,
                staging: unpack.staging,
                spool: unpack.spool,
                again,
            }))
        });
        let file = match &spec.file {
            Some(path) => Some(InOrder { inner: Arc::new(open_part(path, keep)?), position: 0, busy: false }),
            None => None,
        };
        let untar = spec.untar.as_ref().map(|untar| {
            let total = (spec.total != UNKNOWN_BYTES).then_some(spec.total);
            match &mut saved {
                Some(saved) => saved.take_up_untar(&spec.name, total, untar, spec.thorough, job),
                None => Untar::begin(&spec.name, total, untar),
            }
        });
        let untar = untar.transpose()?;
        let mut archive = Self {
            name: spec.name,
            total: spec.total,
            window: Window::default(),
            window_bytes: spec.window_bytes,
            arrived: 0,
            unpacked: 0,
            finished: false,
            failed: false,
            passed: 0,
            passed_ahead: RangeSet::new(),
            unpacking: unpacking.transpose()?,
            tries: HashMap::new(),
            generation: 0,
            file,
            file_path: spec.file.unwrap_or_default(),
            digest: spec.digest.as_ref().map(|(algorithm, _)| InOrder {
                inner: Hasher::new(*algorithm),
                position: 0,
                busy: false,
            }),
            algorithm: spec.digest.as_ref().map(|(algorithm, _)| *algorithm),
            expected: spec.digest.and_then(|(_, expected)| expected),
            stream: StreamSlot::Idle,
            saved_stream: None,
            streaming: None,
            rewind: None,
            saved_untar: untar.as_ref().map(Untar::save),
            checkpoints: Vec::new(),
            pending: None,
            untar: untar.map_or(UntarSlot::None, |untar| UntarSlot::Waiting(Box::new(untar))),
            announced: 0,
            marks: Vec::new(),
            lost: 0,
        };
        if let Some(redo) = spec.redo {
            archive.want_only(&redo);
        }
        if let Some(saved) = saved {
            archive.restore(&saved, spec.thorough, job)?;
        }
        Ok(archive)
    }

    /// Takes all but the extents of `members` for arrived and passed.
    fn want_only(&mut self, members: &[usize]) {
        let Some(unpacking) = &self.unpacking else { return };
        let everything = std::iter::once(0..self.total).filter(|all| !all.is_empty());
        let mut had: RangeSet<u64> = everything.collect();
        for &index in members {
            let (start, end) = unpacking.directory.extent(index);
            had.remove(start..end);
        }
        self.window = Window::having(had.clone());
        self.passed_ahead = had;
        self.pass(0..0);
        drop(self.window.release(self.passed));
        self.announced = self.passed;
    }

    // ---- arrival -----------------------------------------------------------------------------------

    /// Takes a chunk; returns the members that it completed.
    pub fn insert(&mut self, offset: u64, data: &Bytes) -> Vec<usize> {
        let surplus = (offset + data.len() as u64).saturating_sub(self.total);
        let keep = data.len().saturating_sub(usize::try_from(surplus).unwrap_or(usize::MAX));
        let mut complete = Vec::new();
        for fresh in self.window.insert(offset, &data.slice(..keep)) {
            self.arrived += fresh.end - fresh.start;
            self.insert_fresh(&fresh, &mut complete);
        }
        // A chunk that fills two gaps of a member completes it once.
        complete.sort_unstable();
        complete.dedup();
        complete
    }

    fn insert_fresh(&mut self, fresh: &Range<u64>, complete: &mut Vec<usize>) {
        let Some(unpacking) = self.unpacking.clone() else {
            if matches!(self.untar, UntarSlot::None) {
                self.pass(fresh.clone());
            }
            return;
        };
        let directory = &unpacking.directory;
        let first_member = if directory.is_empty() { directory.start() } else { directory.extent(0).0 };
        for outside in [0..first_member, directory.start()..self.total] {
            let part = fresh.start.max(outside.start)..fresh.end.min(outside.end);
            if !part.is_empty() {
                self.pass(part);
            }
        }
        let Some(run) = self.window.run_around(fresh.start) else { return };
        let mut index = directory.first_ending_after(fresh.start);
        while index < directory.len() {
            let (start, end) = directory.extent(index);
            if start >= fresh.end {
                break;
            }
            let here = start >= run.start && end <= run.end;
            if here && end > self.passed && self.streaming != Some(index) {
                complete.push(index);
            }
            index += 1;
        }
    }

    /// How far ahead of the frontier bytes may arrive from now on.  It follows the speed of the transfer,
    /// so that a kill costs seconds, not the whole memory budget.
    pub fn set_window(&mut self, window_bytes: u64) {
        self.window_bytes = window_bytes;
    }

    fn pass(&mut self, span: Range<u64>) {
        if span.start > self.passed {
            self.passed_ahead.insert(span);
            return;
        }
        self.passed = self.passed.max(span.end);
        while let Some(next) = self.passed_ahead.get(&self.passed).cloned() {
            self.passed = next.end;
        }
        self.passed_ahead.remove(0..self.passed.max(1));
    }

    /// Whether any chunk, and not only one that completes a member, may be work for somebody.
    pub fn takes_chunks(&self) -> bool {
        self.unpacking.is_none()
            || self.file.is_some()
            || self.streaming.is_some()
            || self.passed == self.consumed()
    }

    /// Nobody wants this archive any more: its bytes and open files go.
    pub fn abandon(&mut self) -> Window {
        self.failed = true;
        self.stream = StreamSlot::Idle;
        self.untar = UntarSlot::None;
        self.file = None;
        self.unpacking = None;
        std::mem::take(&mut self.window)
    }

    // ---- members -----------------------------------------------------------------------------------

    /// None where not all of it is here any more.
    pub fn member_chunks(&self, index: usize) -> Option<(Arc<Unpacking>, Vec<Bytes>)> {
        let unpacking = self.unpacking.clone()?;
        let (start, end) = unpacking.directory.extent(index);
        let is_here = start == end || self.window.run_around(start).is_some_and(|run| run.end >= end);
        is_here.then_some(())?;
        Some((unpacking, self.window.slices(start..end)))
    }

    pub fn member_done(&mut self, index: usize) {
        if let Some(unpacking) = &self.unpacking {
            let (start, end) = unpacking.directory.extent(index);
            // What a person counts are files.
            self.unpacked += u64::from(!unpacking.directory.entry(index).is_directory());
            self.pass(start..end);
        }
    }

    /// A member turned out to be damaged: forgets its bytes and returns the span to fetch again, or None
    /// when that was tried often enough.
    pub fn member_damaged(&mut self, index: usize) -> Option<Range<u64>> {
        let tries = self.tries.entry(index).or_default();
        *tries += 1;
        if *tries >= MEMBER_TRIES {
            return None;
        }
        let (start, end) = self.unpacking.as_ref()?.directory.extent(index);
        self.arrived -= self.window.forget(start..end);
        Some(start..end)
    }

    // ---- in order ----------------------------------------------------------------------------------

    /// What the part file can take now.
    pub fn file_work(&mut self, least: u64, most: u64) -> Option<Work<Arc<File>>> {
        let limit = self.passed;
        let window = &self.window;
        let file = self.file.as_mut().filter(|file| !file.busy)?;
        let end = file.reachable(window, limit, least, most, self.total)?;
        Some(file.take(window, end, self.generation, Arc::clone(&file.inner)))
    }

    pub fn file_done(&mut self, end: u64, generation: u64) {
        if let Some(file) = &mut self.file {
            file.busy = false;
            if generation == self.generation {
                file.position = end;
            }
        }
    }

    /// How many bytes the digest could take now; None while a worker is at it.
    pub fn digest_ready(&self) -> Option<u64> {
        let digest = self.digest.as_ref().filter(|digest| !digest.busy && !self.failed)?;
        Some(self.digest_limit() - digest.position)
    }

    fn digest_limit(&self) -> u64 {
        // The file goes first, so that a journal never claims bytes that are not in it.
        let limit = self.file.as_ref().map_or(self.passed, |file| file.position);
        // A checkpoint needs the digest at its very place.
        self.pending.as_ref().map_or(limit, |pending| limit.min(pending.position))
    }

    /// Whether its digest, if it has one, is an MD5, of which several cost what one costs.
    pub fn is_md5(&self) -> bool {
        self.algorithm.is_none_or(|algorithm| algorithm == Algorithm::Md5)
    }

    /// Nothing more will come before the digest is there.
    pub fn digest_at_end(&self) -> bool {
        self.digest_limit() == self.total || self.pending.is_some()
    }

    /// The digest holds up the window, or the end of an archive for company that it has no use for.
    pub fn digest_urgent(&self) -> bool {
        let is_last = !self.is_md5() && self.digest_at_end();
        self.digest_ready().is_some_and(|ready| ready >= self.window_bytes / 4 || (is_last && ready > 0))
    }

    pub fn digest_active(&self) -> bool {
        !self.failed && self.digest.as_ref().is_some_and(|digest| digest.position < self.total)
    }

    pub fn digest_work(&mut self, most: u64) -> Option<Work<Hasher>> {
        let (limit, mark) = (self.digest_limit(), self.next_mark());
        let window = &self.window;
        let digest = self.digest.as_mut().filter(|digest| !digest.busy)?;
        // Where the digest fell behind, much is ready at once; without this its marks would be as far apart.  One is
        // overdue where the size has just become known.
        let limit = if mark > digest.position { limit.min(mark) } else { limit };
        let end = digest.reachable(window, limit, 1, most, self.total)?;
        let hasher = digest.inner.clone();
        Some(digest.take(window, end, self.generation, hasher))
    }

    pub fn digest_done(&mut self, hasher: Hasher, end: u64, generation: u64) {
        if let Some(digest) = &mut self.digest {
            digest.busy = false;
            if generation == self.generation {
                digest.position = end;
                digest.inner = hasher;
            }
        }
        self.mark();
        self.check_point();
    }

    // ---- a streamed member -------------------------------------------------------------------------

    /// The streamed member that comes next, once everything before it is through.
    pub fn stream_to_begin(&self) -> Option<(Arc<Unpacking>, usize, PathBuf)> {
        let unpacking = self.unpacking.as_ref()?;
        if !matches!(self.stream, StreamSlot::Idle) || self.failed || self.passed != self.consumed() {
            return None;
        }
        let index = unpacking.directory.first_ending_after(self.passed);
        if index >= unpacking.directory.len() {
            return None;
        }
        let (start, end) = unpacking.directory.extent(index);
        let run = self.window.run_around(start)?;
        // A member that is here already is unpacked from the window, however large; one that could fill
        // the window is not waited for.
        let wanted = start == self.passed && run.end < end && end - start > self.window_bytes / 4;
        wanted.then(|| (Arc::clone(unpacking), index, unpacking.spool.clone()))
    }

    pub fn stream_claim(&mut self, index: usize) {
        self.streaming = Some(index);
        self.rewind = Some(Rewind {
            start: self.passed,
            hasher: self.digest.as_ref().map(|digest| digest.inner.clone()),
        });
        self.stream = StreamSlot::Busy;
    }

    /// The bytes that the streamed member can take now.
    pub fn stream_work(
        &mut self,
        least: u64,
        most: u64,
    ) -> Option<(Arc<Unpacking>, Box<Stream>, Vec<Bytes>)> {
        let unpacking = self.unpacking.as_ref()?;
        let StreamSlot::Waiting(stream) = &self.stream else { return None };
        let (_, extent_end) = unpacking.directory.extent(stream.index);
        let run_end =
            self.window.run_around(stream.position).map_or(stream.position, |run| run.end).min(extent_end);
        let ready = run_end - stream.position;
        if self.failed || ready == 0 || (ready < least && run_end < extent_end) {
            return None;
        }
        let end = run_end.min(stream.position + most);
        let chunks = self.window.slices(stream.position..end);
        let unpacking = Arc::clone(unpacking);
        match std::mem::replace(&mut self.stream, StreamSlot::Busy) {
            StreamSlot::Waiting(stream) => Some((unpacking, stream, chunks)),
            StreamSlot::Idle | StreamSlot::Busy => None,
        }
    }

    pub fn stream_advanced(&mut self, stream: Box<Stream>) {
        let position = stream.position;
        self.saved_stream = Some(stream.save());
        self.stream = StreamSlot::Waiting(stream);
        self.pass(self.passed..position);
    }

    pub fn stream_finished(&mut self, end: u64) {
        self.stream = StreamSlot::Idle;
        self.streaming = None;
        self.saved_stream = None;
        self.rewind = None;
        self.unpacked += 1;
        self.pass(self.passed..end);
    }

    /// The streamed member is damaged: everything goes back to where it began.
    pub fn stream_damaged(&mut self, index: usize) -> Option<Range<u64>> {
        self.stream = StreamSlot::Idle;
        self.streaming = None;
        self.saved_stream = None;
        let rewind = self.rewind.take()?;
        self.generation += 1;
        // `passed` went along with the stream and no further, so nothing behind the member is lost.
        self.go_back(rewind);
        let released = self.window.released();
        let span = self.member_damaged(index)?;
        self.arrived = self.arrived.saturating_sub(released.saturating_sub(span.start));
        self.announced = span.start;
        Some(span)
    }

    /// Everything goes back to where a member began; what lagged behind that stays where it is.
    fn go_back(&mut self, to: Rewind) {
        self.passed = to.start;
        if let Some(file) = &mut self.file {
            file.position = file.position.min(to.start);
        }
        if let (Some(digest), Some(hasher)) = (&mut self.digest, to.hasher)
            && digest.position > to.start
        {
            digest.position = to.start;
            digest.inner = hasher;
        }
    }

    // ---- what has no directory ---------------------------------------------------------------------

    /// The bytes that can be unpacked now, and whether nothing follows them.
    pub fn untar_work(&mut self, least: u64, most: u64) -> Option<(Box<Untar>, Vec<Bytes>, bool)> {
        let UntarSlot::Waiting(untar) = &self.untar else { return None };
        if self.failed || untar.is_finished {
            return None;
        }
        let position = untar.position;
        let run_end = self.window.run_around(position).map_or(position, |run| run.end);
        let ready = run_end - position;
        let is_over = position == self.total;
        if !is_over && (ready == 0 || (ready < least && run_end < self.total)) {
            return None;
        }
        let end = run_end.min(position + most);
        let chunks = self.window.slices(position..end);
        match std::mem::replace(&mut self.untar, UntarSlot::Busy) {
            UntarSlot::Waiting(untar) => Some((untar, chunks, end == self.total)),
            UntarSlot::None | UntarSlot::Busy => None,
        }
    }

    pub fn untar_advanced(&mut self, untar: Box<Untar>) {
        self.unpacked = untar.files();
        self.saved_untar = Some(untar.save());
        self.pass(self.passed..untar.position);
        self.untar = UntarSlot::Waiting(untar);
        self.check_point();
    }

    // ---- the frontier ------------------------------------------------------------------------------

    fn consumed(&self) -> u64 {
        let digest = self.digest.as_ref().map_or(u64::MAX, |digest| digest.position);
        let file = self.file.as_ref().map_or(u64::MAX, |file| file.position);
        digest.min(file).min(self.passed)
    }

    /// The offset below which every byte has arrived, been checked, and been taken by every consumer.
    pub fn frontier(&self) -> u64 {
        self.consumed()
    }

    /// Lets go of what lies below the frontier.
    pub fn release(&mut self) -> Vec<Bytes> {
        let frontier = self.frontier();
        self.window.release(frontier)
    }

    /// Whether the frontier moved far enough for the other side to hear of it.
    pub fn take_news(&mut self) -> bool {
        let frontier = self.frontier();
        let moved = frontier.saturating_sub(self.announced) >= (self.window_bytes / 16).max(1);
        if moved {
            self.announced = frontier;
        }
        moved
    }

    pub fn is_complete(&self) -> bool {
        let is_unpacked = match &self.untar {
            UntarSlot::None => true,
            UntarSlot::Busy => false,
            UntarSlot::Waiting(untar) => untar.is_finished,
        };
        let idle = is_unpacked
            && matches!(self.stream, StreamSlot::Idle)
            && !self.file.as_ref().is_some_and(|file| file.busy)
            && !self.digest.as_ref().is_some_and(|digest| digest.busy);
        idle && !self.failed && !self.finished && self.frontier() == self.total
    }

    /// `algorithm:hex` of the whole archive, and whether it is the expected one.
    pub fn verdict(&self) -> Result<Option<String>> {
        let Some((digest, algorithm)) = self.digest.as_ref().zip(self.algorithm) else { return Ok(None) };
        let computed = digest.inner.clone().finish();
        let full = |value: &str| format!("{}:{value}", algorithm.name());
        match &self.expected {
            Some(expected) if *expected != computed => Err(Error::Digest {
                archive: self.name.clone(),
                expected: full(expected),
                computed: full(&computed),
            }),
            _ => Ok(Some(full(&computed))),
        }
    }
}

impl<T> InOrder<T> {
    /// How far this consumer can go now; None while there are fewer than `least` bytes, unless they are
    /// the last ones.
    fn reachable(&self, window: &Window, limit: u64, least: u64, most: u64, total: u64) -> Option<u64> {
        let here = window.run_around(self.position).map_or(self.position, |run| run.end);
        let end = limit.min(here);
        let ready = end.saturating_sub(self.position);
        if ready == 0 || (ready < least && end < total) {
            return None;
        }
        Some(end.min(self.position + most))
    }

    fn take<W>(&mut self, window: &Window, end: u64, generation: u64, inner: W) -> Work<W> {
        self.busy = true;
        Work { inner, start: self.position, end, chunks: window.slices(self.position..end), generation }
    }
}

fn open_part(path: &Path, keep: bool) -> Result<File> {
    let refused = |source: std::io::Error| Error::storage("create file", path, &source);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(refused)?;
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(!keep);
    no_links(&mut options).open(path).map_err(refused)
}
