//! Many streams in the lanes of the registers of AVX-512.

#![expect(clippy::inline_always, clippy::many_single_char_names, reason = "as in `md5.rs`")]

use std::{array, slice};

use super::super::blocks::{BLOCK_BYTES, Block};
use super::super::md5::Vector;
use super::{K, State};

/// What a round needs beyond the arithmetic that MD5 has.
pub(super) trait Words<const LANES: usize>: Vector<LANES> {
    /// The bytes of each word in the opposite order.
    fn swapped(self) -> Self;
    fn shift_right<const N: u32>(self) -> Self;
    /// `x` where the bits of `self` are set, else `y`.
    fn choose(self, x: Self, y: Self) -> Self;
    fn majority(self, x: Self, y: Self) -> Self;
    fn xor_both(self, x: Self, y: Self) -> Self;
}

/// A kernel for `LANES` streams in the lanes of `V`, as in MD5.
#[inline(always)]
pub(super) fn compress_lanes<const LANES: usize, V: Words<LANES>>(states: &mut [State], inputs: &[&[Block]]) {
    let source = |lane: usize| if lane < inputs.len() { lane } else { 0 };
    let mut blocks: [slice::Iter<'_, Block>; LANES] = array::from_fn(|lane| inputs[source(lane)].iter());
    let mut sums: [V; 8] =
        array::from_fn(|word| V::from_lanes(array::from_fn(|lane| states[source(lane)][word])));
    'blocks: loop {
        let mut rows = [&[0; BLOCK_BYTES]; LANES];
        for (row, blocks) in rows.iter_mut().zip(&mut blocks) {
            let Some(block) = blocks.next() else { break 'blocks };
            *row = block;
        }
        let [a, b, c, d] = V::transposed::<0>(&rows);
        let [e, f, g, h] = V::transposed::<16>(&rows);
        let [i, j, k, l] = V::transposed::<32>(&rows);
        let [m, n, o, p] = V::transposed::<48>(&rows);
        let mut words = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
        for word in &mut words {
            *word = word.swapped();
        }
        rounds(&mut sums, &mut words);
    }
    let words = sums.map(V::to_lanes);
    for (lane, state) in states.iter_mut().enumerate() {
        *state = array::from_fn(|word| words[word][lane]);
    }
}

#[inline(always)]
fn rounds<const LANES: usize, V: Words<LANES>>(state: &mut [V; 8], w: &mut [V; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    macro_rules! round {
        ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $word:literal, $constant:expr) => {
            let early = $h.plus(w[$word]).plus(V::constant($constant));
            let big =
                $e.rotate_left::<26, 6>().xor_both($e.rotate_left::<21, 11>(), $e.rotate_left::<7, 25>());
            let sum = early.plus($e.choose($f, $g)).plus(big);
            $d = $d.plus(sum);
            let big =
                $a.rotate_left::<30, 2>().xor_both($a.rotate_left::<19, 13>(), $a.rotate_left::<10, 22>());
            $h = sum.plus($a.majority($b, $c)).plus(big);
        };
    }
    macro_rules! sixteen {
        ($base:expr) => {
            round!(a b c d e f g h, 0, K[$base][0]);
            round!(h a b c d e f g, 1, K[$base][1]);
            round!(g h a b c d e f, 2, K[$base][2]);
            round!(f g h a b c d e, 3, K[$base][3]);
            round!(e f g h a b c d, 4, K[$base + 1][0]);
            round!(d e f g h a b c, 5, K[$base + 1][1]);
            round!(c d e f g h a b, 6, K[$base + 1][2]);
            round!(b c d e f g h a, 7, K[$base + 1][3]);
            round!(a b c d e f g h, 8, K[$base + 2][0]);
            round!(h a b c d e f g, 9, K[$base + 2][1]);
            round!(g h a b c d e f, 10, K[$base + 2][2]);
            round!(f g h a b c d e, 11, K[$base + 2][3]);
            round!(e f g h a b c d, 12, K[$base + 3][0]);
            round!(d e f g h a b c, 13, K[$base + 3][1]);
            round!(c d e f g h a b, 14, K[$base + 3][2]);
            round!(b c d e f g h a, 15, K[$base + 3][3]);
        };
    }
    sixteen!(0);
    for base in [4, 8, 12] {
        // The next sixteen words of the schedule take the place of the last sixteen.
        for at in 0..16 {
            let (early, late) = (w[(at + 1) % 16], w[(at + 14) % 16]);
            let early = early
                .rotate_left::<25, 7>()
                .xor_both(early.rotate_left::<14, 18>(), early.shift_right::<3>());
            let late =
                late.rotate_left::<15, 17>().xor_both(late.rotate_left::<13, 19>(), late.shift_right::<10>());
            w[at] = w[at].plus(w[(at + 9) % 16]).plus(early).plus(late);
        }
        sixteen!(base);
    }
    for (state, word) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *state = state.plus(word);
    }
}
