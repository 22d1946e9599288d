//! Heads of HTTP answers.

use fdf256_core::head;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

type Head<'a> = (usize, u8, u16, &'a str, Vec<(&'a str, &'a [u8])>);

/// Takes microseconds, with the GIL.
#[pyfunction]
pub(crate) fn parse_head(data: &[u8]) -> PyResult<Option<Head<'_>>> {
    let head = head::parse(data).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(head.map(|head| (head.length, head.minor_version, head.status, head.reason, head.fields)))
}
