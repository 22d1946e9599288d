use super::*;

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn read(text: &str, reading: &Reading) -> Vec<(String, String)> {
    let sums = Sums::parse(text.as_bytes(), reading);
    (0..sums.len())
        .map(|index| (String::from_utf8_lossy(sums.name(index)).into_owned(), sums.expected(index)))
        .collect()
}

fn manifest() -> Reading {
    Reading { is_manifest: true, ..Reading::default() }
}

#[test]
fn every_form_gives_name_and_digest() {
    let sha256 = format!("sha256:{EMPTY_SHA256}");
    let md5 = format!("md5:{EMPTY_MD5}");
    for (line, name, expected) in [
        (format!("{EMPTY_SHA256}  a b"), "a b", &sha256),
        (format!("{EMPTY_SHA256} *a"), "a", &sha256),
        (format!("{EMPTY_SHA256} a"), "a", &sha256),
        (format!("{EMPTY_SHA256}   a"), " a", &sha256),
        (format!("  {}\ta", EMPTY_SHA256.to_uppercase()), "a", &sha256),
        (format!("SHA256 (a (1)) = {EMPTY_SHA256}"), "a (1)", &sha256),
        (format!("SHA256 (x) = y) = {EMPTY_SHA256}"), "x) = y", &sha256),
        (format!("SHA2-256(a)= {EMPTY_SHA256}"), "a", &sha256),
        (format!("MD5 (a) = {EMPTY_MD5}\r"), "a", &md5),
        (format!("\\{EMPTY_MD5}  a\\\\b\\nc\\rd"), "a\\b\nc\rd", &md5),
        (format!("\\MD5 (a\\nb) = {EMPTY_MD5}"), "a\nb", &md5),
        (format!("\u{feff}{EMPTY_MD5}  a\\nb"), "a\\nb", &md5),
        (format!("# comment\n\n{EMPTY_MD5}  a"), "a", &md5),
        (format!("{EMPTY_MD5}  a\nb\0"), "a\nb", &md5),
        (format!("{EMPTY_MD5}  a\r\0"), "a\r", &md5),
    ] {
        let found = read(&line, &Reading::default());
        assert_eq!(found, [(name.to_owned(), expected.clone())], "{line:?}");
    }
}

#[test]
fn what_is_no_line_is_a_problem_with_its_number() {
    for line in [
        "hello".to_owned(),
        format!("{EMPTY_SHA256}0  a"),
        format!("{}  a", &EMPTY_SHA256[1..]),
        EMPTY_SHA256.to_owned(),
        format!("{EMPTY_SHA256}  "),
        format!("SHA384 (a) = {EMPTY_SHA256}"),
        format!("MD5 (a) = {EMPTY_SHA256}"),
        format!("MD5 () = {EMPTY_MD5}"),
        format!("\\{EMPTY_MD5}  a\\x"),
        "<html>".to_owned(),
        "\u{1f600}".to_owned(),
    ] {
        let sums = Sums::parse(format!("#\n{line}\n").as_bytes(), &Reading::default());
        assert_eq!((sums.len(), sums.problem_count()), (0, 1), "{line:?}");
        assert_eq!(sums.problems()[0].line, 2, "{line:?}");
    }
}

