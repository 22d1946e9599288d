use super::*;
use crate::policy::Policy;
use crate::zip::Parsed;

/// An archive of one member that is deflated, and its only directory record.
fn archive_of(name: &str, packed: &[u8], unpacked_bytes: u32, crc32: u32) -> Vec<u8> {
    let packed_bytes = u32::try_from(packed.len()).unwrap();
    let name_bytes = u16::try_from(name.len()).unwrap();
    let mut shared = vec![20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0];
    for value in [crc32, packed_bytes, unpacked_bytes] {
        shared.extend(value.to_le_bytes());
    }
    shared.extend(name_bytes.to_le_bytes());
    let mut bytes = [b"PK\x03\x04", &shared[..], &[0; 2], name.as_bytes(), packed].concat();
    let start = u32::try_from(bytes.len()).unwrap();
    bytes.extend([b"PK\x01\x02\x1e\x03", &shared[..], &[0; 16], name.as_bytes()].concat());
    let directory_bytes = u32::try_from(bytes.len()).unwrap() - start;
    bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    bytes.extend([directory_bytes.to_le_bytes(), start.to_le_bytes()].concat());
    bytes.extend([0; 2]);
    bytes
}

fn directory_of(bytes: &[u8]) -> Directory {
    let all = Bytes::copy_from_slice(bytes);
    match Directory::parse("test", &all, bytes.len() as u64, &Policy::default()).unwrap() {
        Parsed::Complete(directory) => directory,
        Parsed::NeedFrom(offset) => panic!("needs {offset} although it has everything"),
    }
}

#[test]
fn what_is_kept_between_members_does_not_grow_with_what_one_is_packed_into() {
    // Ten bytes behind three megabytes of blocks with nothing in them.
    let data = *b"0123456789";
    let empty = [0, 0, 0, 0xff, 0xff].repeat(600_000);
    let packed = [&empty[..], &[1, 10, 0, 0xf5, 0xff], &data].concat();
    let bytes = archive_of("a", &packed, 10, crc32fast::hash(&data));
    let directory = directory_of(&bytes);
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path()).unwrap();
    let extent = Bytes::copy_from_slice(&bytes[..usize::try_from(directory.start()).unwrap()]);
    let chunks = [extent.slice(..100_000), extent.slice(100_000..)];
    let mut scratch = Scratch::default();
    let member = Whole { directory: &directory, index: 0, chunks: &chunks, staging: &staging };
    let sha256 = unpack_member(member, &mut scratch, &Job::default()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), data);
    assert_eq!(sha256, sha256_many(&[&[&data[..]][..]])[0]);
    assert!(scratch.input.capacity() < 1 << 20, "{}", scratch.input.capacity());
}

#[test]
fn a_folder_that_is_marked_as_deflated_needs_no_data() {
    for packed in [&b""[..], b"\x03\0"] {
        let bytes = archive_of("folder/", packed, 0, 0);
        let directory = directory_of(&bytes);
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(folder.path()).unwrap();
        let extent = Bytes::copy_from_slice(&bytes[..usize::try_from(directory.start()).unwrap()]);
        let member = Whole { directory: &directory, index: 0, chunks: &[extent], staging: &staging };
        unpack_member(member, &mut Scratch::default(), &Job::default()).unwrap();
        assert!(folder.path().join("folder").is_dir());
        let unpacker = Unpacker::create(&directory.entry(0), &staging).unwrap();
        if packed.is_empty() {
            unpacker.finish(&directory, &directory.entry(0), &staging).unwrap();
        }
    }
    // A file must have an end of its data.
    let bytes = archive_of("file", b"", 0, 0);
    let directory = directory_of(&bytes);
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::open(folder.path()).unwrap();
    let extent = Bytes::copy_from_slice(&bytes[..usize::try_from(directory.start()).unwrap()]);
    let member = Whole { directory: &directory, index: 0, chunks: &[extent], staging: &staging };
    assert!(unpack_member(member, &mut Scratch::default(), &Job::default()).is_err());
}
