//! Which servers are believed to be the node.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rhumb_config::process_environment;
use rhumb_tls::{AuthoritiesError, authorities, system_authorities};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject},
};

use crate::cli::Shown;

/// Names the system's authorities, by the custom of other programs.
const AUTHORITIES_VARIABLE: &str = "SSL_CERT_FILE";

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// A file holds no certificates, or no key.
    #[error("{path} cannot be used for TLS: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system has none.
    #[error("this system's authorities are not found: name a file of authorities with --ca")]
    NoSystem,
    /// TLS cannot be set up.
    #[error("set up TLS: {0}")]
    Tls(#[from] Error),
}

/// Whom to believe.
#[derive(Debug)]
pub(super) enum Trust {
    /// Who shows this very certificate: a node's own machine has the file.
    Pinned(PathBuf),
    /// Whom these authorities signed, for the name that was asked for.
    Authorities(PathBuf),
    /// Whom the system's authorities signed, for the name that was asked for.
    System,
}

/// TLS for a client that believes so.
///
/// `shown` is the certificate to show where the server asks for one.
pub(super) fn config(
    trust: &Trust,
    shown: Option<Shown<'_>>,
) -> Result<Arc<ClientConfig>, TrustError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Pinned(path) => {
            let shown = certificates(path)?.into_iter().next();
            let shown = shown.ok_or_else(|| empty(path))?;
            let algorithms = ring::default_provider().signature_verification_algorithms;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned { shown, algorithms }))
        }
        Trust::Authorities(path) => builder.with_root_certificates(roots(path)?),
        Trust::System => {
            let path = system().ok_or(TrustError::NoSystem)?;
            builder.with_root_certificates(roots(&path)?)
        }
    };
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(Shown { certificate, key }) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(certificates(certificate)?, key)?
        }
    };
    Ok(Arc::new(config))
}

fn system() -> Option<PathBuf> {
    let named = process_environment(AUTHORITIES_VARIABLE).map(PathBuf::from);
    named.or_else(system_authorities)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |error| unreadable(path, &error);
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

fn unreadable(path: &Path, error: &pem::Error) -> TrustError {
    TrustError::File { path: path.to_path_buf(), reason: error.to_string() }
}

fn empty(path: &Path) -> TrustError {
    TrustError::File { path: path.to_path_buf(), reason: "it is empty".to_owned() }
}

fn roots(path: &Path) -> Result<RootCertStore, TrustError> {
    authorities(path).map_err(|error| match error {
        AuthoritiesError::File(error) => unreadable(path, &error),
        AuthoritiesError::Empty => empty(path),
    })
}

/// Believes who shows one certificate, and holds its key.
struct Pinned {
    shown: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.shown {
            return Ok(ServerCertVerified::assertion());
        }
        let reason = "it does not show the certificate of the file; was that renewed without a \
                      reload (SIGHUP)?";
        Err(Error::General(reason.to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
