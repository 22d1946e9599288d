//! What of an archive is in the target already, as far as its manifest and the files' sizes tell.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use crate::digest::unhex;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::manifest::Records;
use crate::staging::Staging;
use crate::unpack::Sha256Bytes;
use crate::zip::Directory;

/// A SHA-256 in hexadecimal, two spaces, at least one character of a name, and a newline.
const NAME_START: usize = 66;

/// Some members of one archive, each list in ascending order; what is in none of them is not there at all.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The manifest has them, and a file of their size is there.
    pub listed: Vec<usize>,
    /// The manifest has them, but the file is gone, of another size, or known to be damaged.  Their SHA-256
    /// is in the records, so that they become what they were.
    pub broken: Vec<usize>,
    /// A file of their size is there that the manifest does not have.
    pub unlisted: Vec<usize>,
}

/// Looks for `members` of `directory` in `target`.
///
/// # Errors
/// `Storage` when the manifest cannot be read or a record not be written; `Cancelled`.
pub fn survey<S: BuildHasher>(
    directory: &Directory,
    members: &[usize],
    target: &Path,
    manifest: Option<&Path>,
    damaged: &HashSet<String, S>,
    records: &Path,
    job: &Job,
) -> Result<Survey> {
    let known = manifest.map_or_else(|| Ok(HashMap::new()), |path| read_manifest(path, job))?;
    let target = Staging::read_only(target);
    let mut found = Survey::default();
    let mut noted = None;
    for &index in members {
        job.check()?;
        let entry = directory.entry(index);
        let name = entry.name();
        let here = !damaged.contains(&name) && target.size(&name) == Some(entry.bytes);
        match known.get(name.as_str()) {
            Some(_) if here => found.listed.push(index),
            Some(sha256) => {
                if noted.is_none() {
                    noted = Some(Records::open(records, true)?);
                }
                if let Some(records) = &noted {
                    records.put(index, sha256)?;
                }
                found.broken.push(index);
            }
            None if here => found.unlisted.push(index),
            None => {}
        }
    }
    Ok(found)
}

/// The manifest's names and digests; lines that are none are passed over, and one that is not there is empty.
fn read_manifest(path: &Path, job: &Job) -> Result<HashMap<String, Sha256Bytes>> {
    let refused = |source: std::io::Error| Error::storage("read", path, &source);
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        opened => opened.map_err(refused)?,
    };
    let mut known = HashMap::new();
    for line in BufReader::new(file).split(b'\n') {
        job.check()?;
        if let Some((name, sha256)) = parse(&line.map_err(refused)?) {
            known.insert(name, sha256);
        }
    }
    Ok(known)
}

fn parse(line: &[u8]) -> Option<(String, Sha256Bytes)> {
    let name = std::str::from_utf8(line.get(NAME_START..).filter(|name| !name.is_empty())?).ok()?;
    let digest = std::str::from_utf8(line.get(..64)?).ok()?;
    (line.get(64..NAME_START)? == b"  ").then_some(())?;
    Some((name.to_owned(), unhex(digest)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_of_a_manifest_count() {
        let digest = "ab".repeat(32);
        let known = |line: &str| parse(line.as_bytes()).map(|(name, _)| name);
        assert_eq!(known(&format!("{digest}  train/a b.png")).as_deref(), Some("train/a b.png"));
        for line in [
            String::new(),
            format!("{digest}  "),
            format!("{digest} *name"),
            format!("{}  name", &digest[1..]),
            format!("{}zz  name", &digest[2..]),
        ] {
            assert_eq!(known(&line), None, "{line}");
        }
    }

    #[test]
    fn a_manifest_that_is_not_there_knows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("SHA256SUMS");
        assert!(read_manifest(&path, &Job::default()).unwrap().is_empty());
        let digest = "0a".repeat(32);
        std::fs::write(&path, format!("{digest}  one\nno line\n{digest}  two\n")).unwrap();
        let known = read_manifest(&path, &Job::default()).unwrap();
        assert_eq!(known.len(), 2);
        assert_eq!(known["two"], [10; 32]);
    }
}
