//! What has no directory: tars and plain files.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use fdf256_core::listing;
use fdf256_core::untar::{Scope, UntarSpec};
use pyo3::prelude::*;

use crate::errors::to_python;
use crate::extraction::Names;
use crate::{Job, Policy, Staging};

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct Untar(pub(crate) UntarSpec);

#[pymethods]
impl Untar {
    #[new]
    #[pyo3(signature = (staging, records, names, number, policy, plain=None))]
    fn new(
        staging: &Staging,
        records: PathBuf,
        names: &Names,
        number: u32,
        policy: &Policy,
        plain: Option<String>,
    ) -> Self {
        let (staging, names) = (Arc::clone(&staging.0), Arc::clone(&names.0));
        Self(UntarSpec { staging, records, names, number, policy: policy.0, plain })
    }

    #[pyo3(signature = (job, archive, workers, *, thorough=false, without=HashSet::new()))]
    fn look_at(
        &self,
        py: Python<'_>,
        job: &Job,
        archive: &str,
        workers: usize,
        thorough: bool,
        without: HashSet<String>,
    ) -> PyResult<(u64, u64)> {
        let job = job.0.clone();
        let scope = Scope { thorough, workers, without, ..Scope::default() };
        py.detach(|| self.0.look_at(archive, &scope, &job))
            .map(|found| (found.files, found.bytes))
            .map_err(|error| to_python(py, error))
    }
}

/// Adds the files of a listing to a manifest; returns how many.
#[pyfunction]
#[pyo3(signature = (path, records, without=HashSet::new()))]
pub(crate) fn append_sums(
    py: Python<'_>,
    path: PathBuf,
    records: PathBuf,
    without: HashSet<String>,
) -> PyResult<u64> {
    py.detach(|| listing::append_sums(&path, &records, &without)).map_err(|error| to_python(py, error))
}
