//! Metadata files.

use std::collections::HashMap;
use std::io::Write as _;

use fdf256_core::metadata::{self, Entry, Flaw, Visitor};
use fdf256_core::{Error, Job};
use serde_json::Value;

/// A file that has all of JSON in it.
pub const SAMPLE: &str = r#"{"0": {"user_nsid": "1\u0040N00", "x": [1.5e-7, -0, null, true, {"user_nsid": 2}]},
 "\u0031": {"photo_title": "é\n", "user_nsid": "夏🦊", "user_nsid": "b\"\\"}, "0": {"user_nsid": 5}, "2": {}}"#;

/// Why `serde_json` refuses what Python's `json` takes.
const STRICTER: [&str; 4] = ["surrogate", "hex escape", "number out of range", "recursion limit"];

/// The field that is looked for, as it is written, by the image's number.
#[derive(Debug, Default)]
struct Users(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Visitor for Users {
    const FIELDS: &'static [&'static str] = &["user_nsid"];

    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Flaw> {
        let user = entry.field(0).map(|value| value.raw().to_vec());
        self.0.push((entry.key().decode().into_owned(), user));
        Ok(())
    }

    fn merge(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}

/// What passes is what `serde_json` reads; what does not is named with a byte of the file.
pub fn metadata_file(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(data).unwrap();
    let told = serde_json::from_slice::<HashMap<String, serde_json::Map<String, Value>>>(data);
    match (metadata::scan(file.path(), 1, &Job::default(), Users::default), told) {
        (Ok(found), Ok(told)) => {
            // As many entries, and each number that was told: so none comes twice.
            assert_eq!((found.entries as usize, found.visitor.0.len()), (told.len(), told.len()));
            let users: HashMap<_, _> = found.visitor.0.into_iter().collect();
            for (key, fields) in told {
                let raw = users[key.as_bytes()].as_ref();
                let user = raw.map(|raw| serde_json::from_slice::<Value>(raw).unwrap());
                assert_eq!(user.as_ref(), fields.get("user_nsid"));
            }
        }
        (Ok(_), Err(error)) => {
            let text = String::from_utf8_lossy(data);
            let is_stricter = STRICTER.iter().any(|words| error.to_string().contains(words));
            assert!(is_stricter || text.contains("NaN") || text.contains("Infinity"), "{error}: {text}");
        }
        (Err(Error::Metadata { offset, .. }), Err(_)) => assert!(offset <= data.len() as u64),
        (Err(error), told) => panic!("{error}, and serde_json says {told:?}"),
    }
}
