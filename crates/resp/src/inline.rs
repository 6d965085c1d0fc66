//! Inline commands: what a person types into `telnet` or `nc`.
//!
//! Words are separated by spaces. Double quotes take `\n`, `\r`, `\t`, `\b`, `\a`, `\xHH` and a
//! backslash before any other byte; single quotes take `\'` alone. A closing quote must be
//! followed by a space or the end. These are the rules of Redis's `sdssplitargs`.

use bytes::{BufMut, BytesMut};

use crate::{
    error::ProtocolError,
    request::{Arguments, Range},
};

/// Splits a line into words; their text, and where each is in it.
pub(crate) fn split(line: &[u8]) -> Result<(BytesMut, Arguments), ProtocolError> {
    let mut text = BytesMut::with_capacity(line.len());
    let mut words = Arguments::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok((text, words));
        }
        let start = text.len();
        rest = word(rest, &mut text)?;
        words.push(Range::new(start, text.len()));
    }
}

/// Reads one word; what is left.
fn word<'l>(mut rest: &'l [u8], text: &mut BytesMut) -> Result<&'l [u8], ProtocolError> {
    loop {
        rest = match rest {
            [] => return Ok(rest),
            [byte, ..] if byte.is_ascii_whitespace() => {
                return Ok(rest.split_at(1).1);
            }
            [b'"', quoted @ ..] => return closed(double_quoted(quoted, text)?),
            [b'\'', quoted @ ..] => return closed(single_quoted(quoted, text)?),
            [byte, after @ ..] => {
                text.put_u8(*byte);
                after
            }
        };
    }
}

/// What follows a closing quote, which must be a space or nothing.
fn closed(rest: &[u8]) -> Result<&[u8], ProtocolError> {
    match rest.first() {
        Some(byte) if !byte.is_ascii_whitespace() => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(rest),
    }
}

fn double_quoted<'l>(mut rest: &'l [u8], text: &mut BytesMut) -> Result<&'l [u8], ProtocolError> {
    loop {
        let (byte, after) = match rest {
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (nibble(*high) << 4 | nibble(*low), after)
            }
            [b'\\', escaped, after @ ..] => (unescaped(*escaped), after),
            [byte, after @ ..] => (*byte, after),
            [] => return Err(ProtocolError::UnbalancedQuotes),
        };
        text.put_u8(byte);
        rest = after;
    }
}

fn single_quoted<'l>(mut rest: &'l [u8], text: &mut BytesMut) -> Result<&'l [u8], ProtocolError> {
    loop {
        let (byte, after) = match rest {
            [b'\'', after @ ..] => return Ok(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
            [] => return Err(ProtocolError::UnbalancedQuotes),
        };
        text.put_u8(byte);
        rest = after;
    }
}

const fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let (text, words) = split(line.as_bytes())?;
        Ok(words.iter().map(|range| range.of(&text).to_vec()).collect())
    }

    #[test]
    fn quotes_as_redis_does() {
        let cases: [(&str, &[&[u8]]); 9] = [
            ("SET a b", &[b"SET", b"a", b"b"]),
            ("  SET\t a   b  ", &[b"SET", b"a", b"b"]),
            (r#"SET "a b" 'c d'"#, &[b"SET", b"a b", b"c d"]),
            (r#""\x41\n\"\\\q""#, &[b"A\n\"\\q"]),
            (r#"'\x41\'\n'"#, &[br"\x41'\n"]),
            (r#"a"b""#, &[b"ab"]),
            (r#""" ''"#, &[b"", b""]),
            (r#""\xZZ""#, &[b"xZZ"]),
            ("", &[]),
        ];
        for (line, wanted) in cases {
            assert_eq!(words(line).unwrap(), wanted, "{line}");
        }
        for bad in [r#""a"#, "'a", r#""a"b"#, r#"'a'b"#, r#""a\"#] {
            assert_eq!(words(bad), Err(ProtocolError::UnbalancedQuotes), "{bad}");
        }
    }
}
