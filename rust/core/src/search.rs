//! Whose photo is in the dataset: images by user, author or address of the photo; and the fields of an image
//! that a person is shown.

use std::borrow::Cow;
use std::path::Path;

use crate::error::Result;
use crate::job::Job;
use crate::metadata::{self, Entry, Flaw, Reader, Scanned, Visitor};
use crate::name::caseless;

/// What is read of each entry.
const FIELDS: &[&str] = &["photo_title", "author", "user_nsid", "license", "license_url", "photo_url"];
const AUTHOR: usize = 1;
const USER_NSID: usize = 2;
const PHOTO_URL: usize = 5;

/// One image: its number, and the text of each field in the order of `FIELDS`.
///
/// Texts are UTF-8, but for halves of surrogate pairs (see `json::decode`).  A field that is not there, or is neither
/// a string nor a number, is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub number: Vec<u8>,
    pub fields: [Vec<u8>; 6],
}

impl Record {
    fn of(entry: &Entry<'_>) -> Self {
        let mut record = Self { number: entry.key().decode().into_owned(), ..Self::default() };
        for (number, text) in record.fields.iter_mut().enumerate() {
            *text = shown(entry, number).into_owned();
        }
        record
    }
}

fn shown<'a>(entry: &Entry<'a>, number: usize) -> Cow<'a, [u8]> {
    let Some(value) = entry.field(number) else { return Cow::Borrowed(b"") };
    match value.text() {
        Some(text) => text.decode(),
        None if value.raw().starts_with(b"-") || value.raw()[0].is_ascii_digit() => {
            Cow::Borrowed(value.raw())
        }
        None => Cow::Borrowed(b""),
    }
}

// ---- search ------------------------------------------------------------------------------------------

/// What is looked for; an image is found that any of it fits.
#[derive(Debug, Default)]
pub struct Query {
    users: Vec<Vec<u8>>,
    /// As `caseless` gives them.
    authors: Vec<String>,
    /// Without scheme and closing slashes.
    photo_urls: Vec<Vec<u8>>,
}

impl Query {
    /// Users are their NSIDs, as they are written; authors match in upper and lower case and however their
    /// accents are written, by Unicode's canonical caseless match; addresses match with `http` and `https`, with and without a slash at their end.
    ///
    /// All texts as in [`Record`].
    pub fn new(users: Vec<Vec<u8>>, authors: &[String], photo_urls: &[Vec<u8>]) -> Self {
        Self {
            users,
            authors: authors.iter().map(|author| caseless(author)).collect(),
            photo_urls: photo_urls.iter().map(|url| bare(url).to_vec()).collect(),
        }
    }

    /// Searches the file at `path`.
    ///
    /// # Errors
    /// As [`metadata::scan`]; also `Metadata` where an entry lacks a field that is looked for.
    pub fn run(&self, path: &Path, workers: usize, job: &Job) -> Result<(Vec<Record>, Scanned<()>)> {
        let scanned = metadata::scan(path, workers, job, || Search { query: self, found: Vec::new() })?;
        let Scanned { visitor, entries, bytes } = scanned;
        Ok((visitor.found, Scanned { visitor: (), entries, bytes }))
    }

    fn fits(&self, entry: &Entry<'_>) -> std::result::Result<bool, Flaw> {
        // A loop over `entry["user_nsid"]` would end with a KeyError, whichever entry it is.
        let mut is_found = false;
        if !self.users.is_empty() {
            let user = entry.required(USER_NSID, FIELDS[USER_NSID])?.text();
            is_found |= user.is_some_and(|user| self.users.iter().any(|wanted| user.is(wanted)));
        }
        if !self.authors.is_empty() {
            let author = entry.required(AUTHOR, FIELDS[AUTHOR])?.text();
            is_found |= author.is_some_and(|author| self.fits_author(&author.decode()));
        }
        if !self.photo_urls.is_empty() {
            let url = entry.required(PHOTO_URL, FIELDS[PHOTO_URL])?.text();
            is_found |= url.is_some_and(|url| {
                let url = url.decode();
                self.photo_urls.iter().any(|wanted| bare(&url) == &**wanted)
            });
        }
        Ok(is_found)
    }

