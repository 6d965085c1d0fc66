//! The number between a type byte and CRLF.

/// What a line that should hold a number holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// A number, and the length of the line with its CRLF.
    Number(i64, usize),
    /// Not all of it is there yet.
    Incomplete,
    /// Not a number.
    Malformed,
}

/// Reads a number and its CRLF. Strict as Redis's `string2ll`: no plus, no leading zero, no
/// space. Looks at no more than 21 bytes, so that asking again for each byte that comes is cheap.
pub(crate) fn line(bytes: &[u8]) -> Line {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let mut value: i64 = 0;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0' if at == 0 && matches!(digits.get(1), Some(b'0'..=b'9')) => {
                return Line::Malformed;
            }
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                // Counted downwards, because there is one more negative number.
                match value.checked_mul(10).and_then(|value| value.checked_sub(digit)) {
                    Some(next) => value = next,
                    None => return Line::Malformed,
                }
            }
            b'\r' => return end(value, negative, at, digits.get(at + 1)),
            _ => return Line::Malformed,
        }
    }
    Line::Incomplete
}

fn end(value: i64, negative: bool, digits: usize, next: Option<&u8>) -> Line {
    let signed = if negative { Some(value) } else { value.checked_neg() };
    match (next, signed) {
        _ if digits == 0 || (negative && value == 0) => Line::Malformed,
        (None, _) => Line::Incomplete,
        (Some(b'\n'), Some(value)) => Line::Number(value, usize::from(negative) + digits + 2),
        _ => Line::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_strict() {
        for bad in ["\r\n", "-\r\n", "-0\r\n", "01\r\n", "+1\r\n", " 1\r\n", "1 \r\n", "1\rx"] {
            assert_eq!(line(bad.as_bytes()), Line::Malformed, "{bad:?}");
        }
        for bad in ["9223372036854775808\r\n", "-9223372036854775809\r\n"] {
            assert_eq!(line(bad.as_bytes()), Line::Malformed, "{bad:?}");
        }
        for short in ["", "-", "1", "12\r"] {
            assert_eq!(line(short.as_bytes()), Line::Incomplete, "{short:?}");
        }
        assert_eq!(line(b"0\r\nrest"), Line::Number(0, 3));
    }

    proptest! {
        #[test]
        fn reads_every_number(number: i64) {
            let text = format!("{number}\r\n");
            prop_assert_eq!(line(text.as_bytes()), Line::Number(number, text.len()));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            line(&bytes);
        }
    }
}
