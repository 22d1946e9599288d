//! A file that several threads share.
//!
//! Where an entry begins cannot be told from the middle of a file.  So each piece's thread guesses (a closing
//! brace, a comma, digits in quotes, a colon), and what it found counts only if the piece before ends at the very
//! byte that was guessed; otherwise the piece is read again from where it truly begins.  A file that is made
//! to mislead costs time, and nothing else.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::duplicates::{Keys, Seen, Suspects};
use super::entry::{Entry, Flaw};
use super::walk::{At, BEYOND_BYTES, PIECE_BYTES, Walker, take};
use super::{Scanned, Source, Visitor};
use crate::error::Result;
use crate::job::Job;

/// Pieces that each thread may be ahead of what is merged: bounds what waits in memory.
const AHEAD: u64 = 4;

/// More threads than this only wait for memory, and each has a window of its own.
const WORKERS_MAX: usize = 8;

/// What one pass has found.
pub(super) struct Pass<V> {
    pub scanned: Scanned<V>,
    /// The first thing that a visitor could not work with.
    pub flaw: Option<Flaw>,
    pub suspects: Suspects,
}

/// What was found in one piece.
struct Part<V> {
    visitor: V,
    keys: Keys,
    flaw: Option<Flaw>,
    entries: u64,
}

/// A piece as a thread guessed it: where it began, and where the next one has to.
struct Guess<V> {
    start: u64,
    stop: At,
    part: Part<V>,
}

pub(super) fn pass<V: Visitor>(
    source: &Source,
    workers: usize,
    job: &Job,
    fresh: &(impl Fn() -> V + Sync),
) -> Result<Pass<V>> {
    let hasher = RandomState::new();
    let look = Look { source, job, hasher: &hasher, fresh };
    let mut sum = Sum { visitor: fresh(), seen: Seen::default(), flaw: None, entries: 0 };
    let pieces = source.size.div_ceil(PIECE_BYTES as u64).max(1);
    let workers = workers.min(WORKERS_MAX);
    if workers < 2 || pieces < 3 {
        let mut walker = Walker::new(V::FIELDS);
        let mut at = At::Start;
        while at != At::End {
            let limit = limit_behind(at);
            let part;
            (at, part) = look.part(&mut walker, at, limit, false)?;
            sum.add(part);
        }
    } else {
        shared(&look, pieces, workers, &mut sum)?;
    }
    Ok(Pass {
        scanned: Scanned { visitor: sum.visitor, entries: sum.entries, bytes: source.size },
        flaw: sum.flaw,
        suspects: sum.seen.suspects(hasher),
    })
}

/// The end of the piece that `at` is in.
fn limit_behind(at: At) -> u64 {
    let piece_bytes = PIECE_BYTES as u64;
    match at {
        At::Entry { behind, .. } => (behind / piece_bytes + 1) * piece_bytes,
        At::Start | At::End => piece_bytes,
    }
}

/// What all parts of a pass have in common.
struct Look<'a, F> {
    source: &'a Source,
    job: &'a Job,
    hasher: &'a RandomState,
    fresh: &'a F,
}

impl<V: Visitor, F: Fn() -> V> Look<'_, F> {
    fn part(&self, walker: &mut Walker, from: At, limit: u64, is_loaded: bool) -> Result<(At, Part<V>)> {
        let mut part = Part { visitor: (self.fresh)(), keys: Keys::default(), flaw: None, entries: 0 };
        let see = |entry: &Entry<'_>, is_object: bool| {
            part.keys.push(entry.key(), self.hasher);
            part.entries += 1;
            if let Err(flaw) = take(entry, is_object, &mut part.visitor) {
                part.flaw.get_or_insert(flaw);
            }
            Ok(())
        };
        let at = walker.walk(self.source, self.job, from, limit, is_loaded, see)?;
        Ok((at, part))
    }

    /// A piece in the middle of the file, from where it seems to begin; None where nothing can be told.
    fn guess(&self, walker: &mut Walker, piece: u64) -> Option<Guess<V>> {
        let base = piece * PIECE_BYTES as u64;
        let limit = base + PIECE_BYTES as u64;
        if piece == 0 {
            let (stop, part) = self.part(walker, At::Start, limit, false).ok()?;
            return Some(Guess { start: 0, stop, part });
        }
        let bytes = walker.load(self.source, base, PIECE_BYTES + BEYOND_BYTES).ok()?;
        let start = base + find_seam(&bytes[..bytes.len().min(PIECE_BYTES)])? as u64;
        let from = At::Entry { offset: start, behind: base };
        let (stop, part) = self.part(walker, from, limit, true).ok()?;
        Some(Guess { start, stop, part })
    }
}

