//! MD5 (RFC 1321) for one stream, and for up to 16 streams at once in the lanes of SIMD registers.
//!
//! Written here for two reasons that no crate covers together: the state must leave for the journal and
//! come back, and one stream of MD5 is bound by the latency of its 64 dependent steps, so archives that
//! arrive side by side cost little more than one when they share the registers.
//!
//! Cycles for one block of each stream (`examples/kernels.rs` prints rates):
//!
//! | streams                      |   1 |   2 |   3 |   4 |   8 |  16 |
//! |------------------------------|----:|----:|----:|----:|----:|----:|
//! | Sapphire Rapids, plain words | 290 |     |     |     |     |     |
//! | SSE2                         |     |     |     | 475 | 550 |     |
//! | AVX2                         |     |     |     | 395 | 400 | 670 |
//! | AVX-512                      | 255 | 255 | 255 | 255 | 257 | 295 |
//! | Zen 5, plain words           | 300 | 300 |     |     |     |     |
//! | AVX-512                      | 510 | 510 | 510 | 515 | 515 | 525 |
//! | by turns in both             |     |     | 385 | 425 |     |     |
//!
//! OpenSSL's assembly takes 325 for its one.  On Zen 5, whose figures are from rates at 4 GHz, a step of a vector
//! register takes twice as long as one of words, and a core has room for both at once.

#![expect(
    clippy::inline_always,
    clippy::many_single_char_names,
    reason = "64 steps that must become straight-line code; the names are those of the RFC"
)]

#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::Zmm;

use std::cmp::Reverse;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{array, slice};

use wide::u32x4;

use super::blocks::{BLOCK_BYTES, Block, Compression, Input, Kernel, Run, Stream};

/// RFC 1321, 3.4: `floor(2^32 * abs(sin(i + 1)))`.
#[rustfmt::skip]
const K: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

const TRIAL_BLOCKS: usize = 64;
const TRIALS: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Md5Compression;

impl Compression for Md5Compression {
    type State = State;
    const INITIAL: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

    fn compress(state: &mut State, blocks: &[Block]) {
        (machine().single)(state, blocks);
    }

    fn kernels() -> &'static [Kernel<State>] {
        machine().several
    }
}

type State = [u32; 4];

/// The kernels for one machine.
pub(super) struct Kernels {
    pub(super) single: fn(&mut State, &[Block]),
    /// Fewest lanes first.
    pub(super) several: &'static [Kernel<State>],
}

/// Two streams in plain words cost hardly more time than one: each waits for its own results most of the time.
const PAIR: Kernel<State> = Kernel { lanes: 2, least: 2, run: Run::Evenly(compress_lanes::<2, Pair<u32>>) };

/// What runs everywhere; for two registers of four words holds what is said of [`PAIR`].
static PORTABLE: Kernels = Kernels {
    single: compress,
    several: &[
        PAIR,
        Kernel { lanes: 4, least: 3, run: Run::Evenly(compress_lanes::<4, u32x4>) },
        Kernel { lanes: 8, least: 5, run: Run::Evenly(compress_lanes::<8, Pair<u32x4>>) },
    ],
};

fn machine() -> &'static Kernels {
    static MACHINE: OnceLock<&Kernels> = OnceLock::new();
    MACHINE.get_or_init(|| available().first().copied().unwrap_or(&PORTABLE))
}

/// The least time of some that a kernel for one stream needs for a few blocks: some 10 µs.
fn trial(single: fn(&mut State, &[Block])) -> Duration {
    let blocks = [[0; BLOCK_BYTES]; TRIAL_BLOCKS];
    let once = |_| {
        let started = Instant::now();
        single(&mut black_box(Md5Compression::INITIAL), black_box(&blocks));
        started.elapsed()
    };
    (0..TRIALS).map(once).min().unwrap_or(Duration::MAX)
}

/// All kernels that this machine can run, best first.
pub(super) fn available() -> Vec<&'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    let mut all = x86::available();
    #[cfg(not(target_arch = "x86_64"))]
    let mut all = Vec::new();
    all.push(&PORTABLE);
    all
}

/// How many streams of MD5 this machine hashes in about the time of one.
pub(super) fn lanes() -> usize {
    machine().several.last().map_or(1, |kernel| kernel.lanes)
}

