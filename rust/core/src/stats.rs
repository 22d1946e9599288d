//! What a metadata file tells of its images as a whole: licences, face sizes, years; in one pass, for all
//! images and for those that are there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::job::Job;
use crate::metadata::{self, Entry, Flaw, Value, Visitor};
use crate::offsets::{self, Offsets};

const FIELDS: &[&str] =
    &["license_url", "original_bounding_box", "date_captured", "date_taken", "date_uploaded"];
const LICENSE_URL: usize = 0;
const BOX: usize = 1;
const DATES_TAKEN: [usize; 2] = [2, 3];
const DATE_UPLOADED: usize = 4;

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Some images, counted.  Year 0 stands for dates that are not known.
#[derive(Debug, Default)]
pub struct Tally {
    pub images: u64,
    /// By the licence's name as the catalogs have it, or its address where that is none of Creative Commons'.
    pub licenses: BTreeMap<String, u64>,
    /// The longer side of each face in its photo, in pixels, ascending.
    pub sizes: Vec<f64>,
    pub years_taken: BTreeMap<u16, u64>,
    pub years_uploaded: BTreeMap<u16, u64>,
}

impl Tally {
    /// How many sizes lie below the first edge, between each two, and at or above the last; `edges` ascend.
    pub fn histogram(&self, edges: &[f64]) -> Vec<u64> {
        let below = edges.iter().map(|&edge| self.sizes.partition_point(|&size| size < edge) as u64);
        let mut counts = Vec::with_capacity(edges.len() + 1);
        let mut counted = 0;
        for end in below.chain([self.sizes.len() as u64]) {
            counts.push(end.saturating_sub(counted));
            counted = end.max(counted);
        }
        counts
    }

    /// The size that a share `fraction` (0 to 1) of the faces does not exceed, between two by the straight line
    /// from one to the other; None without faces.
    pub fn quantile(&self, fraction: f64) -> Option<f64> {
        let last = self.sizes.len().checked_sub(1)?;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 faces")]
        let place = fraction.clamp(0.0, 1.0) * last as f64;
        #[expect(clippy::cast_sign_loss, reason = "it is clamped")]
        let below = place.floor() as usize;
        let (low, high) = (self.sizes[below], self.sizes[(below + 1).min(last)]);
        Some(low + (high - low) * place.fract())
    }

    fn merge(&mut self, later: Self) {
        self.images += later.images;
        self.sizes.extend(later.sizes);
        for (name, count) in later.licenses {
            *self.licenses.entry(name).or_default() += count;
        }
        for (sum, years) in
            [(&mut self.years_taken, later.years_taken), (&mut self.years_uploaded, later.years_uploaded)]
        {
            for (year, count) in years {
                *sum.entry(year).or_default() += count;
            }
        }
    }
}

/// All images of the file at `path`, and those of them whose numbers are in `present` (ascending).
///
/// # Errors
/// As [`metadata::scan`]; also where an entry has no licence or no box, or something of another kind in
/// their place or in a date's, or where two keys are the same number.
pub fn statistics(path: &Path, present: &[u64], workers: usize, job: &Job) -> Result<(Tally, Tally)> {
    let fresh = || Counter { present, all: Tally::default(), here: Tally::default(), has_zeros: false };
    let Counter { mut all, mut here, has_zeros, .. } = metadata::scan(path, workers, job, fresh)?.visitor;
    if has_zeros {
        // An image that is there as 7 and as 07 would be counted twice; who finds the entries refuses that.
        Offsets::find(path, workers, job)?;
    }
    for tally in [&mut all, &mut here] {
        job.check()?;
        tally.sizes.sort_unstable_by(f64::total_cmp);
    }
    Ok((all, here))
}

struct Counter<'a> {
    present: &'a [u64],
    all: Tally,
    here: Tally,
    /// Whether a key has zeros in front, so that there may be a second one of the same number.
    has_zeros: bool,
}

impl Visitor for Counter<'_> {
    const FIELDS: &'static [&'static str] = FIELDS;

    fn entry(&mut self, entry: &Entry<'_>) -> std::result::Result<(), Flaw> {
        let number = offsets::number(entry)?;
        let key = entry.key().decode();
        self.has_zeros |= key.len() > 1 && key.starts_with(b"0");
        let url = entry.required(LICENSE_URL, FIELDS[LICENSE_URL])?;
        let url = url.text().ok_or_else(|| flaw(url, "an address in quotes"))?.decode();
        let license = license_name(&String::from_utf8_lossy(&url));
        let size = longer_side(entry.required(BOX, FIELDS[BOX])?)?;
        let mut taken = 0;
        for field in DATES_TAKEN {
            taken = if taken == 0 { year(entry.field(field))? } else { taken };
        }
        let uploaded = year(entry.field(DATE_UPLOADED))?;
        let is_here = self.present.binary_search(&number).is_ok();
        for tally in [Some(&mut self.all), is_here.then_some(&mut self.here)].into_iter().flatten() {
            tally.images += 1;
            // No name is made for a licence that is known already.
            match tally.licenses.get_mut(&license) {
                Some(count) => *count += 1,
                None => drop(tally.licenses.insert(license.clone(), 1)),
            }
            tally.sizes.push(size);
            *tally.years_taken.entry(taken).or_default() += 1;
            *tally.years_uploaded.entry(uploaded).or_default() += 1;
        }
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.all.merge(later.all);
        self.here.merge(later.here);
        self.has_zeros |= later.has_zeros;
    }
}

