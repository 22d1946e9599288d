//! The bounded buffer that puts pieces in order: chunks by offset, kept as they were received, not copied.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use rangemap::RangeSet;

#[derive(Debug, Default)]
pub struct Window {
    chunks: BTreeMap<u64, Bytes>,
    present: RangeSet<u64>,
    released: u64,
}

impl Window {
    #[must_use]
    pub fn starting_at(released: u64) -> Self {
        Self { released, ..Self::default() }
    }

    /// A window that wants nothing of `had`.
    #[must_use]
    pub fn having(had: RangeSet<u64>) -> Self {
        Self { present: had, ..Self::default() }
    }

    /// The offset below which nothing is wanted any more.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Takes what of `data` is new, and says which intervals that were.  Overlaps (a hedged request, a
    /// server that sent too much) cost nothing: what came first stays.
    pub fn insert(&mut self, offset: u64, data: &Bytes) -> Vec<Range<u64>> {
        let wanted = offset.max(self.released)..offset + data.len() as u64;
        if wanted.is_empty() {
            return Vec::new();
        }
        let fresh: Vec<Range<u64>> = self.present.gaps(&wanted).collect();
        for gap in &fresh {
            self.chunks.insert(gap.start, data.slice(index(gap.start - offset)..index(gap.end - offset)));
            self.present.insert(gap.clone());
        }
        fresh
    }

    /// The contiguous interval that is here around `offset`.
    #[must_use]
    pub fn run_around(&self, offset: u64) -> Option<Range<u64>> {
        self.present.get(&offset).cloned()
    }

    /// The parts of `span` that are neither here nor released.
    pub fn missing(&self, span: Range<u64>) -> Vec<Range<u64>> {
        let wanted = span.start.max(self.released)..span.end;
        if wanted.is_empty() { Vec::new() } else { self.present.gaps(&wanted).collect() }
    }

    /// The bytes of `span`, all of which must be here, as slices of the chunks they arrived in.
    #[must_use]
    pub fn slices(&self, span: Range<u64>) -> Vec<Bytes> {
        let first = self.chunks.range(..=span.start).next_back().map_or(span.start, |(&offset, _)| offset);
        self.chunks
            .range(first..span.end)
            .map(|(&offset, chunk)| {
                let from = span.start.max(offset) - offset;
                let to = (span.end - offset).min(chunk.len() as u64);
                chunk.slice(index(from)..index(to))
            })
            .collect()
    }

    /// Forgets `span`, which turned out to be damaged, so that it can arrive again; returns how many bytes
    /// were dropped.
    pub fn forget(&mut self, span: Range<u64>) -> u64 {
        self.released = self.released.min(span.start);
        let lost: Vec<Range<u64>> = self.present.overlapping(&span).cloned().collect();
        let mut dropped = 0;
        let first = self.chunks.range(..=span.start).next_back().map_or(span.start, |(&offset, _)| offset);
        let touched: Vec<u64> = self.chunks.range(first..span.end).map(|(&offset, _)| offset).collect();
        for offset in touched {
            let Some(chunk) = self.chunks.remove(&offset) else { continue };
            let end = offset + chunk.len() as u64;
            if end <= span.start {
                self.chunks.insert(offset, chunk);
                continue;
            }
            if offset < span.start {
                self.chunks.insert(offset, chunk.slice(..index(span.start - offset)));
            }
            if end > span.end {
                self.chunks.insert(span.end, chunk.slice(index(span.end - offset)..));
            }
            dropped += end.min(span.end) - offset.max(span.start);
        }
        for range in lost {
            self.present.remove(range.start.max(span.start)..range.end.min(span.end));
        }
        dropped
    }

    /// Lets go of everything below `offset`.  The chunks are handed back so that the caller can drop them
    /// without a lock.
    #[must_use]
    pub fn release(&mut self, offset: u64) -> Vec<Bytes> {
        if offset <= self.released {
            return Vec::new();
        }
        self.present.remove(self.released..offset);
        self.released = offset;
        let kept = self.chunks.split_off(&offset);
        let mut gone = std::mem::replace(&mut self.chunks, kept);
        if let Some((&start, last)) = gone.last_key_value()
            && start + last.len() as u64 > offset
        {
            let rest = last.slice(index(offset - start)..);
            self.chunks.insert(offset, rest);
            gone.pop_last();
        }
        gone.into_values().collect()
    }
}

/// Offsets inside one chunk fit the address space.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(span: Range<u64>) -> Bytes {
        span.map(|i| u8::try_from(i % 251).unwrap()).collect::<Vec<u8>>().into()
    }

    fn joined(window: &Window, span: Range<u64>) -> Vec<u8> {
        window.slices(span).concat()
    }

    #[test]
    fn pieces_in_any_order_read_as_one() {
        let mut window = Window::default();
        for span in [500..700, 0..100, 650..900, 90..510] {
            window.insert(span.start, &pattern(span));
        }
        assert_eq!(window.run_around(0), Some(0..900));
        assert_eq!(joined(&window, 3..897), pattern(3..897));
    }

    #[test]
    fn what_is_already_here_is_not_taken_twice() {
        let mut window = Window::default();
        assert_eq!(window.insert(10, &pattern(10..20)), vec![Range { start: 10, end: 20 }]);
        assert_eq!(window.insert(5, &pattern(5..30)), [5..10, 20..30]);
        assert!(window.insert(5, &pattern(5..30)).is_empty());
    }

    #[test]
    fn released_bytes_are_gone_and_not_wanted_again() {
        let mut window = Window::default();
        window.insert(0, &pattern(0..100));
        drop(window.release(40));
        assert!(window.insert(0, &pattern(0..40)).is_empty());
        assert_eq!(joined(&window, 40..100), pattern(40..100));
        assert_eq!(window.missing(0..120), vec![100..120]);
    }

    #[test]
    fn a_forgotten_span_can_arrive_again() {
        let mut window = Window::default();
        window.insert(0, &pattern(0..100));
        assert_eq!(window.forget(30..60), 30);
        assert_eq!(window.missing(0..100), vec![30..60]);
        window.insert(30, &pattern(30..60));
        assert_eq!(joined(&window, 0..100), pattern(0..100));
    }

    #[test]
    fn forgetting_below_the_released_offset_moves_it_back() {
        let mut window = Window::default();
        window.insert(0, &pattern(0..100));
        drop(window.release(50));
        window.forget(20..100);
        assert_eq!(window.released(), 20);
        assert_eq!(window.missing(0..100), vec![20..100]);
    }

    proptest::proptest! {
        #[test]
        fn any_mixture_of_pieces_ends_in_the_same_bytes(
            mut spans in proptest::collection::vec((0_u64..400, 1_u64..120), 1..40),
            release in 0_u64..200,
        ) {
            let mut window = Window::default();
            spans.push((0, 1));
            for &(start, length) in &spans {
                window.insert(start, &pattern(start..start + length));
            }
            drop(window.release(release));
            for gap in window.missing(0..600) {
                window.insert(gap.start, &pattern(gap));
            }
            proptest::prop_assert_eq!(window.run_around(release), Some(release..600));
            proptest::prop_assert_eq!(joined(&window, release..600), pattern(release..600));
        }
    }
}
