//! Digests whose state can be saved in the journal and taken up again.

mod blocks;
mod md5;
mod sha256;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use sha1::Sha1;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha512};

use crate::error::{Error, Result};
use crate::job::Job;
use blocks::{Lane, update_lanes};
pub use md5::Md5;
pub use sha256::{Sha256, sha256_many};

/// Read size for files that are hashed as a whole: 1.4 ms of MD5, so that cancelling is prompt.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
    Blake3,
    Crc32,
}

impl Algorithm {
    /// # Errors
    /// `Unusable` for a name that is none of the six.
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "sha512" => Self::Sha512,
            "blake3" => Self::Blake3,
            "crc32" => Self::Crc32,
            other => {
                return Err(Error::Unusable(format!(
                    "unknown digest algorithm {other:?}: use md5, sha1, sha256, sha512, blake3 or crc32"
                )));
            }
        })
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
            Self::Crc32 => "crc32",
        }
    }
}

#[derive(Debug, Clone)]
pub enum Hasher {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
    Blake3(Box<blake3::Hasher>),
    Crc32(crc32fast::Hasher, u64),
}

impl Hasher {
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::default()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::default()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
            Algorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new(), 0),
        }
    }

    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Md5(_) => Algorithm::Md5,
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
            Self::Blake3(_) => Algorithm::Blake3,
            Self::Crc32(..) => Algorithm::Crc32,
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(data),
            Self::Sha1(hasher) => hasher.update(data),
            Self::Sha256(hasher) => hasher.update(data),
            Self::Sha512(hasher) => hasher.update(data),
            Self::Blake3(hasher) => {
                hasher.update(data);
            }
            Self::Crc32(hasher, length) => {
                hasher.update(data);
                *length += data.len() as u64;
            }
        }
    }

    /// The digest in lower-case hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        match self {
            Self::Md5(hasher) => hex(&hasher.finish()),
            Self::Sha1(hasher) => hex(&hasher.finalize()),
            Self::Sha256(hasher) => hex(&hasher.finish()),
            Self::Sha512(hasher) => hex(&hasher.finalize()),
            Self::Blake3(hasher) => hex(hasher.finalize().as_bytes()),
            Self::Crc32(hasher, _) => hex(&hasher.finalize().to_be_bytes()),
        }
    }

    /// The state as bytes, or None for BLAKE3, whose crate keeps its tree to itself.
    #[must_use]
    pub fn export(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Md5(hasher) => hasher.export(),
            Self::Sha1(hasher) => hasher.serialize().to_vec(),
            Self::Sha256(hasher) => hasher.export(),
            Self::Sha512(hasher) => hasher.serialize().to_vec(),
            Self::Blake3(_) => return None,
            Self::Crc32(hasher, length) => {
                let mut saved = hasher.clone().finalize().to_le_bytes().to_vec();
                saved.extend(length.to_le_bytes());
                saved
            }
        })
    }

    /// # Errors
    /// `Unusable` when `saved` is not a state of this algorithm.
    pub fn import(algorithm: Algorithm, saved: &[u8]) -> Result<Self> {
        fn restore<T: SerializableState>(saved: &[u8]) -> Option<T> {
            T::deserialize(&SerializedState::<T>::try_from(saved).ok()?).ok()
        }
        match algorithm {
            Algorithm::Md5 => Md5::import(saved).map(Self::Md5),
            Algorithm::Sha1 => restore(saved).map(Self::Sha1),
            Algorithm::Sha256 => Sha256::import(saved).map(Self::Sha256),
            Algorithm::Sha512 => restore(saved).map(Self::Sha512),
            Algorithm::Blake3 => None,
            Algorithm::Crc32 => saved.split_first_chunk::<4>().and_then(|(value, rest)| {
                let length = u64::from_le_bytes(rest.try_into().ok()?);
                let value = u32::from_le_bytes(*value);
                Some(Self::Crc32(crc32fast::Hasher::new_with_initial_len(value, length), length))
            }),
        }
        .ok_or_else(|| Error::Unusable(format!("a saved {} state cannot be read", algorithm.name())))
    }
}

/// How many streams of an algorithm this machine hashes at once at the best rate: as many as it pays to bring
/// together in [`update_together`] or [`update_abreast`].
#[must_use]
pub fn lanes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Md5 => md5::lanes(),
        Algorithm::Sha256 => sha256::lanes(),
        Algorithm::Sha1 | Algorithm::Sha512 | Algorithm::Blake3 | Algorithm::Crc32 => 1,
    }
}

