//! How a new node gets its identity: a token, a secret, a signature.
//!
//! On the node that holds the authority a person makes an invitation ([`JoinDesk::invite`]) and
//! carries its token to the new machine. There [`join`] makes a key, connects to the address in the
//! token without a certificate of its own, accepts nobody but a node of the token's authority, and
//! sends the secret with a signing request. The desk takes the invitation away before it signs, so
//! that a token works once even when two use it at the same moment.
//!
//! A node renews its certificate with [`crate::Peer::renew`], for which its present one is proof.
//!
//! An invitation can say what the node will be in the cluster. Then the cluster agrees on it, by the
//! desk's [`Registrar`], after the certificate is signed and before it is handed out: a node that
//! holds it is a member already, and every other node knows where it is.
//!
//! Invitations are files under the authority's folder, so that `rhumb` can make one while the node
//! runs; they hold the hash of the secret and never the secret.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, KeyPair};
use rhumb_ports::BoxFuture;
use rhumb_types::{NodeId, RegionId, control::MemberRole};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    connect::{DialError, Keepalive, Tasks, connect, origin, secure},
    identity::{
        AuthorityError, ClusterAuthority, ClusterSecret, FileError, Identities, Identity,
        IdentityError, Issued, Validity, failed, make_private_folder, pem, write_identity,
        write_private,
    },
    limits::{DIAL_TIMEOUT, INVITATIONS_MAX, JOIN_BYTES_MAX, JOINER_LIFETIME},
    pb::{JoinReply, JoinRequest, joining_client::JoiningClient},
    shape::ShapedStream,
    tls,
    token::{Fingerprint, JoinToken, SECRET_BYTES},
};

const INVITATIONS_FOLDER: &str = "invitations";
const OPEN: &str = "invitation";
const TAKEN: &str = "taken";

/// Why an invitation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// The invitation could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Entropy(String),
    /// Too many are open.
    #[error("{INVITATIONS_MAX} invitations are open already: let some expire or remove them")]
    TooMany,
}

/// Why the desk signed nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The secret is of no open invitation.
    #[error("the token is unknown or was used: ask for a new one")]
    Unknown,
    /// Too late.
    #[error("the token has expired: ask for a new one")]
    Expired,
    /// The authority could not sign.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The invitation could not be read or taken away.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is an identity in the folder already.
    #[error("{0} holds an identity already; move it away to join again")]
    Exists(PathBuf),
    /// The member could not be reached, or is not of the token's cluster.
    #[error("{0}")]
    Unreachable(String),
    /// The member refused.
    #[error("the member refused: {0}")]
    Refused(String),
    /// The member's answer makes no sense.
    #[error("the member answered with {0}")]
    Answer(String),
    /// The key could not be made.
    #[error("make a key: {0}")]
    Key(String),
    /// Files could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was received cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What an invited node will be in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// Where peers will reach it, as `host:port`.
    pub address: String,
    /// What it will do.
    pub role: MemberRole,
    /// The member that it takes the place of.
    #[serde(default)]
    pub replaces: Option<NodeId>,
    /// Whether the control plane knows the invitation, by the digest of its secret.
    #[serde(default)]
    pub agreed: bool,
}

/// A node whose invitation was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Who it is.
    pub identity: Identity,
    /// The SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// What it will be.
    pub seat: Seat,
    /// The SHA-256 of the invitation's secret.
    pub secret: [u8; 32],
}

/// Has the cluster agree on a newcomer; the error says why it does not.
pub type Registrar = Arc<dyn Fn(Newcomer) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invitation {
    region: RegionId,
    node: NodeId,
    expires_unix: u64,
    #[serde(default)]
    seat: Option<Seat>,
}

/// An invitation that was taken and signed for. It is spent unless it is put back.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) grant: Grant,
    pub(crate) newcomer: Option<Newcomer>,
    taken: PathBuf,
    open: PathBuf,
}

impl Admission {
    /// The node is a member, or needs not be.
    pub(crate) fn settle(&self) -> Result<(), FileError> {
        fs::remove_file(&self.taken).map_err(failed("remove", &self.taken))
    }

