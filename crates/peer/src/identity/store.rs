//! The identity that this node shows, and the authorities that it trusts; replaced while running.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rhumb_types::RegionId;
use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    ClusterSecret, FileError, Identity, Issued, NameError, Validity,
    files::{make_private_folder, read, read_private, write_private, write_public},
    secret::{SECRET_FILE, SecretError},
};
use crate::{tls, token::Fingerprint};

const AUTHORITIES_FILE: &str = "ca.pem";
const CERTIFICATE_FILE: &str = "node.pem";
const KEY_FILE: &str = "node.key";

/// Why a node's identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds something else.
    #[error("{path} cannot be used: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate names no node.
    #[error("{path} names no node")]
    Name {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: NameError,
    },
    /// The secret that the cluster's nodes share is not there.
    #[error(
        "{path} is missing, the secret that the cluster's nodes share: copy it from the `identity` \
         folder of another node, readable for its owner only"
    )]
    NoSecret {
        /// Which file.
        path: PathBuf,
    },
    /// The certificate is over.
    #[error(
        "the certificate of {identity} expired at {until}: renew it, or have a member issue \
         another with `rhumb join`"
    )]
    Expired {
        /// Whose.
        identity: Identity,
        /// Since when, RFC 2822.
        until: String,
    },
    /// The certificate is not valid yet: one clock is wrong.
    #[error("the certificate of {identity} is valid from {from} on: check this machine's clock")]
    NotYetValid {
        /// Whose.
        identity: Identity,
        /// From when, RFC 2822.
        from: String,
    },
    /// Another authority signed it.
    #[error(
        "the certificate of {identity} was not signed by an authority in {authorities}: {reason}"
    )]
    Foreign {
        /// Whose.
        identity: Identity,
        /// The file of authorities.
        authorities: PathBuf,
        /// What the verifier said.
        reason: String,
    },
    /// The configuration says another region.
    #[error("this node is configured as {expected}, and its certificate is of {found}")]
    WrongRegion {
        /// From the configuration.
        expected: RegionId,
        /// From the certificate.
        found: Identity,
    },
}

/// One consistent set of certificate, key, trusted authorities and cluster secret.
#[derive(Debug)]
pub struct Material {
    identity: Identity,
    validity: Validity,
    secret: ClusterSecret,
    pub(crate) shown: Arc<CertifiedKey>,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
}

impl Material {
    /// Who this node is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When the certificate ends.
    #[must_use]
    pub const fn expires_at(&self) -> SystemTime {
        self.validity.until
    }

    /// From when to when the certificate is valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The secret that the cluster's nodes share.
    #[must_use]
    pub const fn secret(&self) -> &ClusterSecret {
        &self.secret
    }

    /// The SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        // A certified key has a certificate; without one no peer would accept this node anyway.
        tls::fingerprint(self.shown.cert.first().map_or(&[][..], |leaf| leaf.as_ref()))
    }
}

/// This node's identity, as connections use it. Cheap to share; a reload reaches every new
/// connection at once, and open ones go on under what they shook hands with.
#[derive(Debug)]
pub struct Identities {
    folder: PathBuf,
    region: Option<RegionId>,
    current: watch::Sender<Arc<Material>>,
}

impl Identities {
    /// Reads `ca.pem`, `node.pem`, `node.key` and `cluster.key` of a folder.
    ///
    /// # Errors
    /// [`IdentityError`]: missing, damaged, expired, not yet valid, of a foreign authority, or of
    /// another region than `region`.
    pub fn load(folder: &Path, region: Option<&RegionId>) -> Result<Self, IdentityError> {
        let material = read_material(folder, region)?;
        Ok(Self {
            folder: folder.to_owned(),
            region: region.cloned(),
            current: watch::Sender::new(Arc::new(material)),
        })
    }

