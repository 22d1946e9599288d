//! Where a connection's bytes go: a worker of the core reads them from the socket, or Python's event loop does,
//! into a buffer whose contents go into the window where they lie.
#![expect(unsafe_code, reason = "the buffer protocol is a C interface, and a socket comes as a number")]

use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fdf256_core::engine::Engine;
use fdf256_core::intake;
use fdf256_core::slab::Slab;
use pyo3::exceptions::{PyBufferError, PyOSError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::tls::TlsSession;

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct Receiver {
    engine: Arc<Engine>,
    inner: Arc<intake::Receiver>,
    archive: AtomicUsize,
    end: AtomicU64,
}

impl Receiver {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let inner = Arc::new(engine.receiver());
        Self { engine, inner, archive: AtomicUsize::new(0), end: AtomicU64::new(0) }
    }

    fn left(&self) -> u64 {
        self.end.load(Ordering::Relaxed).saturating_sub(self.inner.position())
    }
}

#[pymethods]
impl Receiver {
    fn aim(&self, archive: usize, start: u64, end: u64) {
        self.archive.store(archive, Ordering::Relaxed);
        self.end.store(end.max(start), Ordering::Relaxed);
        self.inner.set_position(start);
    }

    #[getter]
    fn position(&self) -> u64 {
        self.inner.position()
    }

    #[getter]
    fn silent_seconds(&self) -> f64 {
        self.inner.silent().as_secs_f64()
    }

    #[pyo3(signature = (socket, tls=None))]
    fn pour(&self, socket: c_int, tls: Option<&TlsSession>) -> PyResult<u64> {
        let Some(intake) = self.engine.intake().filter(|_| socket >= 0) else {
            return Err(PyOSError::new_err("no socket can be read here"));
        };
        // SAFETY: the caller's socket is open during this call, which holds the GIL: nobody can close it.
        let borrowed = unsafe { BorrowedFd::borrow_raw(socket) };
        let archive = self.archive.load(Ordering::Relaxed);
        let number = intake.pour(
            borrowed,
            tls.map(TlsSession::session),
            &self.inner,
            archive,
            self.end.load(Ordering::Relaxed),
        )?;
        self.engine.look();
        Ok(number)
    }

    /// A worker that is reading needs no GIL, and is done within a fraction of a millisecond.
    fn stop(&self, number: u64) {
        if let Some(intake) = self.engine.intake() {
            intake.stop(number);
        }
    }

    fn filled(&self, length: usize) -> PyResult<()> {
        if length as u64 > self.left() {
            return Err(PyValueError::new_err("more was filled in than there was room for"));
        }
        let data = self.inner.writer().commit(length);
        let offset = self.inner.position();
        self.inner.set_position(offset + length as u64);
        self.engine.write(self.archive.load(Ordering::Relaxed), offset, &data);
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter with a view to fill in.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill in"));
        }
        let most = usize::try_from(slf.get().left()).unwrap_or(usize::MAX);
        let room = slf.get().inner.writer().room(most);
        let length = ffi::Py_ssize_t::try_from(room.length)?;
        // SAFETY: the room is valid for writes of its length as long as its slab lives, which `internal`
        // holds until the view is released.
        unsafe {
            if ffi::PyBuffer_FillInfo(view, slf.as_ptr(), room.start.cast(), length, 0, flags) != 0 {
                return Err(PyErr::fetch(slf.py()));
            }
            (*view).internal = Arc::into_raw(room.slab).cast_mut().cast();
        }
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter with a view that `__getbuffer__` has filled in.
    #[expect(clippy::unused_self, reason = "the slot has it")]
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: `internal` is the slab that `__getbuffer__` put there, once.
        unsafe { drop(Arc::from_raw((*view).internal.cast::<Slab>())) };
    }
}