    /// The cluster did not agree: the token can be used again.
    pub(crate) fn put_back(&self) -> Result<(), FileError> {
        fs::rename(&self.taken, &self.open).map_err(failed("put back", &self.open))
    }
}

/// A signed certificate and whom it is for.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) identity: Identity,
    pub(crate) certificate: CertificateDer<'static>,
    /// Only for a node that joins: one that renews has it.
    pub(crate) secret: Option<ClusterSecret>,
}

/// Hands out identities, on the node that holds the authority.
#[derive(Debug)]
pub struct JoinDesk {
    authority: ClusterAuthority,
    folder: PathBuf,
}

impl JoinDesk {
    /// Opens the desk of the authority in a folder.
    ///
    /// # Errors
    /// As [`ClusterAuthority::load`].
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let invitations = folder.join(INVITATIONS_FOLDER);
        let authority = ClusterAuthority::load(folder)?;
        make_private_folder(&invitations)?;
        Ok(Self { authority, folder: invitations })
    }

    /// Makes an invitation for one node, to be used within a time at the address of this node.
    /// Without a seat the node gets its identity, and joins as it is configured.
    ///
    /// # Errors
    /// [`InviteError`].
    pub fn invite(
        &self,
        region: RegionId,
        node: NodeId,
        seat: Option<Seat>,
        address: String,
        lasting: Duration,
    ) -> Result<JoinToken, InviteError> {
        if self.sweep()? >= INVITATIONS_MAX {
            return Err(InviteError::TooMany);
        }
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|error| InviteError::Entropy(error.to_string()))?;
        let expires_unix = unix_now().saturating_add(lasting.as_secs());
        let invitation = Invitation { region: region.clone(), node, expires_unix, seat };
        let content = serde_json::to_vec(&invitation)
            .map_err(|error| InviteError::Entropy(error.to_string()))?;
        write_private(&self.place(&secret, OPEN), &content)?;
        let fingerprint = tls::fingerprint(self.authority.certificate());
        Ok(JoinToken { address, fingerprint, region, secret })
    }

    /// The authority behind the desk.
    #[must_use]
    pub const fn authority(&self) -> &ClusterAuthority {
        &self.authority
    }

    pub(crate) fn admit(&self, secret: &[u8], request: &[u8]) -> Result<Admission, AdmitError> {
        let (open, taken) = (self.place(secret, OPEN), self.place(secret, TAKEN));
        match fs::rename(&open, &taken) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(AdmitError::Unknown);
            }
            other => other.map_err(failed("take", &taken))?,
        }
        let content = fs::read(&taken).map_err(failed("read", &taken))?;
        let invitation: Invitation =
            serde_json::from_slice(&content).map_err(|_| AdmitError::Unknown)?;
        if invitation.expires_unix < unix_now() {
            return Err(AdmitError::Expired);
        }
        let cluster = self.authority.cluster();
        let identity = Identity { cluster, region: invitation.region, node: invitation.node };
        let shared = Some(self.authority.secret().clone());
        let grant = Grant { secret: shared, ..self.renew(identity, request)? };
        let newcomer = invitation.seat.map(|seat| Newcomer {
            identity: grant.identity.clone(),
            fingerprint: tls::fingerprint(&grant.certificate),
            seat,
            secret: Sha256::digest(secret).into(),
        });
        Ok(Admission { grant, newcomer, taken, open })
    }

    /// Signs for an identity that was proved already.
    pub(crate) fn renew(
        &self,
        identity: Identity,
        request: &[u8],
    ) -> Result<Grant, AuthorityError> {
        let certificate = self.authority.sign(&identity, request, Validity::node())?;
        Ok(Grant { identity, certificate, secret: None })
    }

    /// An invitation is found by the hash of its secret, so that looking it up tells nothing.
    fn place(&self, secret: &[u8], state: &str) -> PathBuf {
        let mut name = String::new();
        for byte in Sha256::digest(secret) {
            let _ = write!(name, "{byte:02x}");
        }
        self.folder.join(name).with_extension(state)
    }

    /// Removes expired invitations and counts the others.
    fn sweep(&self) -> Result<usize, FileError> {
        let mut open = 0;
        for entry in fs::read_dir(&self.folder).map_err(failed("list", &self.folder))? {
            let path = entry.map_err(failed("list", &self.folder))?.path();
            let invitation: Option<Invitation> =
                fs::read(&path).ok().and_then(|content| serde_json::from_slice(&content).ok());
            if invitation.is_some_and(|invitation| invitation.expires_unix >= unix_now()) {
                open += 1;
            } else {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(open)
    }
}

/// Joins a cluster: asks the member named by a token, and writes the identity into a folder.
///
/// # Errors
/// [`JoinError`]; nothing is written then.
pub async fn join(token: &JoinToken, folder: &Path) -> Result<Identity, JoinError> {
    if Identities::is_in(folder) {
        return Err(JoinError::Exists(folder.to_owned()));
    }
    let key = KeyPair::generate().map_err(|error| JoinError::Key(error.to_string()))?;
    let request = JoinRequest {
        secret: token.secret.to_vec().into(),
        signing_request: signing_request(&key).map_err(JoinError::Key)?.into(),
    };
    let tasks = Tasks { tracker: TaskTracker::new(), stop: CancellationToken::new() };
    let answered = timeout(JOINER_LIFETIME, ask(token, request, &tasks)).await;
    tasks.stop.cancel();
    tasks.tracker.close();
    tasks.tracker.wait().await;
    let reply = answered.map_err(|_| JoinError::Unreachable(too_late(token)))??;

    let identity = checked(token, &reply)?;
    let secret = ClusterSecret::from_bytes(&reply.cluster_secret).ok_or_else(|| {
        JoinError::Answer("no secret of the cluster: upgrade that member first".to_owned())
    })?;
    let issued = Issued {
        ca_pem: reply.authorities.iter().map(|der| pem(der)).collect(),
        node_pem: pem(&reply.certificate),
        key_pem: key.serialize_pem(),
        secret,
    };
    write_identity(folder, &issued)?;
    Identities::load(folder, Some(&token.region))?;
    Ok(identity)
}

/// A request to sign a key, without any names: the authority knows them.
pub(crate) fn signing_request(key: &KeyPair) -> Result<Vec<u8>, String> {
    CertificateParams::default()
        .serialize_request(key)
        .map(|request| request.der().to_vec())
        .map_err(|error| error.to_string())
}

async fn ask(
    token: &JoinToken,
    request: JoinRequest,
    tasks: &Tasks,
) -> Result<JoinReply, JoinError> {
    let unreachable = |error: DialError| JoinError::Unreachable(error.to_string());
    let config = tls::joining_config(token.fingerprint)
        .map_err(|error| JoinError::Unreachable(error.to_string()))?;
    let reach = async {
        let stream = ShapedStream::new(connect(&token.address).await?);
        secure(stream, config, Keepalive::BULK, &token.address, tasks).await
    };
    let (channel, _) = timeout(DIAL_TIMEOUT, reach)
        .await
        .map_err(|_| JoinError::Unreachable(too_late(token)))?
        .map_err(unreachable)?;
    let mut client = JoiningClient::with_origin(channel.clone(), origin())
        .max_decoding_message_size(JOIN_BYTES_MAX);
    match client.join(request).await {
        Ok(reply) => Ok(reply.into_inner()),
        Err(status) => Err(JoinError::Refused(channel.explain(&status).await)),
    }
}

fn too_late(token: &JoinToken) -> String {
    format!("{} did not answer in time", token.address)
}

fn checked(token: &JoinToken, reply: &JoinReply) -> Result<Identity, JoinError> {
    let pinned = reply.authorities.iter().any(|der| tls::fingerprint(der) == token.fingerprint);
    if !pinned {
        return Err(JoinError::Answer("another authority than the token's".to_owned()));
    }
    let identity = Identity::of_certificate(&reply.certificate)
        .map_err(|error| JoinError::Answer(format!("a certificate without a name: {error}")))?;
    if identity.region != token.region {
        return Err(JoinError::Answer(format!("a certificate of {identity}")));
    }
    Ok(identity)
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
