use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::digest::{Algorithm, hash_file};
use crate::sums::Reading;

const ALL: [Algorithm; 6] = [
    Algorithm::Md5,
    Algorithm::Sha1,
    Algorithm::Sha256,
    Algorithm::Sha512,
    Algorithm::Blake3,
    Algorithm::Crc32,
];
const WHOLE: Order = Order { workers: 2, is_quick: false, is_closed: true, finds_extra: true };

/// Bytes that depend on their position with a prime period, so that shifts and swaps show.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i + seed) % 251).unwrap()).collect()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A list of what is in `folder` now.
fn list(folder: &Path, names: &[String], algorithm: Algorithm) -> Sums {
    let lines: Vec<String> = names
        .iter()
        .map(|name| {
            let digest =
                hash_file(&folder.join(name), u64::MAX, algorithm, &Job::default()).unwrap().finish();
            format!("{digest}  {name}")
        })
        .collect();
    let reading = Reading { algorithm: Some(algorithm), is_sure: true, ..Reading::default() };
    let sums = Sums::parse(lines.join("\n").as_bytes(), &reading);
    assert_eq!(sums.len(), names.len());
    sums
}

fn run(folder: &Path, sums: Sums, order: &Order) -> Audit {
    let audit = Audit::new(folder, sums);
    audit.run(order, &Job::default()).unwrap();
    audit
}

fn faults(audit: &Audit) -> Vec<(String, Fault)> {
    let name = |index| String::from_utf8_lossy(audit.sums().name(index)).into_owned();
    audit.faults().into_iter().map(|(index, fault)| (name(index), fault)).collect()
}

#[test]
fn every_algorithm_finds_the_one_flipped_bit_in_files_of_every_size() {
    let sizes = [0, 1, 63, 64, 65, 1000, 131_071, 131_072, 131_073, 262_144, 300_001, 1_000_000];
    for algorithm in ALL {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..60).map(|number| format!("f{}/{number}", number % 3)).collect();
        for (number, name) in names.iter().enumerate() {
            write(folder.path(), name, &pattern(sizes[number % sizes.len()], number));
        }
        let sums = || list(folder.path(), &names, algorithm);
        let audit = run(folder.path(), sums(), &WHOLE);
        assert_eq!((faults(&audit), audit.extra()), (vec![], vec![]), "{}", algorithm.name());
        let sums = sums();
        let mut damaged = pattern(sizes[47 % sizes.len()], 47);
        *damaged.last_mut().unwrap() ^= 1;
        write(folder.path(), &names[47], &damaged);
        let found = faults(&run(folder.path(), sums, &WHOLE));
        assert_eq!(found.len(), 1, "{}", algorithm.name());
        assert_eq!(found[0].0, names[47]);
    }
}

#[test]
fn large_files_get_the_digest_that_small_ones_get() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..3).map(|number| format!("large{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        // One of whole parts, one a byte longer, one that ends in the middle of a part.
        write(folder.path(), name, &pattern((32 << 20) + [0, 1, 12_345_678][number], number));
    }
    for algorithm in ALL {
        for count in [1, 3] {
            let sums = list(folder.path(), &names[..count], algorithm);
            let audit = run(folder.path(), sums, &Order { is_closed: false, finds_extra: false, ..WHOLE });
            assert_eq!(faults(&audit), [], "{} of {count}", algorithm.name());
        }
    }
}

