//! Kernels for AVX2, and for AVX-512 with its VL extension.
//!
//! With AVX-512 a step takes as long as its four dependent instructions (ternary logic, sum, rotation, sum), one
//! cycle each or on Zen 5 two, in registers of any width: 16 streams cost little more time than one.
#![expect(unsafe_code, reason = "SIMD beyond SSE2, chosen at run time; the rates are in the parent module")]

use std::arch::asm;
use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_add_epi32, _mm_and_si128, _mm_cvtsi32_si128, _mm_loadu_si128,
    _mm_or_si128, _mm_rol_epi32, _mm_set1_epi32, _mm_slli_epi32, _mm_srli_epi32, _mm_ternarylogic_epi32,
    _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm_xor_si128,
    _mm256_add_epi32, _mm256_and_si256, _mm256_castsi128_si256, _mm256_inserti128_si256, _mm256_or_si256,
    _mm256_rol_epi32, _mm256_set1_epi32, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_ternarylogic_epi32,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    _mm256_xor_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_castsi128_si512, _mm512_inserti32x4,
    _mm512_or_si512, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use std::time::Duration;

use super::super::blocks::{Block, Input, Kernel, Run};
use super::{
    Kernels, PAIR, Pair, State, Vector, Word, compress, compress_by_turns, compress_lanes, rounds, trial,
    word_of,
};

static AVX512: Kernels = Kernels {
    single: |state, blocks| {
        // SAFETY: `available` lists these kernels only where the processor has all three extensions.
        unsafe { avx512_single(state, blocks) }
    },
    several: &[AVX512_4, AVX512_8, AVX512_16],
};

/// For processors where a step takes about as long in either: one stream or two are not worth the way into a
/// vector register.
static AVX512_FOR_SEVERAL: Kernels =
    Kernels { single: compress, several: &[PAIR, Kernel { least: 3, ..AVX512_4 }, AVX512_8, AVX512_16] };

/// For processors where a step of a vector register takes twice as long as one of plain words.
static AVX512_AND_WORDS: Kernels = Kernels {
    single: compress,
    several: &[
        PAIR,
        Kernel {
            lanes: 5,
            least: 3,
            run: Run::ByLength(|states, inputs| {
                // SAFETY: as above.
                unsafe { avx512_by_turns(states, inputs) }
            }),
        },
        Kernel { least: 6, ..AVX512_8 },
        AVX512_16,
    ],
};

const AVX512_4: Kernel<State> = Kernel {
    lanes: 4,
    least: 2,
    run: Run::Evenly(|states, inputs| {
        // SAFETY: as above.
        unsafe { avx512_4(states, inputs) }
    }),
};
const AVX512_8: Kernel<State> = Kernel {
    lanes: 8,
    least: 5,
    run: Run::Evenly(|states, inputs| {
        // SAFETY: as above.
        unsafe { avx512_8(states, inputs) }
    }),
};
const AVX512_16: Kernel<State> = Kernel {
    lanes: 16,
    least: 9,
    run: Run::Evenly(|states, inputs| {
        // SAFETY: as above.
        unsafe { avx512_16(states, inputs) }
    }),
};

static AVX2: Kernels = Kernels {
    single: compress,
    several: &[
        PAIR,
        Kernel {
            lanes: 4,
            least: 3,
            run: Run::Evenly(|states, inputs| {
                // SAFETY: as below.
                unsafe { avx2_4(states, inputs) }
            }),
        },
        Kernel {
            lanes: 8,
            least: 5,
            run: Run::Evenly(|states, inputs| {
                // SAFETY: `available` lists this kernel only where the processor has AVX2.
                unsafe { avx2_8(states, inputs) }
            }),
        },
        Kernel {
            lanes: 16,
            least: 9,
            run: Run::Evenly(|states, inputs| {
                // SAFETY: as above.
                unsafe { avx2_16(states, inputs) }
            }),
        },
    ],
};

static SSE2: Kernels = Kernels {
    single: compress,
    several: &[
        PAIR,
        Kernel { lanes: 4, least: 3, run: Run::Evenly(compress_lanes::<4, Sse2>) },
        Kernel { lanes: 8, least: 5, run: Run::Evenly(compress_lanes::<8, Pair<Sse2>>) },
    ],
};

