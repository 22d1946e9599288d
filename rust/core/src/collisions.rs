//! Members that would get in each other's way in one folder: names that are the same for some file system,
//! and files where others need a folder.
//!
//! By hashes with a random key: 16 bytes a member for a moment, and 16 for each folder.  Sets of names
//! took several times that, and a hostile archive of deep folders could make them take gigabytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::name;

/// What `find` looks at: members with a number each, from one archive or from several.
pub trait Names {
    fn len(&self) -> usize;
    /// The path without a directory's slash.
    fn path(&self, member: usize) -> Cow<'_, str>;
    fn is_directory(&self, member: usize) -> bool;
    /// Which archive it comes from: two archives may both have a directory, one has it once.
    fn archive(&self, member: usize) -> usize;
}

/// Why a member cannot be where another one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collision {
    /// The one to refuse, and the one in whose way it is.
    pub member: usize,
    pub other: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    SameName,
    /// The names, or folders in them, differ in case, Unicode form or invisible characters only.
    SameForSome,
    /// `member` is a file, and the other lies in it.
    FileForFolder,
}

/// Why members cannot all be unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    Collision(Collision),
    TooManyFolders,
}

/// The first collision found; with `portable`, also of names that only some file systems take for one.  And whether
/// there are more than `folders_max` folders, those that are only part of a name among them.
///
/// # Errors
/// What was found.
pub fn find(names: &impl Names, portable: bool, folders_max: u64) -> Result<(), Trouble> {
    match first(names, portable, folders_max)? {
        Some(collision) => Err(Trouble::Collision(collision)),
        None => Ok(()),
    }
}

fn first(names: &impl Names, portable: bool, folders_max: u64) -> Result<Option<Collision>, Trouble> {
    let state = RandomState::new();
    let fold = |path: Cow<'_, str>| if portable { name::folded(&path).into_owned() } else { path.into() };
    let mut hashed: Vec<(u64, u32)> = (0..names.len())
        .map(|member| {
            let path = names.path(member);
            let key = if portable { name::folded(&path) } else { path.as_ref().into() };
            (Prefixes::new(&state, &key).whole(), u32::try_from(member).unwrap_or(u32::MAX))
        })
        .collect();
    hashed.sort_unstable();
    for pair in hashed.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let (other, member) = (pair[0].1 as usize, pair[1].1 as usize);
        let (path, other_path) = (names.path(member), names.path(other));
        if fold(path.clone()) != fold(other_path.clone()) {
            continue;
        }
        let both_folders = names.is_directory(member) && names.is_directory(other);
        let kind = if path == other_path { Kind::SameName } else { Kind::SameForSome };
        if kind == Kind::SameForSome || !both_folders || names.archive(member) == names.archive(other) {
            return Ok(Some(Collision { member, other, kind }));
        }
    }
    let folders = Folders::of(names, portable, &state, folders_max).ok_or(Trouble::TooManyFolders)?;
    if let Some(member) = folders.spelled_otherwise {
        let other = spelling_of_another(names, member);
        return Ok(other.map(|other| Collision { member, other, kind: Kind::SameForSome }));
    }
    for &(hash, member) in &hashed {
        let member = member as usize;
        if names.is_directory(member) || !folders.spellings.contains_key(&hash) {
            continue;
        }
        let folder = fold(names.path(member)) + "/";
        if let Some(other) = (0..names.len()).find(|&other| fold(names.path(other)).starts_with(&folder)) {
            return Ok(Some(Collision { member, other, kind: Kind::FileForFolder }));
        }
    }
    Ok(None)
}

/// Every folder that members lie in: the hash of its folded path, and of the path as it is spelled.
struct Folders {
    spellings: HashMap<u64, u64>,
    spelled_otherwise: Option<usize>,
}

impl Folders {
    /// None when there are more than `most`; not all of them are counted then.
    fn of(names: &impl Names, portable: bool, state: &RandomState, most: u64) -> Option<Self> {
        let mut folders = Self { spellings: HashMap::new(), spelled_otherwise: None };
        let mut last_parent = String::new();
        for member in 0..names.len() {
            let path = names.path(member);
            let within = if names.is_directory(member) {
                path.as_ref()
            } else {
                path.rsplit_once('/').map_or("", |(parent, _)| parent)
            };
            // Members of one folder mostly follow each other.
            if within.is_empty() || within == last_parent {
                continue;
            }
            within.clone_into(&mut last_parent);
            let key = if portable { name::folded(within) } else { within.into() };
            let mut exact = Prefixes::new(state, within);
            for hash in Prefixes::new(state, &key) {
                let spelling = exact.next().unwrap_or_default();
                if *folders.spellings.entry(hash).or_insert(spelling) != spelling {
                    folders.spelled_otherwise.get_or_insert(member);
                }
            }
            if folders.spellings.len() as u64 > most {
                return None;
            }
        }
        Some(folders)
    }
}

