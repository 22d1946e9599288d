//! TLS of one connection, over rustls, for the event loop and for the workers that read bodies.
//!
//! Python's `ssl` decrypts 16 kB at a time on the event loop's thread and copies what comes out twice.  Here a worker
//! reads up to 256 KiB of records at a time, decrypts them where they lie, and copies the bytes into the slab.
//! (`docs/performance.md` has the figures.)
//!
//! Whom to trust is not decided here, see [`peer`].

pub mod peer;

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::net::{RecvFlags, recv};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};

use crate::slab::Writer;

/// Room for records: one read of the size that event loops ask for.
const RECORDS_BYTES: usize = 1 << 18;
/// First guess of how much longer than its content a message is; the library says so where it is more.
const RECORD_EXTRA_BYTES: usize = 1 << 9;
/// Records that are sent are as large as they may be.
const RECORD_BYTES: usize = 1 << 14;

/// One connection's state, for one thread at a time.
pub struct Session(Mutex<State>);

struct State {
    connection: UnbufferedClientConnection,
    /// Records that have come: those in `start..end` are still encrypted.
    records: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether some of those may be complete, since nobody wanted more of them.
    has_more: bool,
    /// What was decrypted beyond what was wanted.
    surplus: Vec<u8>,
    /// Records that are to be sent.
    outgoing: Vec<u8>,
    is_ready: bool,
    /// The other side has said that nothing more will come.
    is_closed: bool,
    /// What ended it; nothing is read after that.
    broken: Option<rustls::Error>,
}

impl Session {
    fn new(connection: UnbufferedClientConnection) -> io::Result<Self> {
        let mut state = State {
            connection,
            records: vec![0; RECORDS_BYTES],
            start: 0,
            end: 0,
            has_more: false,
            surplus: Vec::new(),
            outgoing: Vec::new(),
            is_ready: false,
            is_closed: false,
            broken: None,
        };
        state.advance(usize::MAX, &mut |_| ())?;
        Ok(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes records that were read elsewhere; returns what was in them, after what an earlier body left.
    ///
    /// # Errors
    /// What is wrong with them, if nothing good came before it.
    pub fn received(&self, mut records: &[u8]) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let mut plain = std::mem::take(&mut state.surplus);
        loop {
            let room = state.room();
            let length = room.len().min(records.len());
            room[..length].copy_from_slice(&records[..length]);
            state.end += length;
            records = &records[length..];
            match state.advance(usize::MAX, &mut |payload| plain.extend_from_slice(payload)) {
                Err(error) if plain.is_empty() => return Err(error),
                Ok(()) if !records.is_empty() && !state.is_closed => {}
                _ => return Ok(plain),
            }
        }
    }

    /// Records of `data`, after all others that are to be sent.
    ///
    /// # Errors
    /// Before the handshake is done, or after the end.
    pub fn encrypt(&self, data: &[u8]) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        for piece in data.chunks(RECORD_BYTES) {
            state.speak(Some(piece))?;
        }
        Ok(std::mem::take(&mut state.outgoing))
    }

    /// The record that says that nothing more will be sent, after all others.
    pub fn farewell(&self) -> Vec<u8> {
        let mut state = self.state();
        if state.is_ready {
            // Where it cannot be said any more, the connection is closed without.
            let _ = state.speak(None);
        }
        std::mem::take(&mut state.outgoing)
    }

    /// Records that are to be sent.
    pub fn outgoing(&self) -> Vec<u8> {
        std::mem::take(&mut self.state().outgoing)
    }

    /// Whether the handshake is done.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state().is_ready
    }

    /// Whether the other side has said that nothing more will come, and everything before has been taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let state = self.state();
        state.is_closed && state.surplus.is_empty()
    }

    /// Reads once from `socket`, and what the records hold into `writer`, at most `most` bytes.  Nothing at the end of
    /// what is sent; `WouldBlock` where no record is complete.
    ///
    /// # Errors
    /// What the system says, or what is wrong with the records.
    pub fn read_from(&self, socket: impl AsFd, writer: &mut Writer, most: usize) -> io::Result<Bytes> {
        let mut state = self.state();
        let room = writer.room(most).length;
        let mut taken = state.take_surplus(writer, room);
        if taken == 0 && state.is_pending() {
            taken = state.decrypt(writer, room)?;
        }
        if taken == 0 && !state.is_closed {
            let waiting = state.end - state.start;
            let free = state.room();
            // Where the slab ends sooner than the body: what is read must have room in it.
            let wanted = if room < most { room.saturating_sub(waiting) } else { free.len() };
            let wanted = wanted.clamp(1, free.len().max(1));
            let (length, _) = recv(socket, &mut free[..wanted], RecvFlags::DONTWAIT)?;
            if length == 0 {
                return Ok(Bytes::new());
            }
            state.end += length;
            taken = state.decrypt(writer, room)?;
        }
        match taken {
            0 if state.is_closed => Ok(Bytes::new()),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(writer.commit(taken)),
        }
    }

    /// Whether `read_from` may have something to say although the socket has not.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.state().is_pending()
    }
}

