//! One line of a list, in any of the forms that are about.

use std::borrow::Cow;

use crate::digest::{Algorithm, unhex};
use crate::name;

use super::Reading;

/// What a line says.
pub(super) struct Told<'a> {
    pub name: Cow<'a, [u8]>,
    pub digest: Vec<u8>,
    pub algorithm: Algorithm,
}

pub(super) enum Line<'a> {
    /// An empty line or a comment.
    Nothing,
    File(Told<'a>),
}

/// A reason is for people.
type Or<T> = Result<T, Cow<'static, str>>;
type Parsed<'a> = Or<Line<'a>>;
/// A digest, and the name with it if there is one.
type Pair<'a> = (Vec<u8>, Option<&'a [u8]>);

const NO_LINE: &str = "it is not a digest and a file name";

/// A line of our own manifest, which may have been edited: what could lead out of the folder is refused.
pub(super) fn manifest(line: &[u8]) -> Parsed<'_> {
    if line.is_empty() {
        return Ok(Line::Nothing);
    }
    let Some((digits, rest)) = line.split_at_checked(64) else { return Err(NO_LINE.into()) };
    let digest = digits
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        .then(|| std::str::from_utf8(digits).ok().and_then(unhex))
        .flatten()
        .ok_or("it does not begin with a SHA-256")?;
    let name = rest.strip_prefix(b"  ").ok_or(NO_LINE)?;
    let text = std::str::from_utf8(name).map_err(|_| "its path is not UTF-8")?;
    if text.ends_with('/') {
        return Err("its path is that of a folder".into());
    }
    name::check(text, false).map_err(|reason| reason.replacen("its name", "its path", 1))?;
    Ok(Line::File(Told { name: name.into(), digest, algorithm: Algorithm::Sha256 }))
}

/// A line of anybody's list.
pub(super) fn any<'a>(line: &'a [u8], reading: &Reading, escapes: bool) -> Parsed<'a> {
    let line = line.trim_ascii_start();
    if line.is_empty() || line[0] == b'#' {
        return Ok(Line::Nothing);
    }
    let (line, is_escaped) = match line.strip_prefix(b"\\") {
        Some(rest) if escapes => (rest, true),
        _ => (line, false),
    };
    let mut told = if let Some(tagged) = tagged(line) {
        tagged?
    } else if let Some(parts) = digest_first(line) {
        plain(parts, reading)?
    } else if reading.algorithm == Some(Algorithm::Crc32) {
        match sfv(line)? {
            Some(parts) => plain(parts, reading)?,
            None => return Ok(Line::Nothing),
        }
    } else {
        return Err(NO_LINE.into());
    };
    if is_escaped {
        told.name = unescaped(&told.name)?.into();
    }
    if told.name.is_empty() {
        return Err("it has no file name".into());
    }
    Ok(Line::File(told))
}

/// `SHA256 (name) = hex`; `SHA2-256(name)= hex`, as OpenSSL has it.  None for a line of another form.
fn tagged(line: &[u8]) -> Option<Or<Told<'_>>> {
    let open = line.iter().position(|&byte| byte == b'(')?;
    let tag = line[..open].strip_suffix(b" ").unwrap_or(&line[..open]);
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_');
    if tag.is_empty() || !tag.iter().all(is_word) {
        return None;
    }
    let close = line.iter().rposition(|&byte| byte == b')').filter(|&close| close > open)?;
    let rest = line[close + 1..].trim_ascii().strip_prefix(b"=")?.trim_ascii();
    let tag = String::from_utf8_lossy(tag).to_ascii_uppercase();
    let Some(algorithm) = algorithm_of(&tag) else {
        return Some(Err(format!("{tag} is not one of md5, sha1, sha256, sha512, blake3, crc32").into()));
    };
    Some(match digits(rest) {
        Some(digest) if digest.len() == digest_bytes(algorithm) => {
            Ok(Told { name: line[open + 1..close].into(), digest, algorithm })
        }
        _ => Err(wrong_length(algorithm, rest.len())),
    })
}

fn algorithm_of(tag: &str) -> Option<Algorithm> {
    Some(match tag {
        "MD5" => Algorithm::Md5,
        "SHA1" | "SHA-1" => Algorithm::Sha1,
        "SHA256" | "SHA-256" | "SHA2-256" => Algorithm::Sha256,
        "SHA512" | "SHA-512" | "SHA2-512" => Algorithm::Sha512,
        "BLAKE3" => Algorithm::Blake3,
        "CRC32" | "CRC-32" => Algorithm::Crc32,
        _ => return None,
    })
}

/// Digest and name of `hex  name`, `hex *name`, `hex name`, and of `hex` alone, which has no name.
fn digest_first(line: &[u8]) -> Option<Pair<'_>> {
    let end = line.iter().position(|&byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let digest = digits(&line[..end]).filter(|digest| digest.len() >= 4)?;
    let name = match &line[end..] {
        [] => None,
        [b' ', b' ' | b'*', name @ ..] | [_, name @ ..] => Some(name),
    };
    Some((digest, name.filter(|name| !name.trim_ascii().is_empty())))
}

/// Digest and name of `name hex`, the form of `.sfv` files, whose comments begin with `;`.
fn sfv(line: &[u8]) -> Or<Option<Pair<'_>>> {
    if line[0] == b';' {
        return Ok(None);
    }
    let line = line.trim_ascii_end();
    let gap = line.iter().rposition(|&byte| matches!(byte, b' ' | b'\t')).ok_or(NO_LINE)?;
    let digest = digits(&line[gap + 1..]).ok_or(NO_LINE)?;
    Ok(Some((digest, Some(line[..gap].trim_ascii_end()))))
}

fn plain<'a>((digest, name): Pair<'a>, reading: &Reading) -> Or<Told<'a>> {
    let algorithm = match reading.algorithm {
        Some(algorithm) if digest_bytes(algorithm) == digest.len() => algorithm,
        Some(algorithm) if reading.is_sure => return Err(wrong_length(algorithm, 2 * digest.len())),
        _ => match digest.len() {
            4 => Algorithm::Crc32,
            16 => Algorithm::Md5,
            20 => Algorithm::Sha1,
            32 => Algorithm::Sha256,
            64 => Algorithm::Sha512,
            bytes => {
                return Err(
                    format!("no known algorithm has a digest of {} hexadecimal digits", 2 * bytes).into()
                );
            }
        },
    };
    let name = match (name, &reading.lone_name) {
        (Some(name), _) => name.into(),
        (None, Some(name)) => Cow::Owned(name.clone()),
        (None, None) => return Err("it has no file name".into()),
    };
    Ok(Told { name, digest, algorithm })
}

fn digits(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || text.len() > 128 {
        return None;
    }
    std::str::from_utf8(text).ok().and_then(unhex)
}

fn digest_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Crc32 => 4,
        Algorithm::Md5 => 16,
        Algorithm::Sha1 => 20,
        Algorithm::Sha256 | Algorithm::Blake3 => 32,
        Algorithm::Sha512 => 64,
    }
}

fn wrong_length(algorithm: Algorithm, found: usize) -> Cow<'static, str> {
    let wanted = 2 * digest_bytes(algorithm);
    format!("a {} has {wanted} hexadecimal digits, this has {found} characters", algorithm.name()).into()
}

fn unescaped(name: &[u8]) -> Or<Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err("its name has an escape that is none of \\\\, \\n and \\r".into()),
            },
            other => other,
        });
    }
    Ok(plain)
}
