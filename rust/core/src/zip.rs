//! A zip's central directory, checked whole before any member is touched (PKWARE APPNOTE.TXT 6.3.10).
//!
//! The directory stays as the bytes that arrived, plus four bytes a member for the order in the file:
//! about 80 to 110 bytes a member, whatever the archive's size.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::name;
use crate::policy::Policy;
use crate::staging::Staging;

const END_SIGNATURE: u32 = 0x0605_4b50;
const END_BYTES: usize = 22;
const END64_SIGNATURE: u32 = 0x0606_4b50;
const END64_BYTES: usize = 56;
const LOCATOR_SIGNATURE: u32 = 0x0706_4b50;
const LOCATOR_BYTES: usize = 20;
const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
const CENTRAL_BYTES: usize = 46;
const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
pub const LOCAL_BYTES: usize = 30;
const ZIP64_EXTRA: u16 = 1;

const FLAG_ENCRYPTED: u16 = 1;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_STRONG_ENCRYPTION: u16 = 1 << 6;
const FLAG_UTF8: u16 = 1 << 11;
const FLAG_MASKED: u16 = 1 << 13;

/// Directory memory is bounded before it is allocated: 4 GiB of directory is 40 million members.
const DIRECTORY_BYTES_MAX: u64 = 1 << 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Stored,
    Deflated,
}

/// One member as the central directory has it; offsets are from the start of the archive.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub raw_name: &'a [u8],
    flags: u16,
    method: u16,
    pub crc32: u32,
    pub compressed_bytes: u64,
    pub bytes: u64,
    pub offset: u64,
    unix_mode: u16,
}

impl Entry<'_> {
    /// The name as text.  Directory entries end in a slash.
    #[must_use]
    pub fn name(&self) -> String {
        name::decode(self.raw_name, self.flags & FLAG_UTF8 != 0)
            .map_or_else(|_| String::from_utf8_lossy(self.raw_name).into_owned(), Into::into)
    }

    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.raw_name.ends_with(b"/")
    }

    #[must_use]
    pub fn method(&self) -> Method {
        if self.method == 8 { Method::Deflated } else { Method::Stored }
    }

    /// Bytes that the member takes at least: header, name, data.
    fn least_bytes(&self) -> u64 {
        LOCAL_BYTES as u64 + self.raw_name.len() as u64 + self.compressed_bytes
    }
}

/// What the end of an archive tells.
pub enum Parsed {
    Complete(Directory),
    /// The directory starts before the bytes that were given: call again with those from this offset on.
    NeedFrom(u64),
}

/// The validated directory; members are numbered in the order in which they lie in the archive.
#[derive(Debug, Clone)]
pub struct Directory {
    archive: String,
    raw: Bytes,
    /// Where each member's record starts in `raw`, in the order of the members' offsets.
    order: Vec<u32>,
    /// Bytes before the zip proper, which all offsets are shifted by (a self-extracting archive).
    shift: u64,
    start: u64,
    total: u64,
    unpacked_bytes: u64,
    files: usize,
    policy: Policy,
}

impl Directory {
    /// Reads the directory out of `tail`, the last bytes of an archive of `total` bytes.
    ///
    /// # Errors
    /// `Archive` or `Member`, for whatever does not hold together.
    pub fn parse(archive: &str, tail: &Bytes, total: u64, policy: &Policy) -> Result<Parsed> {
        let refuse =
            |offset, reason: &str| Error::Archive { archive: archive.into(), offset, reason: reason.into() };
        let tail_start = total
            .checked_sub(tail.len() as u64)
            .ok_or_else(|| refuse(0, "the tail is longer than the archive"))?;
        let end = End::find(tail, tail_start).map_err(|(offset, reason)| refuse(offset, reason))?;
        let end = match end {
            Found::End(end) => end,
            Found::NeedFrom(offset) => return Ok(Parsed::NeedFrom(offset)),
        };
        if end.directory_bytes > DIRECTORY_BYTES_MAX {
            return Err(refuse(end.position, "the central directory is larger than 4 GiB"));
        }
        let start = end
            .position
            .checked_sub(end.directory_bytes)
            .ok_or_else(|| refuse(end.position, "the central directory is larger than the archive"))?;
        let shift = start
            .checked_sub(end.directory_offset)
            .ok_or_else(|| refuse(end.position, "the end record points behind itself"))?;
        if start < tail_start {
            return Ok(Parsed::NeedFrom(start));
        }
        let within = |offset: u64| usize::try_from(offset - tail_start).unwrap_or(usize::MAX);
        let mut directory = Self {
            archive: archive.to_owned(),
            raw: tail.slice(within(start)..within(end.position)),
            order: Vec::new(),
            shift,
            start,
            total,
            unpacked_bytes: 0,
            files: 0,
            policy: *policy,
        };
        directory.read_records(end.members)?;
        directory.check_layout()?;
        directory.check_names()?;
        Ok(Parsed::Complete(directory))
    }