/// What this processor can run, best first; of those of AVX-512, as a trial tells.
pub(super) fn available() -> Vec<&'static Kernels> {
    let mut all = Vec::new();
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("bmi1")
    {
        all.extend(by_trial(trial(AVX512.single), trial(compress)));
    }
    if is_x86_feature_detected!("avx2") {
        all.push(&AVX2);
    }
    all.push(&SSE2);
    all
}

/// All kernels with AVX-512, best first, where one stream takes so long in a vector register and in words.
fn by_trial(in_vector: Duration, in_words: Duration) -> [&'static Kernels; 3] {
    if in_vector <= in_words {
        [&AVX512, &AVX512_FOR_SEVERAL, &AVX512_AND_WORDS]
    } else if 2 * in_vector <= 3 * in_words {
        [&AVX512_FOR_SEVERAL, &AVX512, &AVX512_AND_WORDS]
    } else {
        [&AVX512_AND_WORDS, &AVX512_FOR_SEVERAL, &AVX512]
    }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn avx512_single(state: &mut State, blocks: &[Block]) {
    let mut sums: [Xmm; 4] = state.map(Xmm::of_word);
    for block in blocks {
        rounds(&mut sums, &std::array::from_fn(|word| Xmm::of_word(word_of(block, word))));
    }
    *state = sums.map(|sum| sum.to_lanes()[0]);
}

#[target_feature(enable = "avx512f,avx512vl")]
fn avx512_4(states: &mut [State], inputs: &[&[Block]]) {
    compress_lanes::<4, Xmm>(states, inputs);
}

#[target_feature(enable = "avx512f,avx512vl,bmi1")]
fn avx512_by_turns(states: &mut [State], inputs: &mut [Input<'_>]) {
    compress_by_turns::<Xmm>(states, inputs);
}

#[target_feature(enable = "avx512f,avx512vl")]
fn avx512_8(states: &mut [State], inputs: &[&[Block]]) {
    compress_lanes::<8, Ymm>(states, inputs);
}

#[target_feature(enable = "avx512f,avx512vl")]
fn avx512_16(states: &mut [State], inputs: &[&[Block]]) {
    compress_lanes::<16, Zmm>(states, inputs);
}

#[target_feature(enable = "avx2")]
fn avx2_4(states: &mut [State], inputs: &[&[Block]]) {
    compress_lanes::<4, Sse2>(states, inputs);
}

#[target_feature(enable = "avx2")]
fn avx2_8(states: &mut [State], inputs: &[&[Block]]) {
    compress_lanes::<8, Avx2>(states, inputs);
}

#[target_feature(enable = "avx2")]
fn avx2_16(states: &mut [State], inputs: &[&[Block]]) {
    compress_lanes::<16, Pair<Avx2>>(states, inputs);
}

/// The truth tables of the four functions for VPTERNLOGD: bit `4 * x + 2 * y + z` is the result.
const CHOICE: i32 = 0b1100_1010;
const CHOICE_BY_THIRD: i32 = 0b1110_0100;
const PARITY: i32 = 0b1001_0110;
const IMPLICATION: i32 = 0b0011_1001;

/// Vectors of words in one register.  Values exist only inside of the kernels above, so that wherever an
/// instruction of these types runs, the processor has it.
macro_rules! vector {
    (
        $name:ident($register:ident settled by $settled:ident), $lanes:literal lanes,
        $set:ident, $add:ident, $and:ident, $or:ident, $xor:ident,
        transposed by $load:ident, $low:ident, $high:ident, $low_pairs:ident, $high_pairs:ident;
        $($own:item)*
    ) => {
        #[derive(Clone, Copy)]
        pub(in super::super) struct $name(pub(in super::super) $register);

        impl Word for $name {
            #[inline(always)]
            fn constant(value: u32) -> Self {
                // SAFETY: the processor has the instruction, see `vector!`.
                Self(unsafe { $set(value.cast_signed()) })
            }
            #[inline(always)]
            fn settled(self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $settled(self.0) })
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            fn and(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $and(self.0, other.0) })
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $or(self.0, other.0) })
            }
            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { $xor(self.0, other.0) })
            }
            #[inline(always)]
            fn not(self) -> Self {
                self.xor(Self::constant(u32::MAX))
            }
            $($own)*
        }

        impl Vector<$lanes> for $name {
            #[inline(always)]
            fn from_lanes(lanes: [u32; $lanes]) -> Self {
                // SAFETY: both are as many plain bytes.
                Self(unsafe { std::mem::transmute::<[u32; $lanes], $register>(lanes) })
            }
            #[inline(always)]
            fn to_lanes(self) -> [u32; $lanes] {
                // SAFETY: both are as many plain bytes.
                unsafe { std::mem::transmute::<$register, [u32; $lanes]>(self.0) }
            }
            #[inline(always)]
            fn transposed<const AT: usize>(blocks: &[&Block; $lanes]) -> [Self; 4] {
                // Unpacking stays within quarters of 16 bytes: block 4 * n + i goes to quarter n of register i.
                // SAFETY: the processor has the instructions, see `vector!`.
                unsafe {
                    let (a, b) = ($load::<AT>(blocks, 0), $load::<AT>(blocks, 1));
                    let (c, d) = ($load::<AT>(blocks, 2), $load::<AT>(blocks, 3));
                    let (ab, ab_high) = ($low(a, b), $high(a, b));
                    let (cd, cd_high) = ($low(c, d), $high(c, d));
                    [
                        Self($low_pairs(ab, cd)),
                        Self($high_pairs(ab, cd)),
                        Self($low_pairs(ab_high, cd_high)),
                        Self($high_pairs(ab_high, cd_high)),
                    ]
                }
            }
        }
    };
}

