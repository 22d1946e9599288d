//! MD5 (RFC 1321) for one stream, and for four streams at once in the four lanes of a SIMD register.
//!
//! Written here for two reasons that no crate covers together: the state must leave for the journal and
//! come back, and one stream of MD5 is bound by the latency of its 64 dependent steps, so four archives
//! that arrive side by side cost little more than one when they share the registers
//! (`examples/kernels.rs` prints both rates of this machine).

#![expect(
    clippy::inline_always,
    clippy::many_single_char_names,
    reason = "64 steps that must become straight-line code; the names are those of the RFC"
)]

use wide::u32x4;

const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
pub(super) const BLOCK_BYTES: usize = 64;
pub(super) const LANES: usize = 4;

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

/// The state of one stream; `length` in bytes, `buffer` holds the `length % 64` bytes not compressed yet.
#[derive(Debug, Clone)]
pub struct Md5 {
    state: [u32; 4],
    length: u64,
    buffer: [u8; BLOCK_BYTES],
}

impl Default for Md5 {
    fn default() -> Self {
        Self { state: INITIAL, length: 0, buffer: [0; BLOCK_BYTES] }
    }
}

impl Md5 {
    fn buffered(&self) -> usize {
        // The remainder is below 64.
        usize::try_from(self.length % BLOCK_BYTES as u64).unwrap_or(0)
    }

    pub fn update(&mut self, mut data: &[u8]) {
        let buffered = self.buffered();
        self.length += data.len() as u64;
        if buffered > 0 {
            let take = data.len().min(BLOCK_BYTES - buffered);
            self.buffer[buffered..buffered + take].copy_from_slice(&data[..take]);
            data = &data[take..];
            if buffered + take < BLOCK_BYTES {
                return;
            }
            let block = self.buffer;
            compress(&mut self.state, &block);
        }
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            compress(&mut self.state, block);
        }
        self.buffer[..rest.len()].copy_from_slice(rest);
    }

    #[must_use]
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        let mut padding = [0_u8; 72];
        padding[0] = 0x80;
        let pad = 64 - (self.buffered() + 8) % 64;
        padding[pad..pad + 8].copy_from_slice(&bits.to_le_bytes());
        self.update(&padding[..pad + 8]);
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }

    /// Length, the four words, the bytes not yet compressed: 24 to 87 bytes, little-endian.
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let mut out = self.length.to_le_bytes().to_vec();
        out.extend(self.state.iter().flat_map(|word| word.to_le_bytes()));
        out.extend_from_slice(&self.buffer[..self.buffered()]);
        out
    }

    #[must_use]
    pub fn import(saved: &[u8]) -> Option<Self> {
        let (length, saved) = saved.split_first_chunk::<8>()?;
        let (words, rest) = saved.split_first_chunk::<16>()?;
        let mut md5 = Self { length: u64::from_le_bytes(*length), ..Self::default() };
        for (word, bytes) in md5.state.iter_mut().zip(words.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        if rest.len() != md5.buffered() {
            return None;
        }
        md5.buffer[..rest.len()].copy_from_slice(rest);
        Some(md5)
    }
}

/// One of up to four streams that are hashed together: its state and what is to be added to it.
pub(super) struct Lane<'a> {
    pub md5: &'a mut Md5,
    pub slices: Vec<&'a [u8]>,
}

impl Lane<'_> {
    /// Drops used-up slices, and brings the state to a block boundary where the slices allow it.
    fn align(&mut self) {
        while let Some(first) = self.slices.first_mut() {
            let buffered = self.md5.buffered();
            // What cannot fill whole blocks from one slice goes through the buffer.
            let take = if buffered > 0 {
                first.len().min(BLOCK_BYTES - buffered)
            } else if first.len() < BLOCK_BYTES {
                first.len()
            } else {
                return;
            };
            self.md5.update(&first[..take]);
            *first = &first[take..];
            if first.is_empty() {
                self.slices.remove(0);
            }
        }
    }

    fn whole_blocks(&self) -> usize {
        self.slices.first().map_or(0, |slice| slice.len() / BLOCK_BYTES)
    }
}

