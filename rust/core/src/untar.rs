//! What is unpacked in the order of its bytes: a tar's members, or a plain file, which is a member of none.
//!
//! Neither says in advance what lies where, and a tar's members have no checksums of their own.  So the bytes
//! go by once, in order; what they were is known when the archive's digest is.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Hasher, hex, unhex};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::listing::{self, Line, Listing};
use crate::name;
use crate::names::Names;
use crate::policy::Policy;
use crate::staging::Staging;
use crate::tar::{Event, Reader, SavedReader};

/// Where it goes, and what it may be.
#[derive(Debug, Clone)]
pub struct UntarSpec {
    pub staging: Arc<Staging>,
    /// Where the list of what was unpacked goes.
    pub records: PathBuf,
    pub names: Arc<Names>,
    /// The archive's number among those that share `names`.
    pub number: u32,
    pub policy: Policy,
    /// The name of a plain file; None for a tar.
    pub plain: Option<String>,
}

pub struct Untar {
    /// Offset in the archive of the next byte that is wanted.
    pub position: u64,
    pub is_finished: bool,
    content: Content,
    sink: Sink,
}

enum Content {
    Tar(Box<Reader>),
    Plain,
}

/// Where members go, one after the other.
struct Sink {
    staging: Arc<Staging>,
    listing: Listing,
    open: Option<Open>,
    files: u64,
}

/// The file whose data are coming.
struct Open {
    name: String,
    file: File,
    path: PathBuf,
    written: u64,
    sha256: Hasher,
}

/// What goes on at the very byte where it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedUntar {
    pub position: u64,
    is_finished: bool,
    files: u64,
    listing_bytes: u64,
    reader: Option<SavedReader>,
    open: Option<SavedOpen>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedOpen {
    name: String,
    written: u64,
    sha256: String,
}

impl Untar {
    /// Begins with the first byte of `archive`, which has `total` bytes if that is known.
    ///
    /// # Errors
    /// `Storage`; `Member` when a plain file's name is not free.
    pub fn begin(archive: &str, total: Option<u64>, spec: &UntarSpec) -> Result<Self> {
        spec.names.forget(spec.number);
        let mut sink = Sink {
            staging: Arc::clone(&spec.staging),
            listing: Listing::open(&spec.records, 0)?,
            open: None,
            files: 0,
        };
        let content = if let Some(name) = &spec.plain {
            spec.claim_plain(archive, name)?;
            sink.begin(name.clone())?;
            Content::Plain
        } else {
            let names = Arc::clone(&spec.names);
            Content::Tar(Box::new(Reader::new(archive, spec.number, spec.policy, names, total)))
        };
        Ok(Self { position: 0, is_finished: false, content, sink })
    }

    /// Goes on where `saved` was.  What is on disk is looked at first: by size, with `thorough` by every byte.
    ///
    /// # Errors
    /// `Unusable` when it cannot be: a tar's beginning cannot be fetched again in parts, since nothing tells
    /// what lies where.  `Storage`, `Cancelled`.
    pub fn resume(
        archive: &str,
        total: Option<u64>,
        spec: &UntarSpec,
        saved: SavedUntar,
        thorough: bool,
        job: &Job,
    ) -> Result<Self> {
        let unusable = |what: &str| Error::Unusable(format!("{archive}: {what}"));
        let found =
            spec.look_at(archive, &Scope { upto: saved.listing_bytes, thorough, ..Scope::default() }, job)?;
        if found.files != saved.files {
            return Err(unusable("its list of unpacked files is not the one that was saved"));
        }
        let open = saved.open.map(|open| open.reopen(archive, spec, job)).transpose()?;
        let content = match (saved.reader, &spec.plain) {
            (None, Some(_)) => Content::Plain,
            (Some(reader), None) => {
                let names = Arc::clone(&spec.names);
                let reader =
                    Reader::resume(reader, saved.position, archive, spec.number, spec.policy, names, total);
                Content::Tar(Box::new(reader.ok_or_else(|| unusable("its saved state is of no tar"))?))
            }
            _ => return Err(unusable("its saved state is of another kind of file")),
        };
        let fits = match (&content, &open) {
            (Content::Tar(reader), None) => reader.in_file().is_none(),
            (Content::Tar(reader), Some(open)) => {
                reader.in_file() == Some((open.name.as_str(), open.written))
            }
            (Content::Plain, None) => saved.is_finished,
            (Content::Plain, Some(open)) => open.written == saved.position && !saved.is_finished,
        };
        if !fits {
            return Err(unusable("its saved state does not fit together"));
        }
        let listing = Listing::open(&spec.records, saved.listing_bytes)?;
        let sink = Sink { staging: Arc::clone(&spec.staging), listing, open, files: saved.files };
        Ok(Self { position: saved.position, is_finished: saved.is_finished, content, sink })
    }

