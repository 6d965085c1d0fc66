//! How long or how large things are: always alike, between two bounds, or about an average.

use std::fmt;

use crate::{
    text::{Mistake, Source, Word},
    traffic,
};

/// How long or how large things are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent<T> {
    /// Always as much.
    Always(T),
    /// Between two bounds, evenly.
    Between(T, T),
    /// As much on average; most are less, few much more (an exponential distribution).
    About(T),
}

impl<T> Extent<T> {
    /// The same in other words.
    pub(crate) fn map<U>(self, to: impl Fn(T) -> U) -> Extent<U> {
        match self {
            Self::Always(it) => Extent::Always(to(it)),
            Self::Between(least, most) => Extent::Between(to(least), to(most)),
            Self::About(mean) => Extent::About(to(mean)),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Extent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(it) => write!(f, "{it}"),
            Self::Between(least, most) => write!(f, "{least} to {most}"),
            Self::About(mean) => write!(f, "{mean} on average"),
        }
    }
}

/// Reads `X`, `X..Y` or `about:X`; `hint` says how that is written.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read<T: PartialOrd>(
    source: Source<'_>,
    hint: &str,
    one: impl Fn(&Word<'_>) -> Result<T, Mistake>,
) -> Result<Extent<T>, Vec<Mistake>> {
    traffic::only(source, hint, |word| {
        if let Some((kind, mean)) = word.split_once(":") {
            return match kind.text {
                "about" => Ok(Extent::About(one(&mean)?)),
                other => Err(kind.mistake(format!("`{other}` is no way to say it; {hint}"))),
            };
        }
        let Some((least, most)) = word.split_once("..") else {
            return Ok(Extent::Always(one(word)?));
        };
        let (low, high) = (one(&least)?, one(&most)?);
        if low > high {
            let message =
                format!("{} is more than {}; write the smaller one first", least.text, most.text);
            return Err(least.mistake(message));
        }
        Ok(Extent::Between(low, high))
    })
}
