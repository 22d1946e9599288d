use std::collections::HashMap;
use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

/// Remembers all that it is shown: number, and the two fields as they are written.
#[derive(Debug, Default, PartialEq)]
struct Everything(Vec<Row>);

type Row = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

impl Visitor for Everything {
    const FIELDS: &'static [&'static str] = &["user", "title"];

    fn entry(&mut self, entry: &Entry<'_>) -> std::result::Result<(), Flaw> {
        let raw = |number| entry.field(number).map(|value| value.raw().to_vec());
        self.0.push((entry.key().decode().into_owned(), raw(0), raw(1)));
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}

fn file(text: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

fn read(text: &[u8], workers: usize) -> Result<Scanned<Everything>> {
    scan(file(text).path(), workers, &Job::default(), Everything::default)
}

fn fault(text: &[u8]) -> (u64, String) {
    match read(text, 1) {
        Err(Error::Metadata { offset, reason, .. }) => (offset, reason),
        other => panic!("{other:?}"),
    }
}

fn rows(text: &str) -> Vec<(String, Option<String>, Option<String>)> {
    let text_of = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let found = read(text.as_bytes(), 1).unwrap();
    assert_eq!(found.entries, found.visitor.0.len() as u64);
    let rows = found.visitor.0.into_iter();
    rows.map(|(key, user, title)| (text_of(key), user.map(text_of), title.map(text_of))).collect()
}

fn row(key: &str, user: &str) -> (String, Option<String>, Option<String>) {
    (key.to_owned(), Some(user.to_owned()), None)
}

#[test]
fn entries_come_in_their_order_with_their_last_fields() {
    let text =
        r#" {"7": {"user": 1}, "é": {"x": {"user": 9}, "user": "a", "\u0075ser": "b"} , "3":{"title":[1]}} "#;
    let expected = vec![row("7", "1"), row("é", "\"b\""), ("3".to_owned(), None, Some("[1]".to_owned()))];
    assert_eq!(rows(text), expected);
    assert_eq!(rows("{ }\n"), vec![]);
    assert_eq!(rows("{\"1\": {}}"), vec![("1".to_owned(), None, None)]);
}

#[test]
fn a_name_that_is_too_long_to_be_remembered_is_passed() {
    let long = "x".repeat(200);
    let text = format!(r#"{{"1": {{"user": 1, "{long}": 2}}, "2": {{"user": 3, "title": 4}}, "3": {{}}}}"#);
    let second = ("2".to_owned(), Some("3".to_owned()), Some("4".to_owned()));
    let third = ("3".to_owned(), None, None);
    assert_eq!(rows(&text), vec![row("1", "1"), second, third]);
    // The very first, too.
    let text = format!(r#"{{"1": {{"{long}": 2}}, "2": {{}}, "3": {{"user": 4}}}}"#);
    assert_eq!(rows(&text), vec![("1".to_owned(), None, None), ("2".to_owned(), None, None), row("3", "4")]);
}

#[test]
fn an_entry_that_occurs_twice_stands_first_and_has_its_last_value() {
    let text =
        r#"{"1": {"user": 1}, "2": {"user": 2}, "\u0031": {"user": 3}, "2": {"user": 4}, "1": {"user": 5}}"#;
    assert_eq!(rows(text), vec![row("1", "5"), row("2", "4")]);
    // What is replaced later may be anything.
    assert_eq!(rows(r#"{"x": 5, "1": {"user": 1}, "x": {"user": 2}}"#), vec![row("x", "2"), row("1", "1")]);
}

#[test]
fn what_is_wrong_is_named_with_its_byte() {
    let at = |text: &str| fault(text.as_bytes()).0;
    assert_eq!(at(""), 0);
    assert_eq!(at("\u{feff}{}"), 0);
    assert_eq!(at("[]"), 0);
    assert_eq!(at("{} {}"), 3);
    assert_eq!(at("{\"1\": 5}"), 6);
    assert_eq!(at("{\"1\": {}, }"), 10);
    assert_eq!(at("{1: {}}"), 1);
    assert_eq!(fault(b"{\"1\": {\"a\": \"\xff\"}}"), (13, "bytes that are not UTF-8".to_owned()));
    assert!(fault(b"{\"1\": {").1.contains("the file ends in the middle"));
}

#[test]
fn a_folder_and_a_missing_file_are_storage_errors() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("none")] {
        let found = scan(&path, 2, &Job::default(), Everything::default);
        assert!(matches!(found, Err(Error::Storage { .. })), "{found:?}");
    }
}

#[test]
fn a_cancelled_scan_ends() {
    let job = Job::default();
    job.cancel();
    let file = file(&large(40_000, |number| format!("{{\"user\": {number}}}")));
    for workers in [1, 2] {
        let found = scan(file.path(), workers, &job, Everything::default);
        assert!(matches!(found, Err(Error::Cancelled)), "{found:?}");
    }
}

// ---- several pieces ----------------------------------------------------------------------------------

fn large(entries: usize, value: impl Fn(usize) -> String) -> Vec<u8> {
    let entries: Vec<String> =
        (0..entries).map(|number| format!("\"{number}\": {}", value(number))).collect();
    format!("{{{}}}", entries.join(", ")).into_bytes()
}

/// The rows as `serde_json` sees them, which also keeps the last of duplicates.
fn expected(text: &[u8]) -> HashMap<String, (Option<Json>, Option<Json>)> {
    let read: HashMap<String, Json> = serde_json::from_slice(text).unwrap();
    let field = |value: &Json, name: &str| value.get(name).cloned();
    read.into_iter().map(|(key, value)| (key, (field(&value, "user"), field(&value, "title")))).collect()
}

fn same_with_any_threads(text: &[u8]) {
    let alone = read(text, 1).unwrap();
    let json = |raw: &Option<Vec<u8>>| raw.as_ref().map(|raw| serde_json::from_slice(raw).unwrap());
    let told: HashMap<String, (Option<Json>, Option<Json>)> = alone
        .visitor
        .0
        .iter()
        .map(|(key, user, title)| (String::from_utf8(key.clone()).unwrap(), (json(user), json(title))))
        .collect();
    assert_eq!(told, expected(text));
    assert_eq!(alone.entries as usize, told.len());
    for workers in [2, 3, 8] {
        let shared = read(text, workers).unwrap();
        assert_eq!(shared.visitor, alone.visitor);
        assert_eq!((shared.entries, shared.bytes), (alone.entries, text.len() as u64));
    }
}

#[test]
fn several_threads_find_what_one_does() {
    same_with_any_threads(&large(60_000, |number| {
        format!(
            "{{\"user\": \"{}@N0\", \"title\": \"{}\", \"x\": [{number}.5]}}",
            number % 977,
            "é\\n".repeat(number % 31)
        )
    }));
}

#[test]
fn files_made_to_mislead_only_cost_time() {
    // Every place that looks like a seam is none.
    let inner =
        (0..40).map(|number| format!("\"{number}\": {{\"user\": {{}}}}")).collect::<Vec<_>>().join(", ");
    same_with_any_threads(&large(5_000, |number| format!("{{\"a\": {{{inner}}}, \"user\": {number}}}")));
    // An entry that is larger than several pieces, among small ones.
    same_with_any_threads(&large(30_000, |number| {
        let title = if number == 9_999 { 3_500_000 } else { 100 };
        format!("{{\"title\": \"{}\", \"user\": {number}}}", "} , \\\"1\\\": {".repeat(title / 12))
    }));
    // No seam at all: names that are no numbers.
    let text =
        String::from_utf8(large(40_000, |number| format!("{{\"user\": [{number}, \"{number}\"]}}"))).unwrap();
    same_with_any_threads(text.replace("\": {", "x\": {").as_bytes());
}

#[test]
fn duplicates_in_other_pieces_count_as_well() {
    let mut text =
        large(60_000, |number| format!("{{\"user\": {number}, \"title\": \"{}\"}}", "x".repeat(50)));
    text.pop();
    text.extend_from_slice(b", \"5\": {\"user\": -1}, \"59999\": {\"user\": -2}, \"new\": {}}");
    same_with_any_threads(&text);
    let found = read(&text, 2).unwrap().visitor.0;
    assert_eq!(found[5], (b"5".to_vec(), Some(b"-1".to_vec()), None));
}

#[test]
fn damage_in_a_late_piece_has_its_own_byte() {
    let text = large(80_000, |number| format!("{{\"user\": {number}, \"title\": \"{}\"}}", "x".repeat(50)));
    for at in [2_500_000, 3_000_001, text.len() - 1] {
        let mut damaged = text.clone();
        damaged[at] = 0xff;
        let offset = |workers| match read(&damaged, workers) {
            Err(Error::Metadata { offset, .. }) => offset,
            other => panic!("{other:?}"),
        };
        let alone = offset(1);
        assert!(alone <= at as u64 && at as u64 - alone < 100);
        assert_eq!(offset(2), alone);
        assert_eq!(offset(5), alone);
    }
}

#[test]
fn an_entry_of_more_than_64_mib_is_refused() {
    let text = format!("{{\"1\": {{\"title\": \"{}\"}}}}", "x".repeat(ENTRY_BYTES_MAX + (1 << 20)));
    for workers in [1, 2] {
        match read(text.as_bytes(), workers) {
            Err(Error::Metadata { offset: 1, reason, .. }) => assert!(reason.contains("64 MiB"), "{reason}"),
            other => panic!("{:?}", other.map(|found| found.entries)),
        }
    }
}

#[test]
fn a_reader_gives_the_same_entries_piece_by_piece() {
    let text = large(30_000, |number| format!("{{\"user\": {number}, \"title\": \"{}\"}}", "x".repeat(80)));
    let file = file(&text);
    let job = Job::default();
    let (mut reader, scanned) = Reader::open(file.path(), 2, &job, Everything::default).unwrap();
    let mut sum = Everything::default();
    let mut pieces = 0;
    let mut entries = 0;
    while let Some(count) = reader.next(&job, &mut sum).unwrap() {
        pieces += 1;
        entries += count;
    }
    assert_eq!((&sum, entries), (&scanned.visitor, 30_000));
    assert!(pieces >= 3, "{pieces}");
}

// ---- any text ----------------------------------------------------------------------------------------

const WORDS: &[&str] = &[
    "{",
    "}",
    ",",
    ":",
    " ",
    "\"1\": {",
    "\"1\":",
    "\"2\"",
    "\"user\": ",
    "\"\\u0031\": {}",
    "{}",
    "[{}]",
    "5",
    "\"a\"",
    "\"1\": {\"user\": 3}",
    "\"2\": {\"title\": \"\\ud83e\\udd8a\", \"user\": {\"user\": 1}}",
    "\"x\": {\"user\": [1, 2]}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_is_read_is_what_serde_json_reads(words in vec(proptest::sample::select(WORDS), 0..9), is_closed: bool) {
        let text = format!("{{{}{}", words.concat(), if is_closed { "}" } else { "" });
        // As `json.load` has it: only a key's last value counts, and that must be an object.
        let json: Option<HashMap<String, Json>> =
            serde_json::from_str(&text).ok().filter(|all: &HashMap<String, Json>| all.values().all(Json::is_object));
        match read(text.as_bytes(), 1) {
            Ok(found) => {
                prop_assert!(json.is_some(), "{}", text);
                let json = json.unwrap();
                prop_assert_eq!(found.entries as usize, json.len());
                prop_assert_eq!(expected(text.as_bytes()).len(), json.len());
                same_with_any_threads(text.as_bytes());
            }
            Err(Error::Metadata { offset, .. }) => {
                prop_assert!(json.is_none(), "{}", text);
                prop_assert!(offset as usize <= text.len());
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
