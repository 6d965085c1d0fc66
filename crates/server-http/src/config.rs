//! What the server is configured with, and why it may not be built.

use std::net::{IpAddr, SocketAddr};

use rhumb_tls::{TlsError, TlsFiles};
use rhumb_types::{
    UnixMillis,
    control::{ApiRole, Digest},
};

/// How the server listens and whom it believes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpConfig {
    /// Where it listens. Beyond the loopback address both `auth` and `tls` are needed.
    pub address: SocketAddr,
    /// Whether a request must carry a token. Without it, everything is allowed to everybody who
    /// reaches the loopback address, which is for development.
    pub auth: bool,
    /// Tokens that are not agreed on but configured, so that the first operator gets in.
    pub tokens: Vec<StaticToken>,
    /// The certificate; none means plain HTTP.
    pub tls: Option<TlsFiles>,
}

impl HttpConfig {
    /// Plain HTTP without tokens on a loopback address, for development.
    #[must_use]
    pub const fn open(address: SocketAddr) -> Self {
        Self { address, auth: false, tokens: Vec::new(), tls: None }
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
    /// The address can be reached from elsewhere, and something is missing for that.
    #[error("{address} is not a loopback address: HTTP there needs {missing}")]
    Exposed {
        /// Where it would listen.
        address: SocketAddr,
        /// What is missing, in the words of the configuration.
        missing: &'static str,
    },
    /// A configured token cannot be used.
    #[error("the token `{id}` cannot be used: {problem}")]
    Token {
        /// Which.
        id: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The certificate cannot be used.
    #[error("the certificate cannot be used")]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Refuses what would serve strangers, and tokens that could never work.
pub(crate) fn check(config: &HttpConfig) -> Result<(), HttpError> {
    let address = config.address;
    if !is_loopback(address.ip()) {
        let missing = match (config.auth, config.tls.is_some()) {
            (true, true) => None,
            (true, false) => Some("`tls: true`"),
            (false, true) => Some("`auth: true`"),
            (false, false) => Some("`tls: true` and `auth: true`"),
        };
        if let Some(missing) = missing {
            return Err(HttpError::Exposed { address, missing });
        }
    }
    for (at, token) in config.tokens.iter().enumerate() {
        let refuse = |problem| Err(HttpError::Token { id: token.id.clone(), problem });
        if !is_token_id(&token.id) {
            return refuse("its id has other characters than a-z, 0-9 and -, or more than 63");
        }
        if token.roles.is_empty() {
            return refuse("it has no role");
        }
        if config.tokens.iter().take(at).any(|other| other.id == token.id) {
            return refuse("another one has the same id");
        }
    }
    Ok(())
}

/// Whether only this machine can reach an address; an IPv4 address written as IPv6 counts as such.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether a text can be a token's name: it stands between underscores, in logs and in audits.
pub(crate) fn is_token_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&id.len()) && id.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str, auth: bool, tls: bool) -> HttpConfig {
        let files = || TlsFiles {
            certificate: "c.pem".into(),
            key: "k.pem".into(),
            client_authorities: None,
        };
        HttpConfig { auth, tls: tls.then(files), ..HttpConfig::open(address.parse().unwrap()) }
    }

    #[test]
    fn an_address_that_others_reach_needs_both_tokens_and_tls() {
        for address in ["0.0.0.0:0", "10.0.0.1:7400", "[::]:7400", "[2001:db8::1]:0"] {
            for (auth, tls) in [(false, false), (true, false), (false, true)] {
                let refused = check(&config(address, auth, tls));
                assert!(
                    matches!(refused, Err(HttpError::Exposed { .. })),
                    "{address} {auth} {tls}"
                );
            }
            assert!(check(&config(address, true, true)).is_ok(), "{address}");
        }
        for address in ["127.0.0.1:0", "127.8.8.8:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            assert!(check(&config(address, false, false)).is_ok(), "{address}");
        }
    }

    #[test]
    fn tokens_that_could_never_work_are_refused() {
        let token = |id: &str, roles: &[ApiRole]| StaticToken {
            id: id.to_owned(),
            secret: Digest::default(),
            roles: roles.to_vec(),
            scopes: vec![],
            expires: None,
        };
        let with = |tokens| {
            let tokens = HttpConfig { tokens, ..config("127.0.0.1:0", true, false) };
            check(&tokens).is_ok()
        };
        let admin = &[ApiRole::Admin][..];
        assert!(with(vec![token("first", admin), token("ci-2", admin)]));
        assert!(!with(vec![token("first", &[])]));
        assert!(!with(vec![token("first", admin), token("first", admin)]));
        for bad in ["", "a_b", "A", "node:1", &"x".repeat(64)] {
            assert!(!with(vec![token(bad, admin)]), "{bad}");
        }
    }
}