    #[must_use]
    pub fn save(&self) -> SavedUntar {
        SavedUntar {
            position: self.position,
            is_finished: self.is_finished,
            files: self.sink.files,
            listing_bytes: self.sink.listing.bytes(),
            reader: match &self.content {
                Content::Tar(reader) => Some(reader.save()),
                Content::Plain => None,
            },
            open: self.sink.open.as_ref().map(Open::save),
        }
    }

    /// Takes the chunks that follow `position`.
    ///
    /// # Errors
    /// `Member`, `Archive`, `Storage`, `Cancelled`; it is of no use any more then.
    pub fn push(&mut self, chunks: &[Bytes], job: &Job) -> Result<()> {
        for chunk in chunks {
            job.check()?;
            self.push_chunk(chunk)?;
            self.position += chunk.len() as u64;
        }
        self.sink.listing.flush()
    }

    fn push_chunk(&mut self, chunk: &[u8]) -> Result<()> {
        let Content::Tar(reader) = &mut self.content else { return self.sink.data(chunk) };
        reader.arrived(self.position + chunk.len() as u64);
        let mut rest = chunk;
        while let Some(event) = reader.step(&mut rest)? {
            match event {
                Event::Directory(member) => self.sink.folder(member.name)?,
                Event::File(member) => self.sink.begin(member.name)?,
                Event::Data(data) => self.sink.data(data)?,
                Event::FileEnd => self.sink.end(),
            }
        }
        Ok(())
    }

    /// There is nothing behind `position`.
    ///
    /// # Errors
    /// `Member` or `Archive`, when a tar is not at its end; `Storage`.
    pub fn finish(&mut self) -> Result<()> {
        match &self.content {
            Content::Tar(reader) => reader.finish()?,
            Content::Plain => self.sink.end(),
        }
        self.is_finished = true;
        self.sink.listing.flush()
    }

    /// Files that are unpacked.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.sink.files
    }
}

impl Sink {
    fn folder(&mut self, name: String) -> Result<()> {
        if !name.is_empty() {
            self.staging.make_directory(&name)?;
            self.listing.put(&Line { name, bytes: 0, sha256: None });
        }
        Ok(())
    }

    fn begin(&mut self, name: String) -> Result<()> {
        let file = self.staging.create(&name)?;
        let path = self.staging.path(&name);
        self.open = Some(Open { name, file, path, written: 0, sha256: Hasher::new(Algorithm::Sha256) });
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.write_all(data).map_err(|source| Error::storage("write", &open.path, &source))?;
        open.sha256.update(data);
        open.written += data.len() as u64;
        Ok(())
    }

    fn end(&mut self) {
        if let Some(open) = self.open.take() {
            let sha256 = Some(open.sha256.finish());
            self.listing.put(&Line { name: open.name, bytes: open.written, sha256 });
            self.files += 1;
        }
    }
}

impl Open {
    fn save(&self) -> SavedOpen {
        let sha256 = self.sha256.export().map(|state| hex(&state)).unwrap_or_default();
        SavedOpen { name: self.name.clone(), written: self.written, sha256 }
    }
}

impl SavedUntar {
    #[must_use]
    pub fn listing_bytes(&self) -> u64 {
        self.listing_bytes
    }
}

