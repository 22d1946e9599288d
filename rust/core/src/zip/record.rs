//! One record of the central directory, and the extra fields that it shares with local headers.

use std::borrow::Cow;

use crate::name::{self, Encoding};

const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
pub(super) const CENTRAL_BYTES: usize = 46;
/// With the longest name, extra fields and comment.
pub(super) const CENTRAL_BYTES_MAX: u64 = CENTRAL_BYTES as u64 + 3 * 0xffff;

const EXTRA_ZIP64: u16 = 0x0001;
const EXTRA_PKWARE_UNIX: u16 = 0x000d;
const EXTRA_UNICODE_PATH: u16 = 0x7075;
const EXTRA_ASI_UNIX: u16 = 0x756e;
/// Times, user and group; what a link points to and a device's numbers come behind.
const PKWARE_UNIX_BYTES: usize = 12;

pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_PATCHED: u16 = 1 << 5;
pub(super) const FLAG_UTF8: u16 = 1 << 11;
/// Encrypted, strongly encrypted, and with a masked local header.
pub(super) const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

/// The newest version of the format that is understood: 6.3, which named zstd.
const VERSION_MAX: u8 = 63;

/// The folder that all is unpacked into, which archives of `.` begin with.
const HERE: &str = "./";

/// Unix and macOS, as the systems that members are made on are numbered.
const UNIX_SYSTEMS: [u8; 2] = [3, 19];
/// Systems whose external attributes are those of MS-DOS in the low byte.
const DOS_SYSTEMS: [u8; 3] = [0, 10, 14];
const DOS_DIRECTORY: u32 = 1 << 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Stored,
    Deflated,
    Zstd,
}

impl Method {
    /// None for those that are not supported.
    #[must_use]
    pub fn of(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Stored),
            8 => Some(Self::Deflated),
            // 20 is what 93 was for a few months of 2020.
            20 | 93 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// One member as the central directory has it; offsets are from the start of the archive.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub raw_name: &'a [u8],
    pub(super) flags: u16,
    pub(super) method: u16,
    pub crc32: u32,
    pub compressed_bytes: u64,
    pub bytes: u64,
    pub offset: u64,
    version_needed: u8,
    made_by: u8,
    attributes: u32,
    extra: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The record at the start of `raw`, and its length; offsets are moved by `shift`.  None when it is cut
    /// off or damaged.
    pub(super) fn read(raw: &'a [u8], shift: u64) -> Option<(Self, usize)> {
        if u32_at(raw, 0)? != CENTRAL_SIGNATURE {
            return None;
        }
        let name_end = CENTRAL_BYTES + usize::from(u16_at(raw, 28)?);
        let extra_end = name_end + usize::from(u16_at(raw, 30)?);
        let end = extra_end + usize::from(u16_at(raw, 32)?);
        if end > raw.len() {
            return None;
        }
        let extra = raw.get(name_end..extra_end)?;
        let mut fields =
            [u64::from(u32_at(raw, 24)?), u64::from(u32_at(raw, 20)?), u64::from(u32_at(raw, 42)?)];
        widen(extra, &mut fields.each_mut())?;
        let [bytes, compressed_bytes, offset] = fields;
        let entry = Self {
            raw_name: raw.get(CENTRAL_BYTES..name_end)?,
            flags: u16_at(raw, 8)?,
            method: u16_at(raw, 10)?,
            crc32: u32_at(raw, 16)?,
            compressed_bytes,
            bytes,
            offset: offset.checked_add(shift)?,
            version_needed: *raw.get(6)?,
            made_by: *raw.get(5)?,
            attributes: u32_at(raw, 38)?,
            extra,
        };
        Some((entry, end))
    }

    /// The name as text.  Directory entries end in a slash.
    #[must_use]
    pub fn name(&self) -> String {
        self.text().map_or_else(|_| String::from_utf8_lossy(self.raw_name).into_owned(), Into::into)
    }

    /// The name as text: where it leads, and not how it is written.
    pub(super) fn text(&self) -> Result<Cow<'a, str>, &'static str> {
        Ok(match self.written()? {
            Cow::Borrowed(written) => place(written).into(),
            Cow::Owned(written) => place(&written).to_owned().into(),
        })
    }

    /// The name as it is written, which other fields repeat.
    pub(super) fn written(&self) -> Result<Cow<'a, str>, &'static str> {
        name::decode(self.raw_name, self.encoding())
    }

