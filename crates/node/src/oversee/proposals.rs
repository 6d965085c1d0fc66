//! Proposals under way: one of a kind at a time, and a bound over all.

use std::collections::BTreeMap;

use rhumb_regions::lease::LeaseAttempt;
use rhumb_types::{
    MonoTime, RegionId, Timestamp,
    control::{AdminCommand, AdminRequest, FailoverId, NODE_ACTOR},
};

use super::{Overseer, OverseerEffect, OverseerEffects};
use crate::limits::{PROPOSAL_PAUSE, PROPOSALS_MAX};

/// Names a proposal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// What a proposal is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Purpose {
    /// To form the cluster.
    Form,
    /// To become a member.
    Join,
    /// To say what this node reads.
    Version,
    /// To say which certificate this node shows now.
    Identity,
    /// To hand over the affinity rules that a new cluster starts with.
    Rules,
    /// To put announced homes in force.
    Homes(u64),
    /// To publish a head of the audit chain.
    Head(u64),
    /// To vote about a region.
    Vote(RegionId),
    /// To acquire, renew or take over a region's lease.
    Lease(RegionId, LeaseAttempt),
    /// To give a region's lease up.
    Release(RegionId),
    /// To open a failover of a region.
    StartFailover(RegionId),
    /// The next work of a run.
    Run(FailoverId),
}

impl Purpose {
    /// Whether two proposals must not be under way together.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Lease(one, _), Self::Lease(two, _)) => one == two,
            (Self::Head(_), Self::Head(_)) => true,
            // The run itself knows which of its works is under way.
            (Self::Run(_), Self::Run(_)) => false,
            _ => self == other,
        }
    }

    /// Whether it is wanted for its own sake, and repeated without haste when it fails.
    const fn is_patient(&self) -> bool {
        matches!(
            self,
            Self::Form
                | Self::Join
                | Self::Version
                | Self::Identity
                | Self::Rules
                | Self::Homes(_)
                | Self::Head(_)
                | Self::StartFailover(_)
        )
    }
}

/// Proposals without an answer yet.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    last: u64,
    out: BTreeMap<Token, Purpose>,
    /// Patient ones wait until this after a failure.
    patience: MonoTime,
}

impl Proposals {
    pub(super) fn take(&mut self, token: Token) -> Option<Purpose> {
        self.out.remove(&token)
    }

    pub(super) fn has(&self, purpose: &Purpose) -> bool {
        self.out.values().any(|other| other.excludes(purpose))
    }

    /// Whether a lease's attempt is under way.
    pub(super) fn has_lease(&self, region: &RegionId) -> bool {
        let lease = |other: &Purpose| matches!(other, Purpose::Lease(of, _) if of == region);
        self.out.values().any(lease)
    }

    /// A patient proposal failed.
    pub(super) fn failed(&mut self, now: MonoTime, purpose: &Purpose) {
        if purpose.is_patient() {
            self.patience = now + PROPOSAL_PAUSE;
        }
    }
}

impl Overseer {
    /// Proposes something, unless the like of it is under way; says whether it did.
    pub(super) fn propose(
        &mut self,
        now: Timestamp,
        purpose: Purpose,
        reason: &str,
        command: AdminCommand,
        out: &mut OverseerEffects,
    ) -> bool {
        let proposals = &mut self.proposals;
        let waits = purpose.is_patient() && now.mono < proposals.patience;
        if waits || proposals.has(&purpose) || proposals.out.len() >= PROPOSALS_MAX {
            return false;
        }
        proposals.last += 1;
        let token = Token(proposals.last);
        proposals.out.insert(token, purpose);
        let (actor, reason) = (format!("{NODE_ACTOR}{}", self.config.node), reason.to_owned());
        let request = Box::new(AdminRequest { at: now.wall, actor, reason, command });
        out.push(OverseerEffect::Propose { token, request });
        true
    }

    /// The token of the proposal that was made last.
    pub(super) const fn last_token(&self) -> Token {
        Token(self.proposals.last)
    }
}
