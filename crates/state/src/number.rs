//! Numbers as text, as Redis reads and writes them.

use bytes::Bytes;
use rhumb_types::record::Amount;

use crate::Text;

/// Beyond this, whole floats are printed with an exponent, as Redis does.
const WHOLE_MAX: f64 = 4_611_686_018_427_387_904.0;

/// Reads an integer as Redis does: no blanks, no plus sign, no leading zeros.
#[must_use]
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a float as Redis does: decimal, with or without an exponent, or an infinity; no blanks,
/// nothing that is too large or too small, and never NaN.
#[must_use]
pub fn parse_float(text: &[u8]) -> Option<f64> {
    let number = parse_any_float(text)?;
    // Rust rounds these to infinity and to zero, where C says that they are out of range.
    let is_named = text.iter().any(|byte| byte.eq_ignore_ascii_case(&b'n'));
    let has_digits = || {
        let digits = text.split(|byte| byte.eq_ignore_ascii_case(&b'e')).next();
        digits.is_some_and(|digits| digits.iter().any(|byte| (b'1'..=b'9').contains(byte)))
    };
    let overflows = number.is_infinite() && !is_named;
    let underflows = number == 0.0 && has_digits();
    (!overflows && !underflows).then_some(number)
}

/// The same, but what is too large is infinite and what is too small is zero.
pub(crate) fn parse_any_float(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// An integer as text.
#[must_use]
pub fn int_bytes(number: i64) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(number).as_bytes())
}

/// A value of `INCRBYFLOAT` and its kin: the shortest text that reads back as the same number,
/// without an exponent. A sum of decimal fractions is often off by one in the last place; where
/// the text of 15 digits, which a float surely holds, is that near, it is what was meant.
#[must_use]
pub fn plain_float(number: f64) -> Bytes {
    let rounded: f64 = format!("{number:.14e}").parse().unwrap_or(number);
    let is_near = rounded.is_finite() && rounded.to_bits().abs_diff(number.to_bits()) <= 1;
    let shown = if is_near { rounded } else { number };
    // Negative zero is a sum like any other to a client.
    Bytes::from(if shown == 0.0 { "0".to_owned() } else { shown.to_string() })
}

/// A counter's value: whole while no fraction was ever added.
#[must_use]
pub fn amount_bytes(amount: Amount) -> Bytes {
    if amount.float == 0.0 { int_bytes(amount.int) } else { plain_float(total(amount)) }
}

/// What a string or a hash field holds, as a client reads it.
#[must_use]
pub fn text_bytes(text: Text) -> Bytes {
    match text {
        Text::Bytes(bytes) => bytes,
        Text::Number(amount) => amount_bytes(amount),
    }
}

/// Both parts of an amount together.
#[must_use]
pub const fn total(amount: Amount) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a float counter is a floating-point number")]
    let whole = amount.int as f64;
    whole + amount.float
}

/// A score: whole numbers without a fraction, otherwise the shortest text that reads back as the
/// same number, with an exponent where it is far from 1. `inf` and `-inf` are infinities.
#[must_use]
pub fn score_text(score: f64) -> String {
    if score.is_infinite() || score.is_nan() || (score.trunc() == score && score.abs() <= WHOLE_MAX)
    {
        return if score == 0.0 && score.is_sign_negative() {
            "-0".to_owned()
        } else {
            score.to_string()
        };
    }
    // Rust's exponent form has the shortest digits; Redis lays them out by their place.
    let scientific = format!("{score:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let trailing = exponent - i32::try_from(digits).unwrap_or(i32::MAX) + 1;
    if trailing < 0 && (trailing > -7 || exponent.abs() < 4) {
        return score.to_string();
    }
    if exponent >= 0 { format!("{mantissa}e+{exponent}") } else { scientific }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        assert_eq!(parse_int(b"0"), Some(0));
        assert_eq!(parse_int(b"-12"), Some(-12));
        assert_eq!(parse_int(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_int(b"-9223372036854775808"), Some(i64::MIN));
        for bad in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "x"] {
            assert_eq!(parse_int(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn scores_are_written_as_redis_writes_them() {
        // The right-hand sides are what Redis 7.2 answers to ZSCORE.
        for (score, text) in [
            (3.0, "3"),
            (-3.0, "-3"),
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (10.6, "10.6"),
            (-1.5, "-1.5"),
            (1e17, "100000000000000000"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (1e-7, "1e-7"),
            (0.000_001, "0.000001"),
            (1.5e-10, "1.5e-10"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(score_text(score), text);
        }
    }

    #[test]
    fn sums_are_written_without_an_exponent() {
        assert_eq!(plain_float(5200.0), "5200");
        assert_eq!(plain_float(10.6), "10.6");
        assert_eq!(plain_float(1e20), "100000000000000000000");
        assert_eq!(plain_float(-0.0), "0");
        assert_eq!(plain_float(0.1 + 0.2), "0.3");
        assert_eq!(plain_float(-0.7 - 0.1), "-0.8");
        assert_eq!(plain_float(1.0 / 3.0), "0.3333333333333333");
    }

    #[test]
    fn floats_out_of_range_are_refused() {
        assert_eq!(parse_float(b"-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_float(b"+Infinity"), Some(f64::INFINITY));
        assert_eq!(parse_float(b"0e999"), Some(0.0));
        assert_eq!(parse_float(b"-0.0"), Some(-0.0));
        for bad in ["1e999", "-1e400", "1e-999", "nan", "", " 1", "1 ", "1e", "0x10"] {
            assert_eq!(parse_float(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_score_reads_back(bits: u64) {
            let score = f64::from_bits(bits);
            prop_assume!(!score.is_nan());
            let read = parse_float(score_text(score).as_bytes()).unwrap();
            prop_assert_eq!(read.to_bits(), score.to_bits());
        }

        #[test]
        fn every_sum_reads_back_as_near_as_can_be(bits: u64) {
            let sum = f64::from_bits(bits);
            prop_assume!(sum.is_finite());
            let read = parse_any_float(&plain_float(sum)).unwrap();
            prop_assert!(read == sum || read.to_bits().abs_diff(sum.to_bits()) <= 1);
        }

        #[test]
        fn every_integer_reads_back(number: i64) {
            prop_assert_eq!(parse_int(&int_bytes(number)), Some(number));
        }
    }
}
