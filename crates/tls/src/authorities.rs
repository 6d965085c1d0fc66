//! Whose signatures a client believes: a file of authorities, or the system's.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject},
};

/// Where systems keep their authorities.
const AUTHORITIES_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a file of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// It cannot be read, or is not PEM.
    #[error(transparent)]
    File(#[from] pem::Error),
    /// There is none in it.
    #[error("no certificate in it is one of an authority")]
    Empty,
}

/// The file of the system's authorities; `None` where none is found.
#[must_use]
pub fn system_authorities() -> Option<PathBuf> {
    AUTHORITIES_FILES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// The authorities of a file in PEM.
///
/// # Errors
/// [`AuthoritiesError`].
pub fn authorities(path: &Path) -> Result<RootCertStore, AuthoritiesError> {
    let read = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    let mut roots = RootCertStore::empty();
    // Bundles of systems hold a few that no verifier takes.
    let (usable, _strange) = roots.add_parsable_certificates(read);
    if usable == 0 { Err(AuthoritiesError::Empty) } else { Ok(roots) }
}
