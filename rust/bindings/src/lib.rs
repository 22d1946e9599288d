//! `fdf256_fast._core`: each function parses, lets go of the GIL, calls the core, converts.

#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]

mod audit;
mod errors;
mod extraction;
mod head;
mod metadata;
mod reading;
mod receiver;
mod tls;
mod untar;

use std::collections::HashSet;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fdf256_core::digest::Algorithm;
use fdf256_core::engine::{self, Event, Spec, UNKNOWN_BYTES, UnpackSpec};
use fdf256_core::intake::End;
use fdf256_core::{manifest, policy, space, staging, survey, zip};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use errors::to_python;

type Gap = (u64, u64);

#[pyclass(frozen, module = "fdf256_fast._core")]
#[derive(Default)]
struct Job(fdf256_core::Job);

#[pymethods]
impl Job {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

#[pyclass(frozen, module = "fdf256_fast._core")]
struct Policy(policy::Policy);

#[pymethods]
impl Policy {
    #[new]
    #[pyo3(signature = (*, max_ratio=policy::RATIO_MAX, max_unpacked_bytes=None, max_members=policy::MEMBERS_MAX,
                        portable_names=true))]
    fn new(max_ratio: u64, max_unpacked_bytes: Option<u64>, max_members: u64, portable_names: bool) -> Self {
        Self(policy::Policy {
            ratio_max: max_ratio,
            unpacked_bytes_max: max_unpacked_bytes.unwrap_or(u64::MAX),
            members_max: max_members,
            portable_names,
        })
    }
}

#[pyclass(frozen, module = "fdf256_fast._core")]
struct Directory(Arc<zip::Directory>);

#[pymethods]
impl Directory {
    #[staticmethod]
    #[pyo3(signature = (archive, tail, total, policy=None))]
    fn parse(
        py: Python<'_>,
        archive: &str,
        tail: Bytes,
        total: u64,
        policy: Option<&Policy>,
    ) -> PyResult<Py<PyAny>> {
        let policy = policy.map_or_else(policy::Policy::default, |policy| policy.0);
        let parsed = py.detach(|| zip::Directory::parse(archive, &tail, total, &policy));
        match parsed.map_err(|error| to_python(py, error))? {
            zip::Parsed::Complete(directory) => Ok(Py::new(py, Self(Arc::new(directory)))?.into_any()),
            zip::Parsed::NeedFrom(offset) => Ok(offset.into_pyobject(py)?.into_any().unbind()),
        }
    }

    #[staticmethod]
    fn check_disjoint(py: Python<'_>, directories: Vec<Py<Self>>) -> PyResult<()> {
        let shared: Vec<_> = directories.iter().map(|directory| Arc::clone(&directory.get().0)).collect();
        py.detach(|| zip::check_disjoint(&shared.iter().map(AsRef::as_ref).collect::<Vec<_>>()))
            .map_err(|error| to_python(py, error))
    }

    fn extents(&self, members: Vec<usize>) -> Vec<Gap> {
        members.into_iter().filter(|&index| index < self.0.len()).map(|index| self.0.extent(index)).collect()
    }

    fn names(&self, py: Python<'_>) -> Vec<String> {
        py.detach(|| (0..self.0.len()).map(|index| self.0.entry(index).name()).collect())
    }

    #[pyo3(signature = (block_bytes, members=None))]
    fn disk_bytes(&self, py: Python<'_>, block_bytes: u64, members: Option<Vec<usize>>) -> PyResult<u64> {
        let members = members.map(|members| self.sound(members)).transpose()?;
        Ok(py.detach(|| space::disk_bytes(&self.0, members.as_deref(), block_bytes)))
    }

    #[expect(clippy::too_many_arguments, reason = "arguments of one Python call")]
    fn survey(
        &self,
        py: Python<'_>,
        job: &Job,
        members: Vec<usize>,
        target: PathBuf,
        manifest: Option<PathBuf>,
        damaged: HashSet<String>,
        records: PathBuf,
    ) -> PyResult<(Vec<usize>, Vec<usize>, Vec<usize>)> {
        let (job, members) = (job.0.clone(), self.sound(members)?);
        py.detach(|| {
            survey::survey(&self.0, &members, &target, manifest.as_deref(), &damaged, &records, &job)
        })
        .map(|found| (found.listed, found.broken, found.unlisted))
        .map_err(|error| to_python(py, error))
    }

    fn spool_bytes(&self, py: Python<'_>, window_bytes: u64) -> u64 {
        py.detach(|| space::spool_bytes(&self.0, window_bytes))
    }