/// Adds to each hasher its chunks.  Any number of streams of MD5, and of SHA-256, of any lengths share kernels.
pub fn update_together(work: &mut [(Hasher, Vec<Bytes>)]) {
    let (mut md5s, mut sha256s) = (Vec::new(), Vec::new());
    for (hasher, chunks) in work {
        let slices = || chunks.iter().map(AsRef::as_ref).collect();
        match hasher {
            Hasher::Md5(md5) => md5s.push(Lane::new(&mut md5.0, slices())),
            Hasher::Sha256(sha256) => sha256s.push(Lane::new(&mut sha256.0, slices())),
            other => chunks.iter().for_each(|chunk| other.update(chunk)),
        }
    }
    update_lanes(md5s);
    update_lanes(sha256s);
}

/// Adds to each hasher its bytes, as [`update_together`] does.
pub fn update_abreast(work: &mut [(&mut Hasher, &[u8])]) {
    let (mut md5s, mut sha256s) = (Vec::new(), Vec::new());
    for (hasher, data) in work {
        match &mut **hasher {
            Hasher::Md5(md5) => md5s.push(Lane::of_slice(&mut md5.0, data)),
            Hasher::Sha256(sha256) => sha256s.push(Lane::of_slice(&mut sha256.0, data)),
            other => other.update(data),
        }
    }
    update_lanes(md5s);
    update_lanes(sha256s);
}

/// Hashes the first `length` bytes of the file at `path`, fewer if it ends before.
///
/// # Errors
/// `Storage`, `Cancelled`.
pub fn hash_file(path: &Path, length: u64, algorithm: Algorithm, job: &Job) -> Result<Hasher> {
    let mut file = File::open(path).map_err(|source| Error::storage("read", path, &source))?;
    let mut hasher = Hasher::new(algorithm);
    read_on(&mut file, path, length, job, |data| hasher.update(data))?;
    Ok(hasher)
}

/// Lets what is read of `file` next come from the disk: what could not be written there is still in memory, and
/// the system tells of it once only.
pub fn forget_cached(file: &File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

/// Hands the next `length` bytes of `file` to `take`, fewer if it ends before; returns how many.
///
/// # Errors
/// `Storage`, `Cancelled`.
pub fn read_on(
    file: &mut File,
    path: &Path,
    length: u64,
    job: &Job,
    mut take: impl FnMut(&[u8]),
) -> Result<u64> {
    let mut file = file.take(length);
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(length).unwrap_or(READ_BYTES))];
    let mut had = 0;
    loop {
        job.check()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(had),
            Ok(count) => {
                take(&buffer[..count]);
                had += count as u64;
            }
            Err(source) if source.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::storage("read", path, &source)),
        }
    }
}

#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// The inverse of [`hex`]; None for anything but pairs of hexadecimal digits.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 6] = [
        Algorithm::Md5,
        Algorithm::Sha1,
        Algorithm::Sha256,
        Algorithm::Sha512,
        Algorithm::Blake3,
        Algorithm::Crc32,
    ];

    #[test]
    fn every_exported_state_goes_on_where_it_stopped() {
        let data: Vec<u8> = (0..1000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for algorithm in ALL {
            let mut whole = Hasher::new(algorithm);
            whole.update(&data);
            let expected = whole.finish();
            for cut in [0, 1, 63, 64, 65, 127, 500, 1000] {
                let mut first = Hasher::new(algorithm);
                first.update(&data[..cut]);
                let Some(saved) = first.export() else {
                    assert_eq!(algorithm, Algorithm::Blake3);
                    continue;
                };
                let mut second = Hasher::import(algorithm, &saved).unwrap();
                second.update(&data[cut..]);
                assert_eq!(second.finish(), expected, "{} cut at {cut}", algorithm.name());
            }
        }
    }

    #[test]
    fn a_state_of_the_wrong_length_is_an_error() {
        for algorithm in ALL {
            assert!(Hasher::import(algorithm, b"short").is_err());
        }
    }

    #[test]
    fn names_and_hexadecimal_survive_a_round_trip() {
        for algorithm in ALL {
            assert_eq!(Algorithm::parse(algorithm.name()).unwrap(), algorithm);
        }
        assert!(Algorithm::parse("md4").is_err());
        assert_eq!(unhex(&hex(&[0, 1, 0xab, 0xff])).unwrap(), [0, 1, 0xab, 0xff]);
        assert!(unhex("abc").is_none() && unhex("zz").is_none());
    }
}