/// MD5 of one stream.
#[derive(Debug, Clone, Default)]
pub struct Md5(pub(super) Stream<Md5Compression>);

impl Md5 {
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    #[must_use]
    pub fn finish(self) -> [u8; 16] {
        let mut digest = [0; 16];
        digest.as_chunks_mut().0.copy_from_slice(&self.0.finish(u64::to_le_bytes).map(u32::to_le_bytes));
        digest
    }

    /// Length, the four words, the bytes not yet compressed: 24 to 87 bytes, little-endian.
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let mut out = self.0.length.to_le_bytes().to_vec();
        out.extend(self.0.state.iter().flat_map(|word| word.to_le_bytes()));
        out.extend_from_slice(self.0.buffered());
        out
    }

    #[must_use]
    pub fn import(saved: &[u8]) -> Option<Self> {
        let (length, saved) = saved.split_first_chunk::<8>()?;
        let (words, buffered) = saved.split_first_chunk::<16>()?;
        let state = array::from_fn(|word| u32::from_le_bytes(words.as_chunks().0[word]));
        Stream::restored(state, u64::from_le_bytes(*length), buffered).map(Self)
    }
}

fn compress(state: &mut State, blocks: &[Block]) {
    for block in blocks {
        rounds(state, &array::from_fn(|word| word_of(block, word)));
    }
}

#[inline(always)]
fn word_of(block: &Block, word: usize) -> u32 {
    u32::from_le_bytes(block.as_chunks().0[word])
}

