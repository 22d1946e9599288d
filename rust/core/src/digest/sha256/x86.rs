//! Two streams with the SHA extensions, 16 with AVX-512.
#![expect(clippy::inline_always, reason = "calls between the rounds would spill the registers")]
#![expect(
    unsafe_code,
    reason = "SHA instructions, chosen at run time; what it brings is in the parent module"
)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    _mm_storeu_si128, _mm512_broadcast_i32x4, _mm512_shuffle_epi8, _mm512_srli_epi32,
    _mm512_ternarylogic_epi32,
};

use super::super::blocks::{Block, Kernel, Run};
use super::super::md5::Zmm;
use super::lanes::{Words, compress_lanes};
use super::{K, State, compress256};

const PAIR: Kernel<State> = Kernel {
    lanes: 2,
    least: 2,
    run: Run::Evenly(|states, inputs| match (states, inputs) {
        ([first, second], [one, other]) => {
            // SAFETY: `kernels` gives this one only where the processor has the extensions.
            unsafe { compress_two(first, second, one, other) }
        }
        (states, inputs) => {
            states.iter_mut().zip(inputs).for_each(|(state, input)| compress256(state, input));
        }
    }),
};
const SIXTEEN: Kernel<State> = Kernel {
    lanes: 16,
    // 1050 cycles for one block of each, however many; two cost 200.
    least: 11,
    run: Run::Evenly(|states, inputs| {
        // SAFETY: `kernels` gives this one only where the processor has the extensions.
        unsafe { compress_16(states, inputs) }
    }),
};
static BOTH: [Kernel<State>; 2] = [PAIR, SIXTEEN];

pub(super) fn kernels() -> &'static [Kernel<State>] {
    let has_sha = is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("sse4.1")
        && is_x86_feature_detected!("ssse3");
    let has_avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw");
    match (has_sha, has_avx512) {
        (true, true) => &BOTH,
        (true, false) => &BOTH[..1],
        (false, true) => &BOTH[1..],
        (false, false) => &[],
    }
}

