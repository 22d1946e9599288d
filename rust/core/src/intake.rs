//! Bodies that the workers read from their sockets themselves, when they have nothing better to do.
//!
//! With Python's event loop in between, each read of about 330 kB cost 75 µs of its time (0.47 s for 2 GB), and bytes
//! piled up in the window while the workers were busy.  A worker that reads when it needs work leaves them
//! with the sender instead (TCP does that by itself), and finds them in its own cache.
//!
//! Python hands over a connection whose answer's headers it has checked, and gets it back at the last byte of
//! the body.  It hears of that through a descriptor that its event loop watches.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use crate::slab::{Pool, Writer};
use crate::tls::Session;

/// The number of `alarm` among those of bodies, which begin at one.
const ALARM: u64 = 0;

/// How reading a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of it is here.
    Complete,
    /// The sender closed the connection before.
    Closed,
    /// The system's error number.
    Broken(i32),
    /// What came cannot be decrypted.
    Garbled,
}

/// All bodies that are being read.
pub struct Intake {
    epoll: OwnedFd,
    /// Ends the wait of the worker that waits for bytes.
    alarm: OwnedFd,
    /// Readable when there is something in `ended`.
    news: OwnedFd,
    bodies: Mutex<HashMap<u64, Arc<Body>>>,
    /// So many are in `bodies`: asked before each piece of work.
    open: AtomicUsize,
    numbers: AtomicU64,
    ended: Mutex<Vec<(u64, End)>>,
}

/// What a connection reads into: the slab that it is filling, from one body to the next.
pub struct Receiver {
    writer: Mutex<Writer>,
    position: AtomicU64,
    began: Instant,
    heard_milliseconds: AtomicU64,
}

struct Body {
    socket: OwnedFd,
    /// What decrypts it, if it is encrypted.
    session: Option<Arc<Session>>,
    receiver: Arc<Receiver>,
    archive: usize,
    end: u64,
    is_dropped: AtomicBool,
}

impl Receiver {
    #[must_use]
    pub fn new(pool: &Arc<Pool>) -> Self {
        Self {
            writer: Mutex::new(Writer::new(pool)),
            position: AtomicU64::new(0),
            began: Instant::now(),
            heard_milliseconds: AtomicU64::new(0),
        }
    }

    /// The offset of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Release);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_milliseconds.store(now, Ordering::Release);
    }

    /// How long nothing has come.
    #[must_use]
    pub fn silent(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_milliseconds.load(Ordering::Acquire));
        self.began.elapsed().saturating_sub(heard)
    }

    /// For the one who writes into the slab.
    pub fn writer(&self) -> MutexGuard<'_, Writer> {
        locked(&self.writer)
    }
}

