//! What MD5 and SHA-256 have in common: a state of words, blocks of 64 bytes, and many streams hashed at once.
//!
//! Both are chains of dependent steps, so one stream leaves most of a core idle.  Streams that share the
//! lanes of SIMD registers, or are interleaved, cost little more than one.  [`update_lanes`] keeps the lanes
//! of the kernels filled from any number of streams of any lengths.

use std::vec;

pub(super) const BLOCK_BYTES: usize = 64;
pub(super) type Block = [u8; BLOCK_BYTES];
/// The widest kernel there is: 16 words of 32 bits in a register of AVX-512.
pub(super) const MOST_LANES: usize = 16;

/// What one digest does with whole blocks.
pub(super) trait Compression {
    type State: Copy + 'static;
    const INITIAL: Self::State;

    /// Adds the blocks of one stream.
    fn compress(state: &mut Self::State, blocks: &[Block]);

    /// The kernels of this machine that take more than one stream, fewest lanes first.
    fn kernels() -> &'static [Kernel<Self::State>];
}

/// Takes up to `lanes` streams.
pub(super) struct Kernel<S> {
    pub lanes: usize,
    /// With fewer streams than this the kernel before is better, or none.
    pub least: usize,
    pub run: Run<S>,
}

pub(super) enum Run<S> {
    /// Adds to each state the blocks of the same index, all with equally many.
    Evenly(fn(&mut [S], &[&[Block]])),
    /// Adds to each state blocks of the same index, more of those that have more to come, and takes them away; at
    /// least one of each four.
    ByLength(fn(&mut [S], &mut [Input<'_>])),
}

/// Blocks of one stream that lie side by side, one at least, and how many come after these.
pub(super) struct Input<'a> {
    pub blocks: &'a [Block],
    pub more: usize,
}

impl<'a> Input<'a> {
    pub(super) fn to_come(&self) -> usize {
        self.blocks.len() + self.more
    }

    pub(super) fn take(&mut self, count: usize) -> &'a [Block] {
        let (taken, rest) = self.blocks.split_at(count);
        self.blocks = rest;
        taken
    }
}

/// One stream; `length` in bytes, `buffer` holds the `length % 64` bytes that are not compressed yet.
#[derive(Debug, Clone)]
pub(super) struct Stream<C: Compression> {
    pub state: C::State,
    pub length: u64,
    buffer: Block,
}

impl<C: Compression> Default for Stream<C> {
    fn default() -> Self {
        Self { state: C::INITIAL, length: 0, buffer: [0; BLOCK_BYTES] }
    }
}

impl<C: Compression> Stream<C> {
    /// A stream that was saved; None unless `buffered` has as many bytes as `length` leaves over.
    pub(super) fn restored(state: C::State, length: u64, buffered: &[u8]) -> Option<Self> {
        let mut stream = Self { state, length, buffer: [0; BLOCK_BYTES] };
        if buffered.len() != stream.buffered_bytes() {
            return None;
        }
        stream.buffer[..buffered.len()].copy_from_slice(buffered);
        Some(stream)
    }

    fn buffered_bytes(&self) -> usize {
        // The remainder is below 64.
        usize::try_from(self.length % BLOCK_BYTES as u64).unwrap_or(0)
    }

    /// The bytes that are not compressed yet.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[..self.buffered_bytes()]
    }

    pub(super) fn update(&mut self, mut data: &[u8]) {
        let buffered = self.buffered_bytes();
        self.length += data.len() as u64;
        if buffered > 0 {
            let take = data.len().min(BLOCK_BYTES - buffered);
            self.buffer[buffered..buffered + take].copy_from_slice(&data[..take]);
            data = &data[take..];
            if buffered + take < BLOCK_BYTES {
                return;
            }
            C::compress(&mut self.state, &[self.buffer]);
        }
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        C::compress(&mut self.state, blocks);
        self.buffer[..rest.len()].copy_from_slice(rest);
    }

    /// The last blocks, with the length in bits as `encode` writes it; the buffer is in them, and empty then.
    pub(super) fn close(&mut self, encode: fn(u64) -> [u8; 8]) -> Last {
        let bits = encode(self.length.wrapping_mul(8));
        let at = self.buffered_bytes();
        let mut last = Last { bytes: [0; 2 * BLOCK_BYTES], length: BLOCK_BYTES };
        if at + 1 + bits.len() > BLOCK_BYTES {
            last.length += BLOCK_BYTES;
        }
        last.bytes[..at].copy_from_slice(&self.buffer[..at]);
        last.bytes[at] = 0x80;
        last.bytes[last.length - bits.len()..last.length].copy_from_slice(&bits);
        self.length -= at as u64;
        last
    }

    /// The last state, see `close`.
    pub(super) fn finish(mut self, encode: fn(u64) -> [u8; 8]) -> C::State {
        let last = self.close(encode);
        C::compress(&mut self.state, last.as_bytes().as_chunks().0);
        self.state
    }
}

/// The rest of a stream with its padding: one block or two.
pub(super) struct Last {
    bytes: [u8; 2 * BLOCK_BYTES],
    length: usize,
}

