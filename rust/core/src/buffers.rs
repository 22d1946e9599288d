//! A fixed number of buffers that go round: whoever wants one waits until another is done with.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// How long a wait lasts before its cancel flag is looked at again.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Buffers {
    bytes: usize,
    state: Mutex<Vec<Vec<u8>>>,
    returned: Condvar,
}

impl Buffers {
    /// `count` buffers of `bytes` each; they are allocated when first used.
    #[must_use]
    pub fn new(count: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, state: Mutex::new(vec![Vec::new(); count]), returned: Condvar::new() })
    }

    /// A buffer of full length, with whatever was in it; None once `stopped`.
    pub fn take(&self, stopped: impl Fn() -> bool) -> Option<Vec<u8>> {
        let mut free = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stopped() {
                return None;
            }
            if let Some(mut buffer) = free.pop() {
                drop(free);
                buffer.resize(self.bytes, 0);
                return Some(buffer);
            }
            free = self.returned.wait_timeout(free, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first `length` bytes of `buffer`, which comes back when the last slice of them is dropped.
    #[must_use]
    pub fn share(self: &Arc<Self>, buffer: Vec<u8>, length: usize) -> Bytes {
        let length = length.min(buffer.len());
        Bytes::from_owner(Lent { buffer, length, home: Arc::clone(self) })
    }
}

struct Lent {
    buffer: Vec<u8>,
    length: usize,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.home.state.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        self.home.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_its_last_slice() {
        let buffers = Buffers::new(1, 8);
        let taken = buffers.take(|| false).unwrap();
        let shared = buffers.share(taken, 5);
        let slice = shared.slice(1..3);
        drop(shared);
        let asked = std::cell::Cell::new(0);
        let stop_later = || asked.replace(asked.get() + 1) > 0;
        assert!(buffers.take(stop_later).is_none());
        drop(slice);
        assert_eq!(buffers.take(|| false).unwrap().len(), 8);
    }
}