    fn read_records(&mut self, members: u64) -> Result<()> {
        let most = (self.raw.len() / CENTRAL_BYTES) as u64;
        if members > most {
            return Err(
                self.refuse(self.start, "the end record counts more members than the directory has room for")
            );
        }
        self.order.reserve_exact(usize::try_from(members).unwrap_or(0));
        let mut at = 0;
        for _ in 0..members {
            let length = record_length(&self.raw[at..]).ok_or_else(|| {
                self.refuse(self.start + at as u64, "a record of the central directory is cut off or damaged")
            })?;
            let position = u32::try_from(at)
                .map_err(|_| self.refuse(self.start, "the central directory is larger than 4 GiB"))?;
            let entry = read_entry(&self.raw[at..], self.shift).ok_or_else(|| {
                self.refuse(self.start + at as u64, "a record of the central directory is cut off or damaged")
            })?;
            self.check_entry(&entry)?;
            self.unpacked_bytes = self.unpacked_bytes.saturating_add(entry.bytes);
            let is_file = !entry.is_directory();
            self.files += usize::from(is_file);
            self.order.push(position);
            at += length;
        }
        if at != self.raw.len() {
            return Err(
                self.refuse(self.start + at as u64, "the central directory has bytes behind its last record")
            );
        }
        let (raw, shift) = (&self.raw, self.shift);
        let offset = |&at: &u32| read_entry(&raw[at as usize..], shift).map_or(0, |entry| entry.offset);
        if !self.order.is_sorted_by_key(offset) {
            self.order.sort_by_cached_key(offset);
        }
        Ok(())
    }

    fn check_entry(&self, entry: &Entry<'_>) -> Result<()> {
        let text = name::decode(entry.raw_name, entry.flags & FLAG_UTF8 != 0)
            .map_err(|reason| self.refuse_member(entry, reason))?;
        name::check(&text, self.policy.portable_names).map_err(|reason| self.refuse_member(entry, reason))?;
        if entry.flags & (FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED) != 0 {
            return Err(self.refuse_member(entry, "it is encrypted"));
        }
        if !matches!(entry.method, 0 | 8) {
            return Err(self.refuse_member(
                entry,
                &format!(
                    "compression method {} is not supported, only stored (0) and deflated (8)",
                    entry.method
                ),
            ));
        }
        if entry.method == 0 && entry.compressed_bytes != entry.bytes {
            return Err(self.refuse_member(entry, "it is stored, with two different sizes"));
        }
        match entry.unix_mode & 0o170_000 {
            0 | 0o100_000 if !entry.is_directory() => {}
            0 | 0o040_000 if entry.is_directory() => {}
            // Some writers mark a directory as a regular file, and the slash is what counts.
            0o100_000 => {}
            0o120_000 => return Err(self.refuse_member(entry, "it is a symbolic link")),
            0o040_000 => {
                return Err(self.refuse_member(entry, "it is marked as a directory and named as a file"));
            }
            _ => return Err(self.refuse_member(entry, "it is a device, pipe or socket")),
        }
        if entry.is_directory() && (entry.bytes != 0 || entry.compressed_bytes > 2) {
            return Err(self.refuse_member(entry, "it is a directory and has data"));
        }
        Ok(())
    }

