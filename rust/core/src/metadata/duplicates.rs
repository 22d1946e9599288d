//! Keys that occur more than once.  `json.load` keeps such an entry where it stood first, with its last
//! value.  Whether there are any is found out in passing, with a bit for each image number; only a file that has
//! some is read once more, for where they are.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use super::Source;
use super::entry::{Entry, Text};
use super::walk::{At, Walker};
use crate::error::Result;
use crate::job::Job;

/// Image numbers below it have a bit each, 8 MiB in all; other keys have a hash of eight bytes each.
const NUMBERS_MAX: u32 = 1 << 26;

/// A key, in short.  Two keys may have one hash: then they are suspects, and cleared later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Short {
    Number(u32),
    Hash(u64),
}

fn short(key: &[u8], hasher: &RandomState) -> Short {
    number(key).map_or_else(|| Short::Hash(hasher.hash_one(key)), Short::Number)
}

/// The number that `key` is written as, if there is no other way to write it.
fn number(key: &[u8]) -> Option<u32> {
    let is_usual = (key.len() == 1 || key.first() != Some(&b'0')) && (1..=8).contains(&key.len());
    if !is_usual {
        return None;
    }
    let value = key
        .iter()
        .try_fold(0, |sum: u32, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))?;
    (value < NUMBERS_MAX).then_some(value)
}

/// The keys of one part of the file.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Short>);

impl Keys {
    pub fn push(&mut self, key: Text<'_>, hasher: &RandomState) {
        self.0.push(short(&key.decode(), hasher));
    }
}

/// The keys so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    numbers: Vec<u64>,
    hashes: HashSet<u64>,
    suspects: HashSet<Short>,
}

impl Seen {
    pub fn add(&mut self, keys: Keys) {
        for key in keys.0 {
            let is_new = match key {
                Short::Hash(hash) => self.hashes.insert(hash),
                Short::Number(number) => {
                    let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
                    if self.numbers.len() <= word {
                        self.numbers.resize(word + 1, 0);
                    }
                    let is_new = self.numbers[word] & bit == 0;
                    self.numbers[word] |= bit;
                    is_new
                }
            };
            if !is_new {
                self.suspects.insert(key);
            }
        }
    }

    pub fn suspects(self, hasher: RandomState) -> Suspects {
        Suspects { shorts: self.suspects, hasher }
    }
}

/// Keys that occur more than once, or have a hash that does.
#[derive(Debug)]
pub(super) struct Suspects {
    shorts: HashSet<Short>,
    hasher: RandomState,
}

impl Suspects {
    pub fn is_empty(&self) -> bool {
        self.shorts.is_empty()
    }
}

/// Where an entry is to be taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// From where it stands.
    Here,
    /// From this offset: there its key has its last value.
    At(u64),
    /// Its key stood before.
    Gone,
}

/// Where each key that occurs more than once stands first, and last.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Vec<u8>, (u64, u64)>);

impl Places {
    /// Reads the file for them.
    pub fn find(source: &Source, suspects: &Suspects, job: &Job) -> Result<Self> {
        let mut places: HashMap<Vec<u8>, (u64, u64)> = HashMap::new();
        let mut walker = Walker::new(&[]);
        walker.walk(source, job, At::Start, u64::MAX, false, |entry, _| {
            let key = entry.key().decode();
            if suspects.shorts.contains(&short(&key, &suspects.hasher)) {
                let offset = entry.offset();
                places.entry(key.into_owned()).or_insert((offset, offset)).1 = offset;
            }
            Ok(())
        })?;
        places.retain(|_, (first, last)| first != last);
        Ok(Self(places))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn of(&self, entry: &Entry<'_>) -> Place {
        if self.0.is_empty() {
            return Place::Here;
        }
        match self.0.get(&*entry.key().decode()) {
            None => Place::Here,
            Some(&(first, last)) if first == entry.offset() => Place::At(last),
            Some(_) => Place::Gone,
        }
    }
}