#[test]
fn what_is_wrong_is_told_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let names: Vec<String> =
        ["a/good", "a/gone", "a/link", "a/folder", "a/pipe", "b/inside", "c/inside", "a/changed", "file/x"]
            .map(String::from)
            .to_vec();
    for name in &names {
        write(folder.path(), name, b"abc");
    }
    let sums = list(folder.path(), &names, Algorithm::Sha256);
    let changed = hash_file(&at("a/good"), 2, Algorithm::Sha256, &Job::default()).unwrap().finish();
    fs::remove_file(at("a/gone")).unwrap();
    fs::remove_file(at("a/link")).unwrap();
    symlink("good", at("a/link")).unwrap();
    fs::remove_file(at("a/folder")).unwrap();
    fs::create_dir(at("a/folder")).unwrap();
    write(folder.path(), "a/folder/surplus", b"");
    fs::remove_file(at("a/pipe")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("a/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::rename(at("b"), at("elsewhere")).unwrap();
    symlink("elsewhere", at("b")).unwrap();
    fs::remove_dir_all(at("c")).unwrap();
    fs::write(at("a/changed"), b"ab").unwrap();
    fs::remove_dir_all(at("file")).unwrap();
    fs::write(at("file"), b"").unwrap();
    write(folder.path(), ".fdf256/own", b"");
    let audit = run(folder.path(), sums, &WHOLE);
    let expected = [
        ("a/gone", Fault::Missing),
        ("a/link", Fault::Kind("a symbolic link")),
        ("a/folder", Fault::Kind("a folder")),
        ("a/pipe", Fault::Kind("a pipe")),
        ("b/inside", Fault::LinkedFolder),
        ("c/inside", Fault::Missing),
        ("a/changed", Fault::Digest(changed)),
        ("file/x", Fault::Missing),
    ];
    assert_eq!(faults(&audit), expected.map(|(name, fault)| (name.to_owned(), fault)));
    let extra: Vec<String> =
        audit.extra().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(extra, ["a/folder/surplus", "b", "elsewhere/inside", "file"]);
    assert_eq!(audit.counters().files.load(Ordering::Relaxed), names.len() as u64);
}

#[test]
fn a_quick_look_knows_sizes_where_they_were_told() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = ["shorter", "empty", "nothing", "same"].map(String::from).to_vec();
    for name in &names {
        write(folder.path(), name, if name == "nothing" { b"" } else { b"abc" });
    }
    let sums = || list(folder.path(), &names, Algorithm::Sha256);
    let order = Order { is_quick: true, ..WHOLE };
    let audit = run(folder.path(), sums(), &order);
    let sizes = audit.size_lines();
    assert_eq!(sizes, b"3  shorter\n3  empty\n0  nothing\n3  same\n");
    let told = sums();
    fs::write(folder.path().join("shorter"), b"ab").unwrap();
    fs::write(folder.path().join("empty"), b"").unwrap();
    fs::write(folder.path().join("same"), b"xyz").unwrap();
    let without = Audit::new(folder.path(), told);
    without.run(&order, &Job::default()).unwrap();
    assert_eq!(faults(&without), [("empty".to_owned(), Fault::Empty)]);
    let sums = Sums::parse(
        b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  shorter\n",
        &Reading::default(),
    );
    let with = Audit::new(folder.path(), sums);
    assert_eq!(with.take_sizes(&sizes), (1, 3));
    assert_eq!(
        with.take_sizes(b"\n 3  shorter\nx  shorter\n3 shorter\n99999999999999999999  shorter\n\xff"),
        (0, 0)
    );
    with.run(&order, &Job::default()).unwrap();
    assert_eq!(faults(&with), [("shorter".to_owned(), Fault::Size { expected: 3, found: 2 })]);
}

#[test]
fn names_may_lead_out_of_the_folder_only_where_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "outside", b"abc");
    fs::create_dir(folder.path().join("in")).unwrap();
    symlink("../outside", folder.path().join("in/link")).unwrap();
    let names: Vec<String> =
        vec!["../outside".into(), "link".into(), folder.path().join("outside").display().to_string()];
    let sums = || list(&folder.path().join("in"), &names, Algorithm::Blake3);
    let audit =
        run(&folder.path().join("in"), sums(), &Order { is_closed: false, finds_extra: false, ..WHOLE });
    assert_eq!((faults(&audit), audit.extra()), (vec![], vec![]));
}

#[test]
fn a_folder_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::new(&folder.path().join("none"), Sums::default());
    assert!(matches!(audit.run(&WHOLE, &Job::default()), Err(Error::Storage { .. })));
}

#[test]
fn a_cancelled_audit_ends_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let names = vec!["large".to_owned()];
    write(folder.path(), "large", &pattern(33 << 20, 0));
    for algorithm in ALL {
        let sums = list(folder.path(), &names, algorithm);
        for is_quick in [true, false] {
            let job = Job::default();
            job.cancel();
            let audit = Audit::new(folder.path(), list(folder.path(), &names, algorithm));
            let outcome = audit.run(&Order { is_quick, ..WHOLE }, &job);
            assert!(matches!(outcome, Err(Error::Cancelled)));
        }
        assert_eq!(sums.len(), 1);
    }
}

