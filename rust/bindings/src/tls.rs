//! TLS of one connection, for a transport of Python's and for the workers that read its bodies.

use std::sync::Arc;

use fdf256_core::tls::Session;
use fdf256_core::tls::peer::Peer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct TlsPeer(Peer);

#[pymethods]
impl TlsPeer {
    #[new]
    fn new(name: &str) -> PyResult<Self> {
        Ok(Self(Peer::new(name)?))
    }

    fn vouch(&self, certificate: &[u8]) -> bool {
        self.0.vouch(certificate)
    }

    fn connect(&self) -> PyResult<TlsSession> {
        Ok(TlsSession(Arc::new(self.0.connect()?)))
    }
}

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct TlsSession(Arc<Session>);

impl TlsSession {
    pub(crate) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.0)
    }
}

/// A worker that has the session needs no GIL, and is done within a fraction of a millisecond.
#[pymethods]
impl TlsSession {
    fn received<'py>(&self, py: Python<'py>, records: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &py.detach(|| self.0.received(records))?))
    }

    fn encrypt<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &py.detach(|| self.0.encrypt(data))?))
    }

    fn farewell<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.farewell())
    }

    fn outgoing<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.outgoing())
    }

    #[getter]
    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    #[getter]
    fn is_pending(&self) -> bool {
        self.0.is_pending()
    }

    #[getter]
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
