//! Weighted rendezvous hashing, the same to the last bit on every platform.
//!
//! Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998; weights by
//! the logarithmic method of Schindelhauer and Schomaker, "Weighted Distributed Hash Tables",
//! 2005. Each region draws an exponential variate from the key and its own name, divided by its
//! weight; the smallest wins, with a probability of exactly its share of the weights. A region that
//! goes moves only its own keys, and each of those to its second choice.
//!
//! The logarithm is computed here, with additions, multiplications and one division, which IEEE
//! 754 defines exactly. A platform's own `ln` may differ in the last bit, and two regions that
//! disagree on a key's home would both think that the other has it.

use xxhash_rust::xxh3::xxh3_64;

/// The hash of a key. XXH3 is specified and frozen; it must never change, or every key moves.
pub(crate) fn of_key(name: &[u8]) -> u64 {
    xxh3_64(name)
}

/// What distinguishes a region from the others; from its name alone, so that it does not depend on
/// which other regions there are.
pub(crate) fn of_region(name: &str) -> u64 {
    mix(xxh3_64(name.as_bytes()))
}

/// A bijection that spreads every bit over all others (SplitMix64's finaliser, Stafford's
/// variant 13).
pub(crate) const fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number strictly between 0 and 1 from the upper 52 bits, exactly.
#[expect(clippy::cast_precision_loss, reason = "52 bits and a half fit in the 53 of a double")]
pub(crate) fn unit(bits: u64) -> f64 {
    const STEP: f64 = 1.0 / (1_u64 << 52) as f64;
    ((bits >> 12) as f64 + 0.5) * STEP
}

/// The draw of a region for a key: positive, and the smallest wins. Infinite for weight 0.
pub(crate) fn draw(key: u64, region: u64, weight: f64) -> f64 {
    -ln(unit(mix(key ^ region))) / weight
}

/// The natural logarithm of a positive, normal number; within 1e-14 of the true value.
///
/// `x = m * 2^e` with `m` in `[sqrt(1/2), sqrt(2))`, then `ln m = 2 artanh((m - 1) / (m + 1))`.
fn ln(x: f64) -> f64 {
    const SQRT_2_MANTISSA: u64 = 0x6_a09e_667f_3bcd;
    const MANTISSA: u64 = (1 << 52) - 1;
    const ONE: u64 = 1023 << 52;
    let bits = x.to_bits();
    let mantissa = bits & MANTISSA;
    let halve = u64::from(mantissa >= SQRT_2_MANTISSA);
    let m = f64::from_bits((ONE - (halve << 52)) | mantissa);
    let exponent = i32::try_from(bits >> 52).unwrap_or(0) - 1023 + i32::from(halve == 1);
    let s = (m - 1.0) / (m + 1.0);
    let t = s * s;
    // 1 + t/3 + t^2/5 + ... + t^9/19 by Horner's rule; t < 0.0295.
    let mut series = 1.0 / 19.0;
    for term in [
        1.0 / 17.0,
        1.0 / 15.0,
        1.0 / 13.0,
        1.0 / 11.0,
        1.0 / 9.0,
        1.0 / 7.0,
        1.0 / 5.0,
        1.0 / 3.0,
        1.0,
    ] {
        series = series * t + term;
    }
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_logarithm_is_right(bits: u64) {
            let x = unit(bits);
            prop_assert!(x > 0.0 && x < 1.0);
            prop_assert!((ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1.0), "{x}");
            prop_assert!(ln(x) < 0.0);
        }
    }

    #[test]
    fn the_ends_of_the_range_draw_positive_numbers() {
        for bits in [0, u64::MAX, 1 << 12, u64::MAX << 12] {
            let drawn = -ln(unit(bits));
            assert!(drawn > 0.0 && drawn.is_finite(), "{bits:x}: {drawn}");
        }
    }

    /// These values are part of the contract between versions: if one changes, keys move.
    #[test]
    fn hashes_are_frozen() {
        assert_eq!(of_key(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        let drawn = draw(of_key(b"session:1"), of_region("us-east-1"), 1.0);
        assert_eq!(drawn.to_bits(), 4_597_305_875_976_789_513, "{drawn}");
    }
}