    fn encoding(&self) -> Encoding {
        if self.flags & FLAG_UTF8 != 0 {
            Encoding::Utf8
        } else if UNIX_SYSTEMS.contains(&self.made_by) {
            Encoding::Unix
        } else {
            Encoding::Dos
        }
    }

    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.raw_name.ends_with(b"/")
    }

    /// How its data are packed.  Some writers note a method for folders too, of which there is nothing to unpack.
    #[must_use]
    pub fn method(&self) -> Method {
        if self.compressed_bytes == 0 && self.is_directory() {
            return Method::Stored;
        }
        // Others are refused when the directory is validated.
        Method::of(self.method).unwrap_or(Method::Stored)
    }

    /// Bytes that the member takes at least: header, name, data.
    pub(super) fn least_bytes(&self) -> u64 {
        (super::local::HEADER_BYTES as u64 + self.raw_name.len() as u64).saturating_add(self.compressed_bytes)
    }

    /// Whether this is a plain file or folder that can be unpacked here.
    pub(super) fn check(&self, portable: bool) -> Result<(), Cow<'static, str>> {
        let written = self.written()?;
        let place = place(&written);
        if place != HERE {
            name::check(place, portable)?;
        }
        if self.flags & FLAGS_ENCRYPTED != 0 {
            return Err("it is encrypted".into());
        }
        if self.flags & FLAG_PATCHED != 0 {
            return Err("it is a patch to another file".into());
        }
        let Some(method) = Method::of(self.method) else {
            return Err(format!(
                "compression method {} is not supported, only stored (0), deflated (8) and zstd (93)",
                self.method
            )
            .into());
        };
        if self.version_needed > VERSION_MAX {
            return Err("it needs a newer version of the zip format than 6.3".into());
        }
        if method == Method::Stored && self.compressed_bytes != self.bytes {
            return Err("it is stored, with two different sizes".into());
        }
        self.check_kind()?;
        if fields(self.extra).any(|(_, body)| body.is_none()) {
            return Err("an extra field of it is cut off".into());
        }
        check_extra(self.extra, self.raw_name, &written)?;
        if self.is_directory() && (self.bytes != 0 || self.crc32 != 0) {
            return Err("it is a directory and has data".into());
        }
        Ok(())
    }

    /// What its attributes say that it is must be what its name says.
    fn check_kind(&self) -> Result<(), &'static str> {
        let is_unix = UNIX_SYSTEMS.contains(&self.made_by);
        match (self.attributes >> 16) & 0o170_000 {
            // Whoever made it: there are programs that look at these bits alone.
            0o120_000 => Err("it is a symbolic link"),
            0o040_000 if is_unix && !self.is_directory() => {
                Err("it is marked as a directory and named as a file")
            }
            // Some writers mark a directory as a regular file, and the slash is what counts.
            0 | 0o100_000 | 0o040_000 => {
                let dos_directory =
                    DOS_SYSTEMS.contains(&self.made_by) && self.attributes & DOS_DIRECTORY != 0;
                if dos_directory && !self.is_directory() {
                    return Err("it is marked as a directory and named as a file");
                }
                Ok(())
            }
            _ if is_unix => Err("it is a device, pipe or socket"),
            _ => Ok(()),
        }
    }
}

/// Where a name leads that is written so.
fn place(written: &str) -> &str {
    match name::without_here(written) {
        "" if !written.is_empty() => HERE,
        place => place,
    }
}

/// Refuses extra fields, in the directory or in a local header, that make another file of the member for
/// some programs: another name, a link, a device.
pub(super) fn check_extra(extra: &[u8], raw_name: &[u8], written: &str) -> Result<(), &'static str> {
    let mut zip64 = false;
    for (id, body) in fields(extra) {
        let Some(body) = body else { break };
        match id {
            EXTRA_ZIP64 if zip64 => return Err("it has two zip64 fields"),
            EXTRA_ZIP64 => zip64 = true,
            EXTRA_PKWARE_UNIX if body.len() > PKWARE_UNIX_BYTES => {
                return Err("an extra field makes it a link or a device");
            }
            EXTRA_ASI_UNIX => {
                let kind = u16_at(body, 4).unwrap_or(0) & 0o170_000;
                if !matches!(kind, 0 | 0o100_000 | 0o040_000) {
                    return Err("an extra field makes it a link or a device");
                }
            }
            // Version 1 and the raw name's CRC-32 say that it is meant for this name; else it is stale.
            EXTRA_UNICODE_PATH
                if body.first() == Some(&1)
                    && u32_at(body, 1) == Some(crc32fast::hash(raw_name))
                    && body.get(5..) != Some(written.as_bytes()) =>
            {
                return Err("an extra field gives it another name");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The extra fields, number and body; the body is None where it is cut off.
fn fields(extra: &[u8]) -> impl Iterator<Item = (u16, Option<&[u8]>)> {
    let mut rest = extra;
    std::iter::from_fn(move || {
        let (id, size) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
        let body = rest.get(4..4 + size);
        rest = rest.get(4 + size..).unwrap_or_default();
        Some((id, body))
    })
}

/// Replaces each field that is saturated at 32 bits by its 64-bit value from the zip64 extra field, where
/// they stand in this order; None when a needed one is missing.
pub(super) fn widen(extra: &[u8], fields_32: &mut [&mut u64]) -> Option<()> {
    if fields_32.iter().all(|field| **field != 0xffff_ffff) {
        return Some(());
    }
    let mut wide = fields(extra).find(|(id, _)| *id == EXTRA_ZIP64)?.1?;
    for field in fields_32.iter_mut().filter(|field| ***field == 0xffff_ffff) {
        let (value, rest) = wide.split_first_chunk::<8>()?;
        **field = u64::from_le_bytes(*value);
        wide = rest;
    }
    Some(())
}

pub(super) fn u16_at(raw: &[u8], at: usize) -> Option<u16> {
    raw.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

pub(super) fn u32_at(raw: &[u8], at: usize) -> Option<u32> {
    raw.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(raw: &[u8], at: usize) -> Option<u64> {
    raw.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
