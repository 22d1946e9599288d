//! Rust errors become the classes of `fdf256_fast.errors`, filled with their data.

use fdf256_core::Error;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// A class of `fdf256_fast.errors`, imported once.
fn class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<Bound<'py, PyType>> {
    cell.import(py, "fdf256_fast.errors", name).cloned()
}

pub(crate) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    build(py, error).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    static BASE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static STORAGE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static MEMBER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static ARCHIVE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static DIGEST: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static METADATA: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();

    let text = error.to_string();
    let raised = match error {
        Error::Storage { path, errno, .. } => {
            let fields = PyDict::new(py);
            fields.set_item("errno", (errno != 0).then_some(errno))?;
            fields.set_item("filename", path.display().to_string())?;
            class(py, &STORAGE, "StorageError")?.call((text,), Some(&fields))?
        }
        Error::Member { archive, member, offset, reason } => {
            class(py, &MEMBER, "MemberError")?.call1((archive, member, offset, reason))?
        }
        Error::Archive { archive, offset, reason } => {
            class(py, &ARCHIVE, "ArchiveError")?.call1((archive, offset, reason))?
        }
        Error::Digest { archive, expected, computed } => {
            class(py, &DIGEST, "DigestMismatch")?.call1((archive, expected, computed))?
        }
        Error::Metadata { path, offset, reason } => {
            let path = path.display().to_string();
            class(py, &METADATA, "MetadataError")?.call1((path, offset, reason))?
        }
        Error::Unusable(text) => return Ok(PyValueError::new_err(text)),
        Error::Cancelled => CANCELLED.import(py, "asyncio", "CancelledError")?.call0()?,
        Error::Thread { .. } | Error::Internal(_) => class(py, &BASE, "Error")?.call1((text,))?,
    };
    Ok(PyErr::from_value(raised))
}
