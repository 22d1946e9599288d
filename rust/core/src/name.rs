//! Member names: from the archive's bytes to a relative path that cannot leave its root.
//!
//! A name that is refused stops the archive; nothing is renamed or skipped in silence.

use std::borrow::Cow;

/// Longest component that common file systems take, in bytes (ext4, xfs, btrfs, APFS, tmpfs: 255).
const COMPONENT_BYTES: usize = 255;
/// Longest path; Linux's `PATH_MAX` less room for the root in front of it.
const PATH_BYTES: usize = 3 * 1024;
/// The folder in a target that belongs to this program.
const OWN_FOLDER: &str = ".fdf256";

/// Code page 437, upper half: what a zip name is written in when its UTF-8 flag is not set
/// (APPNOTE.TXT, appendix D).
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// The text of a zip name.
///
/// # Errors
/// The reason, when `utf8` is set and the bytes are not UTF-8.
pub fn decode(raw: &[u8], utf8: bool) -> Result<Cow<'_, str>, &'static str> {
    match std::str::from_utf8(raw) {
        Ok(text) if utf8 || text.is_ascii() => Ok(Cow::Borrowed(text)),
        Err(_) if utf8 => Err("its name is marked as UTF-8 and is not"),
        _ => Ok(raw
            .iter()
            .map(|&byte| match byte.checked_sub(128) {
                None => char::from(byte),
                Some(high) => CP437.chars().nth(usize::from(high)).unwrap_or(char::REPLACEMENT_CHARACTER),
            })
            .collect()),
    }
}

/// Checks that `name` is a plain relative path; one trailing slash marks a directory and is let through.
///
/// # Errors
/// The reason.
pub fn check(name: &str) -> Result<(), &'static str> {
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
    for (depth, component) in path.split('/').enumerate() {
        match component {
            "" => return Err("its name has an empty component"),
            "." | ".." => return Err("its name has a '.' or '..' component"),
            _ if component.len() > COMPONENT_BYTES => {
                return Err("its name has a component longer than 255 bytes");
            }
            _ if depth == 0 && component.eq_ignore_ascii_case(OWN_FOLDER) => {
                return Err("its name lies in .fdf256, which belongs to this program");
            }
            _ if is_reserved(component) => return Err("its name is reserved on Windows"),
            _ => {}
        }
    }
    Ok(())
}

/// Device names that Windows resolves in any folder, with any extension.
fn is_reserved(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or(component).trim_end();
    let upper = stem.to_ascii_uppercase();
    matches!(upper.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (upper.len() == 4
            && (upper.starts_with("COM") || upper.starts_with("LPT"))
            && upper.as_bytes()[3].is_ascii_digit()
            && upper.as_bytes()[3] != b'0')
}

/// What two names have in common that a file system may take for one: one that ignores case, or Unicode form.
#[must_use]
pub fn folded(path: &str) -> Cow<'_, str> {
    if path.is_ascii() && !path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Borrowed(path);
    }
    path.to_lowercase().into()
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
            "...",
            "a..b",
            "console.txt",
            "com10",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
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
            "NUL",
            "aux.txt",
            "a/com1.png",
            ".fdf256/journal",
            ".FDF256",
            "a//",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&"x".repeat(256)).is_err());
        assert!(check(&"x/".repeat(2000)).is_err());
    }

    #[test]
    fn names_without_the_utf8_flag_are_code_page_437() {
        assert_eq!(CP437.chars().count(), 128);
        assert_eq!(decode(b"caf\x82", false).unwrap(), "café");
        assert_eq!(decode("café".as_bytes(), true).unwrap(), "café");
        assert!(decode(b"caf\x82", true).is_err());
    }
}