    /// Whether a folder holds an identity.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(CERTIFICATE_FILE).exists()
    }

    /// Reads the files again. What is in use stays when they are not good.
    ///
    /// # Errors
    /// As [`Identities::load`]; also when they are of another node or cluster than before.
    pub fn reload(&self) -> Result<Arc<Material>, IdentityError> {
        let fresh = Arc::new(read_material(&self.folder, self.region.as_ref())?);
        let now = self.current();
        if fresh.identity != now.identity {
            return Err(IdentityError::Damaged {
                path: self.folder.join(CERTIFICATE_FILE),
                reason: format!(
                    "it is of {}, and this node runs as {}: restart it to change that",
                    fresh.identity, now.identity
                ),
            });
        }
        if !fresh.secret.is(&now.secret) {
            return Err(IdentityError::Damaged {
                path: self.folder.join(SECRET_FILE),
                reason: "it is not the secret that this node runs with: restart it to change that"
                    .to_owned(),
            });
        }
        self.current.send_replace(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// What new connections use.
    #[must_use]
    pub fn current(&self) -> Arc<Material> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of every reload.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Material>> {
        self.current.subscribe()
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.current().identity.clone()
    }

    /// When the certificate ends; raise an alarm well before.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.current().expires_at()
    }

    /// The secret that the cluster's nodes share; it stays the same while the node runs.
    #[must_use]
    pub fn secret(&self) -> ClusterSecret {
        self.current().secret.clone()
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

pub(crate) fn write_identity(folder: &Path, issued: &Issued) -> Result<(), FileError> {
    let Issued { ca_pem, node_pem, key_pem, secret } = issued;
    make_private_folder(folder)?;
    secret.write(folder)?;
    write_private(&folder.join(KEY_FILE), key_pem.as_bytes())?;
    write_public(&folder.join(AUTHORITIES_FILE), ca_pem.as_bytes())?;
    // Last, because its presence says that there is an identity.
    write_public(&folder.join(CERTIFICATE_FILE), node_pem.as_bytes())
}

/// Replaces what a renewal changes; the key stays.
pub(crate) fn replace_certificate(
    folder: &Path,
    authorities_pem: &str,
    certificate_pem: &str,
) -> Result<(), FileError> {
    write_public(&folder.join(AUTHORITIES_FILE), authorities_pem.as_bytes())?;
    write_public(&folder.join(CERTIFICATE_FILE), certificate_pem.as_bytes())
}

pub(crate) fn read_key(folder: &Path) -> Result<String, FileError> {
    let key = read_private(&folder.join(KEY_FILE))?;
    Ok(String::from_utf8_lossy(&key).into_owned())
}

/// A certificate as text (RFC 7468).
pub(crate) fn pem(certificate: &[u8]) -> String {
    const LINE: usize = 64;
    let encoded = STANDARD.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while let Some((line, after)) = rest.split_at_checked(LINE.min(rest.len())) {
        if line.is_empty() {
            break;
        }
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read_material(folder: &Path, region: Option<&RegionId>) -> Result<Material, IdentityError> {
    let authorities_path = folder.join(AUTHORITIES_FILE);
    let certificate_path = folder.join(CERTIFICATE_FILE);
    let key_path = folder.join(KEY_FILE);
    let authorities = certificates(&authorities_path)?;
    let certificate = certificates(&certificate_path)?.into_iter().next().ok_or_else(|| {
        IdentityError::Damaged { path: certificate_path.clone(), reason: "no certificate".into() }
    })?;
    let key = PrivateKeyDer::from_pem_slice(&read_private(&key_path)?)
        .map_err(|error| damaged(&key_path, &error))?;
    let identity = Identity::of_certificate(&certificate)
        .map_err(|source| IdentityError::Name { path: certificate_path.clone(), source })?;
    if let Some(expected) = region.filter(|expected| **expected != identity.region) {
        return Err(IdentityError::WrongRegion { expected: expected.clone(), found: identity });
    }
    let validity = check_dates(&certificate_path, &certificate, &identity)?;
    let secret = read_secret(folder)?;

    let roots = Arc::new(trust(&authorities_path, &authorities)?);
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| damaged(&authorities_path, &error))?;
    clients.verify_client_cert(&certificate, &[], UnixTime::now()).map_err(|error| {
        IdentityError::Foreign {
            identity: identity.clone(),
            authorities: authorities_path.clone(),
            reason: error.to_string(),
        }
    })?;
    // The authority goes along, so that a joiner who knows only its fingerprint can check it.
    let chain = std::iter::once(certificate).chain(authorities.iter().cloned()).collect();
    let shown = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| damaged(&key_path, &error))?;
    let shown = Arc::new(shown);
    Ok(Material { identity, validity, secret, shown, roots, authorities, clients })
}

fn read_secret(folder: &Path) -> Result<ClusterSecret, IdentityError> {
    let path = folder.join(SECRET_FILE);
    if !path.exists() {
        return Err(IdentityError::NoSecret { path });
    }
    ClusterSecret::read(folder).map_err(|error| match error {
        SecretError::File(error) => IdentityError::File(error),
        SecretError::Form => damaged(&path, &error),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(path, &error))
}

fn trust(
    path: &Path,
    authorities: &[CertificateDer<'static>],
) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| damaged(path, &error))?;
    }
    Ok(roots)
}

fn check_dates(
    path: &Path,
    certificate: &[u8],
    identity: &Identity,
) -> Result<Validity, IdentityError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| damaged(path, &error))?;
    let validity = parsed.validity();
    let seconds = |at: i64| UNIX_EPOCH + Duration::from_secs(at.try_into().unwrap_or(0));
    let (from, until) =
        (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
    let now = SystemTime::now();
    let identity = identity.clone();
    if now < from {
        let from = validity.not_before.to_string();
        return Err(IdentityError::NotYetValid { identity, from });
    }
    if until < now {
        return Err(IdentityError::Expired { identity, until: validity.not_after.to_string() });
    }
    Ok(Validity { from, until })
}

fn damaged(path: &Path, error: &impl ToString) -> IdentityError {
    IdentityError::Damaged { path: path.to_owned(), reason: error.to_string() }
}