/// A kernel for `LANES` streams in the lanes of `V`.  A lane without a stream repeats the first one into a
/// state that nobody reads.
#[inline(always)]
fn compress_lanes<const LANES: usize, V: Vector<LANES>>(states: &mut [State], inputs: &[&[Block]]) {
    let source = |lane: usize| if lane < inputs.len() { lane } else { 0 };
    let mut blocks: [slice::Iter<'_, Block>; LANES] = array::from_fn(|lane| inputs[source(lane)].iter());
    let mut sums: [V; 4] =
        array::from_fn(|word| V::from_lanes(array::from_fn(|lane| states[source(lane)][word])));
    'blocks: loop {
        let mut rows = [&[0; BLOCK_BYTES]; LANES];
        // A loop, because the closures of array functions are not always inlined, and calls spill registers.
        for (row, blocks) in rows.iter_mut().zip(&mut blocks) {
            let Some(block) = blocks.next() else { break 'blocks };
            *row = block;
        }
        rounds(&mut sums, &V::block(&rows));
    }
    let words = sums.map(V::to_lanes);
    for (lane, state) in states.iter_mut().enumerate() {
        *state = array::from_fn(|word| words[word][lane]);
    }
}

/// The arithmetic that the steps need, for one word and for several side by side.
///
/// The four functions of RFC 1321, 3.4, come as a sum with what is known before them: `x` is the newest
/// word, and only what depends on it may wait for it.
pub(super) trait Word: Copy {
    fn constant(value: u32) -> Self;
    /// The same value, as one that the compiler knows nothing of.  In a sum it would add the constant last of
    /// all, where the next step waits for it: five cycles a step instead of four.  The compiler keeps the order of
    /// these, and so the steps of two chains side by side, which it would put one after the other.
    fn settled(self) -> Self;
    fn plus(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn not(self) -> Self;
    /// `RIGHT` is `32 - LEFT`.
    fn rotate_left<const LEFT: i32, const RIGHT: i32>(self) -> Self;

    #[inline(always)]
    fn plus_choice(self, x: Self, y: Self, z: Self) -> Self {
        self.plus(z.xor(x.and(y.xor(z))))
    }
    #[inline(always)]
    fn plus_choice_by_third(self, x: Self, y: Self, z: Self) -> Self {
        // The two sides have no bit in common, so their sum is their union.
        self.plus(y.and(z.not())).plus(x.and(z))
    }
    #[inline(always)]
    fn plus_parity(self, x: Self, y: Self, z: Self) -> Self {
        self.plus(x.xor(y.xor(z)))
    }
    #[inline(always)]
    fn plus_implication(self, x: Self, y: Self, z: Self) -> Self {
        self.plus(y.xor(x.or(z.not())))
    }
}

/// Words of `LANES` streams.
pub(super) trait Vector<const LANES: usize>: Word {
    fn from_lanes(lanes: [u32; LANES]) -> Self;
    fn to_lanes(self) -> [u32; LANES];
    /// The four words from byte `AT` on of each block, as four vectors.
    fn transposed<const AT: usize>(blocks: &[&Block; LANES]) -> [Self; 4];

    /// All 16 words of each block.
    #[inline(always)]
    fn block(blocks: &[&Block; LANES]) -> [Self; 16] {
        let [a, b, c, d] = Self::transposed::<0>(blocks);
        let [e, f, g, h] = Self::transposed::<16>(blocks);
        let [i, j, k, l] = Self::transposed::<32>(blocks);
        let [m, n, o, p] = Self::transposed::<48>(blocks);
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

impl Word for u32 {
    #[inline(always)]
    fn constant(value: u32) -> Self {
        value
    }
    #[inline(always)]
    fn settled(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        return x86::settled(self);
        #[cfg(not(target_arch = "x86_64"))]
        self
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self | other
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    fn not(self) -> Self {
        !self
    }
    #[inline(always)]
    fn rotate_left<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        u32::rotate_left(self, LEFT.cast_unsigned())
    }
}

impl Word for u32x4 {
    #[inline(always)]
    fn constant(value: u32) -> Self {
        u32x4::splat(value)
    }
    #[inline(always)]
    fn settled(self) -> Self {
        self
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self | other
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    fn not(self) -> Self {
        !self
    }
    #[inline(always)]
    fn rotate_left<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        (self << LEFT) | (self >> RIGHT)
    }
}

impl Vector<4> for u32x4 {
    #[inline(always)]
    fn from_lanes(lanes: [u32; 4]) -> Self {
        u32x4::new(lanes)
    }
    #[inline(always)]
    fn to_lanes(self) -> [u32; 4] {
        self.to_array()
    }
    #[inline(always)]
    fn transposed<const AT: usize>(blocks: &[&Block; 4]) -> [Self; 4] {
        array::from_fn(|word| u32x4::new(blocks.map(|block| word_of(block, AT / 4 + word))))
    }
}

/// Two of a kind whose steps are interleaved: one has its result while the other waits.
#[derive(Clone, Copy)]
struct Pair<V>(V, V);

impl<V: Word> Word for Pair<V> {
    #[inline(always)]
    fn constant(value: u32) -> Self {
        Self(V::constant(value), V::constant(value))
    }
    #[inline(always)]
    fn settled(self) -> Self {
        Self(self.0.settled(), self.1.settled())
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self(self.0.plus(other.0), self.1.plus(other.1))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(self.0.and(other.0), self.1.and(other.1))
    }
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0), self.1.or(other.1))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(self.0.xor(other.0), self.1.xor(other.1))
    }
    #[inline(always)]
    fn not(self) -> Self {
        Self(self.0.not(), self.1.not())
    }
    #[inline(always)]
    fn rotate_left<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        Self(self.0.rotate_left::<LEFT, RIGHT>(), self.1.rotate_left::<LEFT, RIGHT>())
    }
}

macro_rules! pair_of_vectors {
    ($half:literal, $lanes:literal) => {
        impl<V: Vector<$half>> Vector<$lanes> for Pair<V> {
            #[inline(always)]
            fn from_lanes(lanes: [u32; $lanes]) -> Self {
                Self(
                    V::from_lanes(array::from_fn(|lane| lanes[lane])),
                    V::from_lanes(array::from_fn(|lane| lanes[$half + lane])),
                )
            }
            #[inline(always)]
            fn to_lanes(self) -> [u32; $lanes] {
                let halves = [self.0.to_lanes(), self.1.to_lanes()];
                array::from_fn(|lane| halves[lane / $half][lane % $half])
            }
            #[inline(always)]
            fn transposed<const AT: usize>(blocks: &[&Block; $lanes]) -> [Self; 4] {
                let (mut low, mut high) = ([blocks[0]; $half], [blocks[0]; $half]);
                low.copy_from_slice(&blocks[..$half]);
                high.copy_from_slice(&blocks[$half..]);
                let [a, b, c, d] = V::transposed::<AT>(&low);
                let [e, f, g, h] = V::transposed::<AT>(&high);
                [Self(a, e), Self(b, f), Self(c, g), Self(d, h)]
            }
        }
    };
}
impl Vector<2> for Pair<u32> {
    #[inline(always)]
    fn from_lanes([first, second]: [u32; 2]) -> Self {
        Self(first, second)
    }
    #[inline(always)]
    fn to_lanes(self) -> [u32; 2] {
        [self.0, self.1]
    }
    #[inline(always)]
    fn transposed<const AT: usize>(blocks: &[&Block; 2]) -> [Self; 4] {
        array::from_fn(|word| Self(word_of(blocks[0], AT / 4 + word), word_of(blocks[1], AT / 4 + word)))
    }
}

