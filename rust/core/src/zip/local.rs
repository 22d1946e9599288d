//! What lies around a member's data: the local header before it, the data descriptor behind it.  Both
//! repeat what the directory says, and must say the same.

use super::Directory;
use super::record::{
    Entry, FLAG_DESCRIPTOR, FLAG_UTF8, FLAGS_ENCRYPTED, check_extra, u16_at, u32_at, u64_at, widen,
};
use crate::error::Result;

const SIGNATURE: u32 = 0x0403_4b50;
pub const HEADER_BYTES: usize = 30;
const DESCRIPTOR_SIGNATURE: u32 = 0x0807_4b50;
/// The longest descriptor (signature, CRC-32, two sizes of 64 bits), and the signature behind it.
pub const TRAILER_BYTES: usize = 24 + 4;

/// What a local header tells beyond what the directory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// How many bytes into the extent the data starts.
    pub data_start: usize,
    /// Whether a data descriptor follows the data.
    pub has_descriptor: bool,
}

impl Directory {
    /// Checks the local header at the start of a member's extent against the directory; None while `head`
    /// is too short to tell.
    ///
    /// # Errors
    /// `Member`, when the two contradict each other.
    pub fn local(&self, index: usize, head: &[u8]) -> Result<Option<Local>> {
        let entry = self.entry(index);
        let Some(fixed) = head.get(..HEADER_BYTES) else { return Ok(None) };
        if u32_at(fixed, 0) != Some(SIGNATURE) {
            return Err(self.refuse_member(&entry, "there is no local header where the directory says"));
        }
        let flags = u16_at(fixed, 6).unwrap_or(0);
        let name_bytes = usize::from(u16_at(fixed, 26).unwrap_or(0));
        let extra_bytes = usize::from(u16_at(fixed, 28).unwrap_or(0));
        let data_start = HEADER_BYTES + name_bytes + extra_bytes;
        let (offset, end) = self.extent(index);
        let reach = (data_start as u64).checked_add(entry.compressed_bytes);
        if reach.is_none_or(|reach| reach > end - offset) {
            return Err(self.refuse_member(&entry, "it overlaps the next member or the directory"));
        }
        let Some(rest) = head.get(HEADER_BYTES..data_start) else { return Ok(None) };
        let (name, extra) = rest.split_at(name_bytes);
        check_header(&entry, fixed, name, extra).map_err(|reason| self.refuse_member(&entry, reason))?;
        Ok(Some(Local { data_start, has_descriptor: flags & FLAG_DESCRIPTOR != 0 }))
    }

    /// Checks what comes between a member's data and the end of its extent, of which `trailer` is the
    /// first [`TRAILER_BYTES`] bytes, or all.
    ///
    /// Bytes that nothing refers to are let lie there, as other programs do (a signature of an Android
    /// package is such a gap), unless they start like a member that the directory does not have.
    ///
    /// # Errors
    /// `Member`.
    pub fn check_trailer(&self, index: usize, local: Local, trailer: &[u8]) -> Result<()> {
        let entry = self.entry(index);
        let descriptor = if local.has_descriptor { descriptor_bytes(&entry, trailer) } else { Some(0) };
        let Some(descriptor) = descriptor else {
            return Err(self.refuse_member(
                &entry,
                "the data descriptor behind it has another size or CRC-32 than the directory, or is missing",
            ));
        };
        if u32_at(trailer, descriptor) == Some(SIGNATURE) {
            return Err(self
                .refuse_member(&entry, "behind it lies a member that the central directory does not have"));
        }
        Ok(())
    }
}

fn check_header(
    entry: &Entry<'_>,
    fixed: &[u8],
    name: &[u8],
    extra: &[u8],
) -> std::result::Result<(), &'static str> {
    let flags = u16_at(fixed, 6).unwrap_or(0);
    if name != entry.raw_name || (flags ^ entry.flags) & FLAG_UTF8 != 0 && !name.is_ascii() {
        return Err("the local header has another name than the directory");
    }
    if u16_at(fixed, 8) != Some(entry.method) || flags & FLAGS_ENCRYPTED != 0 {
        return Err("the local header has another method than the directory");
    }
    // Padding that is no list of fields is common here, so only what can be read is looked at.
    check_extra(extra, name, &entry.written()?)?;
    let crc32 = u32_at(fixed, 14).unwrap_or(0);
    let mut sizes = [u64::from(u32_at(fixed, 22).unwrap_or(0)), u64::from(u32_at(fixed, 18).unwrap_or(0))];
    let known = widen(extra, &mut sizes.each_mut()).is_some();
    // With a descriptor to come, the header may leave out what its writer did not know yet.
    let left_out = |is_zero: bool| flags & FLAG_DESCRIPTOR != 0 && is_zero;
    let [bytes, compressed_bytes] = sizes;
    let agrees = (crc32 == entry.crc32 || left_out(crc32 == 0))
        && (known || left_out(true))
        && (!known || bytes == entry.bytes || left_out(bytes == 0))
        && (!known || compressed_bytes == entry.compressed_bytes || left_out(compressed_bytes == 0));
    if agrees { Ok(()) } else { Err("the local header has another size or CRC-32 than the directory") }
}

/// The length of the data descriptor at the start of `trailer`, with or without its signature, in 32 or 64
/// bits; None where none of the four agrees with the directory.
fn descriptor_bytes(entry: &Entry<'_>, trailer: &[u8]) -> Option<usize> {
    let agrees = |at: usize| u32_at(trailer, at) == Some(entry.crc32);
    let wide = |at: usize| {
        u64_at(trailer, at) == Some(entry.compressed_bytes) && u64_at(trailer, at + 8) == Some(entry.bytes)
    };
    let narrow = |at: usize| {
        let size = |at| u32_at(trailer, at).map(u64::from);
        size(at) == Some(entry.compressed_bytes) && size(at + 4) == Some(entry.bytes)
    };
    let signed = u32_at(trailer, 0) == Some(DESCRIPTOR_SIGNATURE);
    for start in if signed { &[4, 0][..] } else { &[0] } {
        if agrees(*start) && wide(start + 4) {
            return Some(start + 20);
        }
        if agrees(*start) && narrow(start + 4) {
            return Some(start + 12);
        }
    }
    None
}
