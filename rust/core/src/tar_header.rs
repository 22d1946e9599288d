//! One 512-byte block of a tar that describes what follows (POSIX.1-2017, `pax`; GNU tar's manual, "Basic
//! Tar Format"), and the records of a PAX header.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub const BLOCK_BYTES: usize = 512;
pub type Block = [u8; BLOCK_BYTES];

/// The largest number that eleven octal digits hold; sizes above need PAX or base 256.
pub const OCTAL_SIZE_MAX: u64 = 0o777_7777_7777;

/// What a header describes, as far as this program cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// Of the time before there was a flag for directories: a slash at the end of the name tells them apart, which
    /// may come from another header.
    FileOrDirectory,
    /// GNU: the contents are the name of the next member.
    LongName,
    /// GNU: the contents are the link target of the next member.
    LongLink,
    /// PAX: the contents are records about the next member.
    Records,
    /// PAX: the contents are records about all members that follow.
    GlobalRecords,
    /// Nothing that a dataset needs; the words say what it is.
    Refused(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// As it stands in the header, the prefix in front; a long name may replace it.
    pub name: Vec<u8>,
    pub bytes: u64,
}

/// Whether the block's checksum is right, taken over unsigned bytes as POSIX has it or over signed ones as
/// some old programs did.
#[must_use]
pub fn checksum_fits(block: &Block) -> bool {
    let Some(told) = octal(&block[148..156]) else { return false };
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    i64::try_from(told).is_ok_and(|told| told == unsigned || told == signed)
}

/// Reads a block whose checksum fits.
///
/// # Errors
/// The reason.
pub fn parse(block: &Block) -> Result<Header, &'static str> {
    let mut name = until_nul(&block[..100]).to_vec();
    // GNU's own format has other fields where POSIX has the prefix.
    if block[257..263] == *b"ustar\0" {
        let prefix = until_nul(&block[345..500]);
        if !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
    }
    let kind = kind_of(block[156]);
    let bytes = number(&block[124..136])?;
    Ok(Header { kind, name, bytes })
}

/// Only a header that describes the next one is ever saved in its middle.
impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Self::LongName => b'L',
            Self::LongLink => b'K',
            Self::Records => b'x',
            Self::GlobalRecords => b'g',
            Self::File | Self::Directory | Self::FileOrDirectory | Self::Refused(_) => b'?',
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match kind_of(u8::deserialize(deserializer)?) {
            kind @ (Self::LongName | Self::LongLink | Self::Records | Self::GlobalRecords) => Ok(kind),
            _ => Err(D::Error::custom("not a header that describes the next one")),
        }
    }
}

fn kind_of(flag: u8) -> Kind {
    match flag {
        0 => Kind::FileOrDirectory,
        b'0' | b'7' => Kind::File,
        b'5' => Kind::Directory,
        b'L' => Kind::LongName,
        b'K' => Kind::LongLink,
        b'x' | b'X' => Kind::Records,
        b'g' => Kind::GlobalRecords,
        b'1' => Kind::Refused("it is a hard link"),
        b'2' => Kind::Refused("it is a symbolic link"),
        b'3' | b'4' => Kind::Refused("it is a device"),
        b'6' => Kind::Refused("it is a pipe"),
        b'S' => Kind::Refused("it is a sparse file"),
        b'M' => Kind::Refused("it goes on from another volume"),
        b'D' => Kind::Refused("it is a part of an incremental backup"),
        b'V' => Kind::Refused("it is a volume label"),
        _ => Kind::Refused("it is of a type that is not known"),
    }
}

/// A number field: octal, or base 256 where its first bit is set.
fn number(field: &[u8]) -> Result<u64, &'static str> {
    let (&first, rest) = field.split_first().ok_or("its size is missing")?;
    match first {
        0xff => Err("its size is negative"),
        0x80..0xff => {
            let mut value = u64::from(first & 0x7f);
            for &byte in rest {
                if value >> 55 != 0 {
                    return Err("its size is larger than any file can be");
                }
                value = value << 8 | u64::from(byte);
            }
            Ok(value)
        }
        _ => octal(field).ok_or("its size is not a number"),
    }
}

/// Octal digits, with spaces in front and NULs or spaces behind; nothing at all is zero.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(until_nul(field)).ok()?.trim_matches(' ');
    if text.is_empty() {
        return Some(0);
    }
    // from_str_radix would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| u64::from_str_radix(text, 8).ok()).flatten()
}

#[must_use]
pub fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// What PAX records say of one member.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    pub path: Option<Vec<u8>>,
    pub bytes: Option<u64>,
    pub is_sparse: bool,
}

impl Records {
    /// Reads `<length> <key>=<value>\n`, over and over.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(mut raw: &[u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        while !raw.is_empty() {
            let (key, value, rest) = split_record(raw).ok_or("its PAX header is damaged")?;
            raw = rest;
            match key {
                b"path" if records.path.is_some() => return Err("its PAX header has two paths"),
                b"path" if value.is_empty() => return Err("its PAX header has an empty path"),
                b"path" => records.path = Some(value.to_vec()),
                b"size" if records.bytes.is_some() => return Err("its PAX header has two sizes"),
                b"size" => records.bytes = Some(decimal(value).ok_or("its PAX size is not a size")?),
                _ if key.starts_with(b"GNU.sparse.") => records.is_sparse = true,
                // Times, owners and the like are not taken from the archive; links are refused anyway.
                _ => {}
            }
        }
        Ok(records)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn split_record(raw: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // More than 20 digits are no number that fits.
    let space = raw.iter().take(21).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&raw[..space])?).ok()?;
    let body = raw.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    (equals > 0).then_some((&body[..equals], &body[equals + 1..], &raw[length..]))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
