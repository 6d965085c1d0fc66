//! TLS 1.3 between nodes: certificates of the cluster's own authority, in both directions.
//!
//! Host names and addresses prove nothing here. Whoever dials expects one identity and refuses every
//! other; whoever accepts takes any node of its own cluster, and looks it up among the members
//! before it answers anything. Sessions are never resumed, so that every connection checks
//! certificates anew.

use std::{error::Error as StdError, io, sync::Arc};

use rhumb_types::{ClusterId, NodeId, RegionId};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    server::{
        ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    connect::chain,
    identity::{Identities, Identity, NameError, provider},
    token::Fingerprint,
};

/// The name in the TLS hello. Certificates are not checked against it.
const SERVER_NAME: &str = "peer.rhumb";
/// HTTP/2 (RFC 9113).
const ALPN: &[u8] = b"h2";

/// Whom a dial must reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) cluster: ClusterId,
    pub(crate) region: RegionId,
    pub(crate) node: Option<NodeId>,
}

/// Why a certificate with a good signature is refused all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{found} is not of this cluster ({cluster})")]
    Cluster { found: Identity, cluster: ClusterId },
    #[error("{found} is not {region}{}", node.map(|n| format!("/{n}")).unwrap_or_default())]
    Other { found: Identity, region: RegionId, node: Option<NodeId> },
    #[error("the authority is not the one of the token")]
    Fingerprint,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

/// A failed handshake or connection, in words that say whose fault it is.
pub(crate) fn explain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| cause(*error));
    match causes.filter_map(|error| error.downcast_ref::<Error>()).last() {
        Some(Error::InvalidCertificate(reason)) => refused_here(reason),
        Some(Error::AlertReceived(alert)) => refused_there(&format!("{alert:?}")),
        Some(other) => other.to_string(),
        None => {
            // HTTP/2 keeps only the text of what its connection failed with.
            let words = chain(error);
            match words.split_once("received fatal alert: ") {
                Some((_, alert)) => refused_there(alert),
                None => words,
            }
        }
    }
}

/// An `io::Error` hides the error it wraps from `source`.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn refused_here(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Other(OtherError(refusal)) => {
            format!("its certificate is refused: {refusal}")
        }
        // Two authorities of one cluster id have one name, so a foreign one shows as a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is refused: no authority that this node trusts signed it".to_owned()
        }
        other => format!("its certificate is refused: {other}"),
    }
}

fn refused_there(alert: &str) -> String {
    let hint = match alert {
        "CertificateExpired" => "it has expired, or the peer's clock is wrong",
        "UnknownCA" | "DecryptError" => "the peer does not trust the authority that signed it",
        _ => "see the peer's log",
    };
    format!("the peer refuses this node's certificate ({alert}): {hint}")
}

pub(crate) fn fingerprint(certificate: &[u8]) -> Fingerprint {
    Sha256::digest(certificate).into()
}

pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER_NAME).unwrap_or_else(|_| unreachable!("a constant DNS name"))
}

/// For accepting: shows this node's certificate, asks for one, and takes none for joiners.
pub(crate) fn server_config(identities: &Arc<Identities>) -> Result<Arc<ServerConfig>, Error> {
    let verifier = Arc::new(AcceptsCluster::new(Arc::clone(identities)));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Shows(Arc::clone(identities))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// For dialling a member: shows this node's certificate and expects one identity.
pub(crate) fn client_config(
    identities: &Arc<Identities>,
    expected: Expected,
) -> Result<Arc<ClientConfig>, Error> {
    let verifier = Arc::new(ExpectsNode {
        roots: Arc::clone(&identities.current().roots),
        expected,
        algorithms: algorithms(),
    });
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(Shows(Arc::clone(identities))));
    Ok(finished(config))
}

/// For joining: shows nothing and expects any node under the token's authority.
pub(crate) fn joining_config(fingerprint: Fingerprint) -> Result<Arc<ClientConfig>, Error> {
    let verifier = Arc::new(ExpectsAuthority { fingerprint, algorithms: algorithms() });
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(finished(config))
}

fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// The part that all verifiers have in common: signatures are those of TLS 1.3 (RFC 8446).
macro_rules! signatures_of_tls13 {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("only TLS 1.3 is spoken here".to_owned()))
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
    };
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

#[derive(Debug)]
struct Shows(Arc<Identities>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().shown))
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().shown))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes certificates of this cluster's authorities that name a node of this cluster.
#[derive(Debug)]
struct AcceptsCluster {
    identities: Arc<Identities>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AcceptsCluster {
    fn new(identities: Arc<Identities>) -> Self {
        Self { identities, algorithms: algorithms() }
    }
}

impl ClientCertVerifier for AcceptsCluster {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let material = self.identities.current();
        let verified = material.clients.verify_client_cert(end_entity, intermediates, now)?;
        let found = Identity::of_certificate(end_entity).map_err(Refusal::Name)?;
        let cluster = material.identity().cluster;
        if found.cluster != cluster {
            return Err(Refusal::Cluster { found, cluster }.into());
        }
        Ok(verified)
    }

    signatures_of_tls13!();
}

/// Takes the certificate of one node.
#[derive(Debug)]
struct ExpectsNode {
    roots: Arc<RootCertStore>,
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExpectsNode {
    fn check(&self, found: Identity) -> Result<(), Refusal> {
        let Expected { cluster, region, node } = &self.expected;
        if found.cluster != *cluster {
            return Err(Refusal::Cluster { found, cluster: *cluster });
        }
        if found.region != *region || node.is_some_and(|node| node != found.node) {
            return Err(Refusal::Other { found, region: region.clone(), node: *node });
        }
        Ok(())
    }
}

impl ServerCertVerifier for ExpectsNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let all = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, all)?;
        self.check(Identity::of_certificate(end_entity).map_err(Refusal::Name)?)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_of_tls13!();
}

/// Takes any node under the authority with a fingerprint. The node sends that authority along.
#[derive(Debug)]
struct ExpectsAuthority {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ExpectsAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|der| bool::from(fingerprint(der).ct_eq(&self.fingerprint)))
            .ok_or(Refusal::Fingerprint)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let all = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, all)?;
        Identity::of_certificate(end_entity).map_err(Refusal::Name)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures_of_tls13!();
}
