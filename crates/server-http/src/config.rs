//! What the server is configured with, and why it may not be built.

use std::net::SocketAddr;

use rhumb_front::{Listener, ListenerError};
use rhumb_types::{
    UnixMillis,
    control::{ApiRole, Digest},
};

/// How the server listens and whom it believes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpConfig {
    /// Where. Where it asks for proofs, a request must carry a token.
    pub listener: Listener,
    /// Tokens that are not agreed on but configured, so that the first operator gets in.
    pub tokens: Vec<StaticToken>,
}

impl HttpConfig {
    /// Plain HTTP without tokens on a loopback address, for development.
    #[must_use]
    pub const fn open(address: SocketAddr) -> Self {
        Self { listener: Listener::open(address), tokens: Vec::new() }
    }
}

/// A token of the configuration. Its bearer sends `rhumb_ID_SECRET`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticToken {
    /// Its public name: 1 to 63 of `a-z`, `0-9` and `-`.
    pub id: String,
    /// The SHA-256 of the secret's text.
    pub secret: Digest,
    /// What its bearer may do.
    pub roles: Vec<ApiRole>,
    /// Key prefixes that it is limited to; none means all.
    pub scopes: Vec<String>,
    /// When it ends.
    pub expires: Option<UnixMillis>,
}

/// Why the server is not built, or does not listen.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A configured token cannot be used.
    #[error("the token `{id}` cannot be used: {problem}")]
    Token {
        /// Which.
        id: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The address or the certificate cannot be used.
    #[error(transparent)]
    Listener(#[from] ListenerError),
}

/// Refuses tokens that could never work.
pub(crate) fn check(tokens: &[StaticToken]) -> Result<(), HttpError> {
    for (at, token) in tokens.iter().enumerate() {
        let refuse = |problem| Err(HttpError::Token { id: token.id.clone(), problem });
        if !is_token_id(&token.id) {
            return refuse("its id has other characters than a-z, 0-9 and -, or more than 63");
        }
        if token.roles.is_empty() {
            return refuse("it has no role");
        }
        if tokens.iter().take(at).any(|other| other.id == token.id) {
            return refuse("another one has the same id");
        }
    }
    Ok(())
}

/// Whether a text can be a token's name: it stands between underscores, in logs and in audits.
pub(crate) fn is_token_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&id.len()) && id.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_could_never_work_are_refused() {
        let token = |id: &str, roles: &[ApiRole]| StaticToken {
            id: id.to_owned(),
            secret: Digest::default(),
            roles: roles.to_vec(),
            scopes: vec![],
            expires: None,
        };
        let with = |tokens: Vec<StaticToken>| check(&tokens).is_ok();
        let admin = &[ApiRole::Admin][..];
        assert!(with(vec![token("first", admin), token("ci-2", admin)]));
        assert!(!with(vec![token("first", &[])]));
        assert!(!with(vec![token("first", admin), token("first", admin)]));
        for bad in ["", "a_b", "A", "node:1", &"x".repeat(64)] {
            assert!(!with(vec![token(bad, admin)]), "{bad}");
        }
    }
}
