use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn padded(text: &[u8]) -> Vec<u8> {
    [text, &[0; PADDING]].concat()
}

fn check(text: &[u8]) -> Result<(), Fault> {
    let padded = padded(text);
    let mut cursor = Cursor::new(&padded, 0);
    cursor.value()?;
    cursor.space();
    if cursor.at == cursor.end() { Ok(()) } else { cursor.fault("more than one value") }
}

/// `serde_json`, which does not look at UTF-8 in what it ignores.
fn is_valid(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

fn agrees(text: &[u8]) {
    let found = check(text);
    assert_eq!(found.is_ok(), is_valid(text), "{:?}: {found:?}", String::from_utf8_lossy(text));
    if let Err(fault) = found {
        assert!(fault.at <= text.len());
        // What stands before the fault can be made valid by nothing but other bytes from there on.
        if fault.at < text.len() && fault.reason != "a number that begins with zero" {
            let cut = check(&text[..fault.at]);
            assert!(cut.is_ok() || cut.is_err_and(|cut| cut.at <= fault.at));
        }
    }
}

/// Pieces of JSON, so that random rows of them are often nearly valid.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"a\"",
    "\"k\":",
    "{\"k\":",
    " ",
    "\n",
    "0",
    "1",
    "-",
    "-0",
    "12.5",
    "0123",
    "1e5",
    "1E+",
    "1.",
    ".5",
    "12345678901234567890.25",
    "true",
    "false",
    "null",
    "tru",
    "\\",
    "\\u12",
    "\"\\u00e9\"",
    "\"\\ud800\"",
    "\"é\"",
    "\"夏🦊 and more than sixteen bytes\"",
    "\t",
    "\u{1}",
    "[]",
    "{}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn valid_is_what_serde_json_calls_valid(words in vec(proptest::sample::select(WORDS), 0..14)) {
        agrees(words.concat().as_bytes());
    }

    #[test]
    fn strings_of_any_bytes(bytes in vec(any::<u8>(), 0..40), escape: bool) {
        let middle = if escape { &b"\\\\"[..] } else { b"" };
        agrees(&[b"\"", &bytes[..], middle, b"\""].concat());
    }

    #[test]
    fn numbers_of_any_characters(text in "-?[0-9.eE+-]{0,24}") {
        agrees(text.as_bytes());
    }

    #[test]
    fn lists_of_any_characters_across_blocks(numbers in 0..40_usize, rest in "[0-9.,\\[\\] e-]{0,24}", is_nested: bool) {
        let row = if is_nested { "[0.5, -12],".repeat(numbers) } else { "10.25, ".repeat(numbers) };
        agrees(format!("[{row}{rest}]").as_bytes());
        agrees(format!("[{row}{rest}]]").as_bytes());
    }

    #[test]
    fn usual_lists_are_passed_in_blocks(numbers in vec(-1e6..1e6, 1..60), pairs: bool, blank: bool) {
        let json = if pairs {
            serde_json::to_string(&numbers.chunks(2).collect::<Vec<_>>()).unwrap()
        } else {
            serde_json::to_string(&numbers).unwrap()
        };
        let json = if blank { json.replace(',', ", ") } else { json };
        prop_assert_eq!(numbers::length(&padded(json.as_bytes())), Some(json.len()));
    }

    #[test]
    fn any_text_is_read_back(text in any::<String>()) {
        let json = serde_json::to_string(&text).unwrap();
        let padded = padded(json.as_bytes());
        let span = Cursor::new(&padded, 0).string().unwrap();
        assert_eq!(*decode(&padded[span]), *text.as_bytes());
        let escaped = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<Vec<_>>().concat();
        assert_eq!(*decode(escaped.as_bytes()), *text.as_bytes());
    }
}

#[test]
fn every_text_of_six_characters_of_a_small_alphabet() {
    const ALPHABET: &[u8] = b"{}[],:\"1 0.-e";
    for length in 0..=5_u32 {
        for number in 0..ALPHABET.len().pow(length) {
            let text: Vec<u8> = (0..length)
                .map(|place| ALPHABET[number / ALPHABET.len().pow(place) % ALPHABET.len()])
                .collect();
            agrees(&text);
        }
    }
}

#[test]
fn a_text_cut_off_anywhere_has_its_fault_at_its_end() {
    let text = "{\"a\\u00e9\": [1.5e-7, true, null, {\"é夏\": \"x\\n\"}, [[]], {}, -12345678901]}".as_bytes();
    assert_eq!(check(text), Ok(()));
    for end in 0..text.len() {
        assert_eq!(check(&text[..end]).unwrap_err().at, end, "{:?}", &text[..end]);
    }
}

#[test]
fn what_spoils_a_list_is_seen_at_every_place_in_a_block() {
    for place in 1..2 * numbers::BLOCK_BYTES {
        for spoilt in [
            "01", "00", "1.2.3", "1.", ".5", "-", "1-", "--1", "1 2", "1,,2", "1 ,", "[", "[1]2", "1[2]",
            "]", "+1",
        ] {
            agrees(format!("[{}, {spoilt}, 1]", "1".repeat(place)).as_bytes());
            agrees(format!("[[{}, {spoilt}], [1]]", "1".repeat(place)).as_bytes());
            agrees(format!("[0.{}, {spoilt}]", "1".repeat(place)).as_bytes());
            agrees(format!("[{}{spoilt}]", "1".repeat(place)).as_bytes());
        }
        agrees(format!("[1.{}.5]", "1".repeat(place)).as_bytes());
        agrees(format!("[[{}.5], [[1]], 2]", "1".repeat(place)).as_bytes());
    }
}

#[test]
fn what_python_takes_besides_is_valid() {
    for text in ["NaN", "[Infinity, -Infinity]", "\"\\ud800\"", "{\"\\udc00\\ud800\": NaN}"] {
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
    }
    for text in ["-NaN", "+1", "Inf", "nan", "infinity", "-", "\u{a0}1"] {
        assert!(check(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn depth_has_a_limit_and_no_stack() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert_eq!(check(nested(DEPTH_MAX).as_bytes()), Ok(()));
    assert_eq!(check(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err().at, DEPTH_MAX);
    let objects = |depth: usize| ["{\"a\":[".repeat(depth), "]}".repeat(depth)].concat();
    assert_eq!(check(objects(DEPTH_MAX / 2).as_bytes()), Ok(()));
    assert!(check("[{\"a\":".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn halves_of_surrogate_pairs_are_three_bytes_each() {
    assert_eq!(*decode(b"\\ud83e\\udd8a"), *"🦊".as_bytes());
    assert_eq!(*decode(b"\\ud83e!"), *b"\xed\xa0\xbe!");
    assert_eq!(*decode(b"\\udd8a\\ud83e\\ud83e\\udd8a"), *b"\xed\xb6\x8a\xed\xa0\xbe\xf0\x9f\xa6\x8a");
    assert_eq!(*decode(br#"\"\\\/\b\f\n\r\t"#), *b"\"\\/\x08\x0c\n\r\t");
}
