//! Member names: from the archive's bytes to a relative path that cannot leave its root.
//!
//! A name that is refused stops the archive; nothing is renamed or skipped in silence.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::CodePointSetData;
use icu_properties::props::{BidiControl, DefaultIgnorableCodePoint, VariationSelector};

/// Longest component that common file systems take, in bytes (ext4, xfs, btrfs, APFS, tmpfs: 255).
const COMPONENT_BYTES: usize = 255;
/// Longest path; Linux's `PATH_MAX` less room for the root in front of it.
const PATH_BYTES: usize = 3 * 1024;
/// Most components; a name of thousands of one-letter folders costs more than any that people make.
const DEPTH: usize = 256;
/// The folder in a target that belongs to this program.
const OWN_FOLDER: &str = ".fdf256";

/// Code page 437, upper half: what a zip name is written in when its UTF-8 flag is not set
/// (APPNOTE.TXT, appendix D).
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// What a zip says about the bytes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Its flag is set.
    Utf8,
    /// It is not, and the member was made on Unix or macOS. Programs there write names as they are on the disk,
    /// and few of them set the flag: Info-ZIP's `zip` does not.
    Unix,
    /// It is not, so it is what MS-DOS had.
    Dos,
}

/// The text of a zip name.
///
/// # Errors
/// The reason, when the bytes are to be UTF-8 and are not.
pub fn decode(raw: &[u8], encoding: Encoding) -> Result<Cow<'_, str>, &'static str> {
    match std::str::from_utf8(raw) {
        Ok(text) if encoding != Encoding::Dos || text.is_ascii() => Ok(Cow::Borrowed(text)),
        Err(_) if encoding == Encoding::Utf8 => Err("its name is marked as UTF-8 and is not"),
        _ => Ok(raw
            .iter()
            .map(|&byte| match byte.checked_sub(128) {
                None => char::from(byte),
                Some(high) => CP437.chars().nth(usize::from(high)).unwrap_or(char::REPLACEMENT_CHARACTER),
            })
            .collect()),
    }
}

/// `./a` is `a`, as for every program that unpacks; `tar -c .` and its like write all names so.
#[must_use]
pub fn without_here(name: &str) -> &str {
    let mut rest = name;
    while let Some(stripped) = rest.strip_prefix("./") {
        rest = stripped;
    }
    rest
}