/// What AVX-512 does in one instruction: rotations, and the four functions.
macro_rules! vector_of_avx512 {
    ($rotate:ident, $logic:ident, $($vector:tt)*) => {
        vector! {
            $($vector)*;
            #[inline(always)]
            fn rotate_left<const LEFT: i32, const RIGHT: i32>(self) -> Self {
                // SAFETY: the processor has the instruction, see `vector!`.
                Self(unsafe { $rotate::<LEFT>(self.0) })
            }
            #[inline(always)]
            fn plus_choice(self, x: Self, y: Self, z: Self) -> Self {
                // SAFETY: as above.
                self.plus(Self(unsafe { $logic::<CHOICE>(x.0, y.0, z.0) }))
            }
            #[inline(always)]
            fn plus_choice_by_third(self, x: Self, y: Self, z: Self) -> Self {
                // SAFETY: as above.
                self.plus(Self(unsafe { $logic::<CHOICE_BY_THIRD>(x.0, y.0, z.0) }))
            }
            #[inline(always)]
            fn plus_parity(self, x: Self, y: Self, z: Self) -> Self {
                // SAFETY: as above.
                self.plus(Self(unsafe { $logic::<PARITY>(x.0, y.0, z.0) }))
            }
            #[inline(always)]
            fn plus_implication(self, x: Self, y: Self, z: Self) -> Self {
                // SAFETY: as above.
                self.plus(Self(unsafe { $logic::<IMPLICATION>(x.0, y.0, z.0) }))
            }
        }
    };
}

vector_of_avx512! {
    _mm_rol_epi32, _mm_ternarylogic_epi32,
    Xmm(__m128i settled by xmm_settled), 4 lanes, _mm_set1_epi32, _mm_add_epi32, _mm_and_si128, _mm_or_si128, _mm_xor_si128,
    transposed by xmm_of_blocks, _mm_unpacklo_epi32, _mm_unpackhi_epi32, _mm_unpacklo_epi64, _mm_unpackhi_epi64
}
vector_of_avx512! {
    _mm256_rol_epi32, _mm256_ternarylogic_epi32,
    Ymm(__m256i settled by ymm_settled), 8 lanes, _mm256_set1_epi32, _mm256_add_epi32, _mm256_and_si256, _mm256_or_si256, _mm256_xor_si256,
    transposed by ymm_of_blocks, _mm256_unpacklo_epi32, _mm256_unpackhi_epi32, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64
}
vector_of_avx512! {
    _mm512_rol_epi32, _mm512_ternarylogic_epi32,
    Zmm(__m512i settled by zmm_settled), 16 lanes, _mm512_set1_epi32, _mm512_add_epi32, _mm512_and_si512, _mm512_or_si512, _mm512_xor_si512,
    transposed by zmm_of_blocks, _mm512_unpacklo_epi32, _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64
}
vector! {
    Avx2(__m256i settled by ymm_settled), 8 lanes, _mm256_set1_epi32, _mm256_add_epi32, _mm256_and_si256, _mm256_or_si256, _mm256_xor_si256,
    transposed by ymm_of_blocks, _mm256_unpacklo_epi32, _mm256_unpackhi_epi32, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64;
    #[inline(always)]
    fn rotate_left<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: the processor has the instructions, see `vector!`.
        Self(unsafe { _mm256_or_si256(_mm256_slli_epi32::<LEFT>(self.0), _mm256_srli_epi32::<RIGHT>(self.0)) })
    }
}
vector! {
    Sse2(__m128i settled by xmm_settled), 4 lanes, _mm_set1_epi32, _mm_add_epi32, _mm_and_si128, _mm_or_si128, _mm_xor_si128,
    transposed by xmm_of_blocks, _mm_unpacklo_epi32, _mm_unpackhi_epi32, _mm_unpacklo_epi64, _mm_unpackhi_epi64;
    #[inline(always)]
    fn rotate_left<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm_or_si128(_mm_slli_epi32::<LEFT>(self.0), _mm_srli_epi32::<RIGHT>(self.0)) })
    }
}

