//! Tokens, as their bearers show them: `rhumb_ID_SECRET`.
//!
//! Only the SHA-256 of the secret is kept; secrets are long and random, so a plain hash suffices.

use std::fmt;

use rhumb_types::control::Digest;
use sha2::{Digest as _, Sha256};

/// What every token starts with, so that a leaked one is recognised.
const PREFIX: &str = "rhumb_";

/// A token; `Display` gives the text, with the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// Its public name.
    pub id: &'a str,
    /// What only its bearer knows.
    pub secret: &'a str,
}

impl<'a> Token<'a> {
    /// The token of a text.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        (!id.is_empty() && !secret.is_empty()).then_some(Self { id, secret })
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_{}", self.id, self.secret)
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The digest under which a secret is kept.
#[must_use]
pub fn digest_of(secret: &str) -> Digest {
    Digest(Sha256::digest(secret.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_an_id_and_a_secret_and_shows_the_latter_only_when_it_is_written() {
        let token = Token { id: "ci-2", secret: "a_b" };
        assert_eq!(Token::parse("rhumb_ci-2_a_b"), Some(token));
        assert_eq!(token.to_string(), "rhumb_ci-2_a_b");
        assert!(!format!("{token:?}").contains("a_b"));
        for bad in ["", "ci_s", "rhumb_ci", "rhumb__s", "rhumb_ci_", " rhumb_ci_s"] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }
}
