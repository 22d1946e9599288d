//! Two streams with the SHA extensions.
#![expect(
    unsafe_code,
    reason = "SHA instructions, chosen at run time; what it brings is in the parent module"
)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
    _mm_storeu_si128,
};

use super::super::blocks::{Block, Kernel};
use super::{State, compress256};

/// FIPS 180-4, 4.2.2: the first 32 bits behind the point of the cube roots of the first 64 primes.
#[rustfmt::skip]
const K: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

static PAIR: [Kernel<State>; 1] = [Kernel {
    lanes: 2,
    run: |states, inputs| {
        match (states, inputs) {
            ([first, second], [one, other]) => {
                // SAFETY: `kernels` gives this one only where the processor has the extensions.
                unsafe { compress_two(first, second, one, other) }
            }
            (states, inputs) => {
                states.iter_mut().zip(inputs).for_each(|(state, input)| compress256(state, input));
            }
        }
    },
}];

pub(super) fn kernels() -> &'static [Kernel<State>] {
    let is_able = is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("sse4.1")
        && is_x86_feature_detected!("ssse3");
    if is_able { &PAIR } else { &[] }
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
