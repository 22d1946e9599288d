//! The state of one archive in the journal, and how it is taken up again.
//!
//! Nothing that can still be proven is given up: a part file that became shorter is hashed again as far as
//! it goes, and a member that was cut off half-way goes back to where it began.

use serde::{Deserialize, Serialize};

use super::{Archive, Rewind, Spec, StreamSlot, UNKNOWN_BYTES, UntarSlot};
use crate::digest::{Algorithm, Hasher, forget_cached, hex, read_on, unhex};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::recheck::is_whole;
use crate::stream::{SavedStream, Stream};
use crate::untar::{SavedUntar, Untar, UntarSpec};

/// Version of the saved state; another one is refused, and the archive starts anew.
const STATE_VERSION: u32 = 2;
/// How many places of a part file can be proven at most, evenly spread: what damage costs is one part in so
/// many.
const MARKS: u64 = 64;
/// Closer marks are not worth their 80 bytes in the journal.
const MARK_LEAST_BYTES: u64 = 1 << 20;
/// Distance of the marks where the size is unknown.
const MARK_UNKNOWN_BYTES: u64 = 256 << 20;

/// How many places of a tar can be gone back to at most: what a power cut costs is one part in so many.
const CHECKPOINTS: u64 = 16;
/// Closer ones are not worth their kilobyte in the journal.
const CHECKPOINT_LEAST_BYTES: u64 = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    version: u32,
    total: u64,
    pub passed: u64,
    unpacked: u64,
    file: Option<u64>,
    digest: Option<SavedDigest>,
    /// Digests of beginnings of the file, so that a file can be believed as far as it is sound.
    marks: Vec<Mark>,
    stream: Option<SavedStream>,
    rewind: Option<SavedDigest>,
    /// Of what has no directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    untar: Option<SavedUntar>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    checkpoints: Vec<Checkpoint>,
    /// How far it went back to one of these.
    #[serde(skip)]
    went_back: u64,
}

/// A place in a tar that unpacking can begin at again, with the digest there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    untar: SavedUntar,
    digest: Option<SavedDigest>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedDigest {
    algorithm: String,
    position: u64,
    /// None where the algorithm cannot export its state.
    state: Option<String>,
}

/// The digest of everything below `position`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub position: u64,
    digest: String,
}

/// The offset below which `text`, a saved state, has every member unpacked; None where it cannot be read.
pub(crate) fn passed(text: &str) -> Option<u64> {
    serde_json::from_str::<Saved>(text).ok().map(|saved| saved.passed)
}

impl Saved {
    pub(super) fn read(text: &str, spec: &Spec) -> Result<Self> {
        let unusable = |what: &str| Error::Unusable(format!("{}: {what}", spec.name));
        let saved: Self =
            serde_json::from_str(text).map_err(|_| unusable("its saved state cannot be read"))?;
        if saved.version != STATE_VERSION {
            return Err(unusable("its saved state is of another version of this program"));
        }
        // Each consumer follows the one before it.
        let digest = saved.digest.as_ref().map_or(0, |digest| digest.position);
        let file = saved.file.unwrap_or(saved.passed);
        let rewind = saved.rewind.as_ref().map_or(0, |rewind| rewind.position);
        let in_order = digest <= file && file <= saved.passed && rewind <= saved.passed;
        if saved.total != spec.total || saved.passed > saved.total || !in_order {
            return Err(unusable("its saved state does not fit the archive's size"));
        }
        Ok(saved)
    }
}