/// Adds to every lane all of its slices.  Lanes may be of any length; the SIMD kernel runs while at least
/// two have whole blocks left, the last one is finished alone.
pub(super) fn update_lanes(lanes: &mut [Lane<'_>]) {
    for group in lanes.chunks_mut(LANES) {
        loop {
            for lane in group.iter_mut() {
                lane.align();
            }
            let mut active: Vec<&mut Lane<'_>> =
                group.iter_mut().filter(|lane| lane.whole_blocks() > 0).collect();
            let Some(blocks) = active.iter().map(|lane| lane.whole_blocks()).min() else {
                break;
            };
            if let [only] = active.as_mut_slice() {
                for slice in std::mem::take(&mut only.slices) {
                    only.md5.update(slice);
                }
                break;
            }
            compress_lanes(&mut active, blocks);
        }
    }
}

fn compress_lanes(active: &mut [&mut Lane<'_>], blocks: usize) {
    let bytes = blocks * BLOCK_BYTES;
    // A lane without a stream of its own repeats the first one into a state that nobody reads.
    let source = |lane: usize| active.get(lane).unwrap_or(&active[0]);
    let inputs: [&[[u8; BLOCK_BYTES]]; LANES] =
        std::array::from_fn(|lane| source(lane).slices[0][..bytes].as_chunks::<BLOCK_BYTES>().0);
    let mut state: [u32x4; 4] =
        std::array::from_fn(|word| u32x4::new(std::array::from_fn(|lane| source(lane).md5.state[word])));
    for (((a, b), c), d) in inputs[0].iter().zip(inputs[1]).zip(inputs[2]).zip(inputs[3]) {
        let message: [u32x4; 16] = std::array::from_fn(|word| {
            u32x4::new([load(a, word), load(b, word), load(c, word), load(d, word)])
        });
        rounds(&mut state, &message);
    }
    for (index, lane) in active.iter_mut().enumerate() {
        lane.md5.state = std::array::from_fn(|word| state[word].to_array()[index]);
        lane.md5.length += bytes as u64;
        lane.slices[0] = &lane.slices[0][bytes..];
        if lane.slices[0].is_empty() {
            lane.slices.remove(0);
        }
    }
}

fn compress(state: &mut [u32; 4], block: &[u8; BLOCK_BYTES]) {
    let message: [u32; 16] = std::array::from_fn(|word| load(block, word));
    rounds(state, &message);
}

#[inline(always)]
fn load(block: &[u8; BLOCK_BYTES], word: usize) -> u32 {
    let at = word * 4;
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The arithmetic that the steps need, for one word and for four side by side.
trait Word: Copy {
    fn constant(value: u32) -> Self;
    fn plus(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn not(self) -> Self;
    fn rotate_left<const N: u32>(self) -> Self;
}

impl Word for u32 {
    #[inline(always)]
    fn constant(value: u32) -> Self {
        value
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
    fn rotate_left<const N: u32>(self) -> Self {
        u32::rotate_left(self, N)
    }
}

impl Word for u32x4 {
    #[inline(always)]
    fn constant(value: u32) -> Self {
        u32x4::splat(value)
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
    fn rotate_left<const N: u32>(self) -> Self {
        (self << N) | (self >> (32 - N))
    }
}

/// The 64 steps of RFC 1321, 3.4, over one block (or one block per lane).
#[inline(always)]
fn rounds<W: Word>(state: &mut [W; 4], m: &[W; 16]) {
    let [mut a, mut b, mut c, mut d] = *state;
    // The newest word comes last in each sum: what does not depend on it is ready when it arrives.
    macro_rules! step {
        ($mix:expr, $a:ident, $b:ident, $word:expr, $constant:expr, $rotate:literal) => {
            let (early, late) = $mix;
            $a = $a
                .plus(m[$word].plus(W::constant(K[$constant])).plus(early))
                .plus(late)
                .rotate_left::<$rotate>()
                .plus($b);
        };
    }
    macro_rules! round {
        ($mix:ident, $base:literal, $first:literal, $stride:literal, $r0:literal, $r1:literal, $r2:literal, $r3:literal) => {
            round!(@four $mix, $base, $first, $stride, 0, $r0, $r1, $r2, $r3);
            round!(@four $mix, $base, $first, $stride, 4, $r0, $r1, $r2, $r3);
            round!(@four $mix, $base, $first, $stride, 8, $r0, $r1, $r2, $r3);
            round!(@four $mix, $base, $first, $stride, 12, $r0, $r1, $r2, $r3);
        };
        (@four $mix:ident, $base:literal, $first:literal, $stride:literal, $i:literal, $r0:literal, $r1:literal, $r2:literal, $r3:literal) => {
            step!($mix(b, c, d), a, b, ($first + $stride * $i) % 16, $base + $i, $r0);
            step!($mix(a, b, c), d, a, ($first + $stride * ($i + 1)) % 16, $base + $i + 1, $r1);
            step!($mix(d, a, b), c, d, ($first + $stride * ($i + 2)) % 16, $base + $i + 2, $r2);
            step!($mix(c, d, a), b, c, ($first + $stride * ($i + 3)) % 16, $base + $i + 3, $r3);
        };
    }
    round!(choose, 0, 0, 1, 7, 12, 17, 22);
    round!(choose_by_third, 16, 1, 5, 5, 9, 14, 20);
    round!(parity, 32, 5, 3, 4, 11, 16, 23);
    round!(implication, 48, 0, 7, 6, 10, 15, 21);
    *state = [state[0].plus(a), state[1].plus(b), state[2].plus(c), state[3].plus(d)];
}

// The four functions of RFC 1321, 3.4, as two summands: one that needs only the two older words, and one
// that waits for `x`, the newest.

#[inline(always)]
fn choose<W: Word>(x: W, y: W, z: W) -> (W, W) {
    (W::constant(0), z.xor(x.and(y.xor(z))))
}
#[inline(always)]
fn choose_by_third<W: Word>(x: W, y: W, z: W) -> (W, W) {
    // The two sides have no bit in common, so their sum is their union.
    (y.and(z.not()), x.and(z))
}
#[inline(always)]
fn parity<W: Word>(x: W, y: W, z: W) -> (W, W) {
    (W::constant(0), x.xor(y.xor(z)))
}
#[inline(always)]
fn implication<W: Word>(x: W, y: W, z: W) -> (W, W) {
    (W::constant(0), y.xor(x.or(z.not())))
}

#[cfg(test)]
mod tests {
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

    proptest::proptest! {
        #[test]
        fn lanes_give_what_each_stream_gives_alone(
            cuts in proptest::collection::vec(proptest::collection::vec(0_usize..400, 0..6), 1..7)
        ) {
            let streams: Vec<Vec<Vec<u8>>> = cuts.iter().enumerate()
                .map(|(seed, lengths)| lengths.iter().map(|&length| pattern(length, seed)).collect())
                .collect();
            let mut states = vec![Md5::default(); streams.len()];
            let mut lanes: Vec<Lane<'_>> = states.iter_mut().zip(&streams)
                .map(|(md5, slices)| Lane { md5, slices: slices.iter().map(Vec::as_slice).collect() })
                .collect();
            update_lanes(&mut lanes);
            for (md5, slices) in states.into_iter().zip(&streams) {
                proptest::prop_assert_eq!(md5.finish(), one_shot(&slices.concat()));
            }
        }
    }
}
