//! What the binary hands in, because it lives in layers that this one does not know.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use rhumb_engine::telemetry::Metrics;
use rhumb_engine::{Engine, node::Alarm};
use rhumb_regions::{StickyKeys, audit::AuditKey, residency::Holding};
use rhumb_types::{
    NodeId, RegionId, UnixMillis,
    control::{Digest, MemberRole},
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::limits::ALARMS_MAX;

/// How the link to a peer is doing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LinkView {
    /// The peer's region.
    pub region: RegionId,
    /// Whether the link that carries transactions is up.
    pub up: bool,
    /// Whether the connection for heartbeats is up.
    pub heartbeats: bool,
    /// Messages that wait to be sent.
    pub queued_messages: usize,
    /// About how many bytes those are.
    pub queued_bytes: usize,
    /// Bytes of messages sent since the node's start, compressed and before encryption.
    pub sent_bytes: u64,
    /// Bytes of messages received since then.
    pub received_bytes: u64,
}

/// Tells how the links are doing.
pub type Links = Arc<dyn Fn() -> Vec<LinkView> + Send + Sync>;

/// Says everything that is wrong with a configuration document, before it is agreed on.
pub type ConfigCheck = Arc<dyn Fn(&str) -> Result<(), Vec<String>> + Send + Sync>;

/// What a new node is invited to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invitation {
    /// Its region.
    pub region: RegionId,
    /// What it will do.
    pub role: MemberRole,
    /// Where peers will reach it, when the file does not say so.
    pub address: Option<String>,
    /// The member that it takes the place of.
    pub replaces: Option<NodeId>,
    /// Until when it may come.
    pub lasting: Duration,
}

/// What the invited node needs, and what the cluster remembers of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invited {
    /// The text that `rhumb join` takes.
    pub token: String,
    /// The digest of its secret, under which it is agreed on.
    pub secret: Digest,
}

/// Why there is no invitation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// This node cannot hand out identities; another one can.
    #[error("this node does not hold the cluster's authority: ask the node that does")]
    NotHere,
    /// It was refused.
    #[error("the invitation was refused: {0}")]
    Refused(String),
}

/// Hands out join tokens: the join desk of the node that holds the authority.
pub trait Invitations: Send + Sync + 'static {
    /// Makes a token with which one new node can join. May block for the disk.
    ///
    /// # Errors
    /// [`InvitationError`].
    fn invite(&self, invitation: &Invitation) -> Result<Invited, InvitationError>;
}

/// A workload that takes webhooks of GitHub, and says how it does.
pub trait Workflows: Send + Sync + 'static {
    /// Takes a webhook, with its raw body; says the status and the body of the answer. Whoever sends it
    /// has no token: the signature is all there is, and the workload checks it.
    fn webhook(&self, headers: HeaderMap, body: Bytes) -> BoxFuture<'static, (u16, Value)>;

    /// How it does, in every region that said so lately.
    ///
    /// # Errors
    /// In words, when that cannot be read.
    fn status(&self) -> Result<Value, String>;
}

/// What surrounds the server.
#[derive(Clone)]
pub struct Surroundings {
    /// This node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// The node's alarms.
    pub alarms: AlarmLog,
    /// The links to the peers; none are shown without it.
    pub links: Option<Links>,
    /// Who hands out join tokens; without it they are refused.
    pub invitations: Option<Arc<dyn Invitations>>,
    /// What checks a configuration document; without it any text is taken.
    pub config_check: Option<ConfigCheck>,
    /// The cluster's key for signed heads of the audit chain; without it they are not checked.
    pub audit_key: Option<AuditKey>,
    /// The keys that sign sticky tokens; without them none are handed out.
    pub sticky: Option<StickyKeys>,
    /// What lies where, for the report on residency.
    pub holdings: Arc<[Holding]>,
    /// Who takes webhooks of GitHub; without it there is nothing at their path.
    pub workflows: Option<Arc<dyn Workflows>>,
}

impl Surroundings {
    /// A server with nothing around it.
    #[must_use]
    pub fn new(node: NodeId, region: RegionId, metrics: Arc<Metrics>) -> Self {
        Self {
            node,
            region,
            metrics,
            alarms: AlarmLog::default(),
            links: None,
            invitations: None,
            config_check: None,
            audit_key: None,
            sticky: None,
            holdings: Arc::default(),
            workflows: None,
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("node", &self.node)
            .field("region", &self.region)
            .field("invitations", &self.invitations.is_some())
            .finish_non_exhaustive()
    }
}

/// The last alarms of a node, the newest last. A lock, because one task writes and any request
/// reads.
#[derive(Clone, Debug, Default)]
pub struct AlarmLog(Arc<Mutex<VecDeque<(UnixMillis, Alarm)>>>);

impl AlarmLog {
    /// Keeps what a node says, until it stops.
    #[must_use]
    pub fn follow(engine: &Engine, mut alarms: mpsc::Receiver<Alarm>) -> Self {
        let log = Self::default();
        let (kept, speaker) = (log.clone(), engine.clone());
        engine.tasks().spawn_until_stopped(async move {
            while let Some(alarm) = alarms.recv().await {
                tracing::warn!(?alarm, "an alarm");
                kept.push(speaker.clock().now().wall, alarm);
            }
        });
        log
    }

    /// Adds an alarm; the oldest makes room.
    pub fn push(&self, at: UnixMillis, alarm: Alarm) {
        let mut alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.len() >= ALARMS_MAX {
            alarms.pop_front();
        }
        alarms.push_back((at, alarm));
    }

    /// What is kept.
    #[must_use]
    pub fn alarms(&self) -> Vec<(UnixMillis, Alarm)> {
        let alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.iter().cloned().collect()
    }
}
