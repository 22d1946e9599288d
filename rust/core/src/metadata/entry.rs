//! One image's entry, as a visitor sees it: nothing is decoded before somebody asks.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::{self, Cursor, Fault};

/// How many fields a visitor may ask for.
pub const FIELDS_MAX: usize = 16;

/// Longest stretch between two values that is worth remembering.
const STRETCH_BYTES_MAX: usize = 128;
/// An entry of FDF256 has 17 fields.
const STRETCHES_MAX: usize = 64;

/// Something about an entry that its reader cannot work with; `offset` is in the file.
#[derive(Debug, Clone)]
pub struct Flaw {
    pub offset: u64,
    pub reason: String,
}

/// The text of a JSON string, as it is written, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The text as it is written: UTF-8 with escapes.
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// The text itself: UTF-8, except that halves of surrogate pairs are three bytes (`surrogatepass`).
    pub fn decode(self) -> Cow<'a, [u8]> {
        json::decode(self.0)
    }

    /// Whether the text itself is `wanted`.
    pub fn is(self, wanted: &[u8]) -> bool {
        // Escapes only ever make it longer.
        if self.0.len() < wanted.len() {
            return false;
        }
        if self.0.contains(&b'\\') { *self.decode() == *wanted } else { self.0 == wanted }
    }
}

/// A field's value, of any kind.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    raw: &'a [u8],
    offset: u64,
}

impl<'a> Value<'a> {
    /// The value as it is written, such as `[1, 2.5]`; it is valid JSON (see `json`).
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Where it begins in the file.
    pub fn offset(self) -> u64 {
        self.offset
    }

    /// The text, if the value is a string.
    pub fn text(self) -> Option<Text<'a>> {
        self.raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).map(Text)
    }
}

/// One image's entry.
#[derive(Debug)]
pub struct Entry<'a> {
    pub(super) bytes: &'a [u8],
    /// Where `bytes` begin in the file.
    pub(super) base: u64,
    pub(super) found: &'a Found,
}

impl<'a> Entry<'a> {
    /// The image's number, as text.
    pub fn key(&self) -> Text<'a> {
        Text(&self.bytes[self.found.key.clone()])
    }

    /// Where the entry begins in the file: at its key's first quote.
    pub fn offset(&self) -> u64 {
        self.base + self.found.key.start as u64 - 1
    }

    /// Where the entry's value lies in the file.
    pub fn span(&self) -> Range<u64> {
        self.base + self.found.value_start as u64..self.base + self.found.value_end as u64
    }

    /// The value of field `number` of [`FIELDS`](super::Visitor::FIELDS); of duplicates the last.
    pub fn field(&self, number: usize) -> Option<Value<'a>> {
        let span = &self.found.fields[number];
        // No value is empty.
        (!span.is_empty())
            .then(|| Value { raw: &self.bytes[span.clone()], offset: self.base + span.start as u64 })
    }

    /// The text of a field that must be there.
    ///
    /// # Errors
    /// A `Flaw` that names entry and field, where there is none.
    pub fn required(&self, number: usize, name: &str) -> Result<Value<'a>, Flaw> {
        self.field(number).ok_or_else(|| {
            let key = String::from_utf8_lossy(self.key().raw()).into_owned();
            Flaw { offset: self.offset(), reason: format!("entry {key:?} has no field {name:?}") }
        })
    }
}

/// Where the parts of an entry lie.  Offsets from where the reading began.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub key: Range<usize>,
    pub value_start: usize,
    /// Behind the value.
    pub value_end: usize,
    pub is_object: bool,
    /// Behind the comma and its whitespace, or behind the brace that closes the file's object.
    pub next: usize,
    pub is_last: bool,
    pub fields: [Range<usize>; FIELDS_MAX],
}

/// What stood between the values of the entry before: mostly the same bytes stand there in the next, and one
/// comparison then does for comma, key, colon and whitespace.
#[derive(Debug)]
pub(super) struct Template {
    fields: &'static [&'static str],
    stretches: Vec<Stretch>,
}

