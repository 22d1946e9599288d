//! Entry after entry, through a window over the file that grows only with a large entry.

use super::duplicates::{Place, Places};
use super::entry::{Entry, Flaw, Found, Template};
use super::{ENTRY_BYTES_MAX, Source, Visitor};
use crate::error::Result;
use crate::job::Job;
use crate::json::{Cursor, Fault, PADDING};

/// How much is read at once, and what one thread works on.  It stays in the cache between the read and the
/// scan: 0.5 to 2 MiB took the same time, 8 MiB a sixth more.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// Read beyond a piece for the entry that lies across its end.
pub(super) const BEYOND_BYTES: usize = 16 << 10;

/// Bytes of the file in memory, with the zeros that the cursor needs behind them.
#[derive(Debug, Default)]
pub(super) struct Window {
    padded: Vec<u8>,
    /// Where they begin in the file.
    pub base: u64,
    filled: usize,
    is_end: bool,
}

impl Window {
    /// The bytes from `offset` on, about `length`.
    pub fn load(&mut self, source: &Source, offset: u64, length: usize) -> Result<()> {
        self.base = offset;
        self.filled = 0;
        self.is_end = false;
        self.extend(source, length)
    }

    fn extend(&mut self, source: &Source, length: usize) -> Result<()> {
        // No room for what is not there: one byte more than the rest shows the end (a file may also grow).
        let rest = source.size.saturating_sub(self.base + self.filled as u64) as usize;
        let length = length.min(rest.max(BEYOND_BYTES) + 1);
        let wanted = self.filled + length;
        if self.padded.len() < wanted + PADDING {
            self.padded.resize(wanted + PADDING, 0);
        }
        let count = source.read(&mut self.padded[self.filled..wanted], self.base + self.filled as u64)?;
        self.is_end = count < length;
        self.filled += count;
        self.padded[self.filled..self.filled + PADDING].fill(0);
        Ok(())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.padded[..self.filled]
    }

    fn cursor(&self, at: usize) -> Cursor<'_> {
        Cursor::new(&self.padded[..self.filled + PADDING], at)
    }

    /// Drops what lies before `at`, and reads more behind.
    fn more(&mut self, source: &Source, at: usize, entry_bytes_max: usize) -> Result<()> {
        let kept = self.filled - at;
        if kept > entry_bytes_max {
            let reason = format!("an entry of more than {} MiB begins here", entry_bytes_max >> 20);
            return Err(source.error(self.base + at as u64, reason));
        }
        self.padded.copy_within(at..self.filled, 0);
        self.base += at as u64;
        self.filled = kept;
        self.extend(source, kept.max(4 * BEYOND_BYTES))
    }

    /// Tries `read` at `at`, with more of the file as long as that is what it lacks.  Returns its result and
    /// where `at` is now.
    fn retry<T>(
        &mut self,
        source: &Source,
        at: usize,
        entry_bytes_max: usize,
        mut read: impl FnMut(&mut Cursor<'_>) -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let mut at = at;
        loop {
            match read(&mut self.cursor(at)) {
                Ok(value) => return Ok(value),
                Err(fault) if fault.at < self.filled => {
                    return Err(source.error(self.base + fault.at as u64, fault.reason));
                }
                Err(fault) if self.is_end => {
                    let reason = format!("the file ends in the middle: {}", fault.reason);
                    return Err(source.error(self.base + fault.at as u64, reason));
                }
                Err(_) => {
                    self.more(source, at, entry_bytes_max)?;
                    at = 0;
                }
            }
        }
    }
}

/// Where a walk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// At the file's first byte.
    Start,
    /// At an entry's key; the value before it ended at `behind`.
    Entry { offset: u64, behind: u64 },
    /// Nothing is left.
    End,
}

/// What a thread keeps from piece to piece.
#[derive(Debug)]
pub(super) struct Walker {
    window: Window,
    template: Template,
    found: Found,
    /// What an entry may have before it is refused.
    pub entry_bytes_max: usize,
}

