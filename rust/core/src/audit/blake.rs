//! BLAKE3 of one large file on several cores: it is a tree, whose parts are hashed apart and then joined.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::{ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::lanes::{Opened, unreadable};
use super::{Audit, Fault};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::job::Job;

/// A part: a power of two, so that it is a whole branch of the tree.
const PART_BYTES: u64 = 1 << 20;
/// Larger reads are cheaper here than what they cost in cache misses: BLAKE3 is as fast as memory.
const READ_BYTES: usize = 512 << 10;

type Parts = std::result::Result<Vec<Option<ChainingValue>>, Fault>;

/// Hashes `opened`, of more than one part, and compares it.
///
/// # Errors
/// `Cancelled`, `Thread`.
pub(super) fn hash(audit: &Audit, opened: &Opened, workers: usize, job: &Job) -> Result<()> {
    let count = usize::try_from(opened.bytes.div_ceil(PART_BYTES)).unwrap_or(usize::MAX);
    let (next, parts) = (AtomicU64::new(0), Mutex::new(Parts::Ok(vec![None; count])));
    let work = || take_parts(audit, opened, &next, &parts, job);
    std::thread::scope(|scope| {
        for _ in 1..workers.min(count) {
            // Where there is no thread to be had, those that there are do it.
            let _ = std::thread::Builder::new().name("audit part".into()).spawn_scoped(scope, work);
        }
        work();
    });
    job.check()?;
    match parts.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Ok(parts) => {
            let values: Vec<_> = parts.into_iter().flatten().collect();
            let (left, right) = values.split_at(left_parts(values.len()));
            let both = branch(left).zip(branch(right));
            let (left, right) = both.ok_or_else(|| Error::Internal("a part was not hashed".into()))?;
            let root = merge_subtrees_root(&left, &right, Mode::Hash);
            audit.compare(opened.index, opened.bytes, hex(root.as_bytes()));
        }
        Err(fault) => audit.done(opened.index, Err(fault)),
    }
    Ok(())
}

fn take_parts(audit: &Audit, opened: &Opened, next: &AtomicU64, parts: &Mutex<Parts>, job: &Job) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let start = number.saturating_mul(PART_BYTES);
        if start >= opened.bytes || job.is_cancelled() {
            return;
        }
        let end = opened.bytes.min(start + PART_BYTES);
        let value = hash_part(audit, opened, start, end, &mut buffer);
        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        match (value, parts.as_mut()) {
            (Ok(value), Ok(parts)) => {
                if let Some(part) = usize::try_from(number).ok().and_then(|number| parts.get_mut(number)) {
                    *part = Some(value);
                }
            }
            (Err(source), Ok(_)) => {
                *parts = Err(unreadable(&source));
                next.store(opened.bytes, Ordering::Relaxed);
            }
            (_, Err(_)) => return,
        }
    }
}

fn hash_part(
    audit: &Audit,
    opened: &Opened,
    start: u64,
    end: u64,
    buffer: &mut [u8],
) -> io::Result<ChainingValue> {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    let mut offset = start;
    while offset < end {
        let wanted = buffer.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        // A file that has become shorter has another digest anyway: this one ends with an error.
        opened.file.read_exact_at(&mut buffer[..wanted], offset)?;
        hasher.update(&buffer[..wanted]);
        audit.count_bytes(wanted);
        offset += wanted as u64;
    }
    Ok(hasher.finalize_non_root())
}

/// How many of `count` parts are the left branch: the largest power of two below it.
fn left_parts(count: usize) -> usize {
    if count < 2 { 0 } else { 1 << (count - 1).ilog2() }
}

/// The value of a branch over these parts; None for no part.
fn branch(parts: &[ChainingValue]) -> Option<ChainingValue> {
    match parts {
        [] => return None,
        [only] => return Some(*only),
        _ => {}
    }
    let (left, right) = parts.split_at(left_parts(parts.len()));
    Some(merge_subtrees_non_root(&branch(left)?, &branch(right)?, Mode::Hash))
}