impl Saved {
    /// Goes on with a tar where it was; where what is there is not as it was left, at the last checkpoint before
    /// that.
    pub(super) fn take_up_untar(
        &mut self,
        name: &str,
        total: Option<u64>,
        spec: &UntarSpec,
        thorough: bool,
        job: &Job,
    ) -> Result<Untar> {
        let fitting = self.untar.clone().filter(|untar| untar.position == self.passed);
        let saved = fitting
            .ok_or_else(|| Error::Unusable(format!("{name}: its saved state is not one of unpacking")))?;
        let listing_bytes = saved.listing_bytes();
        let reason = match Untar::resume(name, total, spec, saved, thorough, job) {
            Err(Error::Unusable(reason)) => reason,
            other => return other,
        };
        let sound_bytes = spec.sound_bytes(listing_bytes, thorough, job)?;
        let reached = self.digest.as_ref().map_or(self.passed, |digest| digest.position);
        while let Some(checkpoint) = self.checkpoints.pop() {
            let untar = checkpoint.untar.clone();
            if untar.position > reached || untar.listing_bytes() > sound_bytes {
                continue;
            }
            match Untar::resume(name, total, spec, untar, thorough, job) {
                Err(Error::Unusable(_)) => {}
                Ok(resumed) => {
                    self.passed = resumed.position;
                    self.unpacked = resumed.files();
                    self.went_back = reached - resumed.position;
                    self.digest.clone_from(&checkpoint.digest);
                    self.untar = Some(checkpoint.untar.clone());
                    self.checkpoints.push(checkpoint);
                    return Ok(resumed);
                }
                other => return other,
            }
        }
        Err(Error::Unusable(reason))
    }
}

impl SavedDigest {
    fn of(hasher: &Hasher, position: u64, algorithm: Algorithm) -> Self {
        Self { algorithm: algorithm.name().into(), position, state: hasher.export().map(|state| hex(&state)) }
    }

    fn hasher(&self, algorithm: Algorithm) -> Option<Hasher> {
        if self.algorithm != algorithm.name() {
            return None;
        }
        Hasher::import(algorithm, &unhex(self.state.as_ref()?)?).ok()
    }
}

impl Archive {
    /// The state that goes into the journal, as JSON text.
    pub fn save(&mut self) -> String {
        self.mark();
        let digest = self.digest.as_ref().zip(self.algorithm);
        let mut marks = self.marks.clone();
        if let (Some((digest, _)), Some(_)) = (digest, &self.file) {
            marks.push(Mark { position: digest.position, digest: digest.inner.clone().finish() });
        }
        let saved = Saved {
            version: STATE_VERSION,
            total: self.total,
            passed: self.passed,
            unpacked: self.unpacked,
            file: self.file.as_ref().map(|file| file.position),
            digest: digest
                .map(|(digest, algorithm)| SavedDigest::of(&digest.inner, digest.position, algorithm)),
            marks,
            stream: self.saved_stream.clone(),
            rewind: self.rewind.as_ref().and_then(|rewind| {
                Some(SavedDigest::of(rewind.hasher.as_ref()?, rewind.start, self.algorithm?))
            }),
            untar: self.saved_untar.clone(),
            checkpoints: self.checkpoints.clone(),
            went_back: 0,
        };
        // A struct of numbers and strings always serialises.
        serde_json::to_string(&saved).unwrap_or_default()
    }

    /// Notes where the digest is, now and then.
    pub(super) fn mark(&mut self) {
        let (Some(digest), Some(_)) = (&self.digest, &self.file) else { return };
        self.marks.retain(|mark| mark.position <= digest.position);
        if digest.position >= self.next_mark() {
            let digest = Mark { position: digest.position, digest: digest.inner.clone().finish() };
            self.marks.push(digest);
        }
    }

    /// Where the next mark is due; only a part file has them.
    pub(super) fn next_mark(&self) -> u64 {
        if self.file.is_none() {
            return u64::MAX;
        }
        let apart = match self.total {
            UNKNOWN_BYTES => MARK_UNKNOWN_BYTES,
            total => (total / MARKS).max(MARK_LEAST_BYTES),
        };
        self.marks.last().map_or(0, |mark| mark.position) + apart
    }

