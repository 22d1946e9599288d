//! A tar as its bytes come by, in pieces of any size: what they are is told, where they go is the caller's.
//!
//! v7, ustar, GNU (long names, base 256) and PAX.  Between members the whole state is a few numbers
//! ([`Reader::boundary`]), beside the names that were seen.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::name;
use crate::names::Names;
use crate::policy::{Policy, RATIO_FREE_BYTES};
use crate::tar_header::{
    self as header, BLOCK_BYTES, Block, Header, Kind, OCTAL_SIZE_MAX, Records, until_nul,
};

mod saved;
pub use saved::SavedReader;

/// GNU's long names are longer than any file system takes long before this.
const LONG_NAME_BYTES_MAX: u64 = 1 << 16;
/// PAX records hold extended attributes as well, of up to 64 KiB each.
const RECORDS_BYTES_MAX: u64 = 1 << 20;

/// A file or directory; `offset` is that of its header in the (uncompressed) tar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub name: String,
    pub bytes: u64,
    pub offset: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Directory(Member),
    /// So many bytes of data follow, then `FileEnd`.
    File(Member),
    Data(&'a [u8]),
    FileEnd,
}

/// What has to be known to go on at the header of the next member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    pub offset: u64,
    pub members: u64,
    pub unpacked_bytes: u64,
}

#[derive(Debug)]
pub struct Reader {
    archive: String,
    policy: Policy,
    names: Arc<Names>,
    number: u32,
    state: State,
    /// A header that came in several pieces.
    partial: Vec<u8>,
    /// What extension headers said about the next member, and where the first of them stood.
    next: Pending,
    /// Bytes taken so far.
    offset: u64,
    /// The file whose data are passing by, for the message if they do not come.
    current: Option<Member>,
    members: u64,
    /// Files, and folders, also those that are only part of a name.
    places: u64,
    unpacked_bytes: u64,
    /// Size of the archive as it lies on the disk, and whether it is known or only what arrived so far.
    archive_bytes: u64,
    is_sized: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    start: Option<u64>,
    name: Option<Vec<u8>>,
    has_long_link: bool,
    records: Option<Records>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum State {
    Header,
    Extension {
        kind: Kind,
        left: u64,
        padding: u64,
        raw: Vec<u8>,
    },
    Data {
        left: u64,
        padding: u64,
    },
    Padding {
        left: u64,
    },
    /// Behind the first zero block only zeros may follow.
    End,
}

impl Reader {
    /// A reader for archive number `number` of those that share `names`; `archive_bytes` is the size that the
    /// ratio limit is measured by, None where it is told as it grows.
    #[must_use]
    pub fn new(
        archive: &str,
        number: u32,
        policy: Policy,
        names: Arc<Names>,
        archive_bytes: Option<u64>,
    ) -> Self {
        Self {
            archive: archive.to_owned(),
            policy,
            names,
            number,
            state: State::Header,
            partial: Vec::new(),
            next: Pending::default(),
            offset: 0,
            current: None,
            members: 0,
            places: 0,
            unpacked_bytes: 0,
            archive_bytes: archive_bytes.unwrap_or(0),
            is_sized: archive_bytes.is_some(),
        }
    }

    /// So many bytes of the archive have been read, where its size is not known.
    pub fn arrived(&mut self, archive_bytes: u64) {
        if !self.is_sized {
            self.archive_bytes = archive_bytes;
        }
    }