    #[getter]
    fn members(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn files(&self) -> usize {
        self.0.files()
    }

    #[getter]
    fn unpacked_bytes(&self) -> u64 {
        self.0.unpacked_bytes()
    }

    #[getter]
    fn start(&self) -> u64 {
        self.0.start()
    }

    #[getter]
    fn total(&self) -> u64 {
        self.0.total()
    }
}

impl Directory {
    /// Numbers of members, which must be some of this archive's.
    fn sound(&self, members: Vec<usize>) -> PyResult<Vec<usize>> {
        if members.is_sorted() && members.last().is_none_or(|&last| last < self.0.len()) {
            Ok(members)
        } else {
            Err(PyValueError::new_err(
                "members must be numbers of this archive's members, in ascending order",
            ))
        }
    }
}

#[pyclass(frozen, module = "fdf256_fast._core")]
struct Staging(Arc<staging::Staging>);

#[pymethods]
impl Staging {
    #[new]
    #[pyo3(signature = (root, *, read_only=false))]
    fn new(py: Python<'_>, root: PathBuf, read_only: bool) -> PyResult<Self> {
        let opened = py.detach(|| {
            if read_only { Ok(staging::Staging::read_only(&root)) } else { staging::Staging::open(&root) }
        });
        opened.map(|staging| Self(Arc::new(staging))).map_err(|error| to_python(py, error))
    }
}

#[pyclass(frozen, module = "fdf256_fast._core")]
struct Engine(Arc<engine::Engine>);

#[pymethods]
impl Engine {
    #[new]
    fn new(py: Python<'_>, job: &Job, workers: usize) -> PyResult<Self> {
        let engine = engine::Engine::start(&job.0, workers).map_err(|error| to_python(py, error))?;
        Ok(Self(Arc::new(engine)))
    }

    #[pyo3(signature = (
        name, total, window_bytes, *,
        file=None, digest=None, unpack=None, untar=None, saved=None, thorough=false, redo=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python call")]
    fn add(
        &self,
        py: Python<'_>,
        name: String,
        total: Option<u64>,
        window_bytes: u64,
        file: Option<PathBuf>,
        digest: Option<(String, Option<String>)>,
        unpack: Option<(Py<Directory>, Py<Staging>, PathBuf, PathBuf)>,
        untar: Option<Py<untar::Untar>>,
        saved: Option<String>,
        thorough: bool,
        redo: Option<Vec<usize>>,
    ) -> PyResult<usize> {
        let unpack = unpack.map(|(directory, staging, records, spool)| UnpackSpec {
            directory: Arc::clone(&directory.get().0),
            staging: Arc::clone(&staging.get().0),
            records,
            spool,
        });
        let untar = untar.map(|untar| untar.get().0.clone());
        let total = total.unwrap_or(UNKNOWN_BYTES);
        py.detach(|| {
            let digest =
                digest.map(|(algorithm, value)| Ok((Algorithm::parse(&algorithm)?, value))).transpose()?;
            let spec = Spec { name, total, window_bytes, file, digest, unpack, untar, thorough, redo };
            self.0.add(spec, saved.as_deref())
        })
        .map_err(|error| to_python(py, error))
    }

    fn lost(&self, archive: usize) -> u64 {
        self.0.lost(archive)
    }

    #[pyo3(signature = (directory, staging, records, workers, *, saved=None, members=None, thorough=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python call")]
    fn recheck(
        &self,
        py: Python<'_>,
        directory: Py<Directory>,
        staging: Py<Staging>,
        records: PathBuf,
        workers: usize,
        saved: Option<String>,
        members: Option<Vec<usize>>,
        thorough: bool,
    ) -> PyResult<(Vec<usize>, usize)> {
        let members = members.map(|members| directory.get().sound(members)).transpose()?;
        let (directory, staging) = (Arc::clone(&directory.get().0), Arc::clone(&staging.get().0));
        py.detach(|| {
            let unpacked =
                engine::Unpacked { directory: &directory, staging: &staging, records: &records, workers };
            match members {
                Some(members) => self.0.recheck_members(&unpacked, &members, thorough),
                None => self.0.recheck(&unpacked, saved.as_deref(), thorough),
            }
        })
        .map(|lost| (lost.members, lost.unrecorded))
        .map_err(|error| to_python(py, error))
    }

    /// The GIL stays held: the call takes about a microsecond, giving it up and taking it back costs more.
    fn write(&self, archive: usize, offset: u64, data: Bytes) {
        self.0.write(archive, offset, &data);
    }

    fn receiver(&self) -> receiver::Receiver {
        receiver::Receiver::new(Arc::clone(&self.0))
    }

    #[getter]
    fn poured_handle(&self) -> Option<i32> {
        self.0.intake().map(|intake| intake.news().as_raw_fd())
    }