/// Checks that `name` is a plain relative path; one trailing slash marks a directory and is let through.
/// With `portable`, it must also be one that Windows and macOS can hold, and that shows what it is.
///
/// # Errors
/// The reason.
pub fn check(name: &str, portable: bool) -> Result<(), &'static str> {
    let path = name.strip_suffix('/').unwrap_or(name);
    if path.is_empty() {
        return Err("its name is empty");
    }
    if path.len() > PATH_BYTES {
        return Err("its name is longer than 3072 bytes");
    }
    if path.starts_with('/') {
        return Err("its name is an absolute path");
    }
    if path.contains('\\') {
        return Err("its name contains a backslash");
    }
    if path.chars().any(char::is_control) {
        return Err("its name contains a NUL or control character");
    }
    if path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic() {
        return Err("its name starts with a drive letter");
    }
    if path.split('/').count() > DEPTH {
        return Err("its name is more than 255 folders deep");
    }
    for (depth, component) in path.split('/').enumerate() {
        match component {
            "" => return Err("its name has an empty component"),
            "." | ".." => return Err("its name has a '.' or '..' component"),
            _ if component.len() > COMPONENT_BYTES => {
                return Err("its name has a component longer than 255 bytes");
            }
            _ if depth == 0 && folded(component) == OWN_FOLDER => {
                return Err("its name lies in .fdf256, which belongs to this program");
            }
            _ if portable => check_portable(component)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_portable(component: &str) -> Result<(), &'static str> {
    if is_reserved(component) {
        return Err("its name is reserved on Windows (--any-names lets it through)");
    }
    if component.ends_with(['.', ' ']) {
        return Err("its name has a component that ends in a dot or a space, which Windows drops \
             (--any-names lets it through)");
    }
    if component.contains(['<', '>', ':', '"', '|', '?', '*']) {
        return Err("its name has one of <>:\"|?*, which Windows cannot hold (--any-names lets it through)");
    }
    if !component.is_ascii() && component.chars().any(disguises) {
        return Err("its name has an invisible character, or one that turns the direction of the text, \
             so that it looks like another name (--any-names lets it through)");
    }
    Ok(())
}

/// Device names that Windows resolves in any folder, with any extension.
fn is_reserved(component: &str) -> bool {
    let stem = component.split(['.', ':']).next().unwrap_or(component).trim_end_matches(' ');
    let upper = stem.to_ascii_uppercase();
    let numbered = |prefix| {
        let mut rest = upper.strip_prefix(prefix).unwrap_or_default().chars();
        matches!((rest.next(), rest.next()), (Some('1'..='9' | '¹' | '²' | '³'), None))
    };
    matches!(upper.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
}

/// Characters that nobody sees, or that let a name read otherwise than it is written.  The two joiners and
/// the variation selectors are let through, since Persian, Hindi and emoji need them; `folded` drops them.
fn disguises(character: char) -> bool {
    match character {
        '\u{200c}' | '\u{200d}' => false,
        // Line and paragraph separator.
        '\u{2028}' | '\u{2029}' => true,
        _ if CodePointSetData::new::<VariationSelector>().contains(character) => false,
        _ => {
            CodePointSetData::new::<BidiControl>().contains(character)
                || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
                || matches!(character, '\u{fff9}'..='\u{fffb}')
        }
    }
}

/// What two names have in common that a file system may take for one: one that ignores case, Unicode form,
/// or characters that are not shown.  This is Unicode's canonical caseless match (D145), after dropping
/// what it calls default-ignorable; folding what is folded changes nothing.
#[must_use]
pub fn folded(path: &str) -> Cow<'_, str> {
    if path.is_ascii() {
        return if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            path.to_ascii_lowercase().into()
        } else {
            path.into()
        };
    }
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let shown: String = path.chars().filter(|&character| !ignorable.contains(character)).collect();
    caseless(&shown).into()
}

