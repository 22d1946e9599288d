use std::path::Path;

use super::*;
use crate::listing::read;

fn spec(folder: &Path, plain: Option<&str>) -> UntarSpec {
    UntarSpec {
        staging: Arc::new(Staging::open(&folder.join("staging")).unwrap()),
        records: folder.join("records"),
        names: Arc::new(Names::new(true)),
        number: 0,
        policy: Policy::default(),
        plain: plain.map(Into::into),
    }
}

/// Bytes that depend on their position with a prime period.
fn bytes_of(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

fn header(name: &str, kind: u8, bytes: usize) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{bytes:011o}").as_bytes());
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar\0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn member(out: &mut Vec<u8>, name: &str, kind: u8, data: &[u8]) {
    out.extend(header(name, kind, data.len()));
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// A folder, a PAX name, a GNU name, sizes around a block's.
fn sample() -> Vec<u8> {
    let mut out = Vec::new();
    member(&mut out, "a/", b'5', b"");
    member(&mut out, "pax", b'x', b"19 path=a/long.bin\n");
    member(&mut out, "short", b'0', &bytes_of(513));
    member(&mut out, "././@LongLink", b'L', b"a/longer.bin\0");
    member(&mut out, "short", b'0', &bytes_of(512));
    member(&mut out, "b/empty", b'0', b"");
    out.resize(out.len() + 1024, 0);
    out
}

fn push(untar: &mut Untar, data: &[u8]) {
    untar.push(&[Bytes::copy_from_slice(data)], &Job::default()).unwrap();
}

fn again(saved: &SavedUntar) -> SavedUntar {
    serde_json::from_str(&serde_json::to_string(saved).unwrap()).unwrap()
}

#[test]
fn it_goes_on_at_any_byte_as_if_nothing_had_happened() {
    let tar = sample();
    let total = Some(tar.len() as u64);
    let folder = tempfile::tempdir().unwrap();
    let wanted = {
        let spec = spec(folder.path(), None);
        let mut untar = Untar::begin("t", total, &spec).unwrap();
        push(&mut untar, &tar);
        untar.finish().unwrap();
        read(&spec.records, u64::MAX).unwrap()
    };
    assert_eq!(wanted.len(), 4);
    // Around each block's edge, and here and there in between.
    let cuts = (0..=tar.len()).filter(|cut| (cut + 2) % 512 < 5 || cut % 97 == 0);
    for cut in cuts {
        let folder = tempfile::tempdir().unwrap();
        let saved = {
            let mut untar = Untar::begin("t", total, &spec(folder.path(), None)).unwrap();
            push(&mut untar, &tar[..cut]);
            let saved = untar.save();
            // What came after the state was saved, and before the end of the process.
            push(&mut untar, &tar[cut..(cut + 700).min(tar.len())]);
            saved
        };
        let spec = spec(folder.path(), None);
        let mut untar =
            Untar::resume("t", total, &spec, again(&saved), cut % 2 == 0, &Job::default()).unwrap();
        assert_eq!(untar.position, cut as u64);
        push(&mut untar, &tar[cut..]);
        untar.finish().unwrap();
        assert_eq!(read(&spec.records, u64::MAX).unwrap(), wanted, "cut at {cut}");
        let unpacked = std::fs::read(folder.path().join("staging/a/long.bin")).unwrap();
        assert_eq!(unpacked, bytes_of(513), "cut at {cut}");
    }
}

#[test]
fn a_plain_file_goes_on_as_well() {
    let data = bytes_of(1000);
    for cut in [0, 1, 500, 1000] {
        let folder = tempfile::tempdir().unwrap();
        let saved = {
            let mut untar = Untar::begin("f", Some(1000), &spec(folder.path(), Some("f.json"))).unwrap();
            push(&mut untar, &data[..cut]);
            untar.save()
        };
        let spec = spec(folder.path(), Some("f.json"));
        let mut untar = Untar::resume("f", Some(1000), &spec, again(&saved), true, &Job::default()).unwrap();
        push(&mut untar, &data[cut..]);
        untar.finish().unwrap();
        assert_eq!(std::fs::read(folder.path().join("staging/f.json")).unwrap(), data);
        assert_eq!(untar.files(), 1);
    }
}

#[test]
fn what_is_not_as_it_was_left_is_not_built_upon() {
    let tar = sample();
    let changes: [fn(&Path); 4] = [
        |folder| std::fs::remove_file(folder.join("staging/a/long.bin")).unwrap(),
        |folder| std::fs::write(folder.join("staging/a/long.bin"), [0; 513]).unwrap(),
        |folder| std::fs::write(folder.join("records"), "x").unwrap(),
        |folder| std::fs::write(folder.join("staging/a/longer.bin"), [0; 3]).unwrap(),
    ];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        let saved = {
            let mut untar = Untar::begin("t", None, &spec(folder.path(), None)).unwrap();
            // Into the data of the second file.
            push(&mut untar, &tar[..4608 + 100]);
            untar.save()
        };
        assert!(saved.open.as_ref().is_some_and(|open| open.written == 100), "{saved:?}");
        change(folder.path());
        let spec = spec(folder.path(), None);
        let found = Untar::resume("t", None, &spec, saved, true, &Job::default()).map(|_| ());
        assert!(matches!(found, Err(Error::Unusable(_))), "{found:?}");
    }
}

#[test]
fn a_name_that_another_archive_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = spec(folder.path(), None);
    first.names.claim_file(1, "b/empty").unwrap();
    let mut untar = Untar::begin("t", None, &first).unwrap();
    let found = untar.push(&[sample().into()], &Job::default());
    assert!(matches!(found, Err(Error::Member { .. })), "{found:?}");
}
