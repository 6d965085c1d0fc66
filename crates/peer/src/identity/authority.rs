//! The authority of a cluster: the key that signs every node's certificate.
//!
//! `rhumb init` makes it, in a folder `authority`. The folder is all there is: whoever holds `ca.key`
//! can make nodes of this cluster. It can be moved to another node, or off the machines; running
//! nodes do not need it, only `join` and renewal do.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rhumb_types::ClusterId;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    ClusterSecret, FileError, Identity,
    files::{make_private_folder, read, read_private, write_private, write_public},
    secret::{SECRET_FILE, SecretError},
};

/// How long an authority is valid.
const AUTHORITY_DAYS: u64 = 3_650;
/// How long a node's certificate is valid, unless the caller says otherwise.
const NODE_DAYS: u64 = 365;
/// How far back validity starts, so that a peer whose clock is behind accepts a fresh certificate.
const BACKDATE: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";

/// Why the authority could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is one already; a second would split the cluster.
    #[error("{path} holds an authority already; move it away to make a new cluster")]
    Exists {
        /// The folder.
        path: String,
    },
    /// Certificate and key cannot be read, or are not an authority of Rhumb.
    #[error("the authority in {path} cannot be read: {reason}")]
    Damaged {
        /// The folder.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The cluster's secret is not with the authority.
    #[error(
        "{path} has no `{SECRET_FILE}`, the secret that the cluster's nodes share: copy it from the \
         `identity` folder of any node"
    )]
    NoSecret {
        /// The folder.
        path: String,
    },
    /// Signing failed.
    #[error("sign a certificate: {0}")]
    Sign(String),
    /// The request to sign is damaged, or its sender does not hold the key.
    #[error("the signing request is not valid: {0}")]
    Request(String),
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub from: SystemTime,
    /// The last instant.
    pub until: SystemTime,
}

impl Validity {
    /// From a little before now for a time.
    #[must_use]
    pub fn lasting(duration: Duration) -> Self {
        let now = SystemTime::now();
        Self { from: now - BACKDATE, until: now + duration }
    }

    /// What a node's certificate gets by default.
    #[must_use]
    pub fn node() -> Self {
        Self::lasting(DAY * u32::try_from(NODE_DAYS).unwrap_or(u32::MAX))
    }
}

/// A node's certificate and key, fresh from the authority.
#[derive(Clone)]
pub struct Issued {
    /// The authority's certificate, PEM.
    pub ca_pem: String,
    /// The node's certificate, PEM.
    pub node_pem: String,
    /// The node's key, PKCS #8 in PEM.
    pub key_pem: String,
    /// The cluster's secret.
    pub secret: ClusterSecret,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("node_pem", &self.node_pem).finish_non_exhaustive()
    }
}

/// Signs the certificates of a cluster's nodes.
pub struct ClusterAuthority {
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    secret: ClusterSecret,
}

impl std::fmt::Debug for ClusterAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterAuthority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl ClusterAuthority {
    /// Makes a new authority; it exists in memory only until [`ClusterAuthority::save`].
    ///
    /// # Errors
    /// [`AuthorityError::Sign`] when the system gives no randomness.
    pub fn create(cluster: ClusterId) -> Result<Self, AuthorityError> {
        let secret = ClusterSecret::create()
            .map_err(|error| AuthorityError::Sign(format!("no randomness: {error}")))?;
        Self::succeed(cluster, secret)
    }

    /// As [`ClusterAuthority::create`], for a cluster that goes on with the secret of another, so
    /// that what the secret's keys have signed can still be checked.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`] when the system gives no randomness.
    pub fn succeed(cluster: ClusterId, secret: ClusterSecret) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(signing)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("rhumb cluster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let validity = Validity::lasting(DAY * u32::try_from(AUTHORITY_DAYS).unwrap_or(u32::MAX));
        set_validity(&mut params, validity)?;
        let certificate = params.self_signed(&key).map_err(signing)?;
        Ok(Self {
            cluster,
            secret,
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Writes the authority into a folder of its own, the key for its owner only.
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] rather than overwrite another, or a [`FileError`].
    pub fn save(&self, folder: &Path) -> Result<(), AuthorityError> {
        if folder.join(KEY_FILE).exists() {
            return Err(AuthorityError::Exists { path: folder.display().to_string() });
        }
        make_private_folder(folder)?;
        self.secret.write(folder)?;
        write_private(&folder.join(KEY_FILE), self.issuer.key().serialize_pem().as_bytes())?;
        write_public(&folder.join(CERTIFICATE_FILE), self.certificate_pem.as_bytes())?;
        Ok(())
    }

    /// Whether a folder holds an authority.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(KEY_FILE).exists()
    }

    /// Reads the authority that [`ClusterAuthority::save`] wrote.
    ///
    /// # Errors
    /// [`AuthorityError`] when files are missing, readable by others, damaged, or do not belong
    /// together.
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        let certificate_pem = read(&folder.join(CERTIFICATE_FILE))?;
        let key_pem = read_private(&folder.join(KEY_FILE))?;
        let secret = read_secret(folder)?;
        Self::from_pem(&certificate_pem, &key_pem, secret).map_err(|reason| {
            AuthorityError::Damaged { path: folder.display().to_string(), reason }
        })
    }

