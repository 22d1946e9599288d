//! The bodies of the fuzz targets as property tests: random bytes, and damaged archives.

mod bodies;

use bodies::maker;
use proptest::collection::vec;
use proptest::prelude::*;

/// One change to an archive: where, what kind, and a byte.
type Change = (usize, u8, u8);

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for &(at, kind, value) in changes {
        let at = at % bytes.len().max(1);
        match kind % 5 {
            // Nothing to change in an empty member, or where an earlier change took the last byte.
            0 | 1 | 3 if bytes.is_empty() => {}
            0 => bytes[at] = value,
            1 => bytes[at] ^= 1 << (value % 8),
            2 => bytes.insert(at, value),
            3 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec((any::<usize>(), any::<u8>(), any::<u8>()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn member_names(data in vec(any::<u8>(), 0..80)) {
        bodies::member_name(&data);
    }

    #[test]
    fn tar_reader(changes in changes(), piece in any::<[u8; 2]>(), seals in any::<bool>()) {
        let tar = changed(bodies::tar::sample(), &changes);
        bodies::tar::tar_reader(&[&piece[..], &[u8::from(seals)], &tar].concat());
    }

    #[test]
    fn decompressors(data in vec(any::<u8>(), 0..200)) {
        bodies::tar::decompressors(&data);
    }

    #[test]
    fn central_directory(changes in changes()) {
        bodies::central_directory(&changed(maker::sample(), &changes));
    }

    #[test]
    fn whole_archive(seed: u8, changes in changes()) {
        bodies::whole_archive(&[&[seed][..], &changed(maker::sample(), &changes)].concat());
    }

    #[test]
    fn member_data_at_random(data in vec(any::<u8>(), 0..200)) {
        bodies::member_data(&data);
    }

    #[test]
    fn member_data_damaged(method in 0_u8..4, seed: u8, length in 0_usize..5000, changes in changes()) {
        let data = maker::compressed([0, 8, 93, 93][usize::from(method)], &maker::pattern(length));
        bodies::member_data(&[&[0, method, seed % 3, seed][..], &changed(data, &changes)].concat());
    }

    #[test]
    fn metadata_file(changes in changes()) {
        bodies::metadata::metadata_file(&changed(bodies::metadata::SAMPLE.as_bytes().to_vec(), &changes));
    }

    #[test]
    fn stream_resume(data in vec(any::<u8>(), 0..40)) {
        bodies::stream_resume(&data);
    }

    #[test]
    fn saved_state(data in vec(any::<u8>(), 0..40)) {
        bodies::saved_state(&data);
    }

    #[test]
    fn saved_untar(data in vec(any::<u8>(), 0..40)) {
        bodies::tar::saved_untar(&data);
    }
}

/// Every place, not a sample: a flipped bit, a byte more, a byte less, and nothing from there on.
#[test]
fn one_change_at_every_byte() {
    let sample = maker::archive(&[
        maker::Member::new("a/stored", 0, &maker::pattern(5)),
        maker::Member::new("deflated", 8, &maker::pattern(9)).with_descriptor(true, false),
        maker::Member::new("zstd", 93, b"zzzzzzzz"),
    ]);
    for at in 0..sample.len() {
        for kind in 1..5 {
            let damaged = changed(sample.clone(), &[(at, kind, u8::try_from(at % 8).unwrap())]);
            bodies::whole_archive(&[&[0][..], &damaged].concat());
        }
    }
}

/// What `make fuzz` starts from.
#[test]
#[ignore = "writes the fuzz targets' first inputs, which `make fuzz` asks for"]
fn write_seeds() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let write = |target: &str, number: u8, bytes: &[u8]| {
        std::fs::create_dir_all(corpus.join(target)).unwrap();
        std::fs::write(corpus.join(target).join(format!("seed-{number}")), bytes).unwrap();
    };
    write("central_directory", 0, &maker::sample());
    for seed in 0..6 {
        write("whole_archive", seed, &[&[seed][..], &maker::sample()].concat());
        write("stream_resume", seed, &[0, seed, 37, 1, 0, 3, 0, 20, 0, 65]);
        write("saved_untar", seed, &[seed, 99, 1, 0, seed, 0, 48]);
        write("saved_state", seed, &[seed & 1, seed & 2, 1, 5, seed, 1, 0, 2, 0, 9, 0, 48]);
    }
    for (number, method) in (0..).zip([0, 8, 93]) {
        let data = maker::compressed(method, &maker::pattern(700));
        write("member_data", number, &[&[0, number, 0, 1][..], &data].concat());
    }
    write("metadata_file", 0, bodies::metadata::SAMPLE.as_bytes());
    for seals in 0..2 {
        write("tar_reader", seals, &[&[2, 0, seals][..], &bodies::tar::sample()].concat());
    }
    for (number, name) in (0..).zip(["folder/file", "\u{e9}/\u{130}.txt", "COM1", "a\u{202e}b"]) {
        write("member_name", number, &[&[0, 1][..], name.as_bytes()].concat());
    }
}

/// A stored member that is taken up where it stopped, its saved state changed in one place: the SHA-256 state
/// was once among what the journal could make wrong.
#[test]
fn a_changed_saved_state_of_a_stored_member_never_changes_its_sha256() {
    bodies::stream_resume(&[178, 132, 79, 67, 0, 92, 10, 166, 234, 48]);
    for at in 0..=255 {
        for value in [b'0', b'7', b'a'] {
            bodies::stream_resume(&[0, 1, 79, 1, 0, 0, 0, at, 0, value]);
        }
    }
}
