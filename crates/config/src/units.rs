//! Quantities as people write them: `5s`, `80%`, `1000Mbps`, `64MiB`.

use std::{fmt, str::FromStr, time::Duration};

use rhumb_regions::registry::Mbps;
use rhumb_types::{
    ByteSize, Ratio,
    units::{Spelled, parse_duration},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// A duration: whole numbers with `ms`, `s`, `m`, `h` or `d`, such as `250ms` or `1m30s`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Period(pub Duration);

/// A share between 0 and 1, as `80%` or `0.8`.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Share(pub Ratio);

/// A data rate, as `1000Mbps` or `10Gbps`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Rate(pub Mbps);

/// A number of bytes, as `64MiB` or `10GB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Size(pub ByteSize);

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {wanted}")]
pub struct UnitError {
    found: String,
    wanted: &'static str,
}

const PERIOD_WANTED: &str =
    "a duration; write a number with its unit, such as 250ms, 5s, 1m30s or 24h";
const SHARE_WANTED: &str = "a share; write 0% to 100%, or 0 to 1";
const RATE_WANTED: &str =
    "a data rate; write a whole number with its unit, such as 1000Mbps or 10Gbps";
const SIZE_WANTED: &str = "a size; write a whole number with its unit, such as 64MiB or 10GB";

impl Period {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Period {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = |_| UnitError { found: text.to_owned(), wanted: PERIOD_WANTED };
        parse_duration(text).map(Self).map_err(refused)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Spelled(self.0).fmt(f)
    }
}

impl FromStr for Share {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = |_| UnitError { found: text.to_owned(), wanted: SHARE_WANTED };
        text.parse().map(Self).map_err(refused)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0.get() * 100.0)
    }
}

impl FromStr for Rate {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError { found: text.to_owned(), wanted: RATE_WANTED };
        let trimmed = text.trim();
        let (digits, factor) = match (trimmed.strip_suffix("Mbps"), trimmed.strip_suffix("Gbps")) {
            (Some(digits), _) => (digits, 1),
            (_, Some(digits)) => (digits, 1_000),
            _ => return Err(refused()),
        };
        let number: u32 = digits.trim_end().parse().map_err(|_| refused())?;
        number.checked_mul(factor).map(|rate| Self(Mbps(rate))).ok_or_else(refused)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Mbps", self.0.0)
    }
}

impl FromStr for Size {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = |_| UnitError { found: text.to_owned(), wanted: SIZE_WANTED };
        text.parse().map(Self).map_err(refused)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXACT: [(&str, u64); 4] =
            [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let bytes = self.0.0;
        match EXACT.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", bytes / unit),
            None => write!(f, "{bytes}B"),
        }
    }
}

macro_rules! written_as_text {
    ($name:ident, $wanted:expr, $types:tt, $pattern:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($wanted)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $types, "pattern": $pattern })
            }
        }
    };
}

written_as_text!(Period, PERIOD_WANTED, "string", r"^([0-9]+(ms|s|m|h|d))+$");
written_as_text!(Share, SHARE_WANTED, ["string", "number"], r"^[0-9.]+%?$");
written_as_text!(Rate, RATE_WANTED, "string", r"^[0-9]+ ?[MG]bps$");
written_as_text!(Size, SIZE_WANTED, ["string", "integer"], r"^[0-9]+ ?([KMGT]i?)?B?$");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_have_a_unit() {
        assert_eq!("10Gbps".parse::<Rate>().unwrap().0, Mbps(10_000));
        for bad in ["1000", "1000MB", "-1Mbps", "9999999Gbps"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(millis in 0_u64..100_000_000_000, bytes: u64, rate: u32) {
            let period = Period(Duration::from_millis(millis));
            prop_assert_eq!(period.to_string().parse::<Period>(), Ok(period));
            let size = Size(ByteSize(bytes));
            prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
            let rate = Rate(Mbps(rate));
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }

        #[test]
        fn any_text_is_a_quantity_or_an_error(text in ".*") {
            let _ = (text.parse::<Period>(), text.parse::<Share>());
            let _ = (text.parse::<Rate>(), text.parse::<Size>());
        }
    }
}
