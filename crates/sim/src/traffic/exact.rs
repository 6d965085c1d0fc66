//! Functions that are the same to the last bit on every machine.
//!
//! Those of the standard library come from the platform's mathematics and may differ in the last
//! digit, and one digit can put a request before another. These are made of additions,
//! multiplications and divisions, which IEEE 754 settles.

/// Terms of the series for logarithms; the next would be below one part in 2^57.
const LN_TERMS: u32 = 12;
/// Terms of the series for cosines; the next would be below one part in 2^57.
const COS_TERMS: u32 = 15;
/// Bits of a double's fraction.
const FRACTION_BITS: u32 = 52;
/// What is added to a double's exponent.
const EXPONENT_BIAS: u64 = 1_023;

/// The natural logarithm of a positive, normal number.
#[must_use]
#[expect(clippy::cast_possible_wrap, reason = "an exponent has eleven bits")]
pub fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    let mut exponent = (bits >> FRACTION_BITS) as i64 - EXPONENT_BIAS as i64;
    let mut mantissa = f64::from_bits(fraction | (EXPONENT_BIAS << FRACTION_BITS));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)).
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum) = (s, 0.0);
    for nth in 0..LN_TERMS {
        sum += power / f64::from(2 * nth + 1);
        power *= s * s;
    }
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * sum
}

/// The cosine of an angle in turns.
#[must_use]
pub fn cos_of_turns(turns: f64) -> f64 {
    // From minus half a turn to half a turn.
    let angle = (turns - turns.round()) * std::f64::consts::TAU;
    let (mut term, mut sum) = (1.0, 1.0);
    for nth in 1..=COS_TERMS {
        term *= -(angle * angle) / f64::from((2 * nth - 1) * (2 * nth));
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn logarithms_are_those_of_the_library(x in 1e-16_f64..10.0) {
            prop_assert!((ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1.0));
        }

        #[test]
        fn cosines_are_those_of_the_library(turns in -50.0_f64..50.0) {
            let library = (turns * std::f64::consts::TAU).cos();
            prop_assert!((cos_of_turns(turns) - library).abs() < 1e-12);
        }
    }

    #[test]
    fn what_is_known_exactly_is_exact() {
        assert_eq!(ln(1.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(cos_of_turns(3.0).to_bits(), 1.0_f64.to_bits());
        assert!(ln(f64::from(2).powi(-53)) < -36.7);
    }
}
