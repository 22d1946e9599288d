//! What an archive will take on disk, and the certainty that it is there.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};
use crate::zip::{Directory, Method};

/// Bytes that the files of `members` (without it: of all) take on a disk that gives space in blocks of
/// `block_bytes`.
#[must_use]
pub fn disk_bytes(directory: &Directory, members: Option<&[usize]>, block_bytes: u64) -> u64 {
    let block_bytes = block_bytes.max(1);
    let all = 0..if members.is_some() { 0 } else { directory.len() };
    all.chain(members.unwrap_or_default().iter().copied())
        .map(|index| directory.entry(index).bytes.div_ceil(block_bytes).saturating_mul(block_bytes))
        .fold(0, u64::saturating_add)
}

/// Bytes of the largest member whose compressed bytes would wait on disk: one that is deflated and does not
/// fit a quarter of a window of `window_bytes`.
#[must_use]
pub fn spool_bytes(directory: &Directory, window_bytes: u64) -> u64 {
    (0..directory.len())
        .map(|index| directory.entry(index))
        .filter(|entry| entry.method() == Method::Deflated && entry.compressed_bytes > window_bytes / 4)
        .map(|entry| entry.compressed_bytes)
        .max()
        .unwrap_or(0)
}

/// Returns when everything that was written to the file system that holds `path` is on its disk.
///
/// # Errors
/// `Storage`, also when an earlier write could not be completed.
pub fn sync_file_system(path: &Path) -> Result<()> {
    let folder = File::open(path).map_err(|source| Error::storage("open", path, &source))?;
    rustix::fs::syncfs(&folder).map_err(|errno| Error::storage("write to disk", path, &errno.into()))
}