impl Intake {
    /// # Errors
    /// Where this process may not have three more files open.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let intake = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            alarm: eventfd(0, flags)?,
            news: eventfd(0, flags)?,
            bodies: Mutex::default(),
            open: AtomicUsize::new(0),
            numbers: AtomicU64::new(ALARM + 1),
            ended: Mutex::default(),
        };
        epoll::add(&intake.epoll, &intake.alarm, EventData::new_u64(ALARM), EventFlags::IN)?;
        Ok(intake)
    }

    /// Reads from now on the bytes of `archive` up to `end` from `socket` into `receiver`, beginning at its
    /// position; returns the number under which `ended` tells of it.
    ///
    /// # Errors
    /// What the system says of the socket, or that it may not have another handle.
    pub fn pour(
        &self,
        socket: BorrowedFd<'_>,
        session: Option<Arc<Session>>,
        receiver: &Arc<Receiver>,
        archive: usize,
        end: u64,
    ) -> io::Result<u64> {
        // Its own handle: Python may close the connection at any time, and the number could be used again.
        let socket = socket.try_clone_to_owned()?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let body = Arc::new(Body {
            socket,
            session,
            receiver: Arc::clone(receiver),
            archive,
            end,
            is_dropped: AtomicBool::new(false),
        });
        receiver.set_position(receiver.position());
        locked(&self.bodies).insert(number, Arc::clone(&body));
        self.open.fetch_add(1, Ordering::Release);
        // Last, since a worker may read at once.
        let events = body.events();
        if let Err(errno) = epoll::add(&self.epoll, &body.socket, EventData::new_u64(number), events) {
            self.drop_body(number);
            return Err(errno.into());
        }
        Ok(number)
    }

    /// Stops reading; when this returns nothing more of that body will be written.
    pub fn stop(&self, number: u64) {
        if let Some(body) = self.drop_body(number) {
            // A worker that is reading has it.
            drop(body.receiver.writer());
        }
    }

    /// Stops reading all of them.
    pub fn stop_all(&self) {
        let numbers: Vec<u64> = locked(&self.bodies).keys().copied().collect();
        for number in numbers {
            self.stop(number);
        }
    }

    /// The archive that a body's bytes are of.
    #[must_use]
    pub fn archive(&self, number: u64) -> Option<usize> {
        locked(&self.bodies).get(&number).map(|body| body.archive)
    }

    /// Bodies that have ended since the last call.
    pub fn ended(&self) -> Vec<(u64, End)> {
        silence(&self.news);
        std::mem::take(&mut *locked(&self.ended))
    }

    /// What the event loop watches: readable when `ended` has something.
    #[must_use]
    pub fn news(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// Whether any body is being read.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Ends the `wait` of a worker, now or the next time.
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.alarm, &1_u64.to_ne_bytes());
    }

    /// The number of a body that has bytes, if any has.  Nobody else gets the same number until `read` has been
    /// called with it.
    pub fn ready(&self) -> Option<u64> {
        // An alarm is for the one who waits, and stays.
        self.next_event(Some(Duration::ZERO)).filter(|&number| number != ALARM)
    }

    /// The same, waiting at most so long (None: for ever) or until `wake`; for one worker at a time.
    pub fn wait(&self, patience: Option<Duration>) -> Option<u64> {
        let number = self.next_event(patience)?;
        if number == ALARM {
            silence(&self.alarm);
            return None;
        }
        Some(number)
    }

    fn next_event(&self, patience: Option<Duration>) -> Option<u64> {
        let patience = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        });
        // One at a time: the system puts it last, so that all have their turn.
        let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(ALARM) }];
        let count = epoll::wait(&self.epoll, &mut events, patience.as_ref()).unwrap_or(0);
        (count > 0).then(|| events[0].data.u64())
    }

    /// Reads once from a body that is ready; `take` gets archive, offset and bytes.
    pub fn read(&self, number: u64, take: impl FnOnce(usize, u64, Bytes)) {
        let Some(body) = locked(&self.bodies).get(&number).cloned() else { return };
        let mut writer = body.receiver.writer();
        if body.is_dropped.load(Ordering::Acquire) {
            return;
        }
        let position = body.receiver.position();
        let left = usize::try_from(body.end.saturating_sub(position)).unwrap_or(usize::MAX);
        let data = match &body.session {
            None => writer.read_from(&body.socket, left),
            Some(session) => session.read_from(&body.socket, &mut writer, left),
        };
        let end = match data {
            Ok(data) if data.is_empty() => Some(End::Closed),
            Ok(data) => {
                let after = position + data.len() as u64;
                body.receiver.set_position(after);
                take(body.archive, position, data);
                (after == body.end).then_some(End::Complete)
            }
            Err(error) if is_passing(&error) => None,
            Err(error) => Some(error.raw_os_error().map_or(End::Garbled, End::Broken)),
        };
        drop(writer);
        match end {
            Some(end) => self.finish(number, end),
            // It may have been stopped meanwhile, and be gone.
            None => drop(epoll::modify(&self.epoll, &body.socket, EventData::new_u64(number), body.events())),
        }
    }

    fn finish(&self, number: u64, end: End) {
        if self.drop_body(number).is_some() {
            locked(&self.ended).push((number, end));
            let _ = rustix::io::write(&self.news, &1_u64.to_ne_bytes());
        }
    }

    fn drop_body(&self, number: u64) -> Option<Arc<Body>> {
        let body = locked(&self.bodies).remove(&number)?;
        body.is_dropped.store(true, Ordering::Release);
        self.open.fetch_sub(1, Ordering::Release);
        // Closing our handle would not do: Python has another one of the same socket.
        let _ = epoll::delete(&self.epoll, &body.socket);
        Some(body)
    }
}

impl Body {
    /// Readable, told once: nobody else reads it until it is asked for again.
    fn events(&self) -> EventFlags {
        let once = EventFlags::IN | EventFlags::RDHUP | EventFlags::ONESHOT;
        // What the session holds already the socket does not tell of; but it can nearly always be written to.
        if self.session.as_ref().is_some_and(|session| session.is_pending()) {
            once | EventFlags::OUT
        } else {
            once
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Makes an event descriptor unreadable until the next event.
fn silence(events: &OwnedFd) {
    let _ = rustix::io::read(events, &mut [0_u8; 8]);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