#[test]
fn the_algorithm_is_the_tags_or_what_was_said_or_told_by_the_digits() {
    let text = format!("{EMPTY_SHA256}  a\n{EMPTY_MD5}  b\nSHA256 (c) = {EMPTY_SHA256}\n");
    let algorithms = |is_sure| {
        let reading = Reading { algorithm: Some(Algorithm::Blake3), is_sure, ..Reading::default() };
        let found = read(&text, &reading);
        found.into_iter().map(|(_, digest)| digest.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(algorithms(false), ["blake3", "md5", "sha256"]);
    assert_eq!(algorithms(true), ["blake3", "sha256"]);
}

#[test]
fn a_lone_digest_is_that_of_the_file_that_the_list_is_named_after() {
    let reading = Reading { lone_name: Some(b"model.bin".to_vec()), ..Reading::default() };
    assert_eq!(read(EMPTY_MD5, &reading), [("model.bin".to_owned(), format!("md5:{EMPTY_MD5}"))]);
}

#[test]
fn an_sfv_has_the_digest_last() {
    let reading = Reading { algorithm: Some(Algorithm::Crc32), ..Reading::default() };
    let found = read("; made by hand\na b.bin 0000ABCD\r\n", &reading);
    assert_eq!(found, [("a b.bin".to_owned(), "crc32:0000abcd".to_owned())]);
}

#[test]
fn a_manifest_is_refused_what_could_lead_out_of_the_folder() {
    for path in ["../x", "/etc/passwd", "a/../b", "a//b", ".fdf256/lock", "a\\b", "a/", "", "./a", "a\u{7f}"]
    {
        let text = format!("{EMPTY_SHA256}  {path}\n");
        let sums = Sums::parse(text.as_bytes(), &manifest());
        assert_eq!((sums.len(), sums.problem_count()), (0, 1), "{path:?}");
    }
    for line in [
        format!("{EMPTY_SHA256} *a"),
        format!("{}  a", EMPTY_SHA256.to_uppercase()),
        format!("\\{EMPTY_SHA256}  a"),
        format!("SHA256 (a) = {EMPTY_SHA256}"),
        "#".to_owned(),
        format!("{EMPTY_SHA256}  a\r"),
        format!("{EMPTY_SHA256}  a\0{EMPTY_SHA256}  b"),
    ] {
        let sums = Sums::parse(line.as_bytes(), &manifest());
        assert!(sums.problem_count() > 0, "{line:?}");
    }
    let sums = Sums::parse(format!("{EMPTY_SHA256}  \u{fffd}").as_bytes(), &manifest());
    assert_eq!(sums.len(), 1);
    let mut bytes = EMPTY_SHA256.as_bytes().to_vec();
    bytes.extend(b"  \xff");
    assert_eq!(Sums::parse(&bytes, &manifest()).problem_count(), 1);
}

#[test]
fn a_path_that_is_there_twice_counts_once_and_is_a_problem() {
    let text = format!("{EMPTY_SHA256}  b\n{}  b\n{EMPTY_SHA256}  a\n", "0".repeat(64));
    let sums = Sums::parse(text.as_bytes(), &manifest());
    assert_eq!((sums.len(), sums.problem_count()), (2, 1));
    assert_eq!(sums.expected(sums.find(b"b").unwrap()), format!("sha256:{EMPTY_SHA256}"));
    assert_eq!((sums.name(0), sums.name(1)), (&b"b"[..], &b"a"[..]));
    assert_eq!(Sums::parse(text.as_bytes(), &Reading::default()).len(), 3);
}

#[test]
fn files_can_be_left_out() {
    let text: String =
        (0..100).map(|number| format!("{EMPTY_SHA256}  f/{number}")).collect::<Vec<_>>().join("\n");
    let mut sums = Sums::parse(text.as_bytes(), &manifest());
    assert_eq!(sums.leave_out([&b"f/3"[..], b"f/99", b"f/100"]), 2);
    assert_eq!(sums.len(), 98);
    assert_eq!((sums.find(b"f/3"), sums.find(b"f/4")), (None, Some(3)));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, is_manifest: bool, sfv: bool) {
        let algorithm = sfv.then_some(Algorithm::Crc32);
        let sums = Sums::parse(&bytes, &Reading { is_manifest, algorithm, ..Reading::default() });
        for index in 0..sums.len() {
            proptest::prop_assert!(!sums.name(index).is_empty());
        }
    }

    #[test]
    fn what_looks_like_a_line_is_read_without_a_panic(line in r"[\\]?[0-9a-f]{0,70}[ *()=]{0,4}[a-z/\\.]{0,9}[)]? ?=? ?[0-9a-f]{0,70}") {
        for is_manifest in [true, false] {
            let sums = Sums::parse(line.as_bytes(), &Reading { is_manifest, ..Reading::default() });
            proptest::prop_assert!(sums.len() + sums.problem_count() <= 1);
        }
    }
}