    /// No member may share a byte with another or with the directory: overlap is how a small archive
    /// pretends to be a large one.
    fn check_layout(&self) -> Result<()> {
        for index in 0..self.len() {
            let entry = self.entry(index);
            let reach = entry.offset.checked_add(entry.least_bytes());
            if reach.is_none_or(|reach| reach > self.extent(index).1) {
                return Err(self.refuse_member(&entry, "it overlaps the next member or the directory"));
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        if let Some((_, index)) = second_of_a_name(&[self], |_| true) {
            return Err(self.refuse_member(&self.entry(index), "its name occurs twice"));
        }
        let parents = parents_of(&[self]);
        for index in 0..self.len() {
            let entry = self.entry(index);
            if !entry.is_directory() && parents.contains(self.path(index).as_ref()) {
                return Err(self.refuse_member(&entry, "it is a file where other members need a directory"));
            }
        }
        Ok(())
    }

    fn refuse(&self, offset: u64, reason: &str) -> Error {
        Error::Archive { archive: self.archive.clone(), offset, reason: reason.into() }
    }

    pub fn refuse_member(&self, entry: &Entry<'_>, reason: &str) -> Error {
        Error::Member {
            archive: self.archive.clone(),
            member: entry.name(),
            offset: entry.offset,
            reason: reason.into(),
        }
    }

    #[must_use]
    pub fn archive(&self) -> &str {
        &self.archive
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Where the central directory starts, in bytes from the start of the archive.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many members are files; the others are directories.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files
    }

    /// The sum of the members' sizes as declared.
    #[must_use]
    pub fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    /// The record of member `index`.
    ///
    /// # Panics
    /// When `index` is not below `len()`.
    #[must_use]
    pub fn entry(&self, index: usize) -> Entry<'_> {
        // Every record was read once when the directory was validated, so this cannot fail here.
        let Some(entry) = read_entry(&self.raw[self.order[index] as usize..], self.shift) else {
            unreachable!("record {index} was validated")
        };
        entry
    }

    /// The name that the member's file will have, without a directory's slash.  Two names that differ in
    /// the archive can be one here, when one of them is in code page 437.
    fn path(&self, index: usize) -> Cow<'_, str> {
        let entry = self.entry(index);
        let raw_name = entry.raw_name.strip_suffix(b"/").unwrap_or(entry.raw_name);
        // It was decoded once when the directory was validated.
        name::decode(raw_name, entry.flags & FLAG_UTF8 != 0).unwrap_or_default()
    }

    fn offset(&self, index: usize) -> u64 {
        self.entry(index).offset
    }

    /// The span from this member's local header to the next one's, or to the directory: every byte of the
    /// archive lies in one extent, before the first member, or in the directory.
    #[must_use]
    pub fn extent(&self, index: usize) -> (u64, u64) {
        let end = if index + 1 < self.len() { self.offset(index + 1) } else { self.start };
        (self.offset(index), end)
    }

    /// The first member whose extent ends behind `offset`.
    #[must_use]
    pub fn first_ending_after(&self, offset: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.extent(middle).1 > offset { high = middle } else { low = middle + 1 }
        }
        low
    }

    /// The name of a member that lies below `passed` in the archive and whose file is not in `staging` at
    /// its full size.
    #[must_use]
    pub fn first_missing(&self, staging: &Staging, passed: u64) -> Option<String> {
        (0..self.len())
            .take_while(|&index| self.extent(index).1 <= passed)
            .map(|index| self.entry(index))
            .find(|entry| !entry.is_directory() && staging.size(&entry.name()) != Some(entry.bytes))
            .map(|entry| entry.name())
    }

    /// Checks the local header at the start of a member's extent against the directory, and tells how
    /// many bytes into the extent the data starts; None while `head` is too short to tell.
    ///
    /// # Errors
    /// `Member`, when the two contradict each other.
    pub fn data_start(&self, index: usize, head: &[u8]) -> Result<Option<usize>> {
        let entry = self.entry(index);
        let Some(fixed) = head.get(..LOCAL_BYTES) else { return Ok(None) };
        if u32_at(fixed, 0) != Some(LOCAL_SIGNATURE) {
            return Err(self.refuse_member(&entry, "there is no local header where the directory says"));
        }
        let (flags, method) = (u16_at(fixed, 6).unwrap_or(0), u16_at(fixed, 8).unwrap_or(0));
        let name_bytes = usize::from(u16_at(fixed, 26).unwrap_or(0));
        let extra_bytes = usize::from(u16_at(fixed, 28).unwrap_or(0));
        let start = LOCAL_BYTES + name_bytes + extra_bytes;
        let (offset, end) = self.extent(index);
        if start as u64 + entry.compressed_bytes > end - offset {
            return Err(self.refuse_member(&entry, "it overlaps the next member or the directory"));
        }
        let Some(rest) = head.get(LOCAL_BYTES..start) else { return Ok(None) };
        let (name, extra) = rest.split_at(name_bytes);
        if name != entry.raw_name {
            return Err(self.refuse_member(&entry, "the local header has another name than the directory"));
        }
        if method != entry.method || flags & FLAG_ENCRYPTED != 0 {
            return Err(self.refuse_member(&entry, "the local header has another method than the directory"));
        }
        if flags & FLAG_DESCRIPTOR == 0 {
            let crc32 = u32_at(fixed, 14).unwrap_or(0);
            let mut sizes =
                [u64::from(u32_at(fixed, 22).unwrap_or(0)), u64::from(u32_at(fixed, 18).unwrap_or(0))];
            let known = widen(extra, &mut sizes.each_mut());
            if known.is_none() || crc32 != entry.crc32 || sizes != [entry.bytes, entry.compressed_bytes] {
                return Err(self.refuse_member(
                    &entry,
                    "the local header has another size or CRC-32 than the directory",
                ));
            }
        }
        Ok(Some(start))
    }
}

