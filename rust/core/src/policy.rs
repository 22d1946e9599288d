//! What an archive may ask for before it is refused.

/// How many times its own size an archive may unpack to.  Deflate cannot give more than 1032; photos, text
/// and arrays stay below 100.
pub const RATIO_MAX: u64 = 250;

/// Archives that unpack to no more than this are not held to the ratio: they can hurt nobody.
pub const RATIO_FREE_BYTES: u64 = 1 << 30;

/// Forty times FDF256's members.
pub const MEMBERS_MAX: u64 = 10_000_000;

/// Limits that a caller may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Unpacked bytes for each byte of the archive, beyond `RATIO_FREE_BYTES`.
    pub ratio_max: u64,
    /// Unpacked bytes in all; `u64::MAX` where only the disk is the limit.
    pub unpacked_bytes_max: u64,
    pub members_max: u64,
    /// Refuse names that not every system can hold: two that differ only in case or in Unicode form, and
    /// names reserved on Windows.
    pub portable_names: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ratio_max: RATIO_MAX,
            unpacked_bytes_max: u64::MAX,
            members_max: MEMBERS_MAX,
            portable_names: true,
        }
    }
}