/// A member that spells a folder of `member` in another way.
fn spelling_of_another(names: &impl Names, member: usize) -> Option<usize> {
    let path = names.path(member);
    (0..names.len()).find(|&other| {
        let other_path = names.path(other);
        let folders = path.split('/').zip(other_path.split('/'));
        folders.take_while(|(one, two)| name::folded(one) == name::folded(two)).any(|(one, two)| one != two)
    })
}

/// The hashes of a path's prefixes: `a`, `a/b`, `a/b/c`, in one pass over it.
struct Prefixes<'a> {
    rest: Option<&'a str>,
    hasher: std::hash::DefaultHasher,
}

impl<'a> Prefixes<'a> {
    fn new(state: &RandomState, path: &'a str) -> Self {
        Self { rest: Some(path), hasher: state.build_hasher() }
    }

    fn whole(self) -> u64 {
        self.last().unwrap_or_default()
    }
}

impl Iterator for Prefixes<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let rest = self.rest?;
        let (component, behind) =
            rest.split_once('/').map_or((rest, None), |(component, behind)| (component, Some(behind)));
        self.rest = behind;
        self.hasher.write(component.as_bytes());
        self.hasher.write_u8(b'/');
        Some(self.hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Archive and path; a slash at the end makes it a directory.
    struct Listed(Vec<(usize, &'static str)>);

    impl Names for Listed {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn path(&self, member: usize) -> Cow<'_, str> {
            self.0[member].1.trim_end_matches('/').into()
        }

        fn is_directory(&self, member: usize) -> bool {
            self.0[member].1.ends_with('/')
        }

        fn archive(&self, member: usize) -> usize {
            self.0[member].0
        }
    }

    fn kind(names: &[(usize, &'static str)], portable: bool) -> Option<Kind> {
        match find(&Listed(names.to_vec()), portable, u64::MAX) {
            Ok(()) => None,
            Err(Trouble::Collision(collision)) => Some(collision.kind),
            Err(Trouble::TooManyFolders) => panic!("there is no limit"),
        }
    }

    #[test]
    fn what_is_in_the_way_is_found_whatever_comes_first() {
        for (one, other, expected) in [
            ("a", "a", Some(Kind::SameName)),
            ("a/", "a", Some(Kind::SameName)),
            ("a/", "a/", Some(Kind::SameName)),
            ("a", "a/b", Some(Kind::FileForFolder)),
            ("a/b", "a/b/c/d", Some(Kind::FileForFolder)),
            ("a/b", "a/c", None),
            ("a/", "a/c", None),
            ("a", "ab/c", None),
        ] {
            for portable in [false, true] {
                assert_eq!(kind(&[(0, one), (0, other)], portable), expected, "{one} {other}");
                assert_eq!(kind(&[(0, other), (0, "x/y"), (0, one)], portable), expected, "{other} {one}");
            }
        }
        assert_eq!(kind(&[(0, "a/"), (1, "a/")], true), None);
        assert_eq!(kind(&[(0, "a/"), (1, "a/"), (1, "a/")], true), Some(Kind::SameName));
        assert_eq!(kind(&[(0, "a"), (1, "a")], true), Some(Kind::SameName));
    }

    #[test]
    fn what_some_systems_take_for_one_counts_only_if_all_must_hold_it() {
        for (one, other, expected) in [
            ("A", "a", Kind::SameForSome),
            ("A/", "a/", Kind::SameForSome),
            ("A/x", "a/y", Kind::SameForSome),
            ("A/", "a/y", Kind::SameForSome),
            ("x/A/", "x/a/y", Kind::SameForSome),
            ("A", "a/y", Kind::FileForFolder),
            ("é/1", "e\u{301}/2", Kind::SameForSome),
        ] {
            for names in [[(0, one), (1, other)], [(0, other), (1, one)]] {
                assert_eq!(kind(&names, true), Some(expected), "{names:?}");
                assert_eq!(kind(&names, false), None, "{names:?}");
            }
        }
    }

    #[test]
    fn the_one_refused_and_the_one_in_the_way_are_both_named() {
        let names = Listed(vec![(0, "x"), (0, "Folder/b"), (0, "y/folder"), (0, "folder/a")]);
        let Err(Trouble::Collision(found)) = find(&names, true, u64::MAX) else { panic!("none is found") };
        assert_eq!((found.member, found.other), (3, 1));
    }

    #[test]
    fn folders_that_are_only_part_of_names_are_counted_once_each() {
        let names = Listed(vec![(0, "a/b/c/1"), (0, "a/b/c/2"), (0, "a/b/d/"), (0, "a/b/"), (0, "3")]);
        for most in 0..4 {
            assert_eq!(find(&names, true, most), Err(Trouble::TooManyFolders), "{most}");
        }
        assert_eq!(find(&names, true, 4), Ok(()));
    }
}