#[test]
fn a_file_or_folder_that_may_not_be_read_keeps_its_errno() {
    let folder = tempfile::tempdir().unwrap();
    let names = vec!["closed/file".to_owned(), "shut".to_owned()];
    for name in &names {
        write(folder.path(), name, b"abc");
    }
    let sums = list(folder.path(), &names, Algorithm::Sha256);
    let mode = |name: &str, bits| {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(bits)).unwrap();
    };
    mode("closed", 0);
    mode("shut", 0);
    let audit = run(folder.path(), sums, &WHOLE);
    mode("closed", 0o700);
    mode("shut", 0o600);
    if rustix::process::geteuid().is_root() {
        // Nobody refuses root anything.
        assert_eq!(faults(&audit), []);
        return;
    }
    let refused = rustix::io::Errno::ACCESS.raw_os_error();
    assert_eq!(
        faults(&audit),
        names.into_iter().map(|name| (name, Fault::Unreadable(refused))).collect::<Vec<_>>()
    );
    assert_eq!(audit.closed(), [(b"closed".to_vec(), refused)]);
}

/// What `sizes::SizeLines` tells of `manifest`, block by block.
fn size_blocks(folder: &Path, manifest: &Path) -> Vec<Vec<u8>> {
    let mut lines = sizes::SizeLines::open(folder, manifest).unwrap();
    std::iter::from_fn(|| Some(lines.next_block(&Job::default()).unwrap()).filter(|block| !block.is_empty()))
        .collect()
}

#[test]
fn sizes_told_line_by_line_are_those_that_an_audit_finds() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let of_nothing = hash_of(b"");
    let mut lines = vec!["no line".to_owned(), String::new(), format!("{of_nothing}  ../outside")];
    for (name, bytes) in [("a/empty", 0), ("a/one", 1), ("b/lost", 7), ("b/other", 300), ("c/emptied", 0)] {
        let contents = pattern(bytes, 3);
        write(root, name, &contents);
        let digest = if name == "c/emptied" { "ab".repeat(32) } else { hash_of(&contents) };
        lines.push(format!("{digest}  {name}"));
    }
    fs::remove_file(root.join("b/lost")).unwrap();
    symlink(root.join("a"), root.join("d")).unwrap();
    symlink(root.join("a/one"), root.join("a/link")).unwrap();
    lines.extend(["d/one", "a/link", "a", "b/other2"].map(|name| format!("{of_nothing}  {name}")));
    // Without a newline at its end.
    let text = lines.join("\n");
    write(root, "b/other2", &pattern(5, 0));
    let manifest = root.join("manifest");
    fs::write(&manifest, &text).unwrap();
    let reading = Reading { is_manifest: true, ..Reading::default() };
    let audit = run(root, Sums::parse(text.as_bytes(), &reading), &Order { is_quick: true, ..WHOLE });
    let told = size_blocks(root, &manifest).concat();
    assert_eq!(String::from_utf8(told).unwrap(), "0  a/empty\n1  a/one\n300  b/other\n5  b/other2\n");
    assert_eq!(size_blocks(root, &manifest).concat(), audit.size_lines());
}

#[test]
fn sizes_come_in_blocks_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "one", b"1");
    let manifest = folder.path().join("manifest");
    let lines = 3 * sizes::BLOCK_BYTES / "1  one\n".len();
    fs::write(&manifest, format!("{}  one\n", hash_of(b"1")).repeat(lines)).unwrap();
    let blocks = size_blocks(folder.path(), &manifest);
    assert_eq!(blocks.concat(), "1  one\n".repeat(lines).as_bytes());
    assert!(blocks.iter().all(|block| block.len() < sizes::BLOCK_BYTES + "1  one\n".len()));
}

#[test]
fn sizes_end_when_they_are_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("manifest");
    fs::write(&manifest, format!("{}  one\n", hash_of(b"1"))).unwrap();
    let job = Job::default();
    job.cancel();
    let told = sizes::SizeLines::open(folder.path(), &manifest).unwrap().next_block(&job);
    assert!(matches!(told, Err(Error::Cancelled)), "{told:?}");
}

#[test]
fn a_file_whose_size_is_told_twice_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "one", b"1");
    write(folder.path(), "two", b"22");
    let audit =
        Audit::new(folder.path(), list(folder.path(), &["one".into(), "two".into()], Algorithm::Sha256));
    assert_eq!(audit.take_sizes(b"1  one\n1  one\n2  two\n"), (2, 3));
}

fn hash_of(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish()
}
