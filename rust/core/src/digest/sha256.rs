//! SHA-256 (FIPS 180-4) for one stream, for two whose rounds are interleaved, and for 16 in SIMD lanes.
//!
//! The SHA extensions do two rounds in four cycles, whatever else is to be done, so a second stream finds
//! room.  Of many streams 16 in the lanes of AVX-512 are faster still; eight in AVX2's width are not (99 cycles).
//! For one stream, and where there is none of this, the blocks go to the crate `sha2`.
//!
//! Cycles a block, on a Sapphire Rapids core: one stream 128, which is what the instructions take one after
//! the other (so a kernel of our own has nothing to gain), two streams 100, sixteen 66.

#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod x86;

use sha2::block_api::compress256;

use super::blocks::{BLOCK_BYTES, Block, Compression, Kernel, Lane, Stream, update_lanes};

type State = [u32; 8];

#[cfg(target_arch = "x86_64")]
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

#[derive(Debug, Clone)]
pub(super) struct Sha256Compression;

impl Compression for Sha256Compression {
    type State = State;
    const INITIAL: State = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    fn compress(state: &mut State, blocks: &[Block]) {
        compress256(state, blocks);
    }

    fn kernels() -> &'static [Kernel<State>] {
        #[cfg(target_arch = "x86_64")]
        return x86::kernels();
        #[cfg(not(target_arch = "x86_64"))]
        &[]
    }
}

/// How many streams of SHA-256 this machine hashes at once at the best rate.
pub(super) fn lanes() -> usize {
    Sha256Compression::kernels().last().map_or(1, |kernel| kernel.lanes)
}

/// SHA-256 of one stream.
#[derive(Debug, Clone, Default)]
pub struct Sha256(pub(super) Stream<Sha256Compression>);

impl Sha256 {
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        digest_of(self.0.finish(u64::to_be_bytes))
    }

    /// As `sha2` writes it: the eight words, the number of whole blocks, all little-endian, then how many
    /// bytes are not compressed yet, and these with zeros up to 63.
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let buffered = self.0.buffered();
        let mut out: Vec<u8> = self.0.state.iter().flat_map(|word| word.to_le_bytes()).collect();
        out.extend((self.0.length / BLOCK_BYTES as u64).to_le_bytes());
        out.extend(u8::try_from(buffered.len()));
        out.extend_from_slice(buffered);
        out.resize(SAVED_BYTES, 0);
        out
    }

    #[must_use]
    pub fn import(saved: &[u8]) -> Option<Self> {
        let saved: &[u8; SAVED_BYTES] = saved.try_into().ok()?;
        let (words, saved) = saved.split_first_chunk::<32>()?;
        let (blocks, saved) = saved.split_first_chunk::<8>()?;
        let (&buffered, saved) = saved.split_first()?;
        let (data, zeros) = saved.split_at_checked(usize::from(buffered))?;
        let length = u64::from_le_bytes(*blocks).checked_mul(BLOCK_BYTES as u64)?;
        let state = std::array::from_fn(|word| u32::from_le_bytes(words.as_chunks().0[word]));
        let stream = Stream::restored(state, length.checked_add(u64::from(buffered))?, data)?;
        zeros.iter().all(|&byte| byte == 0).then_some(Self(stream))
    }
}

/// Bytes of a saved state: words, number of blocks, number of bytes in the buffer, buffer.
const SAVED_BYTES: usize = 32 + 8 + 1 + (BLOCK_BYTES - 1);

fn digest_of(state: State) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.as_chunks_mut().0.copy_from_slice(&state.map(u32::to_be_bytes));
    digest
}