    /// Notes a place to go back to, now and then.
    pub(super) fn check_point(&mut self) {
        // A part file has marks, and cannot be shortened to where nothing was proven.
        let (Some(untar), None) = (&self.saved_untar, &self.file) else { return };
        if self.pending.is_none() {
            let apart = match self.total {
                UNKNOWN_BYTES => MARK_UNKNOWN_BYTES,
                total => (total / CHECKPOINTS).max(CHECKPOINT_LEAST_BYTES),
            };
            let last = self.checkpoints.last().map_or(0, |checkpoint| checkpoint.untar.position);
            if untar.position < last.saturating_add(apart) {
                return;
            }
            self.pending = Some(untar.clone());
        }
        let position = self.digest.as_ref().map(|digest| digest.position);
        if let Some(pending) =
            self.pending.take_if(|pending| position.is_none_or(|at| at >= pending.position))
            && position.is_none_or(|at| at == pending.position)
        {
            let digest = self.digest.as_ref().zip(self.algorithm);
            let digest =
                digest.map(|(digest, algorithm)| SavedDigest::of(&digest.inner, digest.position, algorithm));
            self.checkpoints.push(Checkpoint { untar: pending, digest });
        }
    }

    /// Takes up `saved`.  With `thorough` nothing on disk is believed that is not read and proven: the
    /// machine may have lost what it had not written yet.
    pub(super) fn restore(&mut self, saved: &Saved, thorough: bool, job: &Job) -> Result<()> {
        self.passed = saved.passed;
        self.unpacked = saved.unpacked;
        match &self.file {
            Some(_) => self.restore_file(saved, thorough, job)?,
            None => self.restore_digest(saved)?,
        }
        self.restore_stream(saved, job)?;
        let frontier = self.frontier();
        let before = saved.digest.as_ref().map_or(saved.passed, |digest| digest.position);
        self.lost = before.min(saved.file.unwrap_or(saved.passed)).saturating_sub(frontier) + saved.went_back;
        self.checkpoints.clone_from(&saved.checkpoints);
        self.window = crate::window::Window::starting_at(frontier);
        self.arrived = frontier;
        self.announced = frontier;
        Ok(())
    }

    fn unusable(&self, what: &str) -> Error {
        Error::Unusable(format!("{}: {what}", self.name))
    }

    fn restore_digest(&mut self, saved: &Saved) -> Result<()> {
        let Some(algorithm) = self.algorithm else { return Ok(()) };
        let kept = saved.digest.as_ref();
        let found = kept.and_then(|kept| Some((kept.position, kept.hasher(algorithm)?)));
        let Some((position, hasher)) = found else {
            return Err(self.unusable("the earlier run did not compute this digest"));
        };
        if let Some(digest) = &mut self.digest {
            (digest.position, digest.inner) = (position, hasher);
        }
        Ok(())
    }

    fn restore_file(&mut self, saved: &Saved, thorough: bool, job: &Job) -> Result<()> {
        let Some(kept) = saved.file else {
            return Err(self.unusable("the earlier run did not keep the archive"));
        };
        let path = self.file_path.clone();
        let length = self.file.as_ref().map(|file| file.inner.metadata().map(|found| found.len()));
        let length = length.transpose().map_err(|source| Error::storage("read", &path, &source))?;
        let length = length.unwrap_or(0).min(kept);
        let end = if let Some(algorithm) = self.algorithm {
            let saved_digest = saved.digest.as_ref();
            let state = saved_digest.and_then(|kept| Some((kept.position, kept.hasher(algorithm)?)));
            let (position, hasher, file_end) = match state {
                Some((position, hasher)) if position <= length && !thorough => (position, hasher, length),
                // The state is of more than is there, or of a digest that nobody wanted before, or BLAKE3
                // keeps it to itself: read the file.
                _ => {
                    let same = saved_digest.is_some_and(|kept| kept.algorithm == algorithm.name());
                    if thorough && !same {
                        return Err(self.unusable("nothing tells whether its part file is still sound"));
                    }
                    let marks = if same { saved.marks.as_slice() } else { &[] };
                    let (position, hasher) = prove(&path, length, algorithm, marks, thorough, job)?;
                    (position, hasher, position)
                }
            };
            if let Some(digest) = &mut self.digest {
                (digest.position, digest.inner) = (position, hasher);
            }
            self.marks = saved.marks.iter().filter(|mark| mark.position <= position).cloned().collect();
            file_end
        } else if thorough {
            return Err(self.unusable("nothing tells whether its part file is still sound"));
        } else {
            length
        };
        if let Some(file) = &mut self.file {
            file.inner.set_len(end).map_err(|source| Error::storage("write", &path, &source))?;
            file.position = end;
        }
        if self.unpacking.is_none() && matches!(self.untar, UntarSlot::None) {
            self.passed = self.passed.min(end);
        }
        Ok(())
    }

