//! Doubles as Redis writes and reads them.

/// Doubles below this are exact as whole numbers and are written so.
const WHOLE_BELOW: f64 = 4_503_599_627_370_496.0;

/// Room for the text of a double.
pub(crate) struct Text {
    whole: itoa::Buffer,
    short: ryu::Buffer,
}

impl Text {
    pub(crate) fn new() -> Self {
        Self { whole: itoa::Buffer::new(), short: ryu::Buffer::new() }
    }

    /// The shortest text that reads back as the same double: `3`, `0.1`, `1e20`, `inf`, `nan`.
    pub(crate) fn of(&mut self, double: f64) -> &str {
        if double.is_nan() {
            "nan"
        } else if double == f64::INFINITY {
            "inf"
        } else if double == f64::NEG_INFINITY {
            "-inf"
        } else if double == 0.0 && double.is_sign_negative() {
            "-0"
        } else if double.fract() == 0.0 && double.abs() < WHOLE_BELOW {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^52")]
            self.whole.format(double as i64)
        } else {
            let text = self.short.format_finite(double);
            text.strip_suffix(".0").unwrap_or(text)
        }
    }
}

/// Reads a double; only what RESP3 allows.
pub(crate) fn parse(text: &[u8]) -> Option<f64> {
    match text {
        b"inf" | b"+inf" => Some(f64::INFINITY),
        b"-inf" => Some(f64::NEG_INFINITY),
        b"nan" | b"-nan" => Some(f64::NAN),
        _ => {
            // Rust would also read `infinity` and `NaN`.
            let plain = text.iter().all(|b| b.is_ascii_digit() || b"+-.eE".contains(b));
            plain.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_as_redis_does() {
        let cases = [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e20, "1e20"),
            (4_503_599_627_370_498.0, "4503599627370498"),
            (f64::INFINITY, "inf"),
        ];
        for (double, wanted) in cases {
            assert_eq!(Text::new().of(double), wanted);
        }
        for bad in ["infinity", "NaN", "", "1x", "0x1"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(bits: u64) {
            let double = f64::from_bits(bits);
            let back = parse(Text::new().of(double).as_bytes()).unwrap();
            prop_assert!(back.to_bits() == bits || (back.is_nan() && double.is_nan()));
        }
    }
}
