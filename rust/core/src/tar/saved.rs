//! A reader's state in the journal: it goes on at the very next byte, also in the middle of a header.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{BLOCK_BYTES, Member, Names, Pending, Policy, Reader, State};

/// Everything but the names, which their owner has from the members that are there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedReader {
    state: State,
    /// Bytes of a header as numbers: few, and seldom any.
    partial: Vec<u8>,
    next: Pending,
    offset: u64,
    current: Option<Member>,
    members: u64,
    /// Zero in a journal of before they were counted.
    #[serde(default)]
    places: u64,
    unpacked_bytes: u64,
}

impl Reader {
    /// The state, for `resume`.
    #[must_use]
    pub fn save(&self) -> SavedReader {
        SavedReader {
            state: self.state.clone(),
            partial: self.partial.clone(),
            next: self.next.clone(),
            offset: self.offset,
            current: self.current.clone(),
            members: self.members,
            places: self.places,
            unpacked_bytes: self.unpacked_bytes,
        }
    }

    /// A reader that goes on where `saved` was at byte `offset`; None where that cannot be, whoever wrote it.
    #[must_use]
    pub fn resume(
        saved: SavedReader,
        offset: u64,
        archive: &str,
        number: u32,
        policy: Policy,
        names: Arc<Names>,
        archive_bytes: Option<u64>,
    ) -> Option<Self> {
        let left_fits =
            |left: u64| offset.checked_add(left).is_some_and(|end| end <= i64::MAX.cast_unsigned());
        let is_sound = match &saved.state {
            State::Header | State::End => true,
            State::Padding { left } => *left < BLOCK_BYTES as u64,
            State::Data { left, padding } => {
                *padding < BLOCK_BYTES as u64
                    && saved.current.as_ref().is_some_and(|member| *left <= member.bytes)
                    && left_fits(*left)
            }
            State::Extension { left, padding, raw, .. } => {
                *padding < BLOCK_BYTES as u64
                    && *left <= super::RECORDS_BYTES_MAX
                    && raw.len() as u64 <= super::RECORDS_BYTES_MAX
            }
        };
        let is_between = matches!(saved.state, State::Header) || saved.partial.is_empty();
        if !is_sound || !is_between || saved.offset != offset || saved.partial.len() >= BLOCK_BYTES {
            return None;
        }
        let mut reader = Self::new(archive, number, policy, names, archive_bytes);
        reader.state = saved.state;
        reader.partial = saved.partial;
        reader.next = saved.next;
        reader.offset = saved.offset;
        reader.current = saved.current;
        reader.members = saved.members;
        reader.places = saved.places;
        reader.unpacked_bytes = saved.unpacked_bytes;
        Some(reader)
    }
}