impl Last {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A stream with what is to be added to it.
pub(super) struct Lane<'a, C: Compression> {
    stream: &'a mut Stream<C>,
    slice: &'a [u8],
    slices: vec::IntoIter<&'a [u8]>,
}

impl<'a, C: Compression> Lane<'a, C> {
    pub(super) fn new(stream: &'a mut Stream<C>, slices: Vec<&'a [u8]>) -> Self {
        Self { stream, slice: &[], slices: slices.into_iter() }
    }

    /// As `new` with one slice, without an allocation.
    pub(super) fn of_slice(stream: &'a mut Stream<C>, slice: &'a [u8]) -> Self {
        Self { stream, slice, slices: Vec::new().into_iter() }
    }

    fn remaining_bytes(&self) -> usize {
        self.slice.len() + self.slices.as_slice().iter().map(|slice| slice.len()).sum::<usize>()
    }

    /// Goes on to the next whole blocks that lie in one slice, and says how many they are; none at the end.
    /// What cannot fill a block from one slice goes through the buffer.
    fn whole_blocks(&mut self) -> usize {
        loop {
            let buffered = self.stream.buffered_bytes();
            if buffered == 0 && self.slice.len() >= BLOCK_BYTES {
                return self.slice.len() / BLOCK_BYTES;
            }
            let (head, rest) = self.slice.split_at(self.slice.len().min(BLOCK_BYTES - buffered));
            self.stream.update(head);
            self.slice = rest;
            if rest.is_empty() {
                match self.slices.next() {
                    Some(next) => self.slice = next,
                    None => return 0,
                }
            }
        }
    }

    /// What `whole_blocks` counts.
    fn input(&self) -> Input<'a> {
        let more = self.slices.as_slice().iter().map(|slice| slice.len() / BLOCK_BYTES).sum();
        Input { blocks: self.slice.as_chunks().0, more }
    }

    /// The next blocks, for somebody who adds them to the state.
    fn take_blocks(&mut self, count: usize) -> &'a [Block] {
        let (head, rest) = self.slice.split_at(count * BLOCK_BYTES);
        self.slice = rest;
        self.stream.length += head.len() as u64;
        head.as_chunks().0
    }

    fn update_alone(&mut self) {
        self.stream.update(std::mem::take(&mut self.slice));
        for slice in self.slices.by_ref() {
            self.stream.update(slice);
        }
    }
}

/// Adds to every lane all of its slices.
pub(super) fn update_lanes<C: Compression>(mut waiting: Vec<Lane<'_, C>>) {
    let most = C::kernels().last().map_or(1, |kernel| kernel.lanes).min(MOST_LANES);
    // The longest are taken first, so that none of them is left to run alone.
    waiting.sort_by_cached_key(Lane::remaining_bytes);
    let mut group: Vec<Lane<'_, C>> = Vec::with_capacity(most.min(waiting.len()));
    loop {
        group.retain_mut(|lane| lane.whole_blocks() > 0);
        while group.len() < most {
            let Some(mut lane) = waiting.pop() else { break };
            if lane.whole_blocks() > 0 {
                group.push(lane);
            }
        }
        match group.as_mut_slice() {
            [] => return,
            [only] => only.update_alone(),
            several => update_abreast(several),
        }
    }
}

/// Adds to all lanes what they have in one slice, until one of them needs its next slice.
fn update_abreast<C: Compression>(group: &mut [Lane<'_, C>]) {
    let count = group.len();
    match C::kernels().iter().rfind(|kernel| kernel.least <= count) {
        Some(Kernel { run: Run::ByLength(run), .. }) => update_by_length(group, *run),
        Some(Kernel { run: Run::Evenly(run), lanes, .. }) => {
            let blocks = group.iter_mut().map(Lane::whole_blocks).min().unwrap_or(0);
            group.chunks_mut(*lanes).for_each(|some| update_evenly(some, blocks, *run));
        }
        None => group.iter_mut().for_each(Lane::update_alone),
    }
}

fn update_evenly<C: Compression>(
    group: &mut [Lane<'_, C>],
    blocks: usize,
    run: fn(&mut [C::State], &[&[Block]]),
) {
    let mut states = [C::INITIAL; MOST_LANES];
    let mut inputs: [&[Block]; MOST_LANES] = [&[]; MOST_LANES];
    for ((lane, state), input) in group.iter_mut().zip(&mut states).zip(&mut inputs) {
        *state = lane.stream.state;
        *input = lane.take_blocks(blocks);
    }
    run(&mut states[..group.len()], &inputs[..group.len()]);
    for (lane, state) in group.iter_mut().zip(states) {
        lane.stream.state = state;
    }
}

fn update_by_length<C: Compression>(group: &mut [Lane<'_, C>], run: fn(&mut [C::State], &mut [Input<'_>])) {
    let mut states: Vec<_> = group.iter().map(|lane| lane.stream.state).collect();
    let mut inputs: Vec<_> = group.iter().map(Lane::input).collect();
    run(&mut states, &mut inputs);
    for ((lane, state), input) in group.iter_mut().zip(states).zip(inputs) {
        lane.take_blocks(lane.slice.len() / BLOCK_BYTES - input.blocks.len());
        lane.stream.state = state;
    }
}