/// Values that the compiler knows nothing of, see `Word::settled`.
macro_rules! settled {
    ($name:ident, $type:ty, $class:ident, $template:literal $(, $feature:literal)?) => {
        #[inline]
        $(#[target_feature(enable = $feature)])?
        pub(super) fn $name(mut word: $type) -> $type {
            // Not `pure`: what is not keeps its order.
            // SAFETY: no instruction at all.
            unsafe { asm!($template, inout($class) word, options(nomem, nostack, preserves_flags)) };
            word
        }
    };
}
settled!(settled, u32, reg, "/* {0:e} */");
settled!(xmm_settled, __m128i, xmm_reg, "/* {0} */", "sse2");
settled!(ymm_settled, __m256i, ymm_reg, "/* {0} */", "avx2");
settled!(zmm_settled, __m512i, zmm_reg, "/* {0} */", "avx512f");

impl Xmm {
    /// One stream, in the first lane.
    #[inline(always)]
    fn of_word(word: u32) -> Self {
        // SAFETY: the processor has the instruction, see `vector!`.
        Self(unsafe { _mm_cvtsi32_si128(word.cast_signed()) })
    }
}

/// 16 bytes from `AT` on of the blocks `index`, `index + 4`, ... side by side.
#[inline(always)]
fn xmm_of_blocks<const AT: usize>(blocks: &[&Block], index: usize) -> __m128i {
    let bytes: &[u8; 16] = &blocks[index].as_chunks().0[AT / 16];
    // SAFETY: these are the 16 bytes that are read, and the instruction is part of SSE2.
    unsafe { _mm_loadu_si128(std::ptr::from_ref(bytes).cast()) }
}

/// As `xmm_of_blocks`.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn ymm_of_blocks<const AT: usize>(blocks: &[&Block], index: usize) -> __m256i {
    // SAFETY: the caller has seen to it.
    unsafe {
        let low = _mm256_castsi128_si256(xmm_of_blocks::<AT>(blocks, index));
        _mm256_inserti128_si256::<1>(low, xmm_of_blocks::<AT>(blocks, index + 4))
    }
}

/// As `xmm_of_blocks`.
///
/// # Safety
/// The processor must have AVX-512.
#[inline(always)]
unsafe fn zmm_of_blocks<const AT: usize>(blocks: &[&Block], index: usize) -> __m512i {
    // SAFETY: the caller has seen to it.
    unsafe {
        let one = _mm512_castsi128_si512(xmm_of_blocks::<AT>(blocks, index));
        let two = _mm512_inserti32x4::<1>(one, xmm_of_blocks::<AT>(blocks, index + 4));
        let three = _mm512_inserti32x4::<2>(two, xmm_of_blocks::<AT>(blocks, index + 8));
        _mm512_inserti32x4::<3>(three, xmm_of_blocks::<AT>(blocks, index + 12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trial_chooses_by_what_a_step_takes() {
        let best = |vector, words| {
            std::ptr::from_ref(by_trial(Duration::from_nanos(vector), Duration::from_nanos(words))[0])
        };
        // Sapphire Rapids, Zen 4, Zen 5: nanoseconds for a block.
        assert_eq!(best(80, 91), &raw const AVX512);
        assert_eq!(best(88, 80), &raw const AVX512_FOR_SEVERAL);
        assert_eq!(best(128, 75), &raw const AVX512_AND_WORDS);
    }
}
