//! The rates of the digests on this machine: `cargo run --release -p fdf256-core --example kernels`.
//!
//! Each line is the best of several runs over 64 MiB that lie in memory; MD5 and SHA-256 are shown for one stream and
//! for several that share the lanes of registers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fdf256_core::digest::{Algorithm, Hasher, lanes, update_together};

const STREAM_BYTES: usize = 64 << 20;
const RUNS: usize = 5;

fn main() {
    let data: Bytes =
        (0..STREAM_BYTES).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect::<Vec<u8>>().into();
    for algorithm in ["md5", "sha1", "sha256", "sha512", "blake3", "crc32"] {
        let Ok(algorithm) = Algorithm::parse(algorithm) else { continue };
        report(algorithm.name(), &data, algorithm, 1);
    }
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        println!("{}: {} streams pay", algorithm.name(), lanes(algorithm));
        for streams in [2, 3, 4, 5, 8, 16] {
            report(&format!("{}, {streams} streams", algorithm.name()), &data, algorithm, streams);
        }
    }
}

fn report(name: &str, data: &Bytes, algorithm: Algorithm, streams: usize) {
    let best = (0..RUNS)
        .map(|_| {
            let mut work: Vec<_> =
                (0..streams).map(|_| (Hasher::new(algorithm), vec![data.clone()])).collect();
            let start = Instant::now();
            update_together(&mut work);
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::MAX);
    #[expect(clippy::cast_precision_loss, reason = "a rate for a person")]
    let rate = (STREAM_BYTES * streams) as f64 / best.as_secs_f64() / 1e9;
    println!("{name:18} {rate:6.2} GB/s");
}
