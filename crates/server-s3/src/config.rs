//! What the server is configured with, and why it may not be built.

use std::{collections::BTreeSet, net::SocketAddr};

use rhumb_sigv4::Secret;
use rhumb_tls::{TlsError, TlsFiles};
use rhumb_types::control::ApiRole;

/// How the server listens and whom it believes.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether a request must be signed with one of the keys. Without it everything is allowed to
    /// everybody who reaches the loopback address, and signatures are not looked at.
    pub auth: bool,
    /// Who may ask.
    pub keys: Vec<AccessKey>,
    /// The regions whose signatures are taken: any region of the cluster serves any bucket.
    pub regions: BTreeSet<String>,
    /// The certificate; none means plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// A key that requests are signed with.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Its public id.
    pub id: String,
    /// Its secret. Signatures need it in clear.
    pub secret: Secret,
    /// What its bearer may do: a reader reads and lists, an operator does everything else too.
    pub role: ApiRole,
    /// Prefixes of names of the buckets that it is limited to; none means all.
    pub buckets: Vec<String>,
}

/// Why the server is not built, or does not listen.
#[derive(Debug, thiserror::Error)]
pub enum S3ServerError {
    /// The address can be reached from elsewhere, and something is missing for that.
    #[error("{address} is not a loopback address: S3 there needs `tls: true` and `auth: true`")]
    Exposed {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// Two keys have the same id.
    #[error("there are two access keys `{0}`")]
    Twice(String),
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

/// Refuses what would serve strangers, and keys that could be taken for each other.
pub(crate) fn check(config: &S3Config) -> Result<(), S3ServerError> {
    let address = config.address;
    let protected = config.auth && config.tls.is_some();
    if !address.ip().to_canonical().is_loopback() && !protected {
        return Err(S3ServerError::Exposed { address });
    }
    let mut seen = BTreeSet::new();
    let twice = config.keys.iter().find(|key| !seen.insert(key.id.as_str()));
    twice.map_or(Ok(()), |key| Err(S3ServerError::Twice(key.id.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str, auth: bool) -> S3Config {
        let (address, regions) = (address.parse().unwrap(), BTreeSet::new());
        S3Config { address, auth, keys: Vec::new(), regions, tls: None }
    }

    #[test]
    fn an_address_that_others_reach_needs_keys_and_tls() {
        assert!(check(&config("127.0.0.1:0", false)).is_ok());
        assert!(check(&config("[::ffff:127.0.0.1]:0", false)).is_ok());
        for auth in [false, true] {
            let refused = check(&config("10.0.0.1:7403", auth));
            assert!(matches!(refused, Err(S3ServerError::Exposed { .. })), "{auth}");
        }
        let mut exposed = config("10.0.0.1:7403", true);
        exposed.tls = Some(TlsFiles {
            certificate: "c.pem".into(),
            key: "k.pem".into(),
            client_authorities: None,
        });
        assert!(check(&exposed).is_ok());
    }

    #[test]
    fn two_keys_are_never_the_same() {
        let key = || AccessKey {
            id: "AKID".to_owned(),
            secret: Secret::new("secret".to_owned()),
            role: ApiRole::Reader,
            buckets: Vec::new(),
        };
        let twice = S3Config { keys: vec![key(), key()], ..config("127.0.0.1:0", true) };
        assert!(matches!(check(&twice), Err(S3ServerError::Twice(id)) if id == "AKID"));
        assert!(!format!("{twice:?}").contains("secret\""), "secrets are not shown");
    }
}