    fn restore_stream(&mut self, saved: &Saved, job: &Job) -> Result<()> {
        let (Some(saved_stream), Some(unpacking)) = (&saved.stream, self.unpacking.clone()) else {
            return Ok(());
        };
        let directory = &unpacking.directory;
        if saved_stream.index() >= directory.len() {
            return Err(self.unusable("its saved state has a member that the archive has not"));
        }
        let start = directory.extent(saved_stream.index()).0;
        let hasher = match (&saved.rewind, self.algorithm) {
            (Some(rewind), Some(algorithm)) if rewind.position == start => rewind.hasher(algorithm),
            _ => None,
        };
        // BLAKE3 cannot go back; with a file, its start can be hashed again.
        if (self.algorithm.is_some() && hasher.is_none()) || start > saved.passed {
            return Err(self.unusable("its saved state has no way back"));
        }
        // It may have ended after the journal was written, and what was to go on from is gone since.
        if is_whole(directory, saved_stream.index(), &unpacking.staging, &unpacking.records, job)? {
            self.unpacked += 1;
            self.passed = self.passed.max(directory.extent(saved_stream.index()).1);
            return Ok(());
        }
        let stream = if saved_stream.position() == saved.passed {
            Stream::resume(directory, saved_stream, &unpacking.staging, &unpacking.spool, job)?
        } else {
            None
        };
        if let Some(stream) = stream {
            self.rewind = Some(Rewind { start, hasher });
            self.streaming = Some(stream.index);
            self.saved_stream = Some(stream.save());
            self.stream = StreamSlot::Waiting(Box::new(stream));
        } else {
            self.go_back(Rewind { start, hasher });
        }
        Ok(())
    }
}

/// How far the file at `path` is a beginning of what was written, and its digest there.  Each mark on the way
/// must be met; beyond the last one the file is believed unless `thorough`.
fn prove(
    path: &std::path::Path,
    length: u64,
    algorithm: Algorithm,
    marks: &[Mark],
    thorough: bool,
    job: &Job,
) -> Result<(u64, Hasher)> {
    let refused = |source: std::io::Error| Error::storage("read", path, &source);
    let mut file = std::fs::File::open(path).map_err(refused)?;
    if thorough {
        forget_cached(&file);
    }
    let mut position = 0;
    let mut hasher = Hasher::new(algorithm);
    for mark in marks.iter().filter(|mark| mark.position <= length) {
        let mut ahead = hasher.clone();
        let span = mark.position.saturating_sub(position);
        let read = read_on(&mut file, path, span, job, |data| ahead.update(data));
        job.check()?;
        // A disk that cannot read on has lost the rest, like one that reads something else.
        if !matches!(read, Ok(count) if count == span) || ahead.clone().finish() != mark.digest {
            return Ok((position, hasher));
        }
        (position, hasher) = (mark.position.max(position), ahead);
    }
    if !thorough {
        position += read_on(&mut file, path, length - position, job, |data| hasher.update(data))?;
    }
    Ok((position, hasher))
}