/// What two texts have in common that differ in upper and lower case, or in how an accent is written: Unicode's
/// canonical caseless match (D145).
#[must_use]
pub fn caseless(text: &str) -> String {
    let canonical = DecomposingNormalizerBorrowed::new_nfd();
    let folded = CaseMapper::new().fold_string(&canonical.normalize(text)).into_owned();
    canonical.normalize(&folded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_names_pass() {
        for name in [
            "a",
            "train/images/1.png",
            "train/images/",
            "naïve/файл.txt",
            "...a",
            "a..b",
            " a",
            "console.txt",
            "com10",
            "com0",
            "COM⁴",
            "می\u{200c}خواهم.txt",
            "\u{1f468}\u{200d}\u{1f469}.png",
            "❤\u{fe0f}",
        ] {
            assert_eq!(check(name, true), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_leave_the_root_or_confuse_a_system_are_refused() {
        for name in [
            "",
            "/",
            "//",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a\\b",
            "C:/x",
            "c:x",
            "a\0b",
            "a\nb",
            "a\u{7f}",
            "a\u{85}b",
            ".fdf256/journal",
            ".FDF256",
            ".fdf\u{200d}256/journal",
            "a//",
        ] {
            assert!(check(name, true).is_err(), "{name:?}");
            assert!(check(name, false).is_err(), "{name:?}");
        }
        for portable in [true, false] {
            assert!(check(&"x".repeat(256), portable).is_err());
            assert!(check(&"x/".repeat(2000), portable).is_err());
            assert!(check(&"x/".repeat(257), portable).is_err());
            assert_eq!(check(&"x/".repeat(256), portable), Ok(()));
        }
    }

    #[test]
    fn names_that_only_some_systems_hold_are_refused_unless_any_will_do() {
        for name in [
            "NUL",
            "aux.txt",
            "a/com1.png",
            "COM¹",
            "lpt³.log",
            "conin$",
            "CONOUT$.txt",
            "con .txt",
            "a.",
            "a/b /c",
            "...",
            "what?",
            "ab:stream",
            "a|b",
            "a\"b",
            "<a>",
            "*",
        ] {
            assert!(check(name, true).unwrap_err().contains("Windows"), "{name:?}");
            assert_eq!(check(name, false), Ok(()), "{name:?}");
        }
        for name in [
            "photo\u{202e}gnp.exe",
            "a\u{200b}b",
            "a\u{feff}",
            "\u{2066}a",
            "a\u{ad}b",
            "a\u{2028}b",
            "\u{3164}",
            "\u{1f3f4}\u{e0067}\u{e007f}",
        ] {
            assert!(check(name, true).unwrap_err().contains("looks like"), "{name:?}");
            assert_eq!(check(name, false), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn names_that_a_file_system_may_take_for_one_fold_to_one() {
        for (one, other) in [
            ("README", "readme"),
            ("Straße", "STRASSE"),
            ("é", "e\u{301}"),
            ("É", "e\u{301}"),
            ("Å", "\u{212b}"),
            ("K", "\u{212a}"),
            ("ΣΑΣ", "σας"),
            ("ﬁle", "FILE"),
            ("\u{1e9e}", "ss"),
            ("a\u{301}\u{323}", "a\u{323}\u{301}"),
            ("a\u{200d}b", "AB"),
            ("\u{3b1}\u{345}\u{301}", "\u{3b1}\u{301}\u{345}"),
            ("\u{fb}/x", "u\u{302}/X"),
            ("가", "\u{1100}\u{1161}"),
        ] {
            assert_eq!(folded(one), folded(other), "{one:?} {other:?}");
        }
        for (one, other) in [("a", "b"), ("é", "e"), ("ı", "i"), ("ａ", "a"), ("а", "a")] {
            assert_ne!(folded(one), folded(other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn every_character_folds_to_what_stays_as_it_is() {
        for character in ('\0'..=char::MAX).filter(|character| !character.is_ascii()) {
            for text in [format!("{character}"), format!("a{character}\u{345}\u{301}b")] {
                let once = folded(&text).into_owned();
                assert_eq!(folded(&once), once, "{text:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn folding_twice_is_folding_once_and_folders_fold_by_themselves(path in r"(\PC|\p{M}|/){0,12}") {
            let once = folded(&path).into_owned();
            assert_eq!(folded(&once), once.as_str());
            for (at, _) in path.match_indices('/') {
                assert!(once.starts_with(&format!("{}/", folded(&path[..at]))), "{path:?}");
            }
        }
    }

    #[test]
    fn names_without_the_utf8_flag_are_code_page_437_or_unix_ones_if_they_can_be() {
        assert_eq!(CP437.chars().count(), 128);
        for encoding in [Encoding::Dos, Encoding::Unix] {
            assert_eq!(decode(b"caf\x82", encoding).unwrap(), "café");
            assert_eq!(decode(b"cafe", encoding).unwrap(), "cafe");
        }
        for encoding in [Encoding::Utf8, Encoding::Unix] {
            assert_eq!(decode("café".as_bytes(), encoding).unwrap(), "café");
        }
        assert_eq!(decode("é".as_bytes(), Encoding::Dos).unwrap(), "├⌐");
        assert!(decode(b"caf\x82", Encoding::Utf8).is_err());
    }

    #[test]
    fn this_folder_in_front_of_a_name_is_nothing() {
        for (name, expected) in
            [("./a", "a"), ("././a/./b", "a/./b"), ("./", ""), (".a", ".a"), ("../a", "../a"), (".//a", "/a")]
        {
            assert_eq!(without_here(name), expected, "{name:?}");
        }
    }
}