/// A state as the instructions want it, A, B, E, F in one register and C, D, G, H in the other, and the
/// sixteen words of the schedule that come next.
#[derive(Clone, Copy)]
struct Half {
    abef: __m128i,
    cdgh: __m128i,
    words: [__m128i; 4],
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress_two(first: &mut State, second: &mut State, one: &[Block], other: &[Block]) {
    let mut left = loaded(first);
    let mut right = loaded(second);
    for (one, other) in one.iter().zip(other) {
        let (left_before, right_before) = (left, right);
        left.words = words_of(one);
        right.words = words_of(other);
        // Unrolled, so that the words stay in registers.
        macro_rules! rounds {
            ($($four:literal)*) => {$(
                if $four >= 4 {
                    schedule::<{ $four % 4 }>(&mut left.words);
                    schedule::<{ $four % 4 }>(&mut right.words);
                }
                four_rounds::<$four>(&mut left, &mut right);
            )*};
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        left.abef = _mm_add_epi32(left.abef, left_before.abef);
        left.cdgh = _mm_add_epi32(left.cdgh, left_before.cdgh);
        right.abef = _mm_add_epi32(right.abef, right_before.abef);
        right.cdgh = _mm_add_epi32(right.cdgh, right_before.cdgh);
    }
    store(first, left);
    store(second, right);
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn four_rounds<const FOUR: usize>(left: &mut Half, right: &mut Half) {
    let constants = load(&K[FOUR]);
    let left_sum = _mm_add_epi32(left.words[FOUR % 4], constants);
    let right_sum = _mm_add_epi32(right.words[FOUR % 4], constants);
    left.cdgh = _mm_sha256rnds2_epu32(left.cdgh, left.abef, left_sum);
    right.cdgh = _mm_sha256rnds2_epu32(right.cdgh, right.abef, right_sum);
    // The instruction takes the lower two words.
    left.abef = _mm_sha256rnds2_epu32(left.abef, left.cdgh, _mm_shuffle_epi32::<0x0e>(left_sum));
    right.abef = _mm_sha256rnds2_epu32(right.abef, right.cdgh, _mm_shuffle_epi32::<0x0e>(right_sum));
}

/// Puts the next four words of the schedule in the place of the oldest four.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn schedule<const OLDEST: usize>(words: &mut [__m128i; 4]) {
    let (second, third, newest) = (words[(OLDEST + 1) % 4], words[(OLDEST + 2) % 4], words[(OLDEST + 3) % 4]);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(words[OLDEST], second), _mm_alignr_epi8::<4>(newest, third));
    words[OLDEST] = _mm_sha256msg2_epu32(sum, newest);
}

/// The words are big-endian in a block.
#[inline]
#[target_feature(enable = "ssse3")]
fn words_of(block: &Block) -> [__m128i; 4] {
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let quarters = block.as_chunks::<16>().0;
    let mut words = [order; 4];
    for (words, quarter) in words.iter_mut().zip(quarters) {
        // SAFETY: a quarter has the 16 bytes that are read.
        let bytes = unsafe { _mm_loadu_si128(std::ptr::from_ref(quarter).cast()) };
        *words = _mm_shuffle_epi8(bytes, order);
    }
    words
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(words: &[u32; 4]) -> __m128i {
    // SAFETY: four words are the 16 bytes that are read.
    unsafe { _mm_loadu_si128(std::ptr::from_ref(words).cast()) }
}

#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn loaded(state: &State) -> Half {
    let (abcd, efgh) = (load(&state.as_chunks().0[0]), load(&state.as_chunks().0[1]));
    let badc = _mm_shuffle_epi32::<0xb1>(abcd);
    let hgfe = _mm_shuffle_epi32::<0x1b>(efgh);
    let abef = _mm_alignr_epi8::<8>(badc, hgfe);
    Half { abef, cdgh: _mm_blend_epi16::<0xf0>(hgfe, badc), words: [abef; 4] }
}

#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn store(state: &mut State, half: Half) {
    let abef = _mm_shuffle_epi32::<0x1b>(half.abef);
    let cdgh = _mm_shuffle_epi32::<0xb1>(half.cdgh);
    let halves = [_mm_blend_epi16::<0xf0>(abef, cdgh), _mm_alignr_epi8::<8>(cdgh, abef)];
    for (words, register) in state.as_chunks_mut::<4>().0.iter_mut().zip(halves) {
        // SAFETY: four words are the 16 bytes that are written.
        unsafe { _mm_storeu_si128(std::ptr::from_mut(words).cast(), register) };
    }
}

/// The truth tables of the functions for VPTERNLOGD.
const CHOICE: i32 = 0b1100_1010;
const MAJORITY: i32 = 0b1110_1000;
const PARITY: i32 = 0b1001_0110;

impl Words<16> for Zmm {
    #[inline(always)]
    fn swapped(self) -> Self {
        // SAFETY: values of this type exist only in kernels that were chosen for this processor.
        Self(unsafe { zmm_swapped(self.0) })
    }
    #[inline(always)]
    fn shift_right<const N: u32>(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_srli_epi32::<N>(self.0) })
    }
    #[inline(always)]
    fn choose(self, x: Self, y: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_ternarylogic_epi32::<CHOICE>(self.0, x.0, y.0) })
    }
    #[inline(always)]
    fn majority(self, x: Self, y: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_ternarylogic_epi32::<MAJORITY>(self.0, x.0, y.0) })
    }
    #[inline(always)]
    fn xor_both(self, x: Self, y: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_ternarylogic_epi32::<PARITY>(self.0, x.0, y.0) })
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn zmm_swapped(words: __m512i) -> __m512i {
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(order))
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw")]
fn compress_16(states: &mut [State], inputs: &[&[Block]]) {
    compress_lanes::<16, Zmm>(states, inputs);
}
