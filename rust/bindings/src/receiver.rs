//! A buffer that Python's event loop reads into, and whose contents go into the window where they lie.
#![expect(unsafe_code, reason = "the buffer protocol is a C interface")]

use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

use fdf256_core::engine::Engine;
use fdf256_core::slab::{Pool, Slab, Writer};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

#[pyclass(frozen, module = "fdf256_fast._core")]
pub(crate) struct Receiver {
    engine: Arc<Engine>,
    state: Mutex<State>,
}

struct State {
    writer: Writer,
    archive: usize,
    position: u64,
    end: u64,
}

impl Receiver {
    pub(crate) fn new(engine: Arc<Engine>, pool: &Arc<Pool>) -> Self {
        let state = State { writer: Writer::new(pool), archive: 0, position: 0, end: 0 };
        Self { engine, state: Mutex::new(state) }
    }
}

#[pymethods]
impl Receiver {
    fn aim(&self, archive: usize, start: u64, end: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.archive, state.position, state.end) = (archive, start, end.max(start));
    }

    fn filled(&self, length: usize) -> PyResult<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if length as u64 > state.end - state.position {
            return Err(PyValueError::new_err("more was filled in than there was room for"));
        }
        let data = state.writer.commit(length);
        let (archive, offset) = (state.archive, state.position);
        state.position += length as u64;
        drop(state);
        self.engine.write(archive, offset, &data);
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter with a view to fill in.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill in"));
        }
        let mut state = slf.get().state.lock().unwrap_or_else(PoisonError::into_inner);
        let most = usize::try_from(state.end - state.position).unwrap_or(usize::MAX);
        let room = state.writer.room(most);
        drop(state);
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
