//! Lists of digests: our manifest, and what `sha256sum`, `md5sum`, `b3sum`, `openssl dgst` and others write.
//!
//! Kept flat: about 60 bytes a file and its name.

mod line;

use std::borrow::Cow;
use std::collections::HashSet;

use crate::digest::{Algorithm, hex};
use line::{Line, Told};

/// Problems that are kept with their text; a film in place of a list would have millions.
const PROBLEMS_KEPT: usize = 1000;
/// How much of a line is shown.
const EXCERPT_CHARACTERS: usize = 80;

/// How a list is to be read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Our own manifest: lower-case SHA-256, two spaces, a path that stays in the folder, each path once.
    pub is_manifest: bool,
    /// What lines without a tag are in; None to tell by the number of digits.
    pub algorithm: Option<Algorithm>,
    /// Whether `algorithm` must be right, or only is likely (from the list's name).
    pub is_sure: bool,
    /// Which file a line with nothing but a digest is about.
    pub lone_name: Option<Vec<u8>>,
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its number, from one on.
    pub line: usize,
    pub text: String,
    pub reason: String,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name_end: usize,
    digest_end: usize,
    algorithm: Algorithm,
    /// Where it is in the list, from one on.
    line: u32,
}

/// The files of a list, in its order.
#[derive(Debug, Default)]
pub struct Sums {
    names: Vec<u8>,
    digests: Vec<u8>,
    entries: Vec<Entry>,
    /// All entries, ordered by name.
    by_name: Vec<u32>,
    problems: Vec<Problem>,
    problem_count: usize,
}

impl Sums {
    /// Reads the text of a list; whatever is no line of one becomes a problem.
    #[must_use]
    pub fn parse(text: &[u8], reading: &Reading) -> Self {
        let mut sums = Self::default();
        let is_ours = reading.is_manifest;
        let text = text.strip_prefix(b"\xef\xbb\xbf").filter(|_| !is_ours).unwrap_or(text);
        // No name has a NUL: where there is one, it ends lines, and names are not escaped (sha256sum -z).
        let (end, escapes) = if text.contains(&0) && !is_ours { (0, false) } else { (b'\n', true) };
        for (index, raw) in text.split(|&byte| byte == end).enumerate() {
            let parsed = if is_ours {
                line::manifest(raw)
            } else {
                // Of a line that ends in NUL the CR belongs to the name.
                line::any(raw.strip_suffix(b"\r").filter(|_| escapes).unwrap_or(raw), reading, escapes)
            };
            match parsed {
                Ok(Line::Nothing) => {}
                Ok(Line::File(told)) => match u32::try_from(index + 1) {
                    Ok(line) => sums.add(&told, line),
                    Err(_) => sums.complain(index + 1, raw, "there are more than 4294967294 lines"),
                },
                Err(reason) => sums.complain(index + 1, raw, &reason),
            }
        }
        sums.put_in_order();
        if reading.is_manifest {
            sums.drop_doubles();
        }
        sums
    }

    fn add(&mut self, told: &Told<'_>, line: u32) {
        self.names.extend_from_slice(&told.name);
        self.digests.extend_from_slice(&told.digest);
        self.entries.push(Entry {
            name_end: self.names.len(),
            digest_end: self.digests.len(),
            algorithm: told.algorithm,
            line,
        });
    }

    fn complain(&mut self, line: usize, raw: &[u8], reason: &str) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_KEPT {
            let text = String::from_utf8_lossy(&raw[..raw.len().min(4 * EXCERPT_CHARACTERS)]);
            let text = text.chars().take(EXCERPT_CHARACTERS).collect();
            self.problems.push(Problem { line, text, reason: reason.to_owned() });
        }
    }

    fn put_in_order(&mut self) {
        let mut by_name: Vec<u32> = (0..self.entries.len()).filter_map(|i| u32::try_from(i).ok()).collect();
        // By place as well, so that of two entries with one name the first comes first.
        by_name.sort_unstable_by(|&a, &b| self.name(a as usize).cmp(self.name(b as usize)).then(a.cmp(&b)));
        self.by_name = by_name;
    }

    /// Of entries with one name only the first stays; the others are problems.
    fn drop_doubles(&mut self) {
        let doubles: HashSet<usize> = self
            .by_name
            .windows(2)
            .filter(|pair| self.name(pair[0] as usize) == self.name(pair[1] as usize))
            .map(|pair| pair[1] as usize)
            .collect();
        if doubles.is_empty() {
            return;
        }
        for &index in &doubles {
            let name = self.name(index).to_owned();
            self.complain(self.entries[index].line as usize, &name, "its path is in the list twice");
        }
        self.keep(|index| !doubles.contains(&index));
    }

    /// Leaves out the files of these names; returns how many were there.
    pub fn leave_out<'a>(&mut self, names: impl IntoIterator<Item = &'a [u8]>) -> usize {
        let dropped: HashSet<usize> =
            names.into_iter().flat_map(|name| self.find_all(name).to_vec()).map(|i| i as usize).collect();
        if !dropped.is_empty() {
            self.keep(|index| !dropped.contains(&index));
        }
        dropped.len()
    }

    fn keep(&mut self, wanted: impl Fn(usize) -> bool) {
        let mut kept = Self {
            problems: std::mem::take(&mut self.problems),
            problem_count: self.problem_count,
            ..Self::default()
        };
        for index in (0..self.len()).filter(|&index| wanted(index)) {
            let told = Told {
                name: self.name(index).into(),
                digest: self.digest(index).to_vec(),
                algorithm: self.algorithm(index),
            };
            kept.add(&told, self.entries[index].line);
        }
        kept.put_in_order();
        *self = kept;
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[must_use]
    pub fn name(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].name_end);
        &self.names[start..self.entries[index].name_end]
    }

    #[must_use]
    pub fn digest(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].digest_end);
        &self.digests[start..self.entries[index].digest_end]
    }

    #[must_use]
    pub fn algorithm(&self, index: usize) -> Algorithm {
        self.entries[index].algorithm
    }

    /// `algorithm:hex` of an entry.
    #[must_use]
    pub fn expected(&self, index: usize) -> String {
        format!("{}:{}", self.algorithm(index).name(), hex(self.digest(index)))
    }

    /// The first entry of this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.find_all(name).first().map(|&index| index as usize)
    }

    fn find_all(&self, name: &[u8]) -> &[u32] {
        let start = self.by_name.partition_point(|&index| self.name(index as usize) < name);
        let rest = &self.by_name[start..];
        &rest[..rest.partition_point(|&index| self.name(index as usize) == name)]
    }

    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many there were, also those that are not kept.
    #[must_use]
    pub fn problem_count(&self) -> usize {
        self.problem_count
    }
}

/// Path and digest that a line of our manifest tells; None where it is none, or tells nothing.
pub(crate) fn manifest_line(line: &[u8]) -> Option<(Cow<'_, [u8]>, Vec<u8>)> {
    match line::manifest(line) {
        Ok(Line::File(told)) => Some((told.name, told.digest)),
        Ok(Line::Nothing) | Err(_) => None,
    }
}

#[cfg(test)]
#[path = "sums_tests.rs"]
mod tests;
