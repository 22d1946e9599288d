//! How long workers have had nothing to do but to wait for bytes.
//!
//! As long as they hardly ever do, more connections would only make more work: the same 2 GB over 16 connections
//! took 1.57 s and 1.86 s of processor time, over 4 of them 1.50 s and 1.73 s (`docs/performance.md`).

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct Hunger {
    before: Duration,
    since: Option<Instant>,
}

impl Hunger {
    /// Somebody waits from now on.
    pub fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Bytes have come: whoever else waits now has company at work, and does not count.
    pub fn end(&mut self, now: Instant) {
        self.before = self.total(now);
        self.since = None;
    }

    /// All in all, up to now.
    #[must_use]
    pub fn total(&self, now: Instant) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_while_somebody_waits_and_only_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut hunger = Hunger::default();
        assert_eq!(hunger.total(at(5)), Duration::ZERO);
        hunger.begin(at(5));
        hunger.begin(at(7));
        assert_eq!(hunger.total(at(8)), Duration::from_secs(3));
        hunger.end(at(9));
        hunger.end(at(10));
        assert_eq!(hunger.total(at(20)), Duration::from_secs(4));
        hunger.begin(at(20));
        assert_eq!(hunger.total(at(21)), Duration::from_secs(5));
    }
}
