//! Time spans in JSON, as people write them: `30s`, `250ms`, `2h`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::params::duration_millis;

/// A time span.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span(pub(crate) Duration);

/// Units, the largest first, in milliseconds.
const UNITS: [(u64, &str); 5] =
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = millis(self.0);
        let fits = |unit: &&(u64, &str)| millis != 0 && millis.is_multiple_of(unit.0);
        match UNITS.iter().find(fits) {
            Some((unit, name)) => write!(f, "{}{name}", millis / unit),
            None => f.write_str("0s"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let millis = duration_millis(&text).ok_or_else(|| {
            let text = text.escape_default();
            D::Error::custom(format!("`{text}` is not a time such as 30s, 250ms or 2h"))
        })?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// Whole milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_whole_unit_is_taken() {
        for (millis, text) in
            [(0, "0s"), (250, "250ms"), (30_000, "30s"), (90_000, "90s"), (86_400_000, "1d")]
        {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(millis in 0..10_000_000_000_u64) {
            let span = Span(Duration::from_millis(millis));
            let text = serde_json::to_string(&span).unwrap();
            prop_assert_eq!(serde_json::from_str::<Span>(&text).unwrap(), span);
        }
    }
}
