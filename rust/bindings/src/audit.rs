//! Trees held against lists of digests: `fdf256 verify`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fdf256_core::audit::{self, Fault, Order, sizes};
use fdf256_core::digest::Algorithm;
use fdf256_core::sums::{Problem, Reading, Sums};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::Job;
use crate::errors::to_python;

/// Number, text and reason of a line that is none.
type Told = (usize, String, String);
/// Name and `algorithm:hex`.
type Named = (OsString, String);

fn text(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

fn reading(
    is_manifest: bool,
    algorithm: Option<&str>,
    is_sure: bool,
    lone_name: Option<OsString>,
) -> fdf256_core::Result<Reading> {
    let algorithm = algorithm.map(Algorithm::parse).transpose()?;
    Ok(Reading { is_manifest, algorithm, is_sure, lone_name: lone_name.map(OsString::into_vec) })
}

fn problems(sums: &Sums) -> Vec<Told> {
    let told = |problem: &Problem| (problem.line, problem.text.clone(), problem.reason.clone());
    sums.problems().iter().map(told).collect()
}

/// What a list of digests says.
#[pyfunction]
#[pyo3(signature = (data, *, algorithm=None, is_sure=false, lone_name=None))]
pub(crate) fn parse_sums(
    py: Python<'_>,
    data: &[u8],
    algorithm: Option<&str>,
    is_sure: bool,
    lone_name: Option<OsString>,
) -> PyResult<(Vec<Named>, Vec<Told>)> {
    py.detach(|| {
        let sums = Sums::parse(data, &reading(false, algorithm, is_sure, lone_name)?);
        let files = (0..sums.len())
            .map(|index| (OsString::from_vec(sums.name(index).to_vec()), sums.expected(index)))
            .collect();
        Ok((files, problems(&sums)))
    })
    .map_err(|error| to_python(py, error))
}

/// Sizes of a manifest's files, some lines at a time.
#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct SizeLines {
    job: fdf256_core::Job,
    lines: Mutex<sizes::SizeLines>,
}

#[pymethods]
impl SizeLines {
    #[new]
    fn new(py: Python<'_>, job: &Job, root: PathBuf, manifest: PathBuf) -> PyResult<Self> {
        let opened = py.detach(|| sizes::SizeLines::open(&root, &manifest));
        let lines = opened.map_err(|error| to_python(py, error))?;
        Ok(Self { job: job.0.clone(), lines: Mutex::new(lines) })
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let block =
            py.detach(|| self.lines.lock().unwrap_or_else(PoisonError::into_inner).next_block(&self.job));
        let block = block.map_err(|error| to_python(py, error))?;
        Ok((!block.is_empty()).then(|| PyBytes::new(py, &block)))
    }
}

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct Audit(Arc<audit::Audit>);

#[pymethods]
impl Audit {
    #[new]
    #[pyo3(signature = (root, data, *, is_manifest=false, algorithm=None, is_sure=false, lone_name=None,
                        leave_out=Vec::new()))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python call")]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        data: &[u8],
        is_manifest: bool,
        algorithm: Option<&str>,
        is_sure: bool,
        lone_name: Option<OsString>,
        leave_out: Vec<OsString>,
    ) -> PyResult<Self> {
        py.detach(|| {
            let mut sums = Sums::parse(data, &reading(is_manifest, algorithm, is_sure, lone_name)?);
            sums.leave_out(leave_out.iter().map(|name| name.as_bytes()));
            Ok(Self(Arc::new(audit::Audit::new(&root, sums))))
        })
        .map_err(|error| to_python(py, error))
    }

    fn take_sizes(&self, py: Python<'_>, data: &[u8]) -> (usize, u64) {
        py.detach(|| self.0.take_sizes(data))
    }

    fn size_lines<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let lines = py.detach(|| self.0.size_lines());
        PyBytes::new(py, &lines)
    }

    #[pyo3(signature = (job, workers, *, is_quick=false, is_closed=false, finds_extra=false))]
    fn run(
        &self,
        py: Python<'_>,
        job: &Job,
        workers: usize,
        is_quick: bool,
        is_closed: bool,
        finds_extra: bool,
    ) -> PyResult<()> {
        let job = job.0.clone();
        py.detach(|| self.0.run(&Order { workers, is_quick, is_closed, finds_extra }, &job))
            .map_err(|error| to_python(py, error))
    }

    fn status(&self) -> (u64, u64, u64) {
        let counters = self.0.counters();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&counters.files), read(&counters.bytes), read(&counters.faults))
    }

    fn faults(&self, py: Python<'_>) -> Vec<(OsString, &'static str, String, String)> {
        py.detach(|| {
            self.0
                .faults()
                .into_iter()
                .map(|(index, fault)| {
                    let name = text(self.0.sums().name(index)).to_owned();
                    let expected = self.0.sums().expected(index);
                    let algorithm = self.0.sums().algorithm(index).name();
                    match fault {
                        Fault::Missing => (name, "missing", expected, String::new()),
                        Fault::Digest(found) => (name, "digest", expected, format!("{algorithm}:{found}")),
                        Fault::Size { expected, found } => {
                            (name, "size", expected.to_string(), found.to_string())
                        }
                        Fault::Empty => (name, "empty", expected, String::new()),
                        Fault::Kind(kind) => (name, "kind", expected, kind.to_owned()),
                        Fault::LinkedFolder => (name, "link", expected, String::new()),
                        Fault::Unreadable(errno) => (name, "unreadable", expected, errno.to_string()),
                    }
                })
                .collect()
        })
    }

    fn extra(&self, py: Python<'_>) -> Vec<OsString> {
        py.detach(|| self.0.extra().into_iter().map(OsString::from_vec).collect())
    }

    fn closed(&self, py: Python<'_>) -> Vec<(OsString, i32)> {
        let closed = py.detach(|| self.0.closed());
        closed.into_iter().map(|(path, errno)| (OsString::from_vec(path), errno)).collect()
    }

    #[getter]
    fn files(&self) -> usize {
        self.0.sums().len()
    }

    #[getter]
    fn algorithms(&self) -> Vec<&'static str> {
        let sums = self.0.sums();
        let mut names: Vec<_> = (0..sums.len()).map(|index| sums.algorithm(index).name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    #[getter]
    fn problems(&self) -> Vec<Told> {
        problems(self.0.sums())
    }

    #[getter]
    fn problem_count(&self) -> usize {
        self.0.sums().problem_count()
    }
}