impl SavedOpen {
    fn reopen(self, archive: &str, spec: &UntarSpec, job: &Job) -> Result<Open> {
        let lost = || Error::Unusable(format!("{archive}: {} is not as it was left", self.name));
        spec.claim(archive, &self.name)?;
        if spec.staging.size(&self.name).is_none_or(|size| size < self.written) {
            return Err(lost());
        }
        let state = unhex(&self.sha256).ok_or_else(lost)?;
        // Always: the manifest will have this SHA-256, and the archive's digest does not vouch for it.
        let found = listing::hash(&spec.staging, &self.name, self.written, job)?;
        if found.and_then(|found| found.export()).is_none_or(|found| found != state) {
            return Err(lost());
        }
        let sha256 = Hasher::import(Algorithm::Sha256, &state)?;
        let mut file = spec.staging.reopen(&self.name)?;
        let path = spec.staging.path(&self.name);
        let refused = |source: std::io::Error| Error::storage("resume", &path, &source);
        file.set_len(self.written).map_err(refused)?;
        file.seek(SeekFrom::Start(self.written)).map_err(refused)?;
        Ok(Open { name: self.name, file, path, written: self.written, sha256 })
    }
}

/// How much of a list is looked at, and how closely.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Bytes of the list.
    pub upto: u64,
    /// Every byte of the files, not only their sizes.
    pub thorough: bool,
    pub workers: usize,
    /// Files that are not to be there.
    pub without: HashSet<String>,
}

impl Default for Scope {
    fn default() -> Self {
        Self { upto: u64::MAX, thorough: false, workers: 1, without: HashSet::new() }
    }
}

/// What an earlier run has unpacked, all of it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub files: u64,
    pub bytes: u64,
}

impl UntarSpec {
    /// Looks at what the list says is unpacked, as far as `scope` goes, and takes those names.
    ///
    /// # Errors
    /// `Unusable` when anything of it is gone or damaged, or not this archive's to have; `Storage`, `Cancelled`.
    pub fn look_at(&self, archive: &str, scope: &Scope, job: &Job) -> Result<Found> {
        self.names.forget(self.number);
        let mut lines = match listing::read(&self.records, scope.upto) {
            Err(Error::Storage { .. }) => {
                return Err(Error::Unusable(format!("{archive}: its list of unpacked files is gone")));
            }
            other => other?,
        };
        lines.retain(|line| !scope.without.contains(&line.name));
        let lost = listing::count_lost(&lines, &self.staging, scope.thorough, scope.workers, job)?;
        if lost > 0 {
            return Err(Error::Unusable(format!(
                "{archive}: {lost} of the files that were unpacked are gone or damaged on disk"
            )));
        }
        let mut found = Found { files: 0, bytes: 0 };
        for line in &lines {
            if line.sha256.is_some() {
                found = Found { files: found.files + 1, bytes: found.bytes.saturating_add(line.bytes) };
                self.claim(archive, &line.name)?;
            } else {
                self.names
                    .claim_folder(self.number, &line.name)
                    .map_err(|reason| unfree(archive, &line.name, reason))?;
            }
        }
        Ok(found)
    }

    /// How far the list goes before the first file that is not as it was left.
    ///
    /// # Errors
    /// `Storage`, `Cancelled`.
    pub fn sound_bytes(&self, upto: u64, thorough: bool, job: &Job) -> Result<u64> {
        listing::sound_bytes(&self.records, upto, &self.staging, thorough, job)
    }

    /// Takes a name that was taken before: that of a file in the saved state.
    fn claim(&self, archive: &str, name: &str) -> Result<()> {
        name::check(name, self.policy.portable_names)
            .and_then(|()| self.names.claim_file(self.number, name))
            .map(drop)
            .map_err(|reason| unfree(archive, name, reason))
    }

    fn claim_plain(&self, archive: &str, name: &str) -> Result<()> {
        name::check(name, self.policy.portable_names)
            .and_then(|()| self.names.claim_file(self.number, name))
            .map(drop)
            .map_err(|reason| Error::Member {
                archive: archive.to_owned(),
                member: name.to_owned(),
                offset: 0,
                reason: reason.into(),
            })
    }
}

fn unfree(archive: &str, name: &str, reason: &str) -> Error {
    Error::Unusable(format!("{archive}: {name}: {reason}"))
}

#[cfg(test)]
#[path = "untar_tests.rs"]
mod tests;
