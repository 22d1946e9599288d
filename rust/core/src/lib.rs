//! What touches bytes: ordering, hashing, checking and unpacking archives while they arrive.
//!
//! ```text
//!   chunks ──► window ──► members (parallel) ──► staging
//!                 └─────► part file, digest (in order) ──► frontier
//! ```
//!
//! The network, the decisions and the screen are Python's; see `ARCHITECTURE.md`.

mod archive;
pub mod audit;
mod buffers;
mod collisions;
pub mod decode;
pub mod digest;
pub mod engine;
pub mod error;
pub mod extract;
mod extract_large;
mod extract_tar;
mod extract_zip;
pub mod head;
mod hunger;
mod inflate;
pub mod intake;
pub mod job;
pub mod json;
pub mod listing;
pub mod manifest;
pub mod metadata;
pub mod name;
pub mod names;
pub mod offsets;
pub mod policy;
mod recheck;
pub mod search;
pub mod slab;
pub mod space;
pub mod staging;
pub mod stats;
pub mod stream;
pub mod sums;
pub mod survey;
pub mod tar;
pub mod tar_header;
mod threads;
pub mod tls;
pub mod unpack;
pub mod untar;
mod untar_local;
mod window;
pub mod zip;

pub use error::{Error, Result};
pub use job::Job;