pair_of_vectors!(4, 8);
#[cfg(target_arch = "x86_64")]
pair_of_vectors!(8, 16);

/// Calls a macro with the numbers of all 64 steps.
macro_rules! steps {
    ($step:ident) => {
        steps!($step 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        steps!($step 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
    };
    ($step:ident $($number:literal)+) => { $($step!($number);)+ };
}

/// The 64 steps of RFC 1321, 3.4, over one block (or one block per lane).
#[inline(always)]
fn rounds<W: Word>(state: &mut [W; 4], m: &[W; 16]) {
    let before = *state;
    macro_rules! one {
        ($number:literal) => {
            step::<W, $number>(state, m)
        };
    }
    steps!(one);
    *state = array::from_fn(|word| before[word].plus(state[word]));
}

/// As [`rounds`], over one block of `slow` while two blocks of `fast` go by: a core has both under way at once.
#[inline(always)]
fn rounds_of_both<F: Word, S: Word>(fast: &mut [F; 4], m: [&[F; 16]; 2], slow: &mut [S; 4], n: &[S; 16]) {
    let (mut fast_before, slow_before) = (*fast, *slow);
    macro_rules! one_and_two {
        ($number:literal) => {
            step::<S, $number>(slow, n);
            step::<F, { 2 * $number % 64 }>(fast, m[$number / 32]);
            step::<F, { (2 * $number + 1) % 64 }>(fast, m[$number / 32]);
            if $number % 32 == 31 {
                for (word, before) in fast.iter_mut().zip(&mut fast_before) {
                    *word = word.plus(*before);
                    *before = *word;
                }
            }
        };
    }
    steps!(one_and_two);
    *slow = array::from_fn(|word| slow_before[word].plus(slow[word]));
}

/// One step of the 64.  The words change places each time, and after four are where they were.
#[inline(always)]
fn step<W: Word, const NUMBER: usize>(state: &mut [W; 4], m: &[W; 16]) {
    let [a, b, c, d] = *state;
    let (first, stride) = [(0, 1), (1, 5), (5, 3), (0, 7)][NUMBER / 16];
    // The newest word comes last in each sum: what does not depend on it is ready when it arrives.
    let early = a.plus(m[(first + stride * NUMBER) % 16]).plus(W::constant(K[NUMBER])).settled();
    let mixed = match NUMBER / 16 {
        0 => early.plus_choice(b, c, d),
        1 => early.plus_choice_by_third(b, c, d),
        2 => early.plus_parity(b, c, d),
        _ => early.plus_implication(b, c, d),
    };
    let rotated = match (NUMBER / 16, NUMBER % 4) {
        (0, 0) => mixed.rotate_left::<7, 25>(),
        (0, 1) => mixed.rotate_left::<12, 20>(),
        (0, 2) => mixed.rotate_left::<17, 15>(),
        (0, _) => mixed.rotate_left::<22, 10>(),
        (1, 0) => mixed.rotate_left::<5, 27>(),
        (1, 1) => mixed.rotate_left::<9, 23>(),
        (1, 2) => mixed.rotate_left::<14, 18>(),
        (1, _) => mixed.rotate_left::<20, 12>(),
        (2, 0) => mixed.rotate_left::<4, 28>(),
        (2, 1) => mixed.rotate_left::<11, 21>(),
        (2, 2) => mixed.rotate_left::<16, 16>(),
        (2, _) => mixed.rotate_left::<23, 9>(),
        (_, 0) => mixed.rotate_left::<6, 26>(),
        (_, 1) => mixed.rotate_left::<10, 22>(),
        (_, 2) => mixed.rotate_left::<15, 17>(),
        (_, _) => mixed.rotate_left::<21, 11>(),
    };
    *state = [d, rotated.plus(b), b, c];
}

/// What goes by in words before those who have more to come than others are looked for again: 16 KiB.
const TURN_BLOCKS: usize = 128;

/// A kernel for three streams or more, the two that have most to come in plain words and the two after them in lanes of
/// `V`, whose step takes about twice as long; so all come to their ends together.
#[inline(always)]
fn compress_by_turns<V: Vector<4>>(states: &mut [State], inputs: &mut [Input<'_>]) {
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    loop {
        order.sort_unstable_by_key(|&stream| Reverse(inputs[stream].to_come()));
        let &[a, b, c, ref others @ ..] = order.as_slice() else { break };
        // Of three the last one is in both lanes.
        let d = others.first().copied().unwrap_or(c);
        let most = [a, b].map(|stream| inputs[stream].blocks.len() / 2).into_iter();
        let most = most.chain([c, d].map(|stream| inputs[stream].blocks.len())).min().unwrap_or(0);
        if most == 0 {
            break;
        }
        let blocks = most.min(TURN_BLOCKS / 2);
        let in_words = [a, b].map(|stream| inputs[stream].take(2 * blocks));
        let third = inputs[c].take(blocks);
        let fourth = if d == c { third } else { inputs[d].take(blocks) };
        compress_both::<V>(states, [a, b], in_words, [c, d], [third, fourth]);
    }
    // One of the four has a single block or none.
    order.truncate(4);
    let least = order.iter().map(|&stream| inputs[stream].blocks.len()).min().unwrap_or(0);
    let mut some: Vec<State> = order.iter().map(|&stream| states[stream]).collect();
    let blocks: Vec<&[Block]> = order.iter().map(|&stream| inputs[stream].take(least)).collect();
    compress_lanes::<4, V>(&mut some, &blocks);
    for (stream, state) in order.into_iter().zip(some) {
        states[stream] = state;
    }
}

/// Adds to the states of `[a, b]` twice as many blocks as to those of `[c, d]`.
#[inline(always)]
fn compress_both<V: Vector<4>>(
    states: &mut [State],
    [a, b]: [usize; 2],
    in_words: [&[Block]; 2],
    [c, d]: [usize; 2],
    in_lanes: [&[Block]; 2],
) {
    let mut words: [Pair<u32>; 4] = array::from_fn(|word| Pair(states[a][word], states[b][word]));
    // The other two lanes repeat these, and nobody reads them.
    let mut lanes: [V; 4] =
        array::from_fn(|word| V::from_lanes([c, d, c, d].map(|stream| states[stream][word])));
    let (first, second) = (in_words[0].as_chunks::<2>().0, in_words[1].as_chunks::<2>().0);
    for (((a, b), c), d) in first.iter().zip(second).zip(in_lanes[0]).zip(in_lanes[1]) {
        let m = [0, 1]
            .map(|block| array::from_fn(|word| Pair(word_of(&a[block], word), word_of(&b[block], word))));
        rounds_of_both(&mut words, [&m[0], &m[1]], &mut lanes, &V::block(&[c, d, c, d]));
    }
    let lanes = lanes.map(V::to_lanes);
    (states[a], states[b]) = (words.map(|word| word.0), words.map(|word| word.1));
    (states[c], states[d]) = (lanes.map(|word| word[0]), lanes.map(|word| word[1]));
}

#[cfg(test)]
mod tests {
    use super::super::blocks::{Lane, update_lanes};
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        super::super::hex(bytes)
    }

    /// Bytes that depend on their position with a prime period, so that shifts and swaps show.
    fn pattern(length: usize, seed: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from((i * (seed + 1) + seed) % 251).unwrap()).collect()
    }

    fn one_shot(data: &[u8]) -> [u8; 16] {
        let mut md5 = Md5::default();
        md5.update(data);
        md5.finish()
    }

    #[test]
    fn agrees_with_the_vectors_of_the_rfc() {
        for (input, expected) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(&one_shot(input.as_bytes())), expected);
        }
    }

    #[test]
    fn a_state_can_leave_and_come_back_at_every_byte() {
        let data = pattern(200, 3);
        let whole = one_shot(&data);
        for cut in 0..=data.len() {
            let mut first = Md5::default();
            first.update(&data[..cut]);
            let mut second = Md5::import(&first.export()).unwrap();
            second.update(&data[cut..]);
            assert_eq!(second.finish(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let mut md5 = Md5::default();
        md5.update(b"seventeen bytes..");
        let saved = md5.export();
        for length in 0..saved.len() {
            assert!(Md5::import(&saved[..length]).is_none());
        }
    }

    /// Blocks for up to 16 streams that have nothing in common.
    fn inputs(blocks: usize) -> Vec<Vec<Block>> {
        (0..16).map(|seed| pattern(blocks * BLOCK_BYTES, seed).as_chunks().0.to_vec()).collect()
    }

    #[test]
    fn every_kernel_of_this_machine_agrees_with_the_plain_one() {
        for blocks in [0, 1, 2, 7, 32] {
            let inputs = inputs(blocks);
            let inputs: Vec<&[Block]> = inputs.iter().map(Vec::as_slice).collect();
            let begin: Vec<State> =
                (0..16).map(|lane| [lane, !lane, 77 * lane, 0x8000_0000 | lane]).collect();
            let mut expected = begin.clone();
            expected.iter_mut().zip(&inputs).for_each(|(state, input)| compress(state, input));
            for kernels in available() {
                let mut alone = begin.clone();
                alone.iter_mut().zip(&inputs).for_each(|(state, input)| (kernels.single)(state, input));
                assert_eq!(alone, expected);
                for kernel in kernels.several {
                    let Run::Evenly(run) = kernel.run else { continue };
                    for streams in 1..=kernel.lanes {
                        let mut states = begin.clone();
                        run(&mut states[..streams], &inputs[..streams]);
                        assert_eq!(states[..streams], expected[..streams], "{streams} of {}", kernel.lanes);
                        assert_eq!(states[streams..], begin[streams..]);
                    }
                }
            }
        }
    }

    #[test]
    fn kernels_that_go_by_length_add_what_they_take() {
        let blocks = inputs(400);
        for kernel in available().into_iter().flat_map(|kernels| kernels.several) {
            let Run::ByLength(run) = kernel.run else { continue };
            for streams in kernel.least..=kernel.lanes {
                for (lengths, more) in [
                    ([400, 400, 400, 400, 400], [0; 5]),
                    ([1, 400, 2, 3, 400], [0; 5]),
                    ([300, 1, 1, 1, 1], [0; 5]),
                    ([33, 299, 200, 7, 128], [900, 0, 0, 700, 10]),
                    ([5, 4, 3, 2, 1], [0, 0, 1000, 1000, 1000]),
                ] {
                    let mut states = [Md5Compression::INITIAL; 5];
                    let mut inputs: Vec<Input<'_>> = (0..streams)
                        .map(|stream| Input {
                            blocks: &blocks[stream][..lengths[stream]],
                            more: more[stream],
                        })
                        .collect();
                    run(&mut states[..streams], &mut inputs);
                    let taken: Vec<usize> =
                        (0..streams).map(|stream| lengths[stream] - inputs[stream].blocks.len()).collect();
                    assert!(taken.iter().filter(|&&count| count > 0).count() >= streams.min(4));
                    for (stream, &count) in taken.iter().enumerate() {
                        let mut expected = Md5Compression::INITIAL;
                        compress(&mut expected, &blocks[stream][..count]);
                        assert_eq!(states[stream], expected, "{lengths:?}, {more:?}: {stream} of {streams}");
                    }
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_another_implementation(
            data in proptest::collection::vec(proptest::num::u8::ANY, 0..300)
        ) {
            use md5::Digest as _;
            let expected: [u8; 16] = md5::Md5::digest(&data).into();
            proptest::prop_assert_eq!(one_shot(&data), expected);
        }

        #[test]
        fn lanes_give_what_each_stream_gives_alone(
            cuts in proptest::collection::vec(proptest::collection::vec(0_usize..400, 0..6), 1..40)
        ) {
            let streams: Vec<Vec<Vec<u8>>> = cuts.iter().enumerate()
                .map(|(seed, lengths)| lengths.iter().map(|&length| pattern(length, seed)).collect())
                .collect();
            let mut states = vec![Md5::default(); streams.len()];
            update_lanes(states.iter_mut().zip(&streams)
                .map(|(md5, slices)| Lane::new(&mut md5.0, slices.iter().map(Vec::as_slice).collect()))
                .collect());
            for (md5, slices) in states.into_iter().zip(&streams) {
                proptest::prop_assert_eq!(md5.finish(), one_shot(&slices.concat()));
            }
        }
    }
}