/// From the brace or comma to the value.
#[derive(Debug, Default)]
struct Stretch {
    /// Empty where it was too long to be remembered.
    bytes: Vec<u8>,
    field: Option<usize>,
}

impl Stretch {
    #[inline]
    fn is_passed(&self, cursor: &mut Cursor<'_>) -> bool {
        !self.bytes.is_empty() && cursor.takes(&self.bytes)
    }
}

/// What comes behind a brace or comma.
enum Ahead {
    /// A value, and which of the wanted fields it is of.
    Value(Option<usize>),
    /// The object is empty, and passed.
    Nothing,
}

impl Template {
    pub fn new(fields: &'static [&'static str]) -> Self {
        assert!(fields.len() <= FIELDS_MAX, "more fields than there is room for");
        Self { fields, stretches: Vec::new() }
    }

    /// Reads an entry from its key to what follows the comma behind it.
    pub fn read(&mut self, cursor: &mut Cursor<'_>, found: &mut Found) -> Result<(), Fault> {
        if cursor.peek() != b'"' {
            return Err(Fault { at: cursor.at, reason: "an image's number in quotes is expected" });
        }
        found.key = cursor.key()?;
        found.fields.fill(0..0);
        found.value_start = cursor.at;
        found.is_object = cursor.peek() == b'{';
        if found.is_object {
            self.object(cursor, &mut found.fields)?;
        } else {
            cursor.value()?;
        }
        found.value_end = cursor.at;
        cursor.space();
        found.is_last = cursor.peek() == b'}';
        if found.is_last {
            cursor.at += 1;
        } else {
            cursor.expect(b',', "',' or '}' is expected")?;
            cursor.space();
            if cursor.peek() != b'"' {
                return Err(Fault { at: cursor.at, reason: "an image's number in quotes is expected" });
            }
        }
        found.next = cursor.at;
        Ok(())
    }

    fn object(&mut self, cursor: &mut Cursor<'_>, fields: &mut [Range<usize>]) -> Result<(), Fault> {
        for number in 0.. {
            let field = match self.stretches.get(number) {
                Some(stretch) if stretch.is_passed(cursor) => stretch.field,
                _ => match self.learn(number, cursor)? {
                    Ahead::Value(field) => field,
                    Ahead::Nothing => return Ok(()),
                },
            };
            cursor.space();
            let start = cursor.at;
            cursor.value()?;
            if let Some(field) = field {
                fields[field] = start..cursor.at;
            }
            cursor.space();
            match cursor.peek() {
                b',' => {}
                b'}' => {
                    cursor.at += 1;
                    return Ok(());
                }
                _ => return Err(Fault { at: cursor.at, reason: "',' or '}' is expected" }),
            }
        }
        Ok(())
    }

    /// Reads from a brace or comma to the value behind it.
    fn learn(&mut self, number: usize, cursor: &mut Cursor<'_>) -> Result<Ahead, Fault> {
        let start = cursor.at;
        cursor.at += 1;
        cursor.space();
        if number == 0 && cursor.peek() == b'}' {
            cursor.at += 1;
            return Ok(Ahead::Nothing);
        }
        let key = cursor.key()?;
        let name = json::decode(cursor.slice(key));
        let field = self.fields.iter().position(|field| *field.as_bytes() == *name);
        let bytes = cursor.slice(start..cursor.at);
        if number == self.stretches.len() && number < STRETCHES_MAX {
            self.stretches.push(Stretch::default());
        }
        if bytes.len() <= STRETCH_BYTES_MAX
            && let Some(stretch) = self.stretches.get_mut(number)
        {
            stretch.bytes.clear();
            stretch.bytes.extend_from_slice(bytes);
            stretch.field = field;
        }
        Ok(Ahead::Value(field))
    }
}
