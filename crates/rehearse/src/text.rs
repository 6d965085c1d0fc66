//! Texts that people write, and where they are wrong.
//!
//! Every reader of this crate finds all mistakes of its text before anything is run. A mistake
//! knows its line and column, and says what is wrong and what to write instead.

use std::{fmt, time::Duration};

use rhumb_types::{ByteSize, Ratio, RegionId, spelling::closest, units::parse_duration};

/// Largest text that is read, in bytes: a measured day in seconds is about one megabyte.
const BYTES_MAX: usize = 4 << 20;
/// Most mistakes that one reading tells.
const MISTAKES_MAX: usize = 100;

/// A text, and the name under which its mistakes are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source<'a> {
    /// A file, or an option of the command line.
    pub name: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// One thing that is wrong in a text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// A place in a text. Lines and columns count from 1; columns are characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The name of the text.
    pub source: String,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// Part of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    source: &'a str,
    line: usize,
    column: usize,
}

impl<'a> Word<'a> {
    pub(crate) fn place(&self) -> Place {
        Place { source: self.source.to_owned(), line: self.line, column: self.column }
    }

    pub(crate) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { place: self.place(), message: message.into() }
    }

    /// The part of this word between two bytes, without the blanks around it.
    pub(crate) fn part(&self, from: usize, to: usize) -> Self {
        let part = self.text.get(from..to).unwrap_or_default();
        let trimmed = part.trim_start();
        let start = from + part.len() - trimmed.len();
        let before = self.text.get(..start).unwrap_or_default();
        Self { text: trimmed.trim_end(), column: self.column + before.chars().count(), ..*self }
    }

    /// The parts between separators, without the blanks around them.
    pub(crate) fn split(&self, separator: char) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut from = 0;
        for (at, _) in self.text.match_indices(separator) {
            parts.push(self.part(from, at));
            from = at + separator.len_utf8();
        }
        parts.push(self.part(from, self.text.len()));
        parts
    }

    /// The parts before and after the first of these texts.
    pub(crate) fn split_once(&self, separator: &str) -> Option<(Self, Self)> {
        let at = self.text.find(separator)?;
        Some((self.part(0, at), self.part(at + separator.len(), self.text.len())))
    }

    /// The words of a line.
    fn words(&self) -> Vec<Self> {
        let mut words = Vec::new();
        let mut rest = 0;
        for word in self.text.split_whitespace() {
            let Some(at) = self.text.get(rest..).and_then(|after| after.find(word)) else { break };
            let from = rest + at;
            rest = from + word.len();
            words.push(self.part(from, rest));
        }
        words
    }
}

/// The lines of a text, without comments and blanks around them; empty ones are left out.
pub(crate) fn lines<'a>(source: Source<'a>, mistakes: &mut Mistakes) -> Vec<Word<'a>> {
    let whole = |text| Word { text, source: source.name, line: 1, column: 1 };
    if source.text.len() > BYTES_MAX {
        let long = source.text.len();
        let message = format!("this has {long} bytes; at most {BYTES_MAX} are read");
        mistakes.add(whole("").mistake(message));
        return Vec::new();
    }
    let numbered = source.text.lines().enumerate();
    let line = |(nth, text): (usize, &'a str)| {
        let said = text.split('#').next().unwrap_or_default();
        Word { line: nth + 1, ..whole(said) }.part(0, said.len())
    };
    numbered.map(line).filter(|line| !line.text.is_empty()).collect()
}

/// The words of a line, one after the other.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    words: std::vec::IntoIter<Word<'a>>,
    end: Word<'a>,
}

impl<'a> Words<'a> {
    pub(crate) fn of(line: &Word<'a>) -> Self {
        let end = Word { text: "", column: line.column + line.text.chars().count(), ..*line };
        Self { words: line.words().into_iter(), end }
    }

    /// The next word.
    pub(crate) fn next(&mut self, wanted: &str) -> Result<Word<'a>, Mistake> {
        self.words.next().ok_or_else(|| self.end.mistake(format!("the line ends here; {wanted}")))
    }

    /// The next word, if there is one.
    pub(crate) fn rest(&mut self) -> Option<Word<'a>> {
        self.words.next()
    }
}

/// The mistakes of a text, as they are found.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(crate) fn add(&mut self, mistake: Mistake) {
        if self.0.len() < MISTAKES_MAX {
            self.0.push(mistake);
        }
    }

    /// Whether nothing is wrong so far.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was read, or what was wrong.
    pub(crate) fn keep<T>(&mut self, read: Result<T, Mistake>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(mistake) => {
                self.add(mistake);
                None
            }
        }
    }

    /// Nothing wrong, or all that is, in the order of the text.
    pub(crate) fn done<T>(mut self, read: T) -> Result<T, Vec<Mistake>> {
        self.0.sort();
        if self.0.is_empty() { Ok(read) } else { Err(self.0) }
    }
}

