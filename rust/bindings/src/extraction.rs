//! Local archives: `fdf256 extract`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fdf256_core::digest::Algorithm;
use fdf256_core::extract::{self, Goal};
use fdf256_core::names;
use pyo3::prelude::*;

use crate::errors::to_python;
use crate::untar::Untar;
use crate::{Directory, Job, Policy, Staging};

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct Names(pub(crate) Arc<names::Names>);

#[pymethods]
impl Names {
    #[new]
    fn new(portable: bool) -> Self {
        Self(Arc::new(names::Names::new(portable)))
    }

    fn claim(&self, py: Python<'_>, job: &Job, directory: &Directory, number: u32) -> PyResult<()> {
        let (job, directory) = (job.0.clone(), Arc::clone(&directory.0));
        py.detach(|| self.0.claim_directory(number, &directory, &job)).map_err(|error| to_python(py, error))
    }
}

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct LocalArchive(Arc<extract::LocalArchive>);

#[pymethods]
impl LocalArchive {
    #[staticmethod]
    fn open(py: Python<'_>, job: &Job, path: PathBuf, name: &str, policy: &Policy) -> PyResult<Self> {
        let (job, policy) = (job.0.clone(), policy.0);
        py.detach(|| extract::LocalArchive::open(&path, name, policy, &job))
            .map(|archive| Self(Arc::new(archive)))
            .map_err(|error| to_python(py, error))
    }

    fn claim(&self, py: Python<'_>, job: &Job, names: &Names, number: u32) -> PyResult<()> {
        let (job, names) = (job.0.clone(), Arc::clone(&names.0));
        py.detach(|| self.0.claim(&names, number, &job)).map_err(|error| to_python(py, error))
    }

    #[pyo3(signature = (job, staging, names, number, workers, digest=None))]
    #[expect(clippy::too_many_arguments, reason = "arguments of one Python call")]
    fn unpack(
        &self,
        py: Python<'_>,
        job: &Job,
        staging: &Staging,
        names: &Names,
        number: u32,
        workers: usize,
        digest: Option<(String, String)>,
    ) -> PyResult<()> {
        let job = job.0.clone();
        let (staging, names) = (Arc::clone(&staging.0), Arc::clone(&names.0));
        py.detach(|| {
            let digest =
                digest.map(|(algorithm, value)| Ok((Algorithm::parse(&algorithm)?, value))).transpose()?;
            self.0.unpack(&Goal { staging, names, number, workers, digest }, &job)
        })
        .map_err(|error| to_python(py, error))
    }

    fn untar(&self, py: Python<'_>, job: &Job, untar: &Untar, workers: usize) -> PyResult<u64> {
        let (job, spec) = (job.0.clone(), untar.0.clone());
        py.detach(|| self.0.untar(&spec, workers, &job)).map_err(|error| to_python(py, error))
    }

    fn status(&self) -> (u64, u64, u64, u64) {
        let counters = self.0.counters();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        (
            read(&counters.read_bytes),
            read(&counters.members),
            read(&counters.files),
            read(&counters.unpacked_bytes),
        )
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.format().name()
    }

    #[getter]
    fn verified(&self) -> &'static str {
        self.0.verified()
    }

    #[getter]
    fn total(&self) -> Option<u64> {
        self.0.total()
    }

    #[getter]
    fn members(&self) -> Option<usize> {
        self.0.directory().map(fdf256_core::zip::Directory::len)
    }

    #[getter]
    fn unpacked_bytes(&self) -> Option<u64> {
        self.0.directory().map(fdf256_core::zip::Directory::unpacked_bytes)
    }
}
