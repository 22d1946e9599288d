//! Heads of HTTP/1 answers on connections that have answered before; the parser is hyper's.

use std::ops::Range;

/// An answer's status line and header fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The body begins behind so many bytes.
    pub length: usize,
    /// `1` of `HTTP/1.1`.
    pub minor_version: u8,
    pub status: u16,
    pub reason: &'a str,
    /// In the order in which they came; values without white space around them.
    pub fields: Vec<(&'a str, &'a [u8])>,
}

/// More than any server sends; each of those costs what parsing it takes.
const FIELDS_MAX: usize = 100;

/// A final answer, not one of those that are only on the way to it (RFC 9110, 15.2).
const FINAL: Range<u16> = 200..600;

/// What `bytes` begin with; None while the end of the head is not there.
///
/// # Errors
/// Where it is no head, or one that is not final.
pub fn parse(bytes: &[u8]) -> Result<Option<Head<'_>>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
    let status = response.code.filter(|code| FINAL.contains(code)).ok_or(httparse::Error::Status)?;
    Ok(Some(Head {
        length,
        minor_version: response.version.unwrap_or(0),
        status,
        reason: response.reason.unwrap_or(""),
        fields: response.headers.iter().map(|field| (field.name, field.value.trim_ascii())).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nETag:  \"a b\" \r\n\r\nabc";

    #[test]
    fn an_answer() {
        let head = parse(ANSWER).unwrap().unwrap();
        assert_eq!((head.minor_version, head.status, head.reason), (1, 206, "Partial Content"));
        assert_eq!(head.fields, [("Content-Length", &b"3"[..]), ("ETag", &b"\"a b\""[..])]);
        assert_eq!(&ANSWER[head.length..], b"abc");
    }

    #[test]
    fn a_part_of_an_answer() {
        for length in 0..ANSWER.len() - 3 {
            assert_eq!(parse(&ANSWER[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn what_is_none() {
        for bytes in [
            &b"<html>"[..],
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 999 Far\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nna me: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nname: \0\r\n\r\n",
        ] {
            assert!(parse(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn too_many_fields() {
        let fields = "a: b\r\n".repeat(FIELDS_MAX);
        assert!(parse(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()).is_ok());
        assert!(parse(format!("HTTP/1.1 200 OK\r\n{fields}a: b\r\n\r\n").as_bytes()).is_err());
    }
}
