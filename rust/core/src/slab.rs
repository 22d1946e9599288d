//! Receive buffers that are filled once, shared as they fill, and used again.
//!
//! The event loop reads from the socket straight into a slab, and what was read goes into the window as a
//! slice of it: no copy, and no fresh pages.  With chunks that the HTTP library allocates and copies, a
//! profile of 0.6 GB had 0.7 s of receiving and copying on the event loop; with slabs another kind of
//! profile had 0.45 s (`docs/performance.md`).  That pays for this module's `unsafe`; the only other one is
//! in the binding that hands the buffer to Python.
#![expect(unsafe_code, reason = "one thread writes behind what others read")]

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::net::{RecvFlags, recv};

/// Size of a slab: two reads of the size that event loops ask for.
const SLAB_BYTES: usize = 1 << 19;
/// A read gets at least this much room; what is left of a slab below it stays empty.
const ROOM_LEAST_BYTES: usize = 1 << 16;
/// Slabs kept for later; the rest goes back to the system.
const FREE_MAX: usize = 128;

type Memory = Box<[UnsafeCell<u8>]>;

/// Slabs that nobody uses at the moment.
#[derive(Debug, Default)]
pub struct Pool {
    free: Mutex<Vec<Memory>>,
    used: AtomicUsize,
}

/// One buffer.  Bytes below its writer's mark are never written again, so any thread may read them; those
/// above are the writer's alone.
#[derive(Debug)]
pub struct Slab {
    memory: Memory,
    pool: Arc<Pool>,
}

// SAFETY: shared access is either to bytes below the mark, which nobody writes any more, or by the one
// `Writer` to bytes above it; the two never meet, and the mark moves before a part is handed out.
unsafe impl Sync for Slab {}

impl Pool {
    /// Bytes of all slabs that are being filled or still read.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed) * SLAB_BYTES
    }

    fn take(self: &Arc<Self>) -> Arc<Slab> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = free.unwrap_or_else(|| (0..SLAB_BYTES).map(|_| UnsafeCell::new(0)).collect());
        self.used.fetch_add(1, Ordering::Relaxed);
        Arc::new(Slab { memory, pool: Arc::clone(self) })
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.pool.used.fetch_sub(1, Ordering::Relaxed);
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < FREE_MAX {
            free.push(memory);
        }
    }
}

/// The bytes of a slab that one read brought.
struct Part {
    slab: Arc<Slab>,
    start: usize,
    length: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        let cells = &self.slab.memory[self.start..self.start + self.length];
        // SAFETY: `UnsafeCell<u8>` has the layout of `u8`; the part lies below the mark, so nobody writes
        // to it, and it keeps its slab alive.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), cells.len()) }
    }
}

/// Room for the next read: valid for writes of `length` bytes while `slab` lives and until the next
/// `commit`.
pub struct Room {
    pub slab: Arc<Slab>,
    pub start: *mut u8,
    pub length: usize,
}

/// Fills one slab after the other.
#[derive(Debug)]
pub struct Writer {
    slab: Arc<Slab>,
    mark: usize,
    pool: Arc<Pool>,
}

impl Writer {
    #[must_use]
    pub fn new(pool: &Arc<Pool>) -> Self {
        Self { slab: pool.take(), mark: 0, pool: Arc::clone(pool) }
    }

    /// Room for at most `most` bytes.
    pub fn room(&mut self, most: usize) -> Room {
        if self.slab.memory.len() - self.mark < ROOM_LEAST_BYTES.min(most) {
            self.slab = self.pool.take();
            self.mark = 0;
        }
        let cells = &self.slab.memory[self.mark..];
        Room {
            slab: Arc::clone(&self.slab),
            start: cells.as_ptr().cast::<u8>().cast_mut(),
            length: cells.len().min(most),
        }
    }

    /// Reads once from `socket`, without waiting, at most `most` bytes; none at the end of what it sends.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_from(&mut self, socket: impl AsFd, most: usize) -> io::Result<Bytes> {
        let room = self.room(most);
        // SAFETY: the room is valid and was set to zero or written to when its slab was made; it lies above
        // the mark, where only this writer, borrowed here, reads or writes.
        let buffer = unsafe { std::slice::from_raw_parts_mut(room.start, room.length) };
        let (length, _) = recv(socket, buffer, RecvFlags::DONTWAIT)?;
        Ok(self.commit(length))
    }

    /// The first `length` bytes of the last room have been written: they are shared from now on.
    pub fn commit(&mut self, length: usize) -> Bytes {
        let start = self.mark;
        self.mark = (start + length).min(self.slab.memory.len());
        Bytes::from_owner(Part { slab: Arc::clone(&self.slab), start, length: self.mark - start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_into(writer: &mut Writer, data: &[u8]) -> Bytes {
        let room = writer.room(data.len());
        let length = room.length.min(data.len());
        // SAFETY: the room is valid for `length` bytes and nobody else writes to it.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), room.start, length) };
        writer.commit(length)
    }

    #[test]
    fn parts_stay_what_they_were_while_the_slab_fills_and_is_replaced() {
        let pool = Arc::new(Pool::default());
        let mut writer = Writer::new(&pool);
        let pieces: Vec<Vec<u8>> = (0..40_u8).map(|seed| vec![seed; 50_000 + usize::from(seed)]).collect();
        let mut parts = Vec::new();
        for piece in &pieces {
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                let part = read_into(&mut writer, rest);
                rest = &rest[part.len()..];
                parts.push(part);
            }
        }
        assert!(parts.concat() == pieces.concat());
    }

    #[test]
    fn slabs_are_used_again_once_nobody_reads_them() {
        let pool = Arc::new(Pool::default());
        let mut writer = Writer::new(&pool);
        for _ in 0..10 {
            drop(read_into(&mut writer, &vec![1; ROOM_LEAST_BYTES * 7]));
            drop(read_into(&mut writer, &vec![2; ROOM_LEAST_BYTES * 7]));
        }
        drop(writer);
        assert!(pool.free.lock().unwrap().len() <= 2);
    }

    #[test]
    fn parts_are_read_by_other_threads_while_more_is_written() {
        let pool = Arc::new(Pool::default());
        let mut writer = Writer::new(&pool);
        std::thread::scope(|scope| {
            for seed in 0..200_u8 {
                let part = read_into(&mut writer, &vec![seed; 3000]);
                scope.spawn(move || assert!(part.iter().all(|&byte| byte == seed)));
            }
        });
    }
}