fn flaw(value: Value<'_>, wanted: &str) -> Flaw {
    let found = String::from_utf8_lossy(&value.raw()[..value.raw().len().min(40)]).into_owned();
    Flaw { offset: value.offset(), reason: format!("{wanted} is expected, not {found}") }
}

/// `cc-by-nc-2` for `http://creativecommons.org/licenses/by-nc/2.0/`; other addresses as they are.
fn license_name(url: &str) -> String {
    catalog_name(url).unwrap_or_else(|| url.to_owned())
}

/// By the same rule as `license_name` of metadata.py: `tests/vectors/licences.tsv` holds both to it.
fn catalog_name(url: &str) -> Option<String> {
    let url = url.trim_matches(BLANKS).to_ascii_lowercase();
    let rest = ["https:", "http:"].into_iter().find_map(|scheme| url.strip_prefix(scheme)).unwrap_or(&url);
    let rest = rest.strip_prefix("//")?;
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    let (kind, rest) = rest.strip_prefix("creativecommons.org/licenses/")?.split_once('/')?;
    let version = rest.split(['/', '?', '#']).next()?;
    let (major, minor) = version.split_once('.')?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (kind.split('-').all(is_word) && is_number(major) && is_number(minor))
        .then(|| format!("cc-{kind}-{}", version.strip_suffix(".0").unwrap_or(version)))
}

/// Of a box x0, y0, x1, y1.
fn longer_side(value: Value<'_>) -> std::result::Result<f64, Flaw> {
    let [x0, y0, x1, y1]: [f64; 4] =
        serde_json::from_slice(value.raw()).map_err(|_| flaw(value, "a list of four numbers"))?;
    let side = (x1 - x0).max(y1 - y0);
    // Differences of sides must be numbers as well, for the quantiles.
    if side.abs() < f64::MAX / 2.0 { Ok(side) } else { Err(flaw(value, "a box with sides of some length")) }
}

/// Of a date such as `2010-01-16 21:47:59.0`; 0 where there is none, or no year in it.
fn year(value: Option<Value<'_>>) -> std::result::Result<u16, Flaw> {
    let Some(value) = value.filter(|value| value.raw() != b"null") else { return Ok(0) };
    let text = value.text().ok_or_else(|| flaw(value, "a date in quotes"))?.decode();
    let digits = text.split(|&byte| byte == b'-').next().filter(|digits| digits.len() == 4);
    Ok(digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_has_the_name_that_the_catalog_gives_its_archive() {
        let vectors = include_str!("../../../tests/vectors/licences.tsv");
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let (name, url) = line.split_once('\t').unwrap();
            assert_eq!(license_name(url), if name.is_empty() { url } else { name }, "{url:?}");
        }
        assert!(vectors.lines().count() > 20);
    }

    #[test]
    fn a_box_whose_side_is_no_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata");
        let look = |values: &str| {
            let entry = format!(r#"{{"license_url": "", "original_bounding_box": {values}}}"#);
            std::fs::write(&path, format!(r#"{{"1": {entry}, "2": {entry}}}"#)).unwrap();
            statistics(&path, &[], 1, &Job::default())
        };
        for values in ["[-1e308, 0, 1e308, 1]", "[0, -1e308, 0, 1e308]", "[0, 0, 1e309, 1]", "[0, 0, NaN, 1]"]
        {
            let error = look(values).unwrap_err();
            assert!(error.to_string().contains("is expected"), "{values}: {error}");
        }
        let (all, _) = look("[0, 0, 8e307, 1]").unwrap();
        assert_eq!(all.quantile(0.5), Some(8e307));
    }

    #[test]
    fn an_image_with_two_keys_is_refused_and_one_with_zeros_in_front_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata");
        let look = |keys: &[&str]| {
            let entry = r#"{"license_url": "", "original_bounding_box": [0, 0, 1, 1]}"#;
            let entries: Vec<_> = keys.iter().map(|key| format!("{key:?}: {entry}")).collect();
            std::fs::write(&path, format!("{{{}}}", entries.join(","))).unwrap();
            statistics(&path, &[7], 1, &Job::default()).map(|(all, here)| (all.images, here.images))
        };
        assert_eq!(look(&["007", "0"]).unwrap(), (2, 1));
        for keys in [["7", "07"], ["07", "7"], ["00", "0"]] {
            assert!(look(&keys).unwrap_err().to_string().contains("twice"), "{keys:?}");
        }
    }

    #[test]
    fn quantiles_lie_between_their_neighbours_and_every_size_is_in_one_bin() {
        let tally = Tally { sizes: vec![10.0, 20.0, 40.0], ..Tally::default() };
        assert_eq!(tally.quantile(0.0), Some(10.0));
        assert_eq!(tally.quantile(0.25), Some(15.0));
        assert_eq!(tally.quantile(1.0), Some(40.0));
        assert_eq!(Tally::default().quantile(0.5), None);
        assert_eq!(tally.histogram(&[10.0, 20.0, 30.0]), [0, 1, 1, 1]);
        assert_eq!(tally.histogram(&[]), [3]);
        assert_eq!(Tally::default().histogram(&[1.0]), [0, 0]);
    }
}
