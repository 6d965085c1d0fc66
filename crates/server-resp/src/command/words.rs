//! The words of one command, read one after the other.

use bytes::Bytes;
use rhumb_resp::Request;
use rhumb_state::number;

use super::CommandError;

/// A command's words after its name.
#[derive(Debug)]
pub(crate) struct Words<'r> {
    request: &'r Request,
    at: usize,
}

impl<'r> Words<'r> {
    pub(crate) const fn new(request: &'r Request) -> Self {
        Self { request, at: 1 }
    }

    /// How many words there are, the name included.
    pub(crate) fn total(&self) -> usize {
        self.request.len()
    }

    pub(crate) fn left(&self) -> usize {
        self.request.len() - self.at.min(self.request.len())
    }

    /// The next word.
    pub(crate) fn next(&mut self) -> Result<Bytes, CommandError> {
        let word = self.request.bytes(self.at).ok_or(CommandError::Syntax)?;
        self.at += 1;
        // A word shares the connection's read buffer; what is kept must not keep that alive.
        Ok(Bytes::copy_from_slice(&word))
    }

    /// The next word, if there is one and it is this, whatever its case.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        self.at += usize::from(is);
        is
    }

    pub(crate) fn peek(&self) -> Option<&'r [u8]> {
        self.request.get(self.at)
    }

    pub(crate) fn integer(&mut self) -> Result<i64, CommandError> {
        let word = self.request.get(self.at).ok_or(CommandError::Syntax)?;
        self.at += 1;
        number::parse_int(word).ok_or(CommandError::NotAnInteger)
    }

    /// A number that is not negative. Whatever else it may be is the same error, as in Redis.
    pub(crate) fn count(&mut self) -> Result<usize, CommandError> {
        self.count_or("value is out of range, must be positive")
    }

    /// The same with an error of its own.
    pub(crate) fn count_or(&mut self, refusal: &'static str) -> Result<usize, CommandError> {
        let count = self.integer().ok().and_then(|count| usize::try_from(count).ok());
        count.ok_or(CommandError::Other(refusal))
    }

    pub(crate) fn float(&mut self) -> Result<f64, CommandError> {
        let word = self.request.get(self.at).ok_or(CommandError::Syntax)?;
        self.at += 1;
        number::parse_float(word).ok_or(CommandError::NotAFloat)
    }

    /// All that are left.
    pub(crate) fn rest(&mut self) -> Result<Vec<Bytes>, CommandError> {
        let mut rest = Vec::with_capacity(self.left());
        while self.left() > 0 {
            rest.push(self.next()?);
        }
        Ok(rest)
    }

    /// All that are left, two by two.
    pub(crate) fn pairs(&mut self, name: &str) -> Result<Vec<(Bytes, Bytes)>, CommandError> {
        if self.left() == 0 || self.left() % 2 == 1 {
            return Err(CommandError::LateArity(name.to_owned()));
        }
        let mut pairs = Vec::with_capacity(self.left() / 2);
        while self.left() > 0 {
            pairs.push((self.next()?, self.next()?));
        }
        Ok(pairs)
    }

    /// Whether every word was read.
    pub(crate) fn end(&self) -> Result<(), CommandError> {
        if self.left() == 0 { Ok(()) } else { Err(CommandError::Syntax) }
    }
}
