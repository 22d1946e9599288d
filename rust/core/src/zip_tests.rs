use std::io::{Cursor, Write as _};

use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::*;
use crate::policy::Policy;

/// An archive made by the `zip` crate, the independent writer of these tests.
fn archive(members: &[(&str, &[u8], CompressionMethod)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data, method) in members {
        let options = SimpleFileOptions::default().compression_method(*method);
        if name.ends_with('/') {
            writer.add_directory(*name, options).unwrap();
        } else {
            writer.start_file(*name, options).unwrap();
            writer.write_all(data).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

fn sample() -> Vec<u8> {
    archive(&[
        ("train/", b"", CompressionMethod::Stored),
        ("train/a.png", &[7; 1000], CompressionMethod::Stored),
        ("train/b.json", &[9; 5000], CompressionMethod::Deflated),
        ("empty", b"", CompressionMethod::Stored),
    ])
}

fn parse(bytes: &[u8]) -> Result<Directory> {
    match Directory::parse("test", &Bytes::copy_from_slice(bytes), bytes.len() as u64, &Policy::default())? {
        Parsed::Complete(directory) => Ok(directory),
        Parsed::NeedFrom(offset) => panic!("needs {offset} although it has everything"),
    }
}

fn reason(bytes: &[u8]) -> String {
    parse(bytes).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn every_member_has_name_sizes_and_extent() {
    let bytes = sample();
    let directory = parse(&bytes).unwrap();
    let names: Vec<String> = (0..directory.len()).map(|index| directory.entry(index).name()).collect();
    assert_eq!(names, ["train/", "train/a.png", "train/b.json", "empty"]);
    assert_eq!(directory.unpacked_bytes(), 6000);
    assert_eq!(directory.entry(2).method(), Method::Deflated);
    let mut end = 0;
    for index in 0..directory.len() {
        let (from, to) = directory.extent(index);
        assert_eq!(from, end);
        assert!(directory.local(index, &bytes[usize::try_from(from).unwrap()..]).unwrap().is_some());
        end = to;
    }
    assert_eq!(end, directory.start());
}

#[test]
fn a_short_tail_says_from_where_it_needs_more() {
    // A directory longer than the longest tail that is looked at for end records.
    let names: Vec<String> = (0..800).map(|i| format!("{i}{}", "x".repeat(150))).collect();
    let members: Vec<_> =
        names.iter().map(|name| (name.as_str(), &b"1"[..], CompressionMethod::Stored)).collect();
    let bytes = archive(&members);
    let whole = parse(&bytes).unwrap();
    let need = |length: usize| {
        let tail = Bytes::copy_from_slice(&bytes[bytes.len() - length..]);
        match Directory::parse("test", &tail, bytes.len() as u64, &Policy::default()).unwrap() {
            Parsed::NeedFrom(offset) => offset,
            Parsed::Complete(_) => panic!("{length} bytes cannot hold this directory"),
        }
    };
    let reach = 22 + 65_535;
    assert_eq!(need(30), (bytes.len() - reach) as u64);
    assert_eq!(need(reach), whole.start());
}

#[test]
fn zeros_behind_the_end_are_passed_over_as_far_as_the_comment_could_reach() {
    let bytes = sample();
    for zeros in [1, 2, 5, 10_239, 65_535] {
        let padded = [bytes.clone(), vec![0; zeros]].concat();
        let directory = parse(&padded).unwrap();
        assert_eq!((directory.len(), directory.start()), (4, parse(&bytes).unwrap().start()));
        assert!(reason(&[padded, vec![1]].concat()).contains("end record"), "{zeros}");
    }
    assert!(reason(&[bytes.clone(), vec![0; 65_536]].concat()).contains("no end record"));
    // The comment's own length is meant: what it lacks is not made up for by zeros.
    let mut cut = [bytes.clone(), b"comm".to_vec()].concat();
    let at = bytes.len() - 2;
    cut[at] = 9;
    assert!(reason(&[cut.clone(), vec![0; 4]].concat()).contains("does not end"));
    assert_eq!(parse(&[cut, vec![0; 5]].concat()).unwrap().len(), 4);
}

#[test]
fn an_end_record_in_front_of_a_padded_one_is_looked_for_as_far_as_ever() {
    let front = archive(&[("decoy", &[7; 100], CompressionMethod::Stored)]);
    let (zeros, reach) = (10_000, 22 + 65_535);
    // The decoy's comment reaches to the padding, and its record lies as far in front as it can.
    let comment = [vec![b'x'; 65_535 - sample().len()], sample()].concat();
    let mut bytes = [front, comment, vec![0; zeros]].concat();
    let at = bytes.len() - zeros - 65_535 - 2;
    bytes[at..at + 2].fill(0xff);
    assert!(reason(&bytes).contains("two archives in one"), "{}", reason(&bytes));
    let tail = Bytes::copy_from_slice(&bytes[bytes.len() - reach..]);
    match Directory::parse("test", &tail, bytes.len() as u64, &Policy::default()).unwrap() {
        Parsed::NeedFrom(offset) => assert_eq!(offset, (bytes.len() - zeros - reach) as u64),
        Parsed::Complete(_) => panic!("the other record was not looked for"),
    }
}

#[test]
fn a_directory_that_cannot_be_right_is_refused_before_it_is_asked_for() {
    let huge: u64 = 3 << 30;
    let told = |members: u64, directory_bytes: u64| {
        let mut end64 = b"PK\x06\x06".to_vec();
        end64.extend(44_u64.to_le_bytes());
        end64.extend([0; 12]);
        for value in [members, members, directory_bytes, 0] {
            end64.extend(value.to_le_bytes());
        }
        let locator = [&b"PK\x06\x07\0\0\0\0"[..], &huge.to_le_bytes(), &[1, 0, 0, 0]].concat();
        let end = [&b"PK\x05\x06\0\0\0\0"[..], &[0xff; 12], &[0; 2]].concat();
        let mut tail = vec![b'x'; 70_000];
        tail.extend([end64, locator, end].concat());
        let total = huge + 56 + 20 + 22;
        match Directory::parse("test", &Bytes::from(tail), total, &Policy::default()) {
            Ok(Parsed::NeedFrom(0)) => "is asked for".into(),
            Ok(_) => panic!("it is not there"),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(told(9_000_000, huge), "is asked for");
    assert!(told(11_000_000, huge).contains("--max-members"));
    assert!(told(huge, huge).contains("more members than the directory has room for"));
    assert!(told(1, huge).contains("bytes behind its last record"));
}

#[test]
fn folders_that_are_only_part_of_names_count_as_members() {
    let bytes = archive(&[
        ("a/b/c/1", b"1", CompressionMethod::Stored),
        ("a/b/c/2", b"2", CompressionMethod::Stored),
        ("a/b/", b"", CompressionMethod::Stored),
    ]);
    let within = |members_max| {
        let policy = Policy { members_max, ..Policy::default() };
        Directory::parse("test", &Bytes::copy_from_slice(&bytes), bytes.len() as u64, &policy).map(drop)
    };
    assert!(within(5).is_ok());
    for most in [3, 4] {
        let error = within(most).unwrap_err().to_string();
        assert!(error.contains("more files and folders") && error.contains("--max-members"), "{error}");
    }
}

#[test]
fn names_from_this_folder_lead_where_the_others_do() {
    let mut bytes = archive(&[
        ("x/", b"", CompressionMethod::Stored),
        ("x/a/", b"", CompressionMethod::Stored),
        ("x/a/b", b"1", CompressionMethod::Stored),
    ]);
    let places: Vec<usize> = (0..bytes.len() - 2).filter(|&at| bytes[at..].starts_with(b"x/")).collect();
    for at in places {
        bytes[at] = b'.';
    }
    let directory = parse(&bytes).unwrap();
    let names: Vec<String> = (0..3).map(|index| directory.entry(index).name()).collect();
    assert_eq!(names, ["./", "a/", "a/b"]);
    for index in 0..3 {
        let (start, _) = directory.extent(index);
        assert!(directory.local(index, &bytes[usize::try_from(start).unwrap()..]).unwrap().is_some());
    }
    let other = parse(&archive(&[("a/b", b"1", CompressionMethod::Stored)])).unwrap();
    assert!(check_disjoint(&[&directory, &other]).unwrap_err().to_string().contains("occurs twice"));
}

#[test]
fn members_are_found_by_offset() {
    let directory = parse(&sample()).unwrap();
    for index in 0..directory.len() {
        let (start, end) = directory.extent(index);
        assert_eq!(directory.first_ending_after(start), index);
        assert_eq!(directory.first_ending_after(end - 1), index);
    }
    assert_eq!(directory.first_ending_after(directory.start()), directory.len());
}

#[test]
fn bytes_before_the_zip_shift_every_offset() {
    let mut bytes = b"#!/bin/sh\n".to_vec();
    bytes.extend(sample());
    let directory = parse(&bytes).unwrap();
    assert_eq!(directory.extent(0).0, 10);
}

#[test]
fn truncation_at_every_byte_is_refused() {
    let bytes = sample();
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn hostile_names_are_refused_with_their_reason() {
    for (from, to, expected) in [
        ("train/a.png", "../rain.png", "'..'"),
        ("train/a.png", "/rain/a.png", "absolute"),
        ("train/a.png", "train\\a.png", "backslash"),
        ("train/a.png", "train/b\0png", "control"),
        ("train/b.json", "train/a.png/", "directory"),
    ] {
        let mut bytes = sample();
        let wanted = to.as_bytes();
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from.as_bytes())).collect();
        for at in places {
            bytes[at..at + wanted.len()].copy_from_slice(wanted);
        }
        assert!(reason(&bytes).contains(expected), "{to}: {}", reason(&bytes));
    }
}

#[test]
fn duplicates_encryption_links_and_overlap_are_refused() {
    let twice = {
        let mut bytes =
            archive(&[("aa", b"1", CompressionMethod::Stored), ("ab", b"2", CompressionMethod::Stored)]);
        for at in 0..bytes.len() - 2 {
            if bytes[at..].starts_with(b"ab") {
                bytes[at + 1] = b'a';
            }
        }
        bytes
    };
    assert!(reason(&twice).contains("twice"));

    let bytes = sample();
    let start = usize::try_from(parse(&bytes).unwrap().start()).unwrap();
    let patch = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[start + at] = value;
        bytes
    };
    assert!(reason(&patch(8, 1)).contains("encrypted"));
    assert!(reason(&patch(10, 12)).contains("method 12"));
    assert!(reason(&patch(41, 0o120 << 1)).contains("symbolic link"));
    // The second member said to start where the first one does.
    let second = 46 + "train/".len() + usize::from(bytes[start + 30]);
    assert!(reason(&patch(second + 42, 1)).contains("overlap"));
}

#[test]
fn two_names_that_decode_to_one_are_refused() {
    // "é.txt" in code page 437, padded to the length of its UTF-8 form by a shorter stem.
    let mut bytes = archive(&[
        ("xaé.txt", b"1", CompressionMethod::Stored),
        ("x_____t", b"2", CompressionMethod::Stored),
    ]);
    let cp437 = b"xa\x82.txt";
    for at in 0..bytes.len() - cp437.len() {
        if bytes[at..].starts_with(b"x_____t") {
            bytes[at..at + cp437.len()].copy_from_slice(cp437);
        }
    }
    assert!(reason(&bytes).contains("twice"), "{}", reason(&bytes));
}

#[test]
fn archives_that_get_in_each_others_way_are_refused() {
    let of = |name: &str| parse(&archive(&[(name, b"1", CompressionMethod::Stored)])).unwrap();
    let told = |a: &Directory, b: &Directory| check_disjoint(&[a, b]).map_err(|error| error.to_string());
    assert_eq!(told(&of("a/x"), &of("a/y")), Ok(()));
    assert!(told(&of("a/x"), &of("a/x")).unwrap_err().contains("occurs twice: \"a/x\" of another archive"));
    assert!(told(&of("a"), &of("a/x")).unwrap_err().contains("needs a directory"));
}

#[test]
fn a_local_header_that_contradicts_the_directory_is_refused() {
    let bytes = sample();
    let directory = parse(&bytes).unwrap();
    let at = usize::try_from(directory.extent(1).0).unwrap();
    for (field, expected) in
        [(0, "no local header"), (8, "method"), (14, "CRC-32"), (18, "size"), (30, "name")]
    {
        let mut head = bytes[at..].to_vec();
        head[field] ^= 1;
        let error = directory.local(1, &head).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_damage_to_the_directory_panics(at in 0_usize..600, value: u8) {
        let mut bytes = sample();
        let start = usize::try_from(parse(&bytes).unwrap().start()).unwrap();
        let span = bytes.len() - start;
        bytes[start + at % span] = value;
        let _ = parse(&bytes);
    }
}