/// Where `}`, a comma, digits in quotes and a colon stand one behind the other: the first quote.
fn find_seam(bytes: &[u8]) -> Option<usize> {
    let blank = |at: usize| {
        at + bytes[at..].iter().take_while(|&byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count()
    };
    (0..bytes.len()).filter(|&at| bytes[at] == b'}').find_map(|brace| {
        let comma = blank(brace + 1);
        let quote = blank((comma + 1).min(bytes.len()));
        let digits = bytes.get(quote + 1..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let close = quote + 1 + digits;
        let colon = blank((close + 1).min(bytes.len()));
        let is_seam = digits > 0
            && bytes.get(comma) == Some(&b',')
            && bytes[quote] == b'"'
            && bytes.get(close) == Some(&b'"')
            && bytes.get(colon) == Some(&b':');
        is_seam.then_some(quote)
    })
}

/// All parts so far.
struct Sum<V> {
    visitor: V,
    seen: Seen,
    flaw: Option<Flaw>,
    entries: u64,
}

impl<V: Visitor> Sum<V> {
    fn add(&mut self, part: Part<V>) {
        self.visitor.merge(part.visitor);
        self.seen.add(part.keys);
        self.entries += part.entries;
        self.flaw = self.flaw.take().or(part.flaw);
    }
}

// ---- threads -----------------------------------------------------------------------------------------

struct Board<V> {
    state: Mutex<State<V>>,
    changed: Condvar,
}

struct State<V> {
    next: u64,
    merged: u64,
    guesses: BTreeMap<u64, Option<Guess<V>>>,
    is_over: bool,
}

impl<V> Board<V> {
    fn lock(&self) -> MutexGuard<'_, State<V>> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<V>>) -> MutexGuard<'a, State<V>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the threads end, however the block ends.
struct Over<'a, V>(&'a Board<V>);

impl<V> Drop for Over<'_, V> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

fn shared<V: Visitor, F: Fn() -> V + Sync>(
    look: &Look<'_, F>,
    pieces: u64,
    workers: usize,
    sum: &mut Sum<V>,
) -> Result<()> {
    let state = State { next: 0, merged: 0, guesses: BTreeMap::new(), is_over: false };
    let board = Board { state: Mutex::new(state), changed: Condvar::new() };
    let ahead = AHEAD * workers as u64;
    thread::scope(|scope| {
        let _over = Over(&board);
        let started = (0..workers)
            .filter(|_| {
                let thread = thread::Builder::new().name("fdf256-metadata".to_owned());
                thread.spawn_scoped(scope, || work(look, &board, pieces, ahead)).is_ok()
            })
            .count();
        merge(look, &board, pieces, started > 0, sum)
    })
}

fn work<V: Visitor, F: Fn() -> V + Sync>(look: &Look<'_, F>, board: &Board<V>, pieces: u64, ahead: u64) {
    let mut walker = Walker::new(V::FIELDS);
    // What is larger has its turn when it is known where it begins: by then it is the only one.
    walker.entry_bytes_max = PIECE_BYTES;
    loop {
        let mut state = board.lock();
        while !state.is_over && state.next < pieces && state.next >= state.merged + ahead {
            state = board.wait(state);
        }
        if state.is_over || state.next >= pieces {
            return;
        }
        let piece = state.next;
        state.next += 1;
        drop(state);
        // A panic is a piece that is read again, and then panics where it is seen.
        let guess = catch_unwind(AssertUnwindSafe(|| look.guess(&mut walker, piece))).unwrap_or_default();
        board.lock().guesses.insert(piece, guess);
        board.changed.notify_all();
    }
}

/// Takes the pieces in order, and reads again what was guessed wrong.
fn merge<V: Visitor, F: Fn() -> V + Sync>(
    look: &Look<'_, F>,
    board: &Board<V>,
    pieces: u64,
    has_help: bool,
    sum: &mut Sum<V>,
) -> Result<()> {
    let mut walker = Walker::new(V::FIELDS);
    let mut at = At::Start;
    for piece in 0..pieces {
        let mut state = board.lock();
        while has_help && !state.guesses.contains_key(&piece) {
            state = board.wait(state);
        }
        let guess = state.guesses.remove(&piece).flatten();
        state.merged = piece + 1;
        drop(state);
        board.changed.notify_all();
        let limit = (piece + 1) * PIECE_BYTES as u64;
        let start = match at {
            At::End => break,
            At::Start => 0,
            // An entry that lies across this whole piece.
            At::Entry { behind, .. } if behind >= limit => continue,
            At::Entry { offset, .. } => offset,
        };
        let part;
        (at, part) = match guess {
            Some(guess) if guess.start == start => (guess.stop, guess.part),
            _ => look.part(&mut walker, at, limit, false)?,
        };
        sum.add(part);
    }
    // The file may have grown since its size was looked at.
    while at != At::End {
        let part;
        (at, part) = look.part(&mut walker, at, limit_behind(at), false)?;
        sum.add(part);
    }
    Ok(())
}
