//! JSON, checked while it is passed over: nothing is built, so that what nobody asks for costs little.
//!
//! Valid is what Python's `json` takes: RFC 8259, and besides it `NaN`, `Infinity` and `-Infinity`, and
//! escapes of half a surrogate pair (`\ud800`).  Bytes that are not UTF-8, control characters in strings
//! and values nested more than [`DEPTH_MAX`] deep are refused.

mod numbers;

use std::borrow::Cow;
use std::ops::Range;

use wide::u8x16;

/// Zeros that must follow the text, so that all of it can be looked at in whole blocks.
pub const PADDING: usize = numbers::BLOCK_BYTES;

/// About where `json.load` gives up as well (Python's limit is 1000 calls).
pub const DEPTH_MAX: usize = 1000;

/// What is wrong with a text, and at which of its bytes.  That is the end of the text where more of it
/// could have made it valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub reason: &'static str,
}

/// A place in a JSON text.  Every function begins at `at` and leaves it behind what it has checked.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    padded: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// `padded` is the text and [`PADDING`] zeros.
    pub fn new(padded: &'a [u8], at: usize) -> Self {
        debug_assert!(padded.len() >= PADDING && padded[padded.len() - PADDING..].iter().all(|&b| b == 0));
        Self { padded, at }
    }

    /// Where the text ends.
    pub fn end(&self) -> usize {
        self.padded.len() - PADDING
    }

    /// The next byte; zero at the end.
    pub fn peek(&self) -> u8 {
        self.padded[self.at]
    }

    pub fn slice(&self, span: Range<usize>) -> &'a [u8] {
        &self.padded[span]
    }

    fn fault<T>(&self, reason: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, reason })
    }

    /// Passes over whitespace.
    #[inline]
    pub fn space(&mut self) {
        // One blank is what most writers put, where they put anything.
        if self.padded[self.at] > b' ' {
            return;
        }
        while matches!(self.padded[self.at], b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Passes over `wanted` if it comes next.
    #[inline]
    pub fn takes(&mut self, wanted: &[u8]) -> bool {
        let found = begins(&self.padded[self.at..], wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    /// # Errors
    /// `Fault` with `reason` where another byte comes.
    #[inline]
    pub fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Fault> {
        if self.peek() != byte {
            return self.fault(reason);
        }
        self.at += 1;
        Ok(())
    }

    /// A string; returns where its text lies, without the quotes, with its escapes.
    ///
    /// # Errors
    /// `Fault` for anything but a string.
    #[inline]
    pub fn string(&mut self) -> Result<Range<usize>, Fault> {
        self.expect(b'"', "a string is expected")?;
        let start = self.at;
        let mut high = 0;
        loop {
            let (stop, not_ascii) = look(self.padded, self.at);
            let length = stop.trailing_zeros();
            // Below the stop; all of them if there is none.
            high |= not_ascii & !stop & stop.wrapping_sub(1);
            self.at += length as usize;
            if length == LOOK_BITS {
                continue;
            }
            match self.peek() {
                b'"' => break,
                b'\\' => self.escape()?,
                _ if self.at >= self.end() => return self.fault("a string that is not closed"),
                _ => return self.fault("a control character in a string"),
            }
        }
        let span = start..self.at;
        if high != 0
            && let Err(error) = std::str::from_utf8(&self.padded[span.clone()])
        {
            return Err(Fault { at: start + error.valid_up_to(), reason: "bytes that are not UTF-8" });
        }
        self.at += 1;
        Ok(span)
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let is_long = self.peek() == b'u';
        if !is_long && !matches!(self.peek(), b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') {
            return self.fault("an escape that JSON does not have");
        }
        self.at += 1;
        for _ in 0..if is_long { 4 } else { 0 } {
            if !self.peek().is_ascii_hexdigit() {
                return self.fault("an escape without four hexadecimal digits");
            }
            self.at += 1;
        }
        Ok(())
    }

    /// A value of any kind, with whitespace in front of it.
    ///
    /// # Errors
    /// `Fault` where it is none.
    #[inline]
    pub fn value(&mut self) -> Result<(), Fault> {
        self.space();
        match self.peek() {
            b'[' => match numbers::length(&self.padded[self.at..]) {
                Some(length) => {
                    self.at += length;
                    Ok(())
                }
                None => self.nested(),
            },
            b'{' => self.nested(),
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'N' => self.word(b"NaN"),
            b'I' => self.word(b"Infinity"),
            _ => self.fault("a value is expected"),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        for &byte in word {
            self.expect(byte, "a value is expected")?;
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == b'-' {
            self.at += 1;
            if self.peek() == b'I' {
                return self.word(b"Infinity");
            }
        }
        let start = self.at;
        if !self.short_number() {
            self.digits()?;
            if self.peek() == b'.' {
                self.at += 1;
                self.digits()?;
            }
        }
        if self.padded[start] == b'0' && self.padded[start + 1].is_ascii_digit() {
            return Err(Fault { at: start + 1, reason: "a number that begins with zero" });
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Digits, perhaps with a point and digits behind it, if all of that ends within sixteen bytes: most numbers
    /// do, and one look is then enough (in a profile, lists of numbers fell from 42 to 34 % of the time).
    #[inline]
    fn short_number(&mut self) -> bool {
        let Some(&sixteen) = self.padded[self.at..].first_chunk::<16>() else { return false };
        let values = u8x16::new(sixteen) - u8x16::splat(b'0');
        let others = !values.simd_eq(values.min(u8x16::splat(9))).to_bitmask();
        let whole = others.trailing_zeros();
        if whole == 0 || whole >= 15 {
            return false;
        }
        let mut length = whole;
        if sixteen[whole as usize] == b'.' {
            let decimals = (others >> (whole + 1)).trailing_zeros();
            length += 1 + decimals;
            if decimals == 0 || length >= 16 {
                return false;
            }
        }
        self.at += length as usize;
        true
    }

    /// One digit or more, eight at a time.
    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let start = self.at;
        loop {
            let Some(&eight) = self.padded[self.at..].first_chunk::<8>() else {
                return self.fault("a digit is expected");
            };
            let word = u64::from_le_bytes(eight) ^ 0x3030_3030_3030_3030;
            // 0x76 lifts ten and above over the high bit; a carry only touches bytes behind the first stop.
            let stops = (word.wrapping_add(0x7676_7676_7676_7676) | word) & HIGH;
            if stops != 0 {
                self.at += (stops.trailing_zeros() / 8) as usize;
                break;
            }
            self.at += 8;
        }
        if self.at == start { self.fault("a digit is expected") } else { Ok(()) }
    }

    /// An object's key and colon, with the whitespace behind each; returns where the key's text lies.
    ///
    /// # Errors
    /// `Fault` where they are not there.
    #[inline]
    pub fn key(&mut self) -> Result<Range<usize>, Fault> {
        if self.peek() != b'"' {
            return self.fault("a field's name is expected");
        }
        let span = self.string()?;
        self.space();
        self.expect(b':', "':' is expected")?;
        self.space();
        Ok(span)
    }

    /// An object or a list, without recursion: hostile depth costs a bit each.
    fn nested(&mut self) -> Result<(), Fault> {
        let mut open = Open::default();
        loop {
            // At the first byte of a value.
            if matches!(self.peek(), b'{' | b'[') {
                let is_object = self.peek() == b'{';
                if !open.push(is_object) {
                    return self.fault("nested too deeply");
                }
                self.at += 1;
                self.space();
                if self.peek() != if is_object { b'}' } else { b']' } {
                    if is_object {
                        self.key()?;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
                self.space();
            }
            // Behind a value, or at the end of something empty.
            loop {
                match (self.peek(), open.is_object) {
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        if !open.pop() {
                            return Ok(());
                        }
                        self.space();
                    }
                    (b',', is_object) => {
                        self.at += 1;
                        self.space();
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    (_, true) => return self.fault("',' or '}' is expected"),
                    (_, false) => return self.fault("',' or ']' is expected"),
                }
            }
        }
    }
}

/// Whether `text` begins with `wanted`.  What stands between two values has 8 to 32 bytes, which its two ends cover:
/// as calls of `memcmp` they took a tenth of the time.
#[inline]
fn begins(text: &[u8], wanted: &[u8]) -> bool {
    let Some(text) = text.get(..wanted.len()) else { return false };
    match wanted.len() {
        8..16 => {
            text.first_chunk::<8>() == wanted.first_chunk() && text.last_chunk::<8>() == wanted.last_chunk()
        }
        16..=32 => {
            text.first_chunk::<16>() == wanted.first_chunk() && text.last_chunk::<16>() == wanted.last_chunk()
        }
        _ => text == wanted,
    }
}

/// How many bytes of a string are looked at together: most end within them.  With [`begins`] that took a seventh off
/// a search's CPU time, against sixteen.
const LOOK_BITS: u32 = u32::BITS;

/// Which of so many bytes may end a run of plain text in a string, and which are not ASCII.
#[inline]
fn look(padded: &[u8], at: usize) -> (u32, u32) {
    let Some(bytes) = padded[at..].first_chunk::<{ LOOK_BITS as usize }>() else {
        // Only behind the text, where zeros are.
        return (1, 0);
    };
    let (mut stops, mut others) = (0, 0);
    for (number, &sixteen) in bytes.as_chunks::<16>().0.iter().enumerate() {
        let chunk = u8x16::new(sixteen);
        let stop = chunk.simd_eq(u8x16::splat(b'"'))
            | chunk.simd_eq(u8x16::splat(b'\\'))
            | chunk.simd_eq(chunk.min(u8x16::splat(0x1f)));
        stops |= stop.to_bitmask() << (16 * number);
        others |= chunk.to_bitmask() << (16 * number);
    }
    (stops, others)
}

/// What is open: objects and lists, a bit each.
#[derive(Default)]
struct Open {
    outer: [u64; DEPTH_MAX.div_ceil(64)],
    depth: usize,
    is_object: bool,
}

impl Open {
    /// False where that would be too deep.
    fn push(&mut self, is_object: bool) -> bool {
        if self.depth == DEPTH_MAX {
            return false;
        }
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if self.is_object {
            self.outer[word] |= bit;
        } else {
            self.outer[word] &= !bit;
        }
        self.depth += 1;
        self.is_object = is_object;
        true
    }

    /// False where that was the outermost.
    fn pop(&mut self) -> bool {
        self.depth -= 1;
        self.is_object = self.outer[self.depth / 64] >> (self.depth % 64) & 1 == 1;
        self.depth > 0
    }
}

/// The text of a string that [`Cursor::string`] has passed: UTF-8, but for halves of surrogate pairs, which
/// become the three bytes that Python calls `surrogatepass`.
pub fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        let Some((&kind, behind)) = rest.split_first() else { break };
        rest = behind;
        match kind {
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'u' => rest = push_escaped(&mut text, rest),
            same => text.push(same),
        }
    }
    Cow::Owned(text)
}

/// Pushes what the digits behind `\u` mean; returns what follows.
fn push_escaped<'a>(text: &mut Vec<u8>, digits: &'a [u8]) -> &'a [u8] {
    let (unit, rest) = four_digits(digits);
    if (0xd800..0xdc00).contains(&unit)
        && let Some(second) = rest.strip_prefix(b"\\u")
    {
        let (low, behind) = four_digits(second);
        if (0xdc00..0xe000).contains(&low) {
            push_utf8(text, 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
            return behind;
        }
    }
    push_utf8(text, unit);
    rest
}

fn four_digits(text: &[u8]) -> (u32, &[u8]) {
    let (digits, rest) = text.split_at(4.min(text.len()));
    let value = digits.iter().fold(0, |sum, &digit| sum * 16 + char::from(digit).to_digit(16).unwrap_or(0));
    (value, rest)
}

/// Also what is no character: half a surrogate pair.
fn push_utf8(text: &mut Vec<u8>, code: u32) {
    if let Some(character) = char::from_u32(code) {
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let tail = |shift: u32| 0x80 | (code >> shift & 0x3f) as u8;
        text.extend_from_slice(&[0xe0 | (code >> 12) as u8, tail(6), tail(0)]);
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
