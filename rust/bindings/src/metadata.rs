//! Metadata files: `fdf256 search-user`, `fdf256 credits`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use fdf256_core::search::{self, Query, Record};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::Job;
use crate::errors::to_python;

type Records<'py> = Vec<Bound<'py, PyTuple>>;

/// A Python string, which may hold half a surrogate pair.
fn text<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match str::from_utf8(text) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => PyBytes::new(py, text).call_method1("decode", ("utf-8", "surrogatepass")),
    }
}

fn tuples(py: Python<'_>, records: Vec<Record>) -> PyResult<Records<'_>> {
    let tuple = |record: Record| {
        let texts = [&record.number].into_iter().chain(&record.fields).map(|bytes| text(py, bytes));
        PyTuple::new(py, texts.collect::<PyResult<Vec<_>>>()?)
    };
    records.into_iter().map(tuple).collect()
}

#[pyfunction]
#[pyo3(signature = (job, path, workers, *, users, authors, photo_urls))]
pub(crate) fn search_metadata<'py>(
    py: Python<'py>,
    job: &Job,
    path: PathBuf,
    workers: usize,
    users: Vec<Vec<u8>>,
    authors: Vec<String>,
    photo_urls: Vec<Vec<u8>>,
) -> PyResult<(u64, u64, Records<'py>)> {
    let job = job.0.clone();
    let query = Query::new(users, &authors, &photo_urls);
    let (found, scanned) =
        py.detach(|| query.run(&path, workers, &job)).map_err(|error| to_python(py, error))?;
    Ok((scanned.entries, scanned.bytes, tuples(py, found)?))
}

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct MetadataRecords {
    records: Mutex<search::Records>,
    entries: u64,
}

#[pymethods]
impl MetadataRecords {
    #[staticmethod]
    fn open(py: Python<'_>, job: &Job, path: PathBuf, workers: usize) -> PyResult<Self> {
        let job = job.0.clone();
        let records = py
            .detach(|| search::Records::open(&path, workers, &job))
            .map_err(|error| to_python(py, error))?;
        Ok(Self { entries: records.entries, records: Mutex::new(records) })
    }

    fn next<'py>(&self, py: Python<'py>, job: &Job) -> PyResult<Records<'py>> {
        let job = job.0.clone();
        let records = py
            .detach(|| self.records.lock().unwrap_or_else(PoisonError::into_inner).next(&job))
            .map_err(|error| to_python(py, error))?;
        tuples(py, records)
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.entries
    }
}