/// The digests of whole messages, each given in slices that follow each other.
#[must_use]
pub fn sha256_many(messages: &[&[&[u8]]]) -> Vec<[u8; 32]> {
    let mut streams = vec![Sha256::default(); messages.len()];
    let lanes = streams.iter_mut().zip(messages);
    update_lanes(lanes.map(|(sha256, slices)| Lane::new(&mut sha256.0, slices.to_vec())).collect());
    // The last blocks of short messages are a large part of them, so they too go together.
    let last: Vec<_> = streams.iter_mut().map(|sha256| sha256.0.close(u64::to_be_bytes)).collect();
    let lanes = streams.iter_mut().zip(&last);
    update_lanes(lanes.map(|(sha256, last)| Lane::of_slice(&mut sha256.0, last.as_bytes())).collect());
    streams.into_iter().map(|sha256| digest_of(sha256.0.state)).collect()
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;
    use sha2::digest::common::hazmat::{SerializableState as _, SerializedState};

    use super::super::blocks::Run;
    use super::*;

    fn pattern(length: usize, seed: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from((i * (seed + 1) + seed) % 251).unwrap()).collect()
    }

    fn expected(data: &[u8]) -> [u8; 32] {
        sha2::Sha256::digest(data).into()
    }

    #[test]
    fn a_saved_state_is_the_one_of_sha2_at_every_byte_both_ways() {
        let data = pattern(200, 3);
        for cut in 0..=data.len() {
            let mut ours = Sha256::default();
            ours.update(&data[..cut]);
            let mut theirs = sha2::Sha256::new();
            theirs.update(&data[..cut]);
            let saved = ours.export();
            assert_eq!(saved, theirs.serialize().as_slice(), "cut at {cut}");
            let saved = SerializedState::<sha2::Sha256>::try_from(saved.as_slice()).unwrap();
            let mut theirs_again = sha2::Sha256::deserialize(&saved).unwrap();
            theirs_again.update(&data[cut..]);
            let mut ours_again = Sha256::import(&theirs.serialize()).unwrap();
            ours_again.update(&data[cut..]);
            assert_eq!(ours_again.finish(), expected(&data));
            assert_eq!(theirs_again.finalize().as_slice(), expected(&data));
        }
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let mut sha256 = Sha256::default();
        sha256.update(b"seventeen bytes..");
        let saved = sha256.export();
        assert!(Sha256::import(&saved).is_some());
        assert!(Sha256::import(&saved[1..]).is_none());
        for (at, byte) in [(40, 64), (40, 16), (103, 1), (39, 255)] {
            let mut damaged = saved.clone();
            damaged[at] = byte;
            assert!(Sha256::import(&damaged).is_none(), "byte {at}");
        }
    }

    #[test]
    fn every_kernel_of_this_machine_agrees_with_sha2() {
        let data: Vec<Vec<u8>> = (0..16).map(|seed| pattern(640, seed)).collect();
        let inputs: Vec<&[Block]> = data.iter().map(|data| data.as_chunks().0).collect();
        for kernel in Sha256Compression::kernels() {
            let Run::Evenly(run) = kernel.run else { continue };
            let begin: Vec<State> =
                (0..16).map(|lane| Sha256Compression::INITIAL.map(|word| word ^ lane)).collect();
            let mut expected = begin.clone();
            expected.iter_mut().zip(&inputs).for_each(|(state, input)| compress256(state, input));
            for streams in 1..=kernel.lanes {
                let mut states = begin.clone();
                run(&mut states[..streams], &inputs[..streams]);
                assert_eq!(states[..streams], expected[..streams], "{streams} of {}", kernel.lanes);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn many_messages_of_any_lengths_have_their_digests(
            cuts in proptest::collection::vec(proptest::collection::vec(0_usize..400, 0..6), 0..12)
        ) {
            let messages: Vec<Vec<Vec<u8>>> = cuts.iter().enumerate()
                .map(|(seed, lengths)| lengths.iter().map(|&length| pattern(length, seed)).collect())
                .collect();
            let slices: Vec<Vec<&[u8]>> =
                messages.iter().map(|message| message.iter().map(Vec::as_slice).collect()).collect();
            let digests = sha256_many(&slices.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let expected: Vec<_> = messages.iter().map(|message| expected(&message.concat())).collect();
            proptest::prop_assert_eq!(digests, expected);
        }
    }
}
