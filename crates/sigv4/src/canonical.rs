//! The canonical request: the one text that client and server hash, however the request travelled.

use std::collections::BTreeMap;

use crate::Content;

/// A request, as far as a signature covers it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST` and so on.
    pub method: &'a str,
    /// The path as it was sent, before the `?`.
    pub path: &'a str,
    /// The query as it was sent, after the `?`; empty without one.
    pub query: &'a str,
    /// Names in lower case, with their values, in the order in which they came. Of HTTP/2's `:authority`
    /// the caller makes `host`.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Request<'a> {
    /// The only header of a name; nothing when there are none or several.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.headers.iter().filter(|(known, _)| *known == name);
        let first = values.next().map(|(_, value)| *value);
        first.filter(|_| values.next().is_none())
    }
}

/// How a service wants the path in the canonical request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathStyle {
    /// Without empty and dot segments, and what was sent is encoded once more: every service but S3.
    Normalized,
    /// Each byte as it is meant, encoded once: S3, whose keys may hold `//` and `..`.
    Plain,
}

/// The canonical request. `signed` must be sorted.
pub(crate) fn canonical_request(
    request: &Request<'_>,
    style: PathStyle,
    signed: &[String],
    content: Content,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(request.method.as_bytes());
    text.push(b'\n');
    path(request.path, style, &mut text);
    text.push(b'\n');
    query(request.query, &mut text);
    text.push(b'\n');
    headers(request.headers, signed, &mut text);
    text.push(b'\n');
    text.extend_from_slice(signed.join(";").as_bytes());
    text.push(b'\n');
    text.extend_from_slice(content.text().as_bytes());
    text
}

fn path(sent: &str, style: PathStyle, out: &mut Vec<u8>) {
    match style {
        PathStyle::Plain if sent.is_empty() => out.push(b'/'),
        PathStyle::Plain => encode(&decode(sent), b"/", out),
        PathStyle::Normalized => {
            let segments = segments(sent);
            for segment in &segments {
                out.push(b'/');
                encode(segment.as_bytes(), b"", out);
            }
            if segments.is_empty() || sent.ends_with('/') {
                out.push(b'/');
            }
        }
    }
}

/// The segments that are left when the dots are followed (RFC 3986 section 5.2.4).
fn segments(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    segments
}

fn query(sent: &str, out: &mut Vec<u8>) {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> =
        parameters(sent).map(|(name, value)| (encoded(name), encoded(value))).collect();
    pairs.retain(|(name, _)| name != b"X-Amz-Signature");
    pairs.sort_unstable();
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// The parameters of a query, as they were sent.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pieces = query.split('&').filter(|piece| !piece.is_empty());
    pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

fn encoded(sent: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(sent.len());
    encode(&decode(sent), b"", &mut out);
    out
}

fn headers(all: &[(&str, &[u8])], signed: &[String], out: &mut Vec<u8>) {
    let mut values: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (name, value) in all {
        if let Ok(at) = signed.binary_search_by(|known| known.as_str().cmp(name))
            && let Some(name) = signed.get(at)
        {
            let joined = values.entry(name.as_str());
            let joined = joined.and_modify(|values| values.push(b',')).or_default();
            squeeze(value, joined);
        }
    }
    for name in signed {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(values.get(name.as_str()).map_or(b"", Vec::as_slice));
        out.push(b'\n');
    }
}

/// A header's value without spaces around it, and with single ones in it.
fn squeeze(value: &[u8], out: &mut Vec<u8>) {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986 section 2.3.
fn encode(bytes: &[u8], kept: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// The bytes that a text stands for. A percent sign without two digits stands for itself.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match after {
            [high, low, after @ ..] if first == b'%' => {
                let pair = nibble(*high).zip(nibble(*low));
                if let Some((high, low)) = pair {
                    bytes.push(high << 4 | low);
                    rest = after;
                    continue;
                }
            }
            _ => {}
        }
        bytes.push(first);
        rest = after;
    }
    bytes
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path_of(sent: &str, style: PathStyle) -> String {
        let mut out = Vec::new();
        path(sent, style, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_of_services_are_normalized_and_encoded_again() {
        for (sent, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("/a/../..//b/./", "/b/"),
            ("/a%20b", "/a%2520b"),
            ("/000000000000/jobs.fifo", "/000000000000/jobs.fifo"),
        ] {
            assert_eq!(path_of(sent, PathStyle::Normalized), canonical, "{sent}");
        }
    }

    #[test]
    fn paths_of_s3_stay_as_they_are_meant() {
        for (sent, canonical) in [
            ("", "/"),
            ("/bucket//a/../b", "/bucket//a/../b"),
            ("/bucket/a%20b", "/bucket/a%20b"),
            ("/bucket/a b%2fc", "/bucket/a%20b/c"),
            ("/bucket/100%", "/bucket/100%25"),
        ] {
            assert_eq!(path_of(sent, PathStyle::Plain), canonical, "{sent}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            encode(&bytes, b"", &mut out);
            prop_assert_eq!(decode(std::str::from_utf8(&out).unwrap()), bytes);
        }
    }
}