    /// Takes from `input` until there is something to tell; None when all of it is taken.
    ///
    /// # Errors
    /// `Member` or `Archive`, for whatever is damaged, hostile or not supported.
    pub fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>> {
        loop {
            match &mut self.state {
                State::Header => {
                    let Some(block) = self.block(input) else { return Ok(None) };
                    if let Some(event) = self.header(&block)? {
                        return Ok(Some(event));
                    }
                }
                State::Extension { left, raw, .. } if *left > 0 => {
                    let data = take(input, left, &mut self.offset);
                    raw.extend_from_slice(data);
                    if input.is_empty() {
                        return Ok(None);
                    }
                }
                State::Extension { kind, padding, raw, .. } => {
                    let (kind, raw, left) = (*kind, std::mem::take(raw), *padding);
                    self.state = State::Padding { left };
                    self.extend(kind, &raw)?;
                }
                State::Data { left: 0, padding } => {
                    self.state = State::Padding { left: *padding };
                    return Ok(Some(Event::FileEnd));
                }
                State::Data { left, .. } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    return Ok(Some(Event::Data(take(input, left, &mut self.offset))));
                }
                State::Padding { left: 0 } => self.state = State::Header,
                State::Padding { left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    take(input, left, &mut self.offset);
                }
                State::End => return self.zeros(input),
            }
        }
    }

    /// # Errors
    /// `Archive` or `Member`, when the tar is not at its end here.
    pub fn finish(&self) -> Result<()> {
        match self.state {
            State::End => Ok(()),
            State::Header if self.offset == 0 && self.partial.is_empty() => {
                Err(self.refuse(0, "it is empty, not even a tar's end mark is in it"))
            }
            State::Header if self.offset < BLOCK_BYTES as u64 => Err(self.refuse_no_tar()),
            State::Data { left, .. } if left > 0 => match &self.current {
                Some(member) => Err(self
                    .refuse_member(member, &format!("the archive is cut off {left} bytes before its end"))),
                None => unreachable!("data belong to a member"),
            },
            _ => {
                Err(self
                    .refuse(self.offset, "it is cut off: the mark at its end (512 zero bytes) is missing"))
            }
        }
    }

    /// Where reading can go on later; None within a member.
    #[must_use]
    pub fn boundary(&self) -> Option<Boundary> {
        let between = matches!(self.state, State::Header | State::Padding { left: 0 })
            && self.partial.is_empty()
            && self.next.start.is_none();
        between.then_some(Boundary {
            offset: self.offset,
            members: self.members,
            unpacked_bytes: self.unpacked_bytes,
        })
    }

    /// The file whose data, or whose end, come next, and how many of its bytes have passed.
    #[must_use]
    pub fn in_file(&self) -> Option<(&str, u64)> {
        let State::Data { left, .. } = self.state else { return None };
        let member = self.current.as_ref()?;
        Some((&member.name, member.bytes.saturating_sub(left)))
    }

    #[must_use]
    pub fn members(&self) -> u64 {
        self.members
    }

    fn block(&mut self, input: &mut &[u8]) -> Option<Block> {
        if self.partial.is_empty()
            && let Some((block, rest)) = input.split_first_chunk::<BLOCK_BYTES>()
        {
            *input = rest;
            self.offset += BLOCK_BYTES as u64;
            return Some(*block);
        }
        let wanted = (BLOCK_BYTES - self.partial.len()).min(input.len());
        let (head, rest) = input.split_at(wanted);
        self.partial.extend_from_slice(head);
        *input = rest;
        self.offset += wanted as u64;
        let block = Block::try_from(self.partial.as_slice()).ok()?;
        self.partial.clear();
        Some(block)
    }