/// Checks that archives which are unpacked into one folder do not get in each other's way: no file comes
/// out of two of them, and none is a file where another needs a directory.
///
/// # Errors
/// `Member`, for the one in the way.
pub fn check_disjoint(directories: &[&Directory]) -> Result<()> {
    if let Some((directory, index)) = second_of_a_name(directories, |entry| !entry.is_directory()) {
        return Err(
            directory.refuse_member(&directory.entry(index), "another archive has a file of this name")
        );
    }
    let mut parents = parents_of(directories);
    for (directory, index) in members_of(directories) {
        if directory.entry(index).is_directory() {
            parents.insert(directory.path(index).into_owned());
        }
    }
    for (directory, index) in members_of(directories) {
        let entry = directory.entry(index);
        if !entry.is_directory() && parents.contains(directory.path(index).as_ref()) {
            return Err(directory.refuse_member(&entry, "it is a file where another archive has a directory"));
        }
    }
    Ok(())
}

fn members_of<'a>(directories: &'a [&'a Directory]) -> impl Iterator<Item = (&'a Directory, usize)> {
    directories.iter().flat_map(|directory| (0..directory.len()).map(move |index| (*directory, index)))
}

/// A member, among those that `counts`, whose name another one has.
///
/// By sorted hashes, 24 bytes a member for a moment: a set of names took three times that, and stays at
/// its peak in the process's memory.
fn second_of_a_name<'a>(
    directories: &'a [&'a Directory],
    counts: impl Fn(&Entry<'_>) -> bool,
) -> Option<(&'a Directory, usize)> {
    let state = RandomState::new();
    let mut hashed: Vec<(u64, &Directory, usize)> = members_of(directories)
        .filter(|(directory, index)| counts(&directory.entry(*index)))
        .map(|(directory, index)| (state.hash_one(directory.path(index)), directory, index))
        .collect();
    hashed.sort_unstable_by_key(|&(hash, _, _)| hash);
    hashed.windows(2).find_map(|pair| {
        let [(hash, one, first), (other_hash, other, second)] = *pair else { return None };
        (hash == other_hash && one.path(first) == other.path(second)).then_some((other, second))
    })
}

/// The folders that members lie in; there are few of them beside the files.
fn parents_of(directories: &[&Directory]) -> HashSet<String> {
    let mut parents: HashSet<String> = HashSet::new();
    for (directory, index) in members_of(directories) {
        let path = directory.path(index);
        let mut rest = path.as_ref();
        while let Some((parent, _)) = rest.rsplit_once('/') {
            if parents.contains(parent) {
                break;
            }
            parents.insert(parent.to_owned());
            rest = parent;
        }
    }
    parents
}

struct End {
    members: u64,
    directory_bytes: u64,
    directory_offset: u64,
    /// Where the directory must end: at the zip64 end record if there is one, else at the end record.
    position: u64,
}

enum Found {
    End(End),
    NeedFrom(u64),
}

