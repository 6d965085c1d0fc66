//! The bounds of sorted-set ranges: how they are written, and what lies within.

use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::number::parse_any_float;

/// An end of a lexicographic range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LexBound {
    /// `-`: before every member.
    Lowest,
    /// `+`: after every member.
    Highest,
    /// `[m`: at a member, which belongs to the range.
    Included(Bytes),
    /// `(m`: at a member, which does not.
    Excluded(Bytes),
}

/// Reads a score bound: `1.5`, `(1.5` for excluded, `-inf`, `+inf`. As in Redis it is read more
/// leniently than a score: nothing is zero, blanks may stand before it, and what is too large is
/// infinite.
#[must_use]
pub fn parse_score_bound(text: &[u8]) -> Option<Bound<f64>> {
    let number = |text: &[u8]| match text.trim_ascii_start() {
        [] if text.is_empty() => Some(0.0),
        text => parse_any_float(text),
    };
    match text.strip_prefix(b"(") {
        Some(text) => number(text).map(Bound::Excluded),
        None => number(text).map(Bound::Included),
    }
}

/// Reads a lexicographic bound: `-`, `+`, `[m` for included, `(m` for excluded.
#[must_use]
pub fn parse_lex_bound(text: &[u8]) -> Option<LexBound> {
    Some(match text {
        b"-" => LexBound::Lowest,
        b"+" => LexBound::Highest,
        [b'[', member @ ..] => LexBound::Included(Bytes::copy_from_slice(member)),
        [b'(', member @ ..] => LexBound::Excluded(Bytes::copy_from_slice(member)),
        _ => return None,
    })
}

/// A range of scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Scores {
    pub(crate) min: Bound<f64>,
    pub(crate) max: Bound<f64>,
}

impl Scores {
    /// Every score.
    pub(crate) const ALL: Self = Self { min: Bound::Unbounded, max: Bound::Unbounded };

    /// The lowest and the highest score to read, both included.
    pub(crate) const fn ends(&self) -> (f64, f64) {
        let min = match self.min {
            Bound::Included(score) | Bound::Excluded(score) => score,
            Bound::Unbounded => f64::NEG_INFINITY,
        };
        let max = match self.max {
            Bound::Included(score) | Bound::Excluded(score) => score,
            Bound::Unbounded => f64::INFINITY,
        };
        (min, max)
    }

    pub(crate) fn contains(&self, score: f64) -> bool {
        let above = match self.min {
            Bound::Included(min) => score >= min,
            Bound::Excluded(min) => score > min,
            Bound::Unbounded => true,
        };
        let below = match self.max {
            Bound::Included(max) => score <= max,
            Bound::Excluded(max) => score < max,
            Bound::Unbounded => true,
        };
        above && below
    }
}

/// Whether a member lies between two lexicographic bounds.
pub(crate) fn lex_contains(min: &LexBound, max: &LexBound, member: &Bytes) -> bool {
    let above = match min {
        LexBound::Lowest => true,
        LexBound::Highest => false,
        LexBound::Included(min) => member >= min,
        LexBound::Excluded(min) => member > min,
    };
    let below = match max {
        LexBound::Lowest => false,
        LexBound::Highest => true,
        LexBound::Included(max) => member <= max,
        LexBound::Excluded(max) => member < max,
    };
    above && below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_bounds_are_read_as_redis_reads_them() {
        assert_eq!(parse_score_bound(b"1.5"), Some(Bound::Included(1.5)));
        assert_eq!(parse_score_bound(b"(1.5"), Some(Bound::Excluded(1.5)));
        assert_eq!(parse_score_bound(b"-inf"), Some(Bound::Included(f64::NEG_INFINITY)));
        assert_eq!(parse_score_bound(b"(+inf"), Some(Bound::Excluded(f64::INFINITY)));
        assert_eq!(parse_score_bound(b"("), Some(Bound::Excluded(0.0)));
        assert_eq!(parse_score_bound(b""), Some(Bound::Included(0.0)));
        assert_eq!(parse_score_bound(b" 1"), Some(Bound::Included(1.0)));
        assert_eq!(parse_score_bound(b"1e999"), Some(Bound::Included(f64::INFINITY)));
        for bad in ["nan", "x", "1 ", " "] {
            assert_eq!(parse_score_bound(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn lexicographic_bounds_need_a_bracket() {
        assert_eq!(parse_lex_bound(b"[a"), Some(LexBound::Included(Bytes::from_static(b"a"))));
        assert_eq!(parse_lex_bound(b"("), Some(LexBound::Excluded(Bytes::new())));
        assert_eq!(parse_lex_bound(b"a"), None);
        let inside = |min, max| lex_contains(&min, &max, &Bytes::from_static(b"m"));
        assert!(inside(LexBound::Lowest, LexBound::Highest));
        assert!(!inside(LexBound::Highest, LexBound::Highest));
        assert!(!inside(LexBound::Lowest, LexBound::Excluded(Bytes::from_static(b"m"))));
    }
}
