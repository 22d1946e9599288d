//! Metadata for `FDF256` and `fdf256 info`.

use std::path::PathBuf;
use std::thread;

use fdf256_core::offsets::Offsets;
use fdf256_core::stats::{self, Tally};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::Job;
use crate::errors::to_python;

type Columns<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// Images, licences, histogram, quantiles, years taken, years uploaded.
type Counts = (u64, Vec<(String, u64)>, Vec<u64>, Vec<f64>, Vec<(u16, u64)>, Vec<(u16, u64)>);

fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Where each entry lies.
#[pyfunction]
pub(crate) fn entry_offsets<'py>(py: Python<'py>, job: &Job, path: PathBuf) -> PyResult<Columns<'py>> {
    let job = job.0.clone();
    let found = py.detach(|| Offsets::find(&path, workers(), &job)).map_err(|error| to_python(py, error))?;
    let column = |values: &[u64]| {
        PyBytes::new_with(py, values.len() * 8, |bytes| {
            for (eight, value) in bytes.chunks_exact_mut(8).zip(values) {
                eight.copy_from_slice(&value.to_ne_bytes());
            }
            Ok(())
        })
    };
    Ok((column(&found.numbers)?, column(&found.starts)?, column(&found.ends)?))
}

/// All images, and those that are there.
#[pyfunction]
pub(crate) fn statistics(
    py: Python<'_>,
    job: &Job,
    path: PathBuf,
    present: Vec<u64>,
    edges: Vec<f64>,
    fractions: Vec<f64>,
) -> PyResult<(Counts, Counts)> {
    let job = job.0.clone();
    py.detach(|| {
        let (all, here) = stats::statistics(&path, &present, workers(), &job)?;
        Ok((counts(all, &edges, &fractions), counts(here, &edges, &fractions)))
    })
    .map_err(|error| to_python(py, error))
}

fn counts(tally: Tally, edges: &[f64], fractions: &[f64]) -> Counts {
    let bins = tally.histogram(edges);
    let quantiles = fractions.iter().filter_map(|&fraction| tally.quantile(fraction)).collect();
    let years = |years: std::collections::BTreeMap<u16, u64>| years.into_iter().collect();
    (
        tally.images,
        tally.licenses.into_iter().collect(),
        bins,
        quantiles,
        years(tally.years_taken),
        years(tally.years_uploaded),
    )
}