impl Walker {
    pub fn new(fields: &'static [&'static str]) -> Self {
        Self {
            window: Window::default(),
            template: Template::new(fields),
            found: Found::default(),
            entry_bytes_max: ENTRY_BYTES_MAX,
        }
    }

    /// Shows `see` the entries from `from` on, up to the first that begins behind a value that reaches
    /// `limit`; returns where that is.  Entries from `from` on are in the window already where `is_loaded`.
    pub fn walk(
        &mut self,
        source: &Source,
        job: &Job,
        from: At,
        limit: u64,
        is_loaded: bool,
        mut see: impl FnMut(&Entry<'_>, bool) -> Result<()>,
    ) -> Result<At> {
        let (mut offset, mut behind) = match from {
            At::Start => match self.begin(source)? {
                At::Entry { offset, behind } => (offset, behind),
                end => return Ok(end),
            },
            At::Entry { offset, behind } => {
                if !is_loaded {
                    let length = limit.saturating_sub(offset) as usize;
                    self.window.load(source, offset, length.min(PIECE_BYTES) + BEYOND_BYTES)?;
                }
                (offset, behind)
            }
            At::End => return Ok(At::End),
        };
        while behind < limit {
            job.check()?;
            let (template, found) = (&mut self.template, &mut self.found);
            let at = (offset - self.window.base) as usize;
            self.window.retry(source, at, self.entry_bytes_max, |cursor| template.read(cursor, found))?;
            let base = self.window.base;
            let entry = Entry { bytes: self.window.bytes(), base, found: &self.found };
            see(&entry, self.found.is_object)?;
            offset = base + self.found.next as u64;
            behind = base + self.found.value_end as u64;
            if self.found.is_last {
                self.finish(source, job, offset)?;
                return Ok(At::End);
            }
        }
        Ok(At::Entry { offset, behind })
    }

    /// Reads up to the first key.
    fn begin(&mut self, source: &Source) -> Result<At> {
        self.window.load(source, 0, PIECE_BYTES + BEYOND_BYTES)?;
        if self.window.bytes().starts_with(b"\xef\xbb\xbf") {
            return Err(source.error(0, "the file begins with a byte order mark, which JSON does not have"));
        }
        let (next, is_empty) = self.window.retry(source, 0, self.entry_bytes_max, |cursor| {
            cursor.space();
            cursor.expect(b'{', "an object ('{') is expected")?;
            cursor.space();
            let is_empty = cursor.peek() == b'}';
            if is_empty {
                cursor.at += 1;
            } else if cursor.peek() != b'"' {
                return Err(Fault {
                    at: cursor.at,
                    reason: "an image's number in quotes, or '}' is expected",
                });
            }
            Ok((cursor.at, is_empty))
        })?;
        let offset = self.window.base + next as u64;
        if is_empty {
            self.finish(source, &Job::default(), offset)?;
            return Ok(At::End);
        }
        Ok(At::Entry { offset, behind: 0 })
    }

    /// Behind the object there may only be whitespace.
    fn finish(&mut self, source: &Source, job: &Job, mut offset: u64) -> Result<()> {
        loop {
            job.check()?;
            let mut cursor = self.window.cursor((offset - self.window.base) as usize);
            cursor.space();
            if cursor.at < cursor.end() {
                let reason = "something follows the end of the object";
                return Err(source.error(self.window.base + cursor.at as u64, reason));
            }
            offset = self.window.base + cursor.at as u64;
            if self.window.is_end {
                return Ok(());
            }
            self.window.load(source, offset, PIECE_BYTES)?;
        }
    }

    /// The window's bytes from a guessed entry on.
    pub fn load(&mut self, source: &Source, offset: u64, length: usize) -> Result<&[u8]> {
        self.window.load(source, offset, length)?;
        Ok(self.window.bytes())
    }
}

/// The entries as `json.load` has them: each key once, where it stood first, with its last value.
#[derive(Debug)]
pub(super) struct InOrder {
    walker: Walker,
    /// For entries that stand elsewhere.
    other: Walker,
    at: At,
}

impl InOrder {
    pub fn new(fields: &'static [&'static str]) -> Self {
        Self { walker: Walker::new(fields), other: Walker::new(fields), at: At::Start }
    }

    /// Shows `visitor` the entries of about a piece more; returns how many, None when there are none left.
    pub fn next<V: Visitor>(
        &mut self,
        source: &Source,
        places: &Places,
        job: &Job,
        visitor: &mut V,
    ) -> Result<Option<u64>> {
        let limit = match self.at {
            At::Start => PIECE_BYTES as u64,
            At::Entry { behind, .. } => behind + PIECE_BYTES as u64,
            At::End => return Ok(None),
        };
        let mut count = 0;
        let other = &mut self.other;
        let visit = |entry: &Entry<'_>, is_object: bool, visitor: &mut V| {
            take(entry, is_object, visitor).map_err(|flaw| source.flawed(flaw))
        };
        self.at = self.walker.walk(source, job, self.at, limit, false, |entry, is_object| {
            match places.of(entry) {
                Place::Gone => return Ok(()),
                Place::Here => visit(entry, is_object, visitor)?,
                Place::At(offset) => {
                    let from = At::Entry { offset, behind: offset };
                    other.walk(source, job, from, offset + 1, false, |entry, is_object| {
                        visit(entry, is_object, visitor)
                    })?;
                }
            }
            count += 1;
            Ok(())
        })?;
        Ok(Some(count))
    }
}

/// Shows `visitor` an entry.
pub(super) fn take<V: Visitor>(
    entry: &Entry<'_>,
    is_object: bool,
    visitor: &mut V,
) -> std::result::Result<(), Flaw> {
    if is_object {
        return visitor.entry(entry);
    }
    let key = String::from_utf8_lossy(entry.key().raw()).into_owned();
    let offset = entry.base + entry.found.value_start as u64;
    Err(Flaw { offset, reason: format!("entry {key:?} is not an object") })
}
