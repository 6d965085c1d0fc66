//! Members, regions and what is decided about them.

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::{NodeId, RegionId, UnixMillis};

/// What a member does for the group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Votes, and holds data.
    Voter,
    /// Holds data, follows, does not vote.
    Learner,
    /// Votes only.
    Witness,
}

impl MemberRole {
    /// Whether it counts for a majority.
    #[must_use]
    pub const fn votes(self) -> bool {
        matches!(self, Self::Voter | Self::Witness)
    }

    /// Whether it holds data, and so can take over duties.
    #[must_use]
    pub const fn holds_data(self) -> bool {
        matches!(self, Self::Voter | Self::Learner)
    }
}

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its id; a node without its former disk has a new one (rule 15).
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// What it does.
    pub role: MemberRole,
    /// Where peers reach it, as `host:port`.
    pub address: String,
    /// The SHA-256 fingerprint of its certificate; its one exact identity.
    pub fingerprint: Digest,
    /// The highest protocol version that it can read (rule 16).
    pub reads: u16,
}

/// What an operator wants of a region.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// It takes work.
    #[default]
    Active,
    /// It finishes what it has and takes nothing new; it keeps its lease until it is drained.
    Draining,
    /// It takes nothing, and its lease is not renewed.
    Disabled,
}

/// What the other regions agreed about a region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// When the deciding vote was cast.
    pub at: UnixMillis,
    /// Whose votes decided.
    pub by: Vec<RegionId>,
}

/// What one region says of another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ballot {
    /// Whether the voter holds that the subject is down.
    pub down: bool,
    /// Every region that the voter hears now, itself not included.
    pub hears: Vec<RegionId>,
    /// Whether the voter is overloaded, which costs it its vote.
    pub overloaded: bool,
    /// The voter's wall clock.
    pub at: UnixMillis,
}

/// A region as the control plane sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegionStatus {
    /// What an operator, or a failover, wants of it.
    pub state: AdminState,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub actor: String,
    /// Since when.
    pub since: UnixMillis,
    /// How much of its share it gets, in percent; below 100 during a fail-back.
    pub ramp_percent: u8,
    /// Present while the other regions hold that it is down.
    pub verdict: Option<Verdict>,
    /// Whether none of its members holds data, so that it can have no duties.
    pub witness: bool,
}

impl RegionStatus {
    /// Whether it may be given duties: active, and under no verdict.
    #[must_use]
    pub const fn is_eligible(&self) -> bool {
        matches!(self.state, AdminState::Active) && self.verdict.is_none() && !self.witness
    }
}
