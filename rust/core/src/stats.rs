//! What a metadata file tells of its images as a whole: licences, face sizes, years; in one pass, for all
//! images and for those that are there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::job::Job;
use crate::metadata::{self, Entry, Flaw, Value, Visitor};
use crate::offsets;

const FIELDS: &[&str] =
    &["license_url", "original_bounding_box", "date_captured", "date_taken", "date_uploaded"];
const LICENSE_URL: usize = 0;
const BOX: usize = 1;
const DATES_TAKEN: [usize; 2] = [2, 3];
const DATE_UPLOADED: usize = 4;

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
/// their place or in a date's.
pub fn statistics(path: &Path, present: &[u64], workers: usize, job: &Job) -> Result<(Tally, Tally)> {
    let fresh = || Counter { present, all: Tally::default(), here: Tally::default() };
    let Counter { mut all, mut here, .. } = metadata::scan(path, workers, job, fresh)?.visitor;
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
}

impl Visitor for Counter<'_> {
    const FIELDS: &'static [&'static str] = FIELDS;

    fn entry(&mut self, entry: &Entry<'_>) -> std::result::Result<(), Flaw> {
        let number = offsets::number(entry)?;
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
    }
}

fn flaw(value: Value<'_>, wanted: &str) -> Flaw {
    let found = String::from_utf8_lossy(&value.raw()[..value.raw().len().min(40)]).into_owned();
    Flaw { offset: value.offset(), reason: format!("{wanted} is expected, not {found}") }
}

/// `cc-by-nc-2` for `http://creativecommons.org/licenses/by-nc/2.0/`; other addresses as they are.
fn license_name(url: &str) -> String {
    let mut parts = url.split_once("creativecommons.org/licenses/").map_or("", |parts| parts.1).split('/');
    match (parts.next(), parts.next()) {
        (Some(kind), Some(version)) if !kind.is_empty() && !version.is_empty() => {
            format!("cc-{kind}-{}", version.trim_end_matches(".0"))
        }
        _ => url.to_owned(),
    }
}

/// Of a box x0, y0, x1, y1.
fn longer_side(value: Value<'_>) -> std::result::Result<f64, Flaw> {
    let [x0, y0, x1, y1]: [f64; 4] =
        serde_json::from_slice(value.raw()).map_err(|_| flaw(value, "a list of four numbers"))?;
    Ok((x1 - x0).max(y1 - y0))
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
        for (url, name) in [
            ("http://creativecommons.org/licenses/by/2.0/", "cc-by-2"),
            ("https://creativecommons.org/licenses/by-nc-sa/2.0/", "cc-by-nc-sa-2"),
            ("http://creativecommons.org/licenses/by-sa/2.5/deed.en", "cc-by-sa-2.5"),
            ("http://creativecommons.org/licenses/by", "http://creativecommons.org/licenses/by"),
            ("https://example.org/all-rights", "https://example.org/all-rights"),
            ("", ""),
        ] {
            assert_eq!(license_name(url), name);
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
