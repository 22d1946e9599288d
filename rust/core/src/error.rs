//! What can go wrong, with its data.  The bindings turn each case into one Python class; no code reads
//! the sentences.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The operating system refused; `errno` is its number, zero where it gave none.
    #[error("cannot {action} {}: {}", path.display(), io::Error::from_raw_os_error(*errno))]
    Storage { action: &'static str, path: PathBuf, errno: i32 },
    /// One member is damaged, hostile or of a kind that is not supported.
    #[error("{archive}: member {member:?} at byte {offset}: {reason}")]
    Member { archive: String, member: String, offset: u64, reason: String },
    /// The archive as a whole cannot be trusted or read.
    #[error("{archive}: {reason} (at byte {offset})")]
    Archive { archive: String, offset: u64, reason: String },
    /// All bytes are here and the digest over them is another one.
    #[error("{archive}: digest is {computed}, expected {expected}")]
    Digest { archive: String, expected: String, computed: String },
    /// A metadata file is no JSON, or not of the layout that it should have.
    #[error("{}: {reason} (at byte {offset})", path.display())]
    Metadata { path: PathBuf, offset: u64, reason: String },
    /// An argument that cannot be used: an unknown algorithm, a saved state of another version.
    #[error("{0}")]
    Unusable(String),
    /// The job was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The system gives this process no thread more.
    #[error("cannot start a thread: {}", io::Error::from_raw_os_error(*errno))]
    Thread { errno: i32 },
    /// A bug here: a worker panicked.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// An OS error with what was tried and on which file.
    pub fn storage(action: &'static str, path: &Path, source: &io::Error) -> Self {
        Self::Storage { action, path: path.to_owned(), errno: source.raw_os_error().unwrap_or(0) }
    }
}
