//! Deflate data that are here as a whole, by the call of libdeflate that also tells where they end.
//!
//! The safe binding, libdeflater, has no such call, so that bytes behind the end would go unseen.  To look for the
//! end with the other library is to inflate once more; that pays for this module's `unsafe`.
#![expect(unsafe_code, reason = "libdeflate is a library in C")]

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;

use libdeflate_sys::{
    libdeflate_alloc_decompressor, libdeflate_decompressor, libdeflate_deflate_decompress_ex,
    libdeflate_free_decompressor, libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE,
    libdeflate_result_LIBDEFLATE_SUCCESS,
};

/// About what libdeflate allocates, for the message when it gets nothing.
const STATE_BYTES: usize = 1 << 14;

/// The tables that one member after the other is inflated with.
pub(crate) struct Inflater(NonNull<libdeflate_decompressor>);

// SAFETY: what it points to is its own, and nothing in it belongs to the thread that made it.
unsafe impl Send for Inflater {}

/// What came of some data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They fill the output, and nothing is behind them.
    Exact,
    OtherSize,
    BytesBehind,
    Damaged,
}

impl Inflater {
    pub(crate) fn new() -> Self {
        // SAFETY: it takes nothing; null is what it gives when there is no memory.
        let state = unsafe { libdeflate_alloc_decompressor() };
        Self(NonNull::new(state).unwrap_or_else(|| handle_alloc_error(Layout::new::<[u8; STATE_BYTES]>())))
    }

    /// Inflates `input` into all of `output`.
    pub(crate) fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Outcome {
        let (mut taken, mut written) = (0, 0);
        // SAFETY: the state is alive and, by `&mut`, nobody else's; no more is read or written than the slices
        // have, and both counts outlive the call.
        let result = unsafe {
            libdeflate_deflate_decompress_ex(
                self.0.as_ptr(),
                input.as_ptr().cast(),
                input.len(),
                output.as_mut_ptr().cast(),
                output.len(),
                &raw mut taken,
                &raw mut written,
            )
        };
        if result == libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE {
            Outcome::OtherSize
        } else if result != libdeflate_result_LIBDEFLATE_SUCCESS {
            Outcome::Damaged
        } else if written != output.len() {
            Outcome::OtherSize
        } else if taken != input.len() {
            Outcome::BytesBehind
        } else {
            Outcome::Exact
        }
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: it came from the library, and goes back once.
        unsafe { libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn every_byte_of_the_data_and_none_more_makes_the_output() {
        let data: Vec<u8> = (0..5000).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut inflater = Inflater::new();
        for level in [0, 1, 9] {
            let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
            writer.write_all(&data).unwrap();
            let packed = writer.finish().unwrap();
            let mut output = vec![0; data.len()];
            assert_eq!(inflater.inflate(&packed, &mut output), Outcome::Exact, "{level}");
            assert_eq!(output, data);
            let behind = [&packed[..], &[0]].concat();
            assert_eq!(inflater.inflate(&behind, &mut output), Outcome::BytesBehind);
            assert_eq!(inflater.inflate(&packed, &mut output[1..]), Outcome::OtherSize);
            assert_eq!(inflater.inflate(&packed, &mut [&output[..], &[0]].concat()), Outcome::OtherSize);
            assert_eq!(inflater.inflate(&packed[..packed.len() - 2], &mut output), Outcome::Damaged);
        }
        assert_eq!(inflater.inflate(&[3, 0], &mut []), Outcome::Exact);
        assert_eq!(inflater.inflate(&[], &mut []), Outcome::Damaged);
    }
}
