//! Which names were unpacked so far, over all archives that go into one folder.
//!
//! A tar tells its names one by one, so they are remembered: by keyed hashes, about 30 bytes a name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::job::Job;
use crate::name;
use crate::zip::Directory;

/// Or the reason why a name is not free.
type Claimed<T> = std::result::Result<T, &'static str>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

#[derive(Debug)]
pub struct Names {
    /// Names that some file system takes for one count as one.
    portable: bool,
    /// The keys are random, so nobody can make two names collide on purpose; by chance it happens once in
    /// thirty million archives of a million files, and one of these would be refused.
    state: RandomState,
    seen: Mutex<HashMap<u64, Claim>>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    /// Hash of the name as it is written.
    spelling: u64,
    archive: u32,
    kind: Kind,
}

impl Names {
    #[must_use]
    pub fn new(portable: bool) -> Self {
        Self { portable, state: RandomState::new(), seen: Mutex::default() }
    }

    /// Takes the name of a file for archive number `archive`, and those of the folders that it lies in; returns how
    /// many of them nobody had before.
    ///
    /// # Errors
    /// The reason why it is not free.
    pub fn claim_file(&self, archive: u32, path: &str) -> Claimed<u64> {
        self.claim(archive, path, Kind::File)
    }

    /// The same for a folder; several members and archives may do so.
    ///
    /// # Errors
    /// The reason why it is not free.
    pub fn claim_folder(&self, archive: u32, path: &str) -> Claimed<u64> {
        self.claim(archive, path, Kind::Folder)
    }

    /// Takes the names of all members of a zip for archive number `archive`.
    ///
    /// # Errors
    /// `Member`, when one of them is not free; `Cancelled`.
    pub fn claim_directory(&self, archive: u32, directory: &Directory, job: &Job) -> Result<()> {
        for index in 0..directory.len() {
            if index % 4096 == 0 {
                job.check()?;
            }
            let entry = directory.entry(index);
            let name = entry.name();
            match name.strip_suffix('/') {
                Some(folder) => self.claim_folder(archive, folder),
                None => self.claim_file(archive, &name),
            }
            .map_err(|reason| directory.refuse_member(&entry, reason))?;
        }
        Ok(())
    }

    /// Gives back all names that archive number `archive` was the first to take: it starts anew.
    pub fn forget(&self, archive: u32) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, claim| claim.archive != archive);
    }

    fn claim(&self, archive: u32, path: &str, kind: Kind) -> Claimed<u64> {
        let mut new = 0;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            if self.put(&mut seen, archive, parent, Kind::Folder, path)? == Known::Yes {
                break;
            }
            new += 1;
            rest = parent;
        }
        let own = self.put(&mut seen, archive, path, kind, path)?;
        Ok(new + u64::from(own == Known::No))
    }

    fn put(
        &self,
        seen: &mut HashMap<u64, Claim>,
        archive: u32,
        path: &str,
        kind: Kind,
        wanted: &str,
    ) -> Claimed<Known> {
        let spelling = self.state.hash_one(path);
        let key = if self.portable { self.state.hash_one(name::folded(path).as_ref()) } else { spelling };
        let claim = match seen.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Claim { spelling, archive, kind });
                return Ok(Known::No);
            }
            Entry::Occupied(taken) => *taken.get(),
        };
        let elsewhere = claim.archive != archive;
        Err(match (claim.kind, kind) {
            (Kind::Folder, Kind::Folder) if claim.spelling == spelling => return Ok(Known::Yes),
            _ if claim.spelling != spelling => {
                "its name differs from another one only in case or Unicode form, \
                 which not every system tells apart"
            }
            (Kind::File, Kind::File) if elsewhere => "another archive has a file of this name",
            (Kind::File, Kind::File) => "its name occurs twice",
            (Kind::Folder, Kind::File) if elsewhere => "it is a file where another archive has a folder",
            (Kind::Folder, Kind::File) => "it is a file where other members need a folder",
            _ if path.len() < wanted.len() => "it lies in a folder of which there is a file of the same name",
            _ => "it is a folder where there is a file of the same name",
        })
    }
}

#[derive(PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_name_and_a_folder_may_be_named_again() {
        let names = Names::new(true);
        assert_eq!(names.claim_folder(0, "a/b"), Ok(2));
        assert_eq!(names.claim_folder(0, "a"), Ok(0));
        assert_eq!(names.claim_file(0, "a/b/c"), Ok(1));
        assert_eq!(names.claim_folder(1, "a/b"), Ok(0));
        assert!(names.claim_file(0, "a/b/c").unwrap_err().contains("twice"));
        assert!(names.claim_file(1, "a/b/c").unwrap_err().contains("another archive"));
        assert!(names.claim_file(0, "a/b").is_err());
        assert!(names.claim_file(0, "a/b/c/d").is_err());
        assert!(names.claim_folder(0, "a/b/c").is_err());
    }

    #[test]
    fn names_that_some_system_takes_for_one_are_refused_unless_told_otherwise() {
        let names = Names::new(true);
        names.claim_file(0, "Photos/a").unwrap();
        assert!(names.claim_file(0, "Photos/A").unwrap_err().contains("case"));
        assert!(names.claim_file(0, "photos/b").unwrap_err().contains("case"));
        let names = Names::new(false);
        names.claim_file(0, "Photos/a").unwrap();
        names.claim_file(0, "Photos/A").unwrap();
        names.claim_file(0, "photos/b").unwrap();
    }
}