/// A duration with its unit.
pub(crate) fn duration(word: &Word<'_>) -> Result<Duration, Mistake> {
    parse_duration(word.text).map_err(|error| {
        let text = word.text;
        if let Some(positive) = text.strip_prefix('-').filter(|it| parse_duration(it).is_ok()) {
            return word.mistake(format!("`{text}` is negative; write {positive} or more than 0s"));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return word.mistake(format!("`{text}` has no unit; write {text}s or {text}ms"));
        }
        word.mistake(error.to_string())
    })
}

/// A number of bytes with its unit.
pub(crate) fn size(word: &Word<'_>) -> Result<ByteSize, Mistake> {
    let text = word.text;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(word.mistake(format!("`{text}` has no unit; write {text}B or {text}MiB")));
    }
    text.parse().map_err(|_| {
        let hint = "write a whole number with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB";
        word.mistake(format!("`{text}` is not a size; {hint}"))
    })
}

/// A share, with its percent sign or as a fraction.
pub(crate) fn share(word: &Word<'_>) -> Result<Ratio, Mistake> {
    word.text.parse().map_err(|_| {
        let text = word.text;
        let percent = text.parse::<f64>().is_ok_and(|number| (0.0..=100.0).contains(&number));
        let hint = if percent { format!("{text}%") } else { "0% to 100%".to_owned() };
        word.mistake(format!("`{text}` is not a share; write {hint}"))
    })
}

/// A share with its percent sign, because a bare number could mean either.
pub(crate) fn percent(word: &Word<'_>) -> Result<Ratio, Mistake> {
    let share = share(word)?;
    if word.text.ends_with('%') {
        return Ok(share);
    }
    Err(word.mistake(format!("`{}` has no unit; write {}", word.text, Percent(share))))
}

/// A share as it is written, with no more digits than it has.
#[derive(Clone, Copy, Debug)]
pub struct Percent(pub Ratio);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A binary fraction times 100 may have a last digit that nobody wrote.
        const DIGITS: f64 = 1e9;
        write!(f, "{}%", (self.0.get() * 100.0 * DIGITS).round() / DIGITS)
    }
}

/// A number of bytes as it is written, in the largest unit of which it is a whole number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes(pub(crate) ByteSize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 6] = [
            ("GiB", 1 << 30),
            ("GB", 1_000_000_000),
            ("MiB", 1 << 20),
            ("MB", 1_000_000),
            ("KiB", 1 << 10),
            ("KB", 1_000),
        ];
        let bytes = self.0.0;
        let whole = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().find(whole).unwrap_or(&("B", 1));
        write!(f, "{}{name}", bytes / unit)
    }
}

/// One of the regions.
pub(crate) fn region(word: &Word<'_>, known: &[RegionId]) -> Result<RegionId, Mistake> {
    if let Some(region) = known.iter().find(|region| region.as_str() == word.text) {
        return Ok(region.clone());
    }
    let names: Vec<&str> = known.iter().map(RegionId::as_str).collect();
    let text = word.text;
    Err(word
        .mistake(format!("`{text}` is not a region of the configuration; {}", hint(text, &names))))
}

/// What to write instead of a word.
pub(crate) fn hint(written: &str, words: &[&str]) -> String {
    match closest(written, words) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use one of: {}", words.join(", ")),
    }
}

/// A number above zero, and below what any cluster could want.
pub(crate) fn positive(word: &Word<'_>, most: f64, what: &str) -> Result<f64, Mistake> {
    let number = word.text.parse::<f64>().ok().filter(|number| number.is_finite());
    match number {
        Some(number) if number > 0.0 && number <= most => Ok(number),
        _ => Err(word.mistake(format!(
            "`{}` is not {what}; write a number above 0 and at most {most}",
            word.text
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_their_columns_in_characters() {
        let source = Source { name: "s", text: "# first\n\n  éé at  10m # then\n" };
        let found = lines(source, &mut Mistakes::default());
        assert_eq!(found.len(), 1);
        let mut words = Words::of(&found[0]);
        let columns: Vec<usize> = std::iter::from_fn(|| words.rest()).map(|it| it.column).collect();
        assert_eq!(columns, [3, 6, 10]);
        let end = words.next("write more").unwrap_err();
        assert_eq!(end.to_string(), "s:3:13: the line ends here; write more");
    }

    #[test]
    fn percents_show_the_digits_that_were_written() {
        for text in ["7%", "0.1%", "33.333%", "100%", "0%"] {
            assert_eq!(Percent(text.parse().unwrap()).to_string(), text);
        }
    }
}
