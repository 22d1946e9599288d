//! A zip's central directory, checked whole before any member is touched (PKWARE APPNOTE.TXT 6.3.10).
//!
//! The directory stays as the bytes that arrived, plus four bytes a member for the order in the file:
//! about 80 to 110 bytes a member, whatever the archive's size.  What is refused, and why, is in
//! `docs/archives.md`.

mod end;
mod local;
mod record;

use std::borrow::Cow;

use bytes::Bytes;

use crate::collisions::{self, Collision, Kind, Names, Trouble};
use crate::error::{Error, Result};
use crate::policy::{Policy, RATIO_FREE_BYTES};

use end::{End, Found};
pub use local::{HEADER_BYTES, Local, TRAILER_BYTES};
use record::{CENTRAL_BYTES, CENTRAL_BYTES_MAX};
pub use record::{Entry, Method};

/// Directory memory is bounded before it is allocated: 4 GiB of directory is 40 million members.
const DIRECTORY_BYTES_MAX: u64 = 1 << 32;

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
        if end.locator_offset.is_some_and(|offset| offset.checked_add(shift) != Some(end.position)) {
            return Err(refuse(
                end.position,
                "its zip64 locator points elsewhere than to the zip64 end record",
            ));
        }
        // Before it is asked for: what claims four gigabytes is not to get them.
        check_counts(&end, policy).map_err(|reason| refuse(start, &reason))?;
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
        directory.check_sizes()?;
        directory.check_layout()?;
        directory.check_names()?;
        Ok(Parsed::Complete(directory))
    }

    fn read_records(&mut self, members: u64) -> Result<()> {
        self.order.reserve_exact(usize::try_from(members).unwrap_or(0));
        let mut at = 0;
        for _ in 0..members {
            let read = Entry::read(&self.raw[at..], self.shift);
            let (Some((entry, length)), Ok(position)) = (read, u32::try_from(at)) else {
                return Err(self.refuse(
                    self.start + at as u64,
                    "a record of the central directory is cut off or damaged",
                ));
            };
            entry.check(self.policy.portable_names).map_err(|reason| self.refuse_member(&entry, &reason))?;
            self.unpacked_bytes = self.unpacked_bytes.saturating_add(entry.bytes);
            self.files += usize::from(!entry.is_directory());
            self.order.push(position);
            at += length;
        }
        if at != self.raw.len() {
            return Err(
                self.refuse(self.start + at as u64, "the central directory has bytes behind its last record")
            );
        }
        let (raw, shift) = (&self.raw, self.shift);
        let offset = |&at: &u32| Entry::read(&raw[at as usize..], shift).map_or(0, |(entry, _)| entry.offset);
        if !self.order.is_sorted_by_key(offset) {
            self.order.sort_by_cached_key(offset);
        }
        Ok(())
    }

    /// What is declared is a promise: no member may unpack to more, so the sum bounds the whole.
    fn check_sizes(&self) -> Result<()> {
        let (unpacked, most) = (self.unpacked_bytes, self.policy.unpacked_bytes_max);
        if unpacked > most {
            return Err(self.refuse(
                self.start,
                &format!(
                    "it unpacks to {unpacked} bytes, and {most} are allowed: --max-unpacked allows more"
                ),
            ));
        }
        let ratio = self.policy.ratio_max;
        if unpacked > RATIO_FREE_BYTES && unpacked > self.total.saturating_mul(ratio) {
            return Err(self.refuse(
                self.start,
                &format!(
                    "it unpacks to {unpacked} bytes, which is more than {ratio} times its own size: --max-ratio \
                     allows more"
                ),
            ));
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

    /// Folders that no member is but that members lie in count as well: each is an inode, and a name may have 255.
    fn check_names(&self) -> Result<()> {
        let most = self.policy.members_max;
        let folders_max = most.saturating_sub(self.files as u64);
        let all = [self];
        let all = Several::of(&all);
        match collisions::find(&all, self.policy.portable_names, folders_max) {
            Ok(()) => Ok(()),
            Err(Trouble::Collision(collision)) => Err(all.refuse(&collision)),
            Err(Trouble::TooManyFolders) => Err(self.refuse(
                self.start,
                &format!(
                    "it has more files and folders than the {most} that are allowed: --max-members allows more"
                ),
            )),
        }
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
        let Some((entry, _)) = Entry::read(&self.raw[self.order[index] as usize..], self.shift) else {
            unreachable!("record {index} was validated")
        };
        entry
    }

    /// The name that the member's file will have, without a directory's slash.  Two names that differ in
    /// the archive can be one here, when one of them is in code page 437.
    fn path(&self, index: usize) -> Cow<'_, str> {
        // It was decoded once when the directory was validated.
        match self.entry(index).text().unwrap_or_default() {
            Cow::Borrowed(text) => text.strip_suffix('/').unwrap_or(text).into(),
            Cow::Owned(mut text) => {
                if text.ends_with('/') {
                    text.pop();
                }
                text.into()
            }
        }
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
}

/// Whether the end record counts as many members as are allowed and as its directory can have.
fn check_counts(end: &End, policy: &Policy) -> std::result::Result<(), String> {
    let (members, most) = (end.members, policy.members_max);
    if members > end.directory_bytes / CENTRAL_BYTES as u64 {
        return Err("the end record counts more members than the directory has room for".into());
    }
    if members > most {
        return Err(format!("it has {members} members, and {most} are allowed: --max-members allows more"));
    }
    if end.directory_bytes > members.saturating_mul(CENTRAL_BYTES_MAX) {
        return Err("the central directory has bytes behind its last record".into());
    }
    Ok(())
}

/// Checks that archives which are unpacked into one folder do not get in each other's way: no file comes
/// out of two of them, and none is a file where another needs a directory.
///
/// # Errors
/// `Member`, for the one in the way.
pub fn check_disjoint(directories: &[&Directory]) -> Result<()> {
    let portable = directories.iter().any(|directory| directory.policy.portable_names);
    let all = Several::of(directories);
    // Each of them was held to its limit when it was read.
    match collisions::find(&all, portable, u64::MAX) {
        Err(Trouble::Collision(collision)) => Err(all.refuse(&collision)),
        Ok(()) | Err(Trouble::TooManyFolders) => Ok(()),
    }
}

/// The members of several archives, numbered through.
struct Several<'a> {
    directories: &'a [&'a Directory],
    /// The number of each archive's first member, and of one behind the last.
    firsts: Vec<usize>,
}