impl State {
    fn is_pending(&self) -> bool {
        !self.surplus.is_empty() || self.has_more || self.is_closed || self.broken.is_some()
    }

    /// Room behind the records.  A record is smaller than the buffer, so there always is some.
    fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.records.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.records[self.end..]
    }

    fn take_surplus(&mut self, writer: &mut Writer, most: usize) -> usize {
        let length = self.surplus.len().min(most);
        writer.put(0, &self.surplus[..length]);
        self.surplus.drain(..length);
        length
    }

    fn decrypt(&mut self, writer: &mut Writer, most: usize) -> io::Result<usize> {
        let mut taken = 0;
        let mut surplus = std::mem::take(&mut self.surplus);
        let result = self.advance(most, &mut |payload| {
            let length = payload.len().min(most - taken);
            writer.put(taken, &payload[..length]);
            taken += length;
            surplus.extend_from_slice(&payload[length..]);
        });
        self.surplus = surplus;
        // What came before the error is good.
        if taken > 0 { Ok(taken) } else { result.map(|()| taken) }
    }

    /// Goes through the records until `most` bytes came out of them, or none is complete.
    fn advance(&mut self, most: usize, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut count = 0;
        self.has_more = false;
        while self.broken.is_none() && !self.is_closed {
            if count >= most {
                self.has_more = self.start < self.end;
                break;
            }
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut self.records[self.start..self.end]);
            let mut is_waiting = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                count += record.payload.len();
                                take(record.payload);
                            }
                            Err(error) => self.broken = Some(error),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => append_message(&mut self.outgoing, data),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.is_ready = true;
                    is_waiting = true;
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => self.is_closed = true,
                Ok(_) => is_waiting = true,
                Err(error) => self.broken = Some(error),
            }
            self.start += discard;
            if is_waiting {
                break;
            }
        }
        match &self.broken {
            None => Ok(()),
            Some(error) => {
                let error = io::Error::new(io::ErrorKind::InvalidData, error.clone());
                self.take_alert();
                Err(error)
            }
        }
    }

    /// What the library has to say of an error: so the other side knows, too.
    fn take_alert(&mut self) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        if let Ok(ConnectionState::EncodeTlsData(data)) = state {
            append_message(&mut self.outgoing, data);
        }
    }

    /// Encrypts `data`, or the message that ends what is sent.
    fn speak(&mut self, data: Option<&[u8]>) -> io::Result<()> {
        // The library has its say first, and gives up what it has.
        let mut surplus = std::mem::take(&mut self.surplus);
        let advanced = self.advance(usize::MAX, &mut |payload| surplus.extend_from_slice(payload));
        self.surplus = surplus;
        advanced?;
        let UnbufferedStatus { discard, state, .. } =
            self.connection.process_tls_records(&mut self.records[self.start..self.end]);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        append(&mut self.outgoing, data.map_or(0, <[u8]>::len), |room| {
            let done = match data {
                Some(data) => traffic.encrypt(data, room),
                None => traffic.queue_close_notify(room),
            };
            match done {
                Err(EncryptError::InsufficientSize(size)) => Err(Some(size.required_size)),
                other => other.map_err(|_| None),
            }
        });
        self.start += discard;
        Ok(())
    }
}

/// Appends what the library itself has to say.
fn append_message(outgoing: &mut Vec<u8>, mut data: EncodeTlsData<'_, ClientConnectionData>) {
    append(outgoing, 0, |room| match data.encode(room) {
        Err(EncodeError::InsufficientSize(size)) => Err(Some(size.required_size)),
        other => other.map_err(|_| None),
    });
}

/// Appends what `write` writes, about `guess` bytes; it says how much room it needs where that is not enough.
fn append(
    outgoing: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) {
    let before = outgoing.len();
    let mut room = guess + RECORD_EXTRA_BYTES;
    loop {
        outgoing.resize(before + room, 0);
        match write(&mut outgoing[before..]) {
            Ok(length) => return outgoing.truncate(before + length),
            Err(Some(required)) if required > room => room = required,
            Err(_) => return outgoing.truncate(before),
        }
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
