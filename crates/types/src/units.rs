//! Units as types, and how people write them.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A share between 0 and 1.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(f64);

/// Why a number or text is not a ratio.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a ratio: use 0 to 1, or 0% to 100%")]
pub struct RatioError(String);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// All.
    pub const ONE: Self = Self(1.0);

    /// A checked ratio.
    ///
    /// # Errors
    /// When the number is not between 0 and 1, or not a number.
    pub fn new(share: f64) -> Result<Self, RatioError> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(RatioError(share.to_string()))
        }
    }

    /// A ratio from any number: clamped, and zero for what is not a number.
    #[must_use]
    pub const fn clamped(share: f64) -> Self {
        if share.is_nan() { Self(0.0) } else { Self(share.clamp(0.0, 1.0)) }
    }

    /// The share as a number from 0 to 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = RatioError;
    fn try_from(share: f64) -> Result<Self, Self::Error> {
        Self::new(share)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.0
    }
}

impl FromStr for Ratio {
    type Err = RatioError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || RatioError(text.to_owned());
        let (digits, divisor) = match text.trim().strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 100.0),
            None => (text.trim(), 1.0),
        };
        let number: f64 = digits.parse().map_err(|_| refused())?;
        Self::new(number / divisor).map_err(|_| refused())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}%", self.0 * 100.0)
    }
}

/// A number of bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: use a whole number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB")]
pub struct ByteSizeError(String);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ByteSizeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ByteSizeError(text.to_owned());
        let trimmed = text.trim();
        let (digits, unit) = SIZE_UNITS
            .iter()
            .find_map(|(name, unit)| Some((trimmed.strip_suffix(name)?, *unit)))
            .unwrap_or((trimmed, 1));
        let number: u64 = digits.trim_end().parse().map_err(|_| refused())?;
        number.checked_mul(unit).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS[..4].iter().rev().find(|(_, unit)| self.0 >= *unit);
        match unit {
            #[expect(clippy::cast_precision_loss, reason = "a display of three digits")]
            Some((name, unit)) => write!(f, "{:.1} {name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Longest duration that a person may write: ten years.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: use a number with its unit, such as 250ms, 5s, 1m30s or 24h")]
pub struct DurationError(String);

/// Reads a duration: whole numbers with `ms`, `s`, `m`, `h` or `d`, such as `250ms` or `1m30s`.
///
/// # Errors
/// When the text has another form, or names more than ten years.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError(text.to_owned());
    let mut rest = text.trim();
    let mut millis = 0_u64;
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let unit = unit.trim();
        let (_, factor) =
            DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
        let number: u64 = number.parse().map_err(|_| refused())?;
        millis = number
            .checked_mul(*factor)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(refused)?;
        rest = next;
    }
    let duration = Duration::from_millis(millis);
    if duration > DURATION_MAX { Err(refused()) } else { Ok(duration) }
}

/// A duration as [`parse_duration`] reads it: whole milliseconds, in the largest unit that is exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spelled(pub Duration);

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let exact = DURATION_UNITS
            .iter()
            .rev()
            .find(|(_, factor)| millis > 0 && millis.is_multiple_of(u128::from(*factor)));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", millis / u128::from(*factor)),
            None => f.write_str("0s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_whole_units() {
        let millis = |text: &str| parse_duration(text).map(|it| it.as_millis()).ok();
        assert_eq!(millis("5s"), Some(5_000));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("24 h"), Some(86_400_000));
        for bad in ["", "5", "s", "-5s", "5 parsecs", "1.5s", "99999999999999999999d", "9000000d"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
        assert_eq!(Spelled(Duration::from_secs(90)).to_string(), "90s");
        assert_eq!(Spelled(Duration::from_secs(7200)).to_string(), "2h");
        assert_eq!(Spelled(Duration::ZERO).to_string(), "0s");
    }

    #[test]
    fn ratio_reads_shares_and_percentages() {
        assert_eq!("80%".parse::<Ratio>().unwrap().get(), 0.8);
        assert_eq!("0.5".parse::<Ratio>().unwrap().get(), 0.5);
        for bad in ["101%", "-1", "NaN", "x", ""] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }

    #[test]
    fn size_reads_decimal_and_binary_units() {
        assert_eq!("2 KiB".parse::<ByteSize>().unwrap(), ByteSize(2048));
        assert_eq!("5MB".parse::<ByteSize>().unwrap(), ByteSize(5_000_000));
        assert_eq!("7".parse::<ByteSize>().unwrap(), ByteSize(7));
        assert!("99999999999 TiB".parse::<ByteSize>().is_err());
        assert_eq!(ByteSize(1536).to_string(), "1.5 KiB");
    }
}
