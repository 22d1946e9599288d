//! How large the files of a manifest are, line by line: at the end of an installation nothing of the list is kept.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use super::files::Folders;
use super::is_of_nothing;
use crate::digest::Algorithm;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::sums::manifest_line;

/// About how much text is handed over at once.
pub const BLOCK_BYTES: usize = 1 << 20;

/// The lines that [`Audit::take_sizes`](super::Audit::take_sizes) takes, in the manifest's order, of all files that a
/// quick look finds sound.  Of a path that is in the manifest twice there are two.
pub struct SizeLines {
    folders: Folders,
    manifest: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
}

impl SizeLines {
    /// # Errors
    /// `Storage` when the folder or the manifest cannot be opened.
    pub fn open(root: &Path, manifest: &Path) -> Result<Self> {
        let opened = File::open(manifest).map_err(|source| Error::storage("read", manifest, &source))?;
        Ok(Self {
            folders: Folders::open(root, true, 1)?,
            manifest: BufReader::new(opened),
            path: manifest.to_owned(),
            line: Vec::new(),
        })
    }

    /// The next lines, or nothing at the end.
    ///
    /// # Errors
    /// `Storage`, `Cancelled`.
    pub fn next_block(&mut self, job: &Job) -> Result<Vec<u8>> {
        let mut block = Vec::new();
        while block.len() < BLOCK_BYTES {
            job.check()?;
            self.line.clear();
            let read = self.manifest.read_until(b'\n', &mut self.line);
            if read.map_err(|source| Error::storage("read", &self.path, &source))? == 0 {
                break;
            }
            let Some((name, digest)) = manifest_line(self.line.strip_suffix(b"\n").unwrap_or(&self.line))
            else {
                continue;
            };
            let Ok(bytes) = self.folders.look(&name) else { continue };
            if bytes > 0 || is_of_nothing(Algorithm::Sha256, &digest) {
                // Into a vector, which takes all.
                let _ = write!(block, "{bytes}  ");
                block.extend_from_slice(&name);
                block.push(b'\n');
            }
        }
        Ok(block)
    }
}