    fn poured(&self) -> Vec<(u64, i32)> {
        let ended = self.0.intake().map(|intake| intake.ended()).unwrap_or_default();
        let outcome = |end| match end {
            End::Complete => 0,
            End::Closed => -1,
            End::Garbled => -2,
            End::Broken(errno) => errno,
        };
        ended.into_iter().map(|(number, end)| (number, outcome(end))).collect()
    }

    fn read_local(
        &self,
        py: Python<'_>,
        archive: usize,
        path: PathBuf,
        start: u64,
        end: u64,
    ) -> PyResult<()> {
        py.detach(|| self.0.read_local(archive, &path, start, end)).map_err(|error| to_python(py, error))
    }

    fn set_total(&self, archive: usize, total: u64) {
        self.0.set_total(archive, total);
    }

    fn set_window(&self, archive: usize, window_bytes: u64) {
        self.0.set_window(archive, window_bytes);
    }

    /// For how long, all in all, a worker has had nothing to do but to wait for bytes, in seconds.
    fn hungry(&self) -> f64 {
        self.0.hungry().as_secs_f64()
    }

    fn abandon(&self, archive: usize) {
        self.0.abandon(archive);
    }

    fn rest(&self, py: Python<'_>, archive: usize) {
        py.detach(|| self.0.rest(archive));
    }

    fn wait<'py>(&self, py: Python<'py>, seconds: f64) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let patience = Duration::from_secs_f64(seconds.clamp(0.0, 3600.0));
        let events = py.detach(|| self.0.wait(patience)).map_err(|error| to_python(py, error))?;
        events.into_iter().map(|event| event_tuple(py, event)).collect()
    }

    fn status(&self, archive: usize) -> (u64, u64, u64, bool) {
        let status = self.0.status(archive);
        (status.arrived, status.frontier, status.unpacked, status.finished)
    }

    fn missing(&self, archive: usize, start: u64, end: u64) -> Vec<Gap> {
        self.0.missing(archive, start, end)
    }

    fn save(&self, archive: usize) -> String {
        self.0.save(archive)
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    fn catch_up(&self, py: Python<'_>, seconds: f64) {
        let patience = Duration::from_secs_f64(seconds.clamp(0.0, 3600.0));
        py.detach(|| self.0.catch_up(patience));
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

fn event_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Moved => ("moved",).into_pyobject(py),
        Event::Damaged { archive, start, end, error } => {
            ("damaged", archive, start, end, to_python(py, error)).into_pyobject(py)
        }
        Event::Finished { archive, digest } => ("finished", archive, digest).into_pyobject(py),
        Event::Failed { archive, error } => ("failed", archive, to_python(py, error)).into_pyobject(py),
    }
}

/// The digest of a whole file, in hexadecimal.
#[pyfunction]
fn hash_file(py: Python<'_>, job: &Job, path: PathBuf, algorithm: &str) -> PyResult<String> {
    let job = job.0.clone();
    py.detach(|| {
        let hasher = fdf256_core::digest::hash_file(&path, u64::MAX, Algorithm::parse(algorithm)?, &job)?;
        Ok(hasher.finish())
    })
    .map_err(|error| to_python(py, error))
}

/// Writes the manifest of all archives; returns the number of files.
#[pyfunction]
fn write_manifest(
    py: Python<'_>,
    path: PathBuf,
    parts: Vec<(Py<Directory>, PathBuf, Option<Vec<usize>>)>,
) -> PyResult<u64> {
    let mut shared = Vec::new();
    for (directory, records, members) in parts {
        let members = members.map(|members| directory.get().sound(members)).transpose()?;
        shared.push((Arc::clone(&directory.get().0), records, members));
    }
    py.detach(|| {
        let parts: Vec<_> = shared
            .iter()
            .map(|(directory, records, members)| manifest::Part {
                directory,
                records,
                members: members.as_deref(),
            })
            .collect();
        manifest::write(&path, &parts)
    })
    .map_err(|error| to_python(py, error))
}

/// Waits until the file system that holds `path` has everything on its disk.
#[pyfunction]
fn sync_file_system(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    py.detach(|| space::sync_file_system(&path)).map_err(|error| to_python(py, error))
}

#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{
        Directory, Engine, Job, Policy, Staging, audit::Audit, audit::SizeLines, audit::parse_sums,
        extraction::LocalArchive, extraction::Names, hash_file, head::parse_head, metadata::MetadataRecords,
        metadata::search_metadata, reading::entry_offsets, reading::statistics, receiver::Receiver,
        sync_file_system, tls::TlsPeer, tls::TlsSession, untar::Untar, untar::append_sums, write_manifest,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
