//! The certificate that clients see, for every server that faces them; and whom our own clients of other
//! people's servers believe.
//!
//! Files in PEM; TLS 1.2 and 1.3. A reload reaches every new connection, and open ones go on. Nodes
//! among themselves use certificates of another kind: see `rhumb-peer`.

mod authorities;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use tokio_rustls::TlsAcceptor;

pub use authorities::{AuthoritiesError, authorities, system_authorities};

/// Where the certificate lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate chain, as a PEM file.
    pub certificate: PathBuf,
    /// Its private key, as a PEM file.
    pub key: PathBuf,
    /// Authorities of client certificates, as a PEM file; with it a client without one of theirs
    /// is refused.
    pub client_authorities: Option<PathBuf>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    /// The certificate and the key do not work, or not together.
    #[error("the certificate and the key do not work together")]
    Pair(#[source] rustls::Error),
    /// An authority of client certificates cannot be used.
    #[error("{} cannot be used for client certificates", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The authorities of client certificates are none.
    #[error("client certificates cannot be checked")]
    Verifier(#[from] VerifierBuilderError),
}

/// What handshakes use; can be replaced while the server runs. A lock, because a reload writes
/// while connections read.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    protocols: Vec<Vec<u8>>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files. `protocols` are what is spoken inside, by their ALPN names (RFC 7301); none
    /// for a protocol without a name.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: TlsFiles, protocols: &[&str]) -> Result<Self, TlsError> {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        let current = RwLock::new(Arc::new(read(&files, &protocols)?));
        Ok(Self { files, protocols, current })
    }

    /// Reads the files anew; connections that are open keep what they have. When something is wrong
    /// nothing changes.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(read(&self.files, &self.protocols)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// What the next handshake uses.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }
}

fn read(files: &TlsFiles, protocols: &[Vec<u8>]) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| TlsError::File { path: files.key.clone(), source })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                let path = path.clone();
                roots.add(authority).map_err(|source| TlsError::Authority { path, source })?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Pair)?;
    config.alpn_protocols = protocols.to_vec();
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files(folder: &Path, name: &str) -> TlsFiles {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let at = |kind: &str| folder.join(format!("{name}.{kind}"));
        fs::write(at("crt"), pair.cert.pem()).unwrap();
        fs::write(at("key"), pair.signing_key.serialize_pem()).unwrap();
        TlsFiles { certificate: at("crt"), key: at("key"), client_authorities: None }
    }

    #[test]
    fn what_cannot_be_used_is_said_and_what_is_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (files(folder.path(), "one"), files(folder.path(), "two"));
        let mixed = TlsFiles { key: two.key.clone(), ..one.clone() };
        assert!(matches!(Tls::load(mixed, &[]), Err(TlsError::Pair(_))));
        let missing = TlsFiles { certificate: folder.path().join("none"), ..one.clone() };
        let refused = Tls::load(missing, &[]).unwrap_err().to_string();
        assert!(refused.contains("none cannot be read"), "{refused}");
        let empty = folder.path().join("empty");
        fs::write(&empty, "").unwrap();
        let empty = TlsFiles { certificate: empty, ..one.clone() };
        assert!(matches!(Tls::load(empty, &[]), Err(TlsError::Empty(_))));

        let tls = Tls::load(one.clone(), &["h2"]).unwrap();
        let before = Arc::as_ptr(&tls.current.read().unwrap());
        fs::write(&one.key, "nonsense").unwrap();
        assert!(tls.reload().is_err());
        assert_eq!(Arc::as_ptr(&tls.current.read().unwrap()), before);
        fs::copy(&two.key, &one.key).unwrap();
        fs::copy(&two.certificate, &one.certificate).unwrap();
        tls.reload().unwrap();
        assert_ne!(Arc::as_ptr(&tls.current.read().unwrap()), before);
        assert_eq!(tls.current.read().unwrap().alpn_protocols, [b"h2".to_vec()]);
    }
}
