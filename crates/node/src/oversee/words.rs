//! What the overseer is told, and what it asks for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rhumb_regions::{
    Capability, Facts, FailoverConfig, HealthConfig, RoutingSnapshot,
    audit::{Anchor, AuditKey},
    failover::{Duty, Part, Ticket},
    health::{Check, HealthChange},
};
use rhumb_types::{
    ClusterId, DomainId, NodeId, Ratio, RegionId,
    control::{
        AdminOutcome, AdminRefusal, AdminRequest, ControlView, Digest, FailoverId, FailoverPlan,
        Member, RegionLease,
    },
};

pub use rhumb_regions::lease::{Leases, Tenure};

use super::Token;
use crate::{event, status::NodeStatus};

/// What an overseer is told at its start.
#[derive(Debug, Clone)]
pub struct OverseerConfig {
    /// The cluster's id, for its formation.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// Whom to form the cluster with: this node as a member, and others as far as their ids are
    /// known. A node that is not among the agreed members joins as what it is here.
    pub founders: Vec<Member>,
    /// The residency domains that regions carry beside the one of every region.
    pub domains: BTreeMap<RegionId, Vec<DomainId>>,
    /// How health is judged, and the leases.
    pub health: HealthConfig,
    /// How failovers run.
    pub failover: FailoverConfig,
    /// The regions as configured, from which routing starts.
    pub facts: Facts,
    /// The key that signs audit heads; without it none are published.
    pub audit: Option<AuditKey>,
}

/// Something that happened.
#[derive(Debug)]
pub enum OverseerEvent {
    /// Time has passed; at least every half of the heartbeat interval.
    Tick,
    /// The node, as it sees itself and its peers; every one of them, so that no heartbeat is missed.
    Status(Arc<NodeStatus>),
    /// What is agreed, after every command that this node applied.
    View(Arc<ControlView>),
    /// Who leads the administrative group, when that is known and sure.
    Leader(Option<NodeId>),
    /// Something that was sent to a region for a client ended well, or not.
    Outcome {
        /// To which region.
        region: RegionId,
        /// Whether it ended well; an error of the client's own making is well.
        ok: bool,
    },
    /// A check of a region ended; of this node's own region, it is told to the others.
    Checked {
        /// Of which region.
        region: RegionId,
        /// Which.
        check: Check,
        /// Whether it passed.
        passed: bool,
    },
    /// How full this node is.
    Utilised(Ratio),
    /// What a region does now and another could.
    Duties {
        /// Which region.
        region: RegionId,
        /// All of it.
        duties: Vec<Duty>,
    },
    /// How a proposal ended. Every [`OverseerEffect::Propose`] is answered.
    Answered {
        /// Which.
        token: Token,
        /// The machine's answer.
        answer: Result<AdminOutcome, ProposalError>,
    },
    /// How a part of a run-book that was asked for ended.
    PartEnded {
        /// Of which failover.
        id: FailoverId,
        /// Of which try.
        ticket: Ticket,
        /// Which part.
        part: Part,
        /// What went wrong, if anything did.
        result: Result<(), String>,
    },
    /// The last entry of this node's audit chain.
    Audited(Anchor),
    /// This node shows the certificate with this SHA-256 fingerprint from now on.
    Renewed(Digest),
}

/// Why a proposal was not answered by the machine with a yes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// The machine refused.
    #[error(transparent)]
    Refused(#[from] AdminRefusal),
    /// It was not agreed.
    #[error("it was not agreed: {0}")]
    NotAgreed(String),
    /// It may have been agreed.
    #[error("no answer came in time; it may take effect")]
    Unknown,
}

/// Something to be done.
#[derive(Debug)]
pub enum OverseerEffect {
    /// Propose to the administrative group, then [`OverseerEvent::Answered`]. What certainly was
    /// not agreed may be tried again for a while; what may have been must not.
    Propose {
        /// Names the proposal.
        token: Token,
        /// What to propose.
        request: Box<AdminRequest>,
    },
    /// Route by this from now on.
    Publish(Arc<RoutingSnapshot>),
    /// Own by these from now on.
    Leases(Arc<Leases>),
    /// Keep this for the next start.
    Remember(Arc<ControlView>),
    /// Replicate with these regions from now on: those of the agreed members, and those that are
    /// configured and may be about to join.
    Members(Vec<event::Member>),
    /// Tell the peers, with every heartbeat from now on.
    Observed {
        /// How full this node is.
        utilisation: Ratio,
        /// What its region cannot do.
        lost: BTreeSet<Capability>,
        /// Whether everything works that its operator called vital.
        well: bool,
    },
    /// Tell a person.
    Alarm(String),
    /// A peer's health changed here, for the log.
    Health(HealthChange),
    /// Run an operator's command, then [`OverseerEvent::PartEnded`] with [`Part::Hook`].
    RunHook {
        /// Of which failover.
        id: FailoverId,
        /// Of which try.
        ticket: Ticket,
        /// The command's name.
        name: String,
        /// What it is a part of.
        plan: Box<FailoverPlan>,
    },
    /// Finish what is in hand of a duty, then [`OverseerEvent::PartEnded`] with [`Part::Duty`].
    Drain {
        /// Of which failover.
        id: FailoverId,
        /// Of which try.
        ticket: Ticket,
        /// Whose duty,
        region: RegionId,
        /// and which.
        duty: String,
    },
}

/// The effects of events, in order.
#[derive(Debug, Default)]
pub struct OverseerEffects {
    queue: VecDeque<OverseerEffect>,
}

impl OverseerEffects {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, effect: OverseerEffect) {
        self.queue.push_back(effect);
    }

    /// Takes the next.
    pub fn pop(&mut self) -> Option<OverseerEffect> {
        self.queue.pop_front()
    }

    pub(super) fn alarm(&mut self, text: String) {
        self.push(OverseerEffect::Alarm(text));
    }

    pub(super) fn health(&mut self, changes: Vec<HealthChange>) {
        self.queue.extend(changes.into_iter().map(OverseerEffect::Health));
    }
}

/// Whether a node holds a lease as agreed.
pub(super) fn is_held_by(lease: &RegionLease, node: NodeId) -> bool {
    lease.holder.as_ref().is_some_and(|holder| holder.node == node)
}
