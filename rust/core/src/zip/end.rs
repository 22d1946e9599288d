//! The end of a zip: how many members there are and where the directory lies, in 32 or 64 bits.

use super::record::{u16_at, u32_at, u64_at};

const END_SIGNATURE: u32 = 0x0605_4b50;
const END_BYTES: usize = 22;
const END64_SIGNATURE: u32 = 0x0606_4b50;
const END64_BYTES: usize = 56;
const LOCATOR_SIGNATURE: u32 = 0x0706_4b50;
const LOCATOR_BYTES: usize = 20;
/// The end record and the longest comment behind it.
const REACH_BYTES: usize = END_BYTES + u16::MAX as usize;
/// How much more is asked for when the zip64 records are not in the tail.
const MORE_BYTES: u64 = 1 << 16;

type Refusal = (u64, &'static str);

#[derive(Debug)]
pub(super) struct End {
    pub members: u64,
    pub directory_bytes: u64,
    /// As the record says: without the bytes in front of the zip.
    pub directory_offset: u64,
    /// Where the directory must end: at the zip64 end record if there is one, else at the end record.
    pub position: u64,
    /// What the zip64 locator says about where that record is, likewise.
    pub locator_offset: Option<u64>,
}

pub(super) enum Found {
    End(End),
    NeedFrom(u64),
}

impl End {
    /// Reads the end out of `tail`, which starts at `tail_start` and goes to the end of the archive.
    pub(super) fn find(tail: &[u8], tail_start: u64) -> Result<Found, Refusal> {
        if tail.len() < REACH_BYTES && tail_start > 0 {
            // A second end record could hide in front of what is here.
            return Ok(Found::NeedFrom(tail_start.saturating_sub((REACH_BYTES - tail.len()) as u64)));
        }
        let mut at = only_record(tail, tail_start)?;
        let record_end = end_of(tail, at);
        if record_end < tail.len() {
            let unpadded = &tail[..record_end];
            if unpadded.len() < REACH_BYTES && tail_start > 0 {
                let missing = (REACH_BYTES - unpadded.len()) as u64;
                return Ok(Found::NeedFrom(tail_start.saturating_sub(missing)));
            }
            // As far in front of the record as where there is no padding.
            at = only_record(unpadded, tail_start)?;
        }
        let position = tail_start + at as u64;
        let short = |at| u64::from(u16_at(tail, at).unwrap_or(0));
        let long = |at| u64::from(u32_at(tail, at).unwrap_or(0));
        let end = Self {
            members: short(at + 10),
            directory_bytes: long(at + 12),
            directory_offset: long(at + 16),
            position,
            locator_offset: None,
        };
        let (disk, directory_disk, members_here) = (short(at + 4), short(at + 6), short(at + 8));
        let saturated = end.members == 0xffff
            || end.directory_bytes == 0xffff_ffff
            || end.directory_offset == 0xffff_ffff;
        match at.checked_sub(LOCATOR_BYTES) {
            Some(locator) if u32_at(tail, locator) == Some(LOCATOR_SIGNATURE) => {
                let disks_fit = [disk, directory_disk].iter().all(|&disk| disk == 0 || disk == 0xffff);
                if !disks_fit || (members_here != end.members && members_here != 0xffff) {
                    return Err((position, "it is one volume of several"));
                }
                end.widened(tail, tail_start, locator)
            }
            None if saturated && tail_start > 0 => Ok(Found::NeedFrom(tail_start.saturating_sub(MORE_BYTES))),
            _ if disk != 0 || directory_disk != 0 || members_here != end.members => {
                Err((position, "it is one volume of several"))
            }
            _ => Ok(Found::End(end)),
        }
    }

    /// With the values of the zip64 end record, which the locator at `locator` goes with.
    fn widened(mut self, tail: &[u8], tail_start: u64, locator: usize) -> Result<Found, Refusal> {
        let position = self.position;
        // The locator's own offset does not know of bytes in front of the zip, so the record is looked for
        // where writers put it: right before the locator.  The caller compares the offset.
        let Some(at) = locator.checked_sub(END64_BYTES) else {
            if tail_start == 0 {
                return Err((position, "its zip64 end record is cut off"));
            }
            return Ok(Found::NeedFrom(tail_start.saturating_sub(MORE_BYTES)));
        };
        if u32_at(tail, at) != Some(END64_SIGNATURE) {
            return Err((position, "its zip64 end record is not where it belongs"));
        }
        let wide = |at| u64_at(tail, at).unwrap_or(0);
        let disks = u32_at(tail, locator + 16).unwrap_or(0);
        if u32_at(tail, locator + 4) != Some(0) || disks > 1 || wide(at + 16) != 0 {
            return Err((position, "it is one volume of several"));
        }
        if wide(at + 4) != END64_BYTES as u64 - 12 || wide(at + 24) != wide(at + 32) {
            return Err((tail_start + at as u64, "its zip64 end record is of a kind that is not supported"));
        }
        for (narrow, wide, limit) in [
            (self.members, wide(at + 32), 0xffff),
            (self.directory_bytes, wide(at + 40), 0xffff_ffff),
            (self.directory_offset, wide(at + 48), 0xffff_ffff),
        ] {
            if narrow != limit && narrow != wide {
                return Err((position, "its two end records contradict each other"));
            }
        }
        self.members = wide(at + 32);
        self.directory_bytes = wide(at + 40);
        self.directory_offset = wide(at + 48);
        self.position = tail_start + at as u64;
        self.locator_offset = Some(wide(locator + 8));
        Ok(Found::End(self))
    }
}

/// Where in `tail` the end record starts whose comment ends where the archive does, or where the zeros begin
/// that fill it up: `bsdtar` writes whole blocks of 10,240 bytes to the standard output.
///
/// Programs choose differently among several: the last signature, the last that fits, the first that
/// fits.  Where these are not all the same record, nobody knows what the archive holds.
fn only_record(tail: &[u8], tail_start: u64) -> Result<usize, Refusal> {
    let first = tail.len().saturating_sub(REACH_BYTES);
    let zeros_start = tail.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let mut last_signature = None;
    let mut fitting = None;
    for at in (first..=tail.len().saturating_sub(END_BYTES)).rev() {
        if u32_at(tail, at) != Some(END_SIGNATURE) {
            continue;
        }
        let latest = *last_signature.get_or_insert(at);
        if !(zeros_start..=tail.len()).contains(&end_of(tail, at)) {
            continue;
        }
        if fitting.is_some() || latest != at {
            return Err((
                tail_start + at as u64,
                "it has an end record within the comment of another, so that it is two archives in one",
            ));
        }
        fitting = Some(at);
    }
    let end = tail_start + tail.len() as u64;
    match (fitting, last_signature) {
        (Some(at), _) => Ok(at),
        (None, Some(at)) => Err((
            tail_start + at as u64,
            "its end record does not end where the file does: it is cut off, or has bytes behind its end",
        )),
        (None, None) => Err((end, "it has no end record: it is not a zip archive, or it is cut off")),
    }
}

/// Where the comment of the record at `at` ends.
fn end_of(tail: &[u8], at: usize) -> usize {
    at + END_BYTES + usize::from(u16_at(tail, at + 20).unwrap_or(0))
}
