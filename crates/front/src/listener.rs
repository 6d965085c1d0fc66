//! Where a server listens, and what protects it there.

use std::{io, net::SocketAddr};

use rhumb_tls::{Tls, TlsError, TlsFiles};

/// What is spoken inside TLS.
const PROTOCOLS: &[&str] = &["h2", "http/1.1"];

/// Where a server listens, and what protects it there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The address. Beyond the loopback address both `auth` and `tls` are needed.
    pub address: SocketAddr,
    /// Whether clients must prove who they are. Without it everything is allowed to everybody who
    /// reaches the loopback address, which is for development.
    pub auth: bool,
    /// The certificate; none means plain HTTP.
    pub tls: Option<TlsFiles>,
}

impl Listener {
    /// Without proofs and TLS, on a loopback address, for development.
    #[must_use]
    pub const fn open(address: SocketAddr) -> Self {
        Self { address, auth: false, tls: None }
    }

    /// Refuses what would serve strangers, and reads the certificate.
    pub(crate) fn prepare(&self, protocol: &'static str) -> Result<Option<Tls>, ListenerError> {
        let address = self.address;
        if let Some(missing) = self.missing() {
            return Err(ListenerError::Exposed { protocol, address, missing });
        }
        if !self.auth {
            tracing::warn!(%address, "{protocol} asks nobody who they are: everything is allowed to this machine");
        }
        Ok(self.tls.clone().map(|files| Tls::load(files, PROTOCOLS)).transpose()?)
    }

    /// What it would need at its address. An IPv4 address written as IPv6 counts as the former.
    const fn missing(&self) -> Option<&'static str> {
        match (self.auth, self.tls.is_some()) {
            _ if self.address.ip().to_canonical().is_loopback() => None,
            (true, true) => None,
            (true, false) => Some("`tls: true`"),
            (false, true) => Some("`auth: true`"),
            (false, false) => Some("`tls: true` and `auth: true`"),
        }
    }
}

/// Why a server is not built, or does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The address can be reached from elsewhere, and something is missing for that.
    #[error("{address} is not a loopback address: {protocol} there needs {missing}")]
    Exposed {
        /// What would be spoken.
        protocol: &'static str,
        /// Where it would listen.
        address: SocketAddr,
        /// What is missing, in the words of the configuration.
        missing: &'static str,
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
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(address: &str, auth: bool, tls: bool) -> Option<&'static str> {
        let files = || TlsFiles {
            certificate: "c.pem".into(),
            key: "k.pem".into(),
            client_authorities: None,
        };
        let address = address.parse().unwrap();
        Listener { address, auth, tls: tls.then(files) }.missing()
    }

    #[test]
    fn an_address_that_others_reach_needs_both_proofs_and_tls() {
        for address in ["0.0.0.0:0", "10.0.0.1:7400", "[::]:7400", "[2001:db8::1]:0"] {
            assert_eq!(missing(address, false, false), Some("`tls: true` and `auth: true`"));
            assert_eq!(missing(address, true, false), Some("`tls: true`"), "{address}");
            assert_eq!(missing(address, false, true), Some("`auth: true`"), "{address}");
            assert_eq!(missing(address, true, true), None, "{address}");
        }
        for address in ["127.0.0.1:0", "127.8.8.8:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            assert_eq!(missing(address, false, false), None, "{address}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_the_protocol() {
        let listener = Listener::open(([10, 0, 0, 1], 7403).into());
        let refused = listener.prepare("S3").map(drop).unwrap_err();
        let said =
            "10.0.0.1:7403 is not a loopback address: S3 there needs `tls: true` and `auth: true`";
        assert_eq!(refused.to_string(), said);
    }
}