    fn from_pem(
        certificate_pem: &[u8],
        key_pem: &[u8],
        secret: ClusterSecret,
    ) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem)
            .map_err(|error| format!("{CERTIFICATE_FILE}: {error}"))?;
        let key = std::str::from_utf8(key_pem)
            .map_err(|error| error.to_string())
            .and_then(|pem| KeyPair::from_pem(pem).map_err(|error| error.to_string()))
            .map_err(|error| format!("{KEY_FILE}: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| format!("{CERTIFICATE_FILE}: {error}"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(format!("{KEY_FILE} is not the key of {CERTIFICATE_FILE}"));
        }
        let cluster = cluster_of(&parsed)
            .ok_or_else(|| format!("{CERTIFICATE_FILE} is not an authority of Rhumb"))?;
        let certificate_pem = String::from_utf8_lossy(certificate_pem).into_owned();
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| error.to_string())?;
        Ok(Self { cluster, certificate_pem, issuer, certificate, secret })
    }

    /// The cluster that it signs for.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its certificate, in DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The secret that the cluster's nodes share.
    #[must_use]
    pub const fn secret(&self) -> &ClusterSecret {
        &self.secret
    }

    /// Makes a key and a certificate for a node.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`], also when the identity is of another cluster.
    pub fn issue(&self, identity: &Identity, validity: Validity) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate().map_err(signing)?;
        let certificate = self.certify(identity, &key, validity)?;
        Ok(Issued {
            ca_pem: self.certificate_pem.clone(),
            node_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            secret: self.secret.clone(),
        })
    }

    /// Signs the key of a request (PKCS #10, RFC 2986). Names and extensions of the request are
    /// ignored: the caller decides who it is.
    ///
    /// # Errors
    /// [`AuthorityError::Request`] when it is damaged or not signed by the key in it.
    pub fn sign(
        &self,
        identity: &Identity,
        request: &[u8],
        validity: Validity,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
                .map_err(|error| AuthorityError::Request(error.to_string()))?;
        Ok(self.certify(identity, &request.public_key, validity)?.der().clone())
    }

    fn certify(
        &self,
        identity: &Identity,
        key: &impl PublicKeyData,
        validity: Validity,
    ) -> Result<rcgen::Certificate, AuthorityError> {
        if identity.cluster != self.cluster {
            let reason = format!("{identity} is not of cluster {}", self.cluster);
            return Err(AuthorityError::Sign(reason));
        }
        let uri = identity.to_string().try_into().map_err(signing)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("rhumb node {}", identity.region));
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, validity)?;
        params.signed_by(key, &self.issuer).map_err(signing)
    }
}

impl Issued {
    /// Writes the files of a node's identity into a folder.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        super::store::write_identity(folder, self)
    }
}

fn read_secret(folder: &Path) -> Result<ClusterSecret, AuthorityError> {
    let path = folder.display().to_string();
    if !folder.join(SECRET_FILE).exists() {
        return Err(AuthorityError::NoSecret { path });
    }
    ClusterSecret::read(folder).map_err(|error| match error {
        SecretError::File(error) => AuthorityError::File(error),
        SecretError::Form => {
            AuthorityError::Damaged { path, reason: format!("{SECRET_FILE}: {error}") }
        }
    })
}

/// An authority says in its common name whose it is.
fn cluster_of(certificate: &X509Certificate<'_>) -> Option<ClusterId> {
    let common = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    let digits = common.strip_prefix("rhumb cluster c")?;
    u64::from_str_radix(digits, 16).ok().map(ClusterId)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn set_validity(params: &mut CertificateParams, validity: Validity) -> Result<(), AuthorityError> {
    params.not_before = instant(validity.from)?;
    params.not_after = instant(validity.until)?;
    Ok(())
}

fn instant(at: SystemTime) -> Result<OffsetDateTime, AuthorityError> {
    let seconds = at.duration_since(UNIX_EPOCH).map_err(|_| before_epoch())?.as_secs();
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or_else(before_epoch)
}

fn before_epoch() -> AuthorityError {
    AuthorityError::Sign("the system's clock is not between 1970 and 9999".to_owned())
}

fn signing(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Sign(error.to_string())
}