impl End {
    fn find(tail: &[u8], tail_start: u64) -> std::result::Result<Found, (u64, &'static str)> {
        let total = tail_start + tail.len() as u64;
        let at = (0..=tail.len().saturating_sub(END_BYTES))
            .rev()
            // A comment is at most 65,535 bytes, so the record starts no further from the end.
            .take(usize::from(u16::MAX) + 1)
            .find(|&at| {
                u32_at(tail, at) == Some(END_SIGNATURE)
                    && u16_at(tail, at + 20)
                        .is_some_and(|comment| at + END_BYTES + usize::from(comment) == tail.len())
            })
            .ok_or((total, "it has no end record: it is not a zip archive, or it is cut off"))?;
        let position = tail_start + at as u64;
        let short = |at| u64::from(u16_at(tail, at).unwrap_or(0));
        let long = |at| u64::from(u32_at(tail, at).unwrap_or(0));
        let (disk, directory_disk) = (short(at + 4), short(at + 6));
        let mut end = Self {
            members: short(at + 10),
            directory_bytes: long(at + 12),
            directory_offset: long(at + 16),
            position,
        };
        let saturated = end.members == 0xffff
            || end.directory_bytes == 0xffff_ffff
            || end.directory_offset == 0xffff_ffff;
        let locator = match at.checked_sub(LOCATOR_BYTES) {
            Some(locator) if u32_at(tail, locator) == Some(LOCATOR_SIGNATURE) => locator,
            None if saturated && tail_start > 0 => {
                return Ok(Found::NeedFrom(tail_start.saturating_sub(1 << 16)));
            }
            _ if (disk != 0 || directory_disk != 0) => return Err((position, "it is one volume of several")),
            _ => return Ok(Found::End(end)),
        };
        // The locator's own offset does not know of bytes in front of the zip, so the record is looked for
        // where writers put it: right before the locator.
        let Some(at64) = locator.checked_sub(END64_BYTES) else {
            if tail_start == 0 {
                return Err((position, "its zip64 end record is cut off"));
            }
            return Ok(Found::NeedFrom(tail_start.saturating_sub(1 << 16)));
        };
        if u32_at(tail, at64) != Some(END64_SIGNATURE) {
            return Err((position, "its zip64 end record is not where it belongs"));
        }
        let very_long = |at| u64_at(tail, at).unwrap_or(0);
        if very_long(at64 + 4) != END64_BYTES as u64 - 12
            || very_long(at64 + 16) != 0
            || very_long(at64 + 24) != very_long(at64 + 32)
        {
            return Err((
                tail_start + at64 as u64,
                "its zip64 end record is of a kind that is not supported",
            ));
        }
        for (narrow, wide, limit) in [
            (end.members, very_long(at64 + 32), 0xffff),
            (end.directory_bytes, very_long(at64 + 40), 0xffff_ffff),
            (end.directory_offset, very_long(at64 + 48), 0xffff_ffff),
        ] {
            if narrow != limit && narrow != wide {
                return Err((position, "its two end records contradict each other"));
            }
        }
        end.members = very_long(at64 + 32);
        end.directory_bytes = very_long(at64 + 40);
        end.directory_offset = very_long(at64 + 48);
        end.position = tail_start + at64 as u64;
        Ok(Found::End(end))
    }
}

fn record_length(raw: &[u8]) -> Option<usize> {
    if u32_at(raw, 0)? != CENTRAL_SIGNATURE {
        return None;
    }
    let length = CENTRAL_BYTES
        + usize::from(u16_at(raw, 28)?)
        + usize::from(u16_at(raw, 30)?)
        + usize::from(u16_at(raw, 32)?);
    (length <= raw.len()).then_some(length)
}

fn read_entry(raw: &[u8], shift: u64) -> Option<Entry<'_>> {
    let name_bytes = usize::from(u16_at(raw, 28)?);
    let extra_bytes = usize::from(u16_at(raw, 30)?);
    let raw_name = raw.get(CENTRAL_BYTES..CENTRAL_BYTES + name_bytes)?;
    let extra = raw.get(CENTRAL_BYTES + name_bytes..CENTRAL_BYTES + name_bytes + extra_bytes)?;
    let made_by_unix = u16_at(raw, 4)? >> 8 == 3;
    let mut fields = [u64::from(u32_at(raw, 24)?), u64::from(u32_at(raw, 20)?), u64::from(u32_at(raw, 42)?)];
    widen(extra, &mut fields.each_mut())?;
    let [bytes, compressed_bytes, offset] = fields;
    Some(Entry {
        raw_name,
        flags: u16_at(raw, 8)?,
        method: u16_at(raw, 10)?,
        crc32: u32_at(raw, 16)?,
        compressed_bytes,
        bytes,
        offset: offset.checked_add(shift)?,
        unix_mode: if made_by_unix { u16_at(raw, 40)? } else { 0 },
    })
}

/// Replaces each field that is saturated at 32 bits by its 64-bit value from the zip64 extra field, where
/// they stand in this order; None when a needed one is missing.
fn widen(extra: &[u8], fields: &mut [&mut u64]) -> Option<()> {
    let mut wide: &[u8] = &[];
    let mut rest = extra;
    while let (Some(id), Some(size)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let Some(body) = rest.get(4..4 + usize::from(size)) else { break };
        if id == ZIP64_EXTRA {
            wide = body;
            break;
        }
        rest = &rest[4 + usize::from(size)..];
    }
    for field in fields.iter_mut().filter(|field| ***field == 0xffff_ffff) {
        let (value, rest) = wide.split_first_chunk::<8>()?;
        **field = u64::from_le_bytes(*value);
        wide = rest;
    }
    Some(())
}

fn u16_at(raw: &[u8], at: usize) -> Option<u16> {
    raw.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(raw: &[u8], at: usize) -> Option<u32> {
    raw.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(raw: &[u8], at: usize) -> Option<u64> {
    raw.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
#[path = "zip_tests.rs"]
mod tests;
