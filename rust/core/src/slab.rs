//! Receive buffers that are filled once, shared as they fill, and used again.
//!
//! The event loop reads from the socket straight into a slab, and what was read goes into the window as a
//! slice of it: no copy, and no fresh pages.  With chunks that the HTTP library allocates and copies, a
//! profile of 0.6 GB had 0.7 s of receiving and copying on the event loop; with slabs another kind of
//! profile had 0.45 s (`docs/performance.md`).  That pays for this module's `unsafe`, and for that in
//! the binding that hands the buffer to Python.
#![expect(unsafe_code, reason = "one thread writes behind what others read")]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, ptr};

use bytes::Bytes;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::net::{RecvFlags, recv};

/// Size of a slab: two reads of the size that event loops ask for.
const SLAB_BYTES: usize = 1 << 19;
/// A read gets at least this much room; what is left of a slab below it stays empty.
const ROOM_LEAST_BYTES: usize = 1 << 16;
/// Slabs kept for later; the rest goes back to the system.
const FREE_MAX: usize = 128;

/// Memory is taken from the system in pieces of this size, which is that of a huge page, and divided into slabs.
/// With pages of 4 KiB, making them took 3 % of an installation's processor time.
const ARENA_BYTES: usize = 1 << 21;

/// A piece of memory from the system; goes back when the last slab that lies in it has gone.
#[derive(Debug)]
struct Arena {
    mapped: *mut c_void,
}

// SAFETY: it only owns the mapping; who may touch which part of it is up to the slabs.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Twice as much of address space as it has, to begin at a multiple of its size.
    const MAPPED_BYTES: usize = 2 * ARENA_BYTES;

    fn map() -> io::Result<Self> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping where the system likes it.
        let mapped = unsafe { mmap_anonymous(ptr::null_mut(), Self::MAPPED_BYTES, access, flags)? };
        let arena = Self { mapped };
        // SAFETY: within the mapping.  Where there are no huge pages, small ones do.
        let _ = unsafe { madvise(arena.start().cast(), ARENA_BYTES, Advice::LinuxHugepage) };
        Ok(arena)
    }

    fn start(&self) -> *mut u8 {
        let mapped = self.mapped.cast::<u8>();
        mapped.wrapping_add(mapped.align_offset(ARENA_BYTES))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: nobody has a slab in it any more.
        let _ = unsafe { munmap(self.mapped, Self::MAPPED_BYTES) };
    }
}

/// The memory of one slab: zeros at first.
#[derive(Debug)]
enum Memory {
    Part {
        arena: Arc<Arena>,
        offset: usize,
    },
    /// Where the system gives no arena.
    Own(Box<[UnsafeCell<u8>]>),
}

impl Memory {
    fn start(&self) -> *mut u8 {
        match self {
            Self::Part { arena, offset } => arena.start().wrapping_add(*offset),
            Self::Own(cells) => cells.as_ptr().cast::<u8>().cast_mut(),
        }
    }
}

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
    memory: Option<Memory>,
    start: *mut u8,
    pool: Arc<Pool>,
}

// SAFETY: shared access is either to bytes below the mark, which nobody writes any more, or by the one
// `Writer` to bytes above it; the two never meet, and the mark moves before a part is handed out.
unsafe impl Sync for Slab {}
// SAFETY: as above; no thread's own data is in it.
unsafe impl Send for Slab {}

impl Pool {
    /// Bytes of all slabs that are being filled or still read.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed) * SLAB_BYTES
    }

    fn take(self: &Arc<Self>) -> Arc<Slab> {
        // A statement of its own: the lock lasts until its end.
        let free = self.free().pop();
        let memory = free.unwrap_or_else(|| self.more());
        self.used.fetch_add(1, Ordering::Relaxed);
        let start = memory.start();
        Arc::new(Slab { memory: Some(memory), start, pool: Arc::clone(self) })
    }

    /// Memory for one slab; the rest of its arena is free.
    fn more(&self) -> Memory {
        let Ok(arena) = Arena::map().map(Arc::new) else {
            return Memory::Own((0..SLAB_BYTES).map(|_| UnsafeCell::new(0)).collect());
        };
        let part = |offset| Memory::Part { arena: Arc::clone(&arena), offset };
        self.free().extend((SLAB_BYTES..ARENA_BYTES).step_by(SLAB_BYTES).map(part));
        part(0)
    }

    fn free(&self) -> MutexGuard<'_, Vec<Memory>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(1, Ordering::Relaxed);
        let mut free = self.pool.free();
        if free.len() < FREE_MAX {
            free.extend(self.memory.take());
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
        // SAFETY: the part lies within the slab and below the mark, so nobody writes to it, and it keeps its
        // slab alive.
        unsafe { std::slice::from_raw_parts(self.slab.start.add(self.start), self.length) }
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
        if SLAB_BYTES - self.mark < ROOM_LEAST_BYTES.min(most) {
            self.slab = self.pool.take();
            self.mark = 0;
        }
        Room {
            slab: Arc::clone(&self.slab),
            start: self.slab.start.wrapping_add(self.mark),
            length: (SLAB_BYTES - self.mark).min(most),
        }
    }

    /// Reads once from `socket`, without waiting, at most `most` bytes; none at the end of what it sends.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_from(&mut self, socket: impl AsFd, most: usize) -> io::Result<Bytes> {
        let room = self.room(most);
        // SAFETY: the room is valid and its memory was made as zeros; it lies above
        // the mark, where only this writer, borrowed here, reads or writes.
        let buffer = unsafe { std::slice::from_raw_parts_mut(room.start, room.length) };
        let (length, _) = recv(socket, buffer, RecvFlags::DONTWAIT)?;
        Ok(self.commit(length))
    }

    /// Copies `data` to `offset` of the last room, as far as that goes.
    pub fn put(&mut self, offset: usize, data: &[u8]) {
        let start = self.mark.saturating_add(offset).min(SLAB_BYTES);
        let length = data.len().min(SLAB_BYTES - start);
        // SAFETY: within the slab and above the mark, where only this writer, borrowed here, reads or writes.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), self.slab.start.add(start), length) };
    }

    /// The first `length` bytes of the last room have been written: they are shared from now on.
    pub fn commit(&mut self, length: usize) -> Bytes {
        let start = self.mark;
        self.mark = (start + length).min(SLAB_BYTES);
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
        // Two were in use at a time, and they came four to an arena.
        assert_eq!(pool.free.lock().unwrap().len(), ARENA_BYTES / SLAB_BYTES);
        assert_eq!(pool.used_bytes(), 0);
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