impl<'a> Several<'a> {
    fn of(directories: &'a [&'a Directory]) -> Self {
        let mut firsts = vec![0];
        for directory in directories {
            firsts.push(firsts.last().unwrap_or(&0) + directory.len());
        }
        Self { directories, firsts }
    }

    fn at(&self, member: usize) -> (&'a Directory, usize) {
        let archive = self.archive(member);
        (self.directories[archive], member - self.firsts[archive])
    }

    fn refuse(&self, collision: &Collision) -> Error {
        let (directory, index) = self.at(collision.member);
        let (other_directory, other) = self.at(collision.other);
        let mut of = other_directory.entry(other).name();
        of = format!("{of:?}");
        if !std::ptr::eq(directory, other_directory) {
            of = format!("{of} of another archive, {},", other_directory.archive());
        }
        let reason = match collision.kind {
            Kind::SameName => format!("its name occurs twice: {of} has it too"),
            Kind::SameForSome => format!(
                "its name and {of} differ only in case, Unicode form or invisible characters, and are one \
                 for some systems (--any-names lets both through)"
            ),
            Kind::FileForFolder => format!("it is a file where {of} needs a directory"),
        };
        directory.refuse_member(&directory.entry(index), &reason)
    }
}

impl Names for Several<'_> {
    fn len(&self) -> usize {
        self.firsts.last().copied().unwrap_or(0)
    }

    fn path(&self, member: usize) -> Cow<'_, str> {
        let (directory, index) = self.at(member);
        directory.path(index)
    }

    fn is_directory(&self, member: usize) -> bool {
        let (directory, index) = self.at(member);
        directory.entry(index).is_directory()
    }

    fn archive(&self, member: usize) -> usize {
        self.firsts.partition_point(|&first| first <= member) - 1
    }
}

#[cfg(test)]
#[path = "zip_tests.rs"]
mod tests;
