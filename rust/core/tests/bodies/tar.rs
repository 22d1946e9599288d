//! Tars: the reader, over pieces of any size, and what decompressors make of any bytes.

use std::io::{BufReader, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use fdf256_core::decode::{Format, decode};
use fdf256_core::names::Names;
use fdf256_core::policy::Policy;
use fdf256_core::staging::Staging;
use fdf256_core::tar::{Event, Reader};
use fdf256_core::untar::{Untar, UntarSpec};
use fdf256_core::{Error, Job, Result, listing, name};

use super::{Choices, overwritten};

const BLOCK_BYTES: usize = 512;
/// Enough to see how a decompressor ends; what it would still give is not what is tested.
const DECODED_BYTES_MAX: u64 = 1 << 20;

type Files = Vec<(String, Vec<u8>)>;

/// The reader: what passes stays under its folder, no name comes twice, and pieces change nothing.
pub fn tar_reader(data: &[u8]) {
    let mut choices = Choices(data);
    let piece = 1 + choices.below(2000);
    let seals = choices.byte() & 1 != 0;
    let mut tar = choices.0.to_vec();
    if seals {
        tar.chunks_exact_mut(BLOCK_BYTES).for_each(seal);
    }
    let whole = files(&tar, tar.len().max(1));
    let pieces = files(&tar, piece);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!(whole, pieces);
            let mut seen: Vec<&String> = whole.iter().map(|(name, _)| name).collect();
            seen.sort_unstable();
            assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "a name comes twice: {seen:?}");
        }
        (Err(whole), Err(pieces)) => assert_eq!(whole.to_string(), pieces.to_string()),
        (whole, pieces) => panic!("in one piece {whole:?}, in several {pieces:?}"),
    }
}

fn files(tar: &[u8], piece: usize) -> Result<Files> {
    let names = Arc::new(Names::new(true));
    let mut reader = Reader::new("fuzz", 0, Policy::default(), names, Some(tar.len() as u64));
    let mut files = Files::new();
    let mut wanted = 0;
    for mut input in tar.chunks(piece) {
        while let Some(event) = reader.step(&mut input)? {
            match event {
                Event::Directory(member) => {
                    assert!(member.name.is_empty() || name::check(&member.name, true).is_ok());
                }
                Event::File(member) => {
                    assert!(name::check(&member.name, true).is_ok(), "{member:?}");
                    wanted = member.bytes;
                    files.push((member.name, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(!data.is_empty());
                    files.last_mut().expect("data belong to a file").1.extend_from_slice(data);
                }
                Event::FileEnd => {
                    let found = &files.last().expect("an end belongs to a file").1;
                    assert_eq!(found.len() as u64, wanted);
                }
            }
        }
        assert!(input.is_empty(), "what was not taken is lost");
    }
    reader.finish()?;
    Ok(files)
}

/// Gives a block that looks like a header the checksum that it needs to be read at all.
pub fn seal(block: &mut [u8]) {
    if block[257..262] != *b"ustar" {
        return;
    }
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Decompressors: an error or an end, whatever comes.
pub fn decompressors(data: &[u8]) {
    let mut choices = Choices(data);
    let formats = [Format::Gzip, Format::Zstd, Format::Xz, Format::Bzip2];
    let format = formats[choices.below(formats.len())];
    let room = 1 + choices.below(200);
    let Ok(decoded) = decode(format, BufReader::with_capacity(room, choices.0), 1) else { return };
    let _ = decoded.stream.take(DECODED_BYTES_MAX).read_to_end(&mut Vec::new());
}

/// A tar with every kind of header, without its end.
pub fn sample() -> Vec<u8> {
    let long = format!("val/{}\0", "x".repeat(120));
    let records = b"16 mtime=123456\n17 path=val/p.md\n";
    [
        member("./", b'5', b""),
        member("./train/", b'5', b""),
        member("./train/1.png", b'0', &[7; 700]),
        member("././@LongLink", b'L', long.as_bytes()),
        member("val/xxx", b'0', &[8; 512]),
        member("p", b'x', records),
        member("val/a", b'0', b"123"),
        vec![0; 2 * BLOCK_BYTES],
    ]
    .concat()
}

fn member(name: &str, flag: u8, data: &[u8]) -> Vec<u8> {
    let mut tar = vec![0; BLOCK_BYTES];
    tar[..name.len()].copy_from_slice(name.as_bytes());
    tar[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    tar[156] = flag;
    tar[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut tar);
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
    tar
}

/// A tar's saved state, changed: refused as unusable, or taken up; and then it comes to an end, and what it is
/// taken up from unchanged becomes what it would have become.
pub fn saved_untar(data: &[u8]) {
    let mut choices = Choices(data);
    let tar = sample();
    let folder = tempfile::tempdir().unwrap();
    let spec = UntarSpec {
        staging: Arc::new(Staging::open(&folder.path().join("staging")).unwrap()),
        records: folder.path().join("records"),
        names: Arc::new(Names::new(true)),
        number: 0,
        policy: Policy::default(),
        plain: None,
    };
    let job = Job::default();
    let total = Some(tar.len() as u64);
    let (first, rest) = tar.split_at(choices.below(tar.len() + 1));
    let mut untar = Untar::begin("fuzz", total, &spec).unwrap();
    untar.push(&[Bytes::copy_from_slice(first)], &job).unwrap();
    let honest = serde_json::to_string(&untar.save()).unwrap();
    drop(untar);
    let saved = if choices.byte() & 1 == 0 { honest.clone() } else { overwritten(&honest, &mut choices) };
    let Ok(parsed) = serde_json::from_str(&saved) else { return };
    let mut untar = match Untar::resume("fuzz", total, &spec, parsed, true, &job) {
        Ok(untar) => untar,
        Err(Error::Unusable(_)) if saved != honest => return,
        Err(error) => panic!("{error}: {saved}"),
    };
    let result = untar.push(&[Bytes::copy_from_slice(rest)], &job).and_then(|()| untar.finish());
    match result {
        Ok(()) => {
            let listed = listing::read(&spec.records, u64::MAX).unwrap();
            let wanted = files(&tar, tar.len()).unwrap();
            let names: Vec<&String> =
                listed.iter().filter(|line| line.sha256.is_some()).map(|line| &line.name).collect();
            if saved == honest {
                assert_eq!(names, wanted.iter().map(|(name, _)| name).collect::<Vec<_>>());
            }
            // Whoever changed it: the list tells what is there.
            assert_eq!(listing::count_lost(&listed, &spec.staging, true, 1, &job).unwrap(), 0, "{saved}");
        }
        Err(Error::Member { .. } | Error::Archive { .. }) if saved != honest => {}
        Err(error) => panic!("{error}: {saved}"),
    }
}