    fn fits_author(&self, author: &[u8]) -> bool {
        if author.is_ascii() {
            return self.authors.iter().any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(author));
        }
        // `caseless` costs more than reading the entry does.  What is ASCII at a name's ends stays there, in lower
        // case, and rules most names out.
        let is_plain = |byte: &u8| byte.is_ascii();
        let start = author.iter().take_while(|byte| is_plain(byte)).count();
        let end = author.len() - author.iter().rev().take_while(|byte| is_plain(byte)).count();
        let mut likely = self
            .authors
            .iter()
            .filter(|wanted| has_ends(wanted.as_bytes(), &author[..start], &author[end..]));
        // Half a surrogate pair is in nobody's name.
        likely.clone().next().is_some()
            && str::from_utf8(author).map(caseless).is_ok_and(|author| likely.any(|wanted| *wanted == author))
    }
}

/// Whether `text` begins and ends so, in upper or lower case.
fn has_ends(text: &[u8], start: &[u8], end: &[u8]) -> bool {
    let at_start = text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    let rest = text.len().checked_sub(end.len());
    at_start && rest.is_some_and(|rest| text[rest..].eq_ignore_ascii_case(end))
}

/// An address without its scheme, and without slashes at its end.
fn bare(url: &[u8]) -> &[u8] {
    let is_scheme =
        |scheme: &[u8]| url.len() >= scheme.len() && url[..scheme.len()].eq_ignore_ascii_case(scheme);
    let start =
        [&b"http://"[..], b"https://"].into_iter().find(|scheme| is_scheme(scheme)).map_or(0, <[u8]>::len);
    let end = url.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    &url[start.min(end)..end]
}

struct Search<'q> {
    query: &'q Query,
    found: Vec<Record>,
}

impl Visitor for Search<'_> {
    const FIELDS: &'static [&'static str] = FIELDS;

    fn entry(&mut self, entry: &Entry<'_>) -> std::result::Result<(), Flaw> {
        if self.query.fits(entry)? {
            self.found.push(Record::of(entry));
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.found.extend(later.found);
    }
}

// ---- all of them -------------------------------------------------------------------------------------

/// The records of a whole file, in its order, some thousand at a time.
#[derive(Debug)]
pub struct Records {
    reader: Reader,
    pub entries: u64,
}

/// The first pass only checks: no record is made.
struct Collect {
    wanted: bool,
    records: Vec<Record>,
}

impl Visitor for Collect {
    const FIELDS: &'static [&'static str] = FIELDS;

    fn entry(&mut self, entry: &Entry<'_>) -> std::result::Result<(), Flaw> {
        if self.wanted {
            self.records.push(Record::of(entry));
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.records.extend(later.records);
    }
}

impl Records {
    /// Checks the whole file at `path` first.
    ///
    /// # Errors
    /// As [`metadata::scan`].
    pub fn open(path: &Path, workers: usize, job: &Job) -> Result<Self> {
        let check = || Collect { wanted: false, records: Vec::new() };
        let (reader, scanned) = Reader::open(path, workers, job, check)?;
        Ok(Self { reader, entries: scanned.entries })
    }

    /// Some more; empty when there are none left.
    ///
    /// # Errors
    /// As [`metadata::scan`], where the file was changed since it was opened.
    pub fn next(&mut self, job: &Job) -> Result<Vec<Record>> {
        let mut collect = Collect { wanted: true, records: Vec::new() };
        while collect.records.is_empty() && self.reader.next(job, &mut collect)?.is_some() {}
        Ok(collect.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn an_author_is_found_if_the_whole_names_match_without_case(
            ours in "[aAkßéÉſK\u{301}\u{345}σΣ ]{0,4}",
            theirs in "[aAkßéÉſK\u{301}\u{345}σΣ ]{0,4}",
        ) {
            let query = Query::new(Vec::new(), std::slice::from_ref(&ours), &[]);
            assert_eq!(query.fits_author(theirs.as_bytes()), caseless(&ours) == caseless(&theirs));
        }
    }

    #[test]
    fn the_ends_of_a_name_are_compared_without_case() {
        assert!(has_ends(b"jose\xcc\x81 x", b"JOSE", b" X"));
        assert!(!has_ends(b"jose", b"JOSE", b" X"));
        assert!(!has_ends(b"j", b"jo", b""));
    }
}