    fn header(&mut self, block: &Block) -> Result<Option<Event<'static>>> {
        let start = self.offset - BLOCK_BYTES as u64;
        self.check_growth(start)?;
        if block.iter().all(|&byte| byte == 0) {
            if let Some(extended) = self.next.start {
                return Err(self.refuse(extended, "an extended header stands before no member"));
            }
            self.state = State::End;
            return Ok(None);
        }
        if !header::checksum_fits(block) {
            return Err(if start == 0 {
                self.refuse_no_tar()
            } else {
                self.refuse(start, "a header's checksum is wrong: the archive is damaged or cut off")
            });
        }
        let parsed = header::parse(block).map_err(|reason| {
            self.refuse_named(&String::from_utf8_lossy(until_nul(&block[..100])), start, reason)
        })?;
        match parsed.kind {
            Kind::LongName | Kind::LongLink | Kind::Records | Kind::GlobalRecords => {
                self.begin_extension(&parsed, start)?;
                Ok(None)
            }
            _ => self.member(parsed, start).map(Some),
        }
    }

    fn begin_extension(&mut self, parsed: &Header, start: u64) -> Result<()> {
        let limit = match parsed.kind {
            Kind::LongName | Kind::LongLink => LONG_NAME_BYTES_MAX,
            _ => RECORDS_BYTES_MAX,
        };
        if parsed.bytes > limit {
            return Err(self.refuse(
                start,
                &format!("an extended header claims {} bytes, more than {limit}", parsed.bytes),
            ));
        }
        if parsed.kind != Kind::GlobalRecords {
            self.next.start.get_or_insert(start);
        }
        self.state = State::Extension {
            kind: parsed.kind,
            left: parsed.bytes,
            padding: padding(parsed.bytes),
            raw: Vec::new(),
        };
        Ok(())
    }

    fn extend(&mut self, kind: Kind, raw: &[u8]) -> Result<()> {
        let start = self.next.start.unwrap_or(self.offset);
        match kind {
            Kind::LongName if self.next.name.is_some() => {
                return Err(self.refuse(start, "one member has two long names"));
            }
            Kind::LongName => self.next.name = Some(until_nul(raw).to_vec()),
            Kind::LongLink if self.next.has_long_link => {
                return Err(self.refuse(start, "one member has two long link targets"));
            }
            Kind::LongLink => self.next.has_long_link = true,
            Kind::Records if self.next.records.is_some() => {
                return Err(self.refuse(start, "one member has two PAX headers"));
            }
            _ => {
                let records = Records::parse(raw).map_err(|reason| self.refuse(start, reason))?;
                if kind == Kind::Records {
                    self.next.records = Some(records);
                } else if !records.is_empty() {
                    return Err(self.refuse(start, "a global PAX header gives all members one path or size"));
                }
            }
        }
        Ok(())
    }

    fn member(&mut self, parsed: Header, start: u64) -> Result<Event<'static>> {
        let Pending { start: extended, name: long_name, records, .. } = std::mem::take(&mut self.next);
        let offset = extended.unwrap_or(start);
        let records = records.unwrap_or_default();
        let both = long_name.is_some() && records.path.is_some();
        let raw_name = records.path.or(long_name).unwrap_or(parsed.name);
        let shown = String::from_utf8_lossy(&raw_name).into_owned();
        let refuse = |reason: &str| Err(self.refuse_named(&shown, offset, reason));
        if both {
            return refuse("it has a GNU long name and a PAX path");
        }
        if records.is_sparse {
            return refuse("it is a sparse file");
        }
        if let Kind::Refused(reason) = parsed.kind {
            return refuse(reason);
        }
        let bytes = match records.bytes {
            // Writers leave the field at zero, or fill it with what fits, when PAX has the size.
            Some(told) if told != parsed.bytes && parsed.bytes != 0 && told <= OCTAL_SIZE_MAX => {
                return refuse("its PAX size contradicts its header");
            }
            Some(told) => told,
            None => parsed.bytes,
        };
        let is_directory = match parsed.kind {
            Kind::FileOrDirectory => raw_name.ends_with(b"/"),
            kind => kind == Kind::Directory,
        };
        let Ok(name) = String::from_utf8(raw_name) else { return refuse("its name is not UTF-8") };
        if self.members == self.policy.members_max {
            return refuse(&format!("it is one more than the {} members allowed", self.members));
        }
        self.members += 1;
        let member = Member { name: name::without_here(&name).to_owned(), bytes, offset };
        if is_directory { self.directory(member) } else { self.file(member) }
    }

    /// Takes `new` more names.  Folders that no member is but that members lie in count as well: each is an inode, and
    /// a name may have 255.
    fn count(&mut self, member: &Member, new: u64) -> Result<()> {
        self.places += new;
        if self.places <= self.policy.members_max {
            return Ok(());
        }
        let most = self.policy.members_max;
        Err(self.refuse_member(
            member,
            &format!("with it there are more than the {most} files and folders allowed"),
        ))
    }

    fn directory(&mut self, mut member: Member) -> Result<Event<'static>> {
        if member.bytes != 0 {
            return Err(self.refuse_member(&member, "it is a directory and has data"));
        }
        if let Some(stripped) = member.name.strip_suffix('/') {
            member.name = stripped.to_owned();
        }
        if !member.name.is_empty() && member.name != "." {
            let new = name::check(&member.name, self.policy.portable_names)
                .and_then(|()| self.names.claim_folder(self.number, &member.name))
                .map_err(|reason| self.refuse_member(&member, reason))?;
            self.count(&member, new)?;
        } else {
            // The folder itself, which `tar -c .` begins with.
            member.name.clear();
        }
        self.state = State::Header;
        Ok(Event::Directory(member))
    }

    fn file(&mut self, member: Member) -> Result<Event<'static>> {
        if member.name.ends_with('/') {
            return Err(self.refuse_member(&member, "it is a file and its name ends in a slash"));
        }
        let new = name::check(&member.name, self.policy.portable_names)
            .and_then(|()| self.names.claim_file(self.number, &member.name))
            .map_err(|reason| self.refuse_member(&member, reason))?;
        self.count(&member, new)?;
        let unpacked = self.unpacked_bytes.checked_add(member.bytes);
        let Some(unpacked) = unpacked.filter(|&bytes| bytes <= i64::MAX.cast_unsigned()) else {
            return Err(self.refuse_member(&member, "its size is larger than any file can be"));
        };
        if unpacked > self.policy.unpacked_bytes_max {
            let limit = self.policy.unpacked_bytes_max;
            return Err(self.refuse_member(&member, &format!("with it more than {limit} bytes are unpacked")));
        }
        if self.is_sized && unpacked > self.ratio_bytes() {
            return Err(self.refuse_member(&member, &self.ratio_words()));
        }
        self.unpacked_bytes = unpacked;
        self.state = State::Data { left: member.bytes, padding: padding(member.bytes) };
        self.current = Some(member.clone());
        Ok(Event::File(member))
    }

    /// Headers and padding grow as well: what a bomb is made of does not matter.
    fn check_growth(&self, offset: u64) -> Result<()> {
        if self.offset <= self.ratio_bytes() {
            return Ok(());
        }
        Err(self.refuse(offset, &self.ratio_words()))
    }

    fn ratio_bytes(&self) -> u64 {
        self.archive_bytes.saturating_mul(self.policy.ratio_max).max(RATIO_FREE_BYTES)
    }

    fn ratio_words(&self) -> String {
        format!("it unpacks to more than {} times the archive's size", self.policy.ratio_max)
    }

    fn zeros<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>> {
        if let Some(at) = input.iter().position(|&byte| byte != 0) {
            return Err(self.refuse(
                self.offset + at as u64,
                "there is something behind the end of the archive: was another one appended to it?",
            ));
        }
        self.offset += input.len() as u64;
        *input = &[];
        self.check_growth(self.offset)?;
        Ok(None)
    }

    fn refuse(&self, offset: u64, reason: &str) -> Error {
        Error::Archive { archive: self.archive.clone(), offset, reason: reason.into() }
    }

    fn refuse_no_tar(&self) -> Error {
        self.refuse(0, "its contents are no tar archive")
    }

    pub fn refuse_member(&self, member: &Member, reason: &str) -> Error {
        self.refuse_named(&member.name, member.offset, reason)
    }

    fn refuse_named(&self, member: &str, offset: u64, reason: &str) -> Error {
        Error::Member {
            archive: self.archive.clone(),
            member: member.to_owned(),
            offset,
            reason: reason.into(),
        }
    }
}

fn padding(bytes: u64) -> u64 {
    bytes.wrapping_neg() % BLOCK_BYTES as u64
}

fn take<'a>(input: &mut &'a [u8], left: &mut u64, offset: &mut u64) -> &'a [u8] {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    let (data, rest) = input.split_at(count);
    *input = rest;
    *left -= count as u64;
    *offset += count as u64;
    data
}

#[cfg(test)]
#[path = "tar_tests.rs"]
mod tests;
