//! What can be asked of the administrative group.

use serde::{Deserialize, Serialize};

use super::{
    AdminState, AffinityRule, ApiToken, AuditHead, Ballot, Digest, Document, FailoverId,
    FailoverPlan, FailoverState, JoinToken, Member, MemberRole, StepRecord,
};
use crate::{
    ClusterId, Epoch, NodeId, OriginId, RegionId, UnixMillis,
    record::{BucketName, QueueName, Record},
};

/// What the actor of a request begins with when a node asks by itself, before the node's id.
pub const NODE_ACTOR: &str = "node:";

/// A command with who asks, when and why; what the agreed log holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdminRequest {
    /// The proposer's wall clock.
    pub at: UnixMillis,
    /// Who asks: a token's id, or `node:` and a node's id.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What.
    pub command: AdminCommand,
}

impl Record for AdminRequest {
    const VERSION: u8 = 1;
}

/// A change of the agreed state. Variants are appended, never inserted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AdminCommand {
    /// Forms the cluster; the first command.
    Form {
        /// The cluster's id.
        cluster: ClusterId,
        /// Its first members.
        members: Vec<Member>,
    },
    /// Adds a member.
    Join {
        /// The member.
        member: Member,
        /// The digest of a join token, which this uses up; `None` when an operator adds it.
        token: Option<Digest>,
    },
    /// Puts a member in another's place, such as a node that lost its disk (rule 15).
    ReplaceMember {
        /// Who goes.
        old: NodeId,
        /// Who comes, under a new id.
        member: Member,
    },
    /// Removes a member.
    RemoveMember {
        /// Who goes.
        node: NodeId,
    },
    /// Changes what a member does.
    SetMemberRole {
        /// Which member.
        node: NodeId,
        /// Its new role.
        role: MemberRole,
    },
    /// Changes a member's certificate.
    RotateIdentity {
        /// Which member.
        node: NodeId,
        /// The new certificate's SHA-256 fingerprint.
        fingerprint: Digest,
    },
    /// A member says what it can read; the cluster's version follows the least (rule 16).
    ReportVersion {
        /// Which member.
        node: NodeId,
        /// The highest protocol version that it reads.
        reads: u16,
    },
    /// Goes on without the members that are lost: raises every epoch and changes the cluster's
    /// id (rule 15).
    Recover {
        /// The new id.
        cluster: ClusterId,
        /// The members that remain.
        survivors: Vec<NodeId>,
    },
    /// Changes what is wanted of a region.
    SetRegionState {
        /// Which region.
        region: RegionId,
        /// What is wanted.
        state: AdminState,
        /// What is wanted now, when the change depends on it.
        expected: Option<AdminState>,
    },
    /// Sets how much of its share a region gets.
    SetRamp {
        /// Which region.
        region: RegionId,
        /// 0 to 100.
        percent: u8,
    },
    /// Removes a region for good, and closes its origins at their last versions (rule 5).
    RemoveRegion {
        /// Which region.
        region: RegionId,
        /// Its origins, each with the highest version that any region holds.
        origins: Vec<(OriginId, u64)>,
    },
    /// Begins a tenure of a region's own lease.
    AcquireLease {
        /// Whose lease.
        region: RegionId,
        /// A node of that region.
        node: NodeId,
        /// The tenure that this one follows.
        epoch: Epoch,
        /// How long each renewal lasts, in milliseconds.
        duration_ms: u64,
    },
    /// Renews a tenure.
    RenewLease {
        /// Whose lease.
        region: RegionId,
        /// The holder.
        node: NodeId,
        /// The tenure.
        epoch: Epoch,
        /// The number of this renewal: the last one plus one.
        renewal: u64,
    },
    /// Takes a lease whose last renewal the taker has waited out (rule 7).
    TakeOverLease {
        /// Whose lease.
        region: RegionId,
        /// The taker.
        node: NodeId,
        /// The tenure that was waited out.
        epoch: Epoch,
        /// Its last renewal that the taker saw.
        renewal: u64,
        /// How long each renewal of the new tenure lasts, in milliseconds.
        duration_ms: u64,
    },
    /// Gives a lease up; the holder has stopped to act.
    ReleaseLease {
        /// Whose lease.
        region: RegionId,
        /// The holder.
        node: NodeId,
        /// The tenure.
        epoch: Epoch,
    },
    /// A region's vote about another.
    Vote {
        /// About whom.
        subject: RegionId,
        /// Who votes.
        voter: RegionId,
        /// What it says.
        ballot: Ballot,
    },
    /// An operator ends a verdict.
    LiftVerdict {
        /// About whom.
        region: RegionId,
    },
    /// Replaces the affinity rules.
    PutRules {
        /// The version that this replaces.
        expected: u64,
        /// The new rules, the first that matches wins within its kind.
        rules: Vec<AffinityRule>,
    },
    /// Replaces the run-time configuration.
    PutConfig {
        /// The version that this replaces.
        expected: u64,
        /// The new document; opaque here.
        document: String,
    },
    /// Puts an earlier version of a document back, as a new version.
    Rollback {
        /// Which document.
        document: Document,
        /// The version that this replaces.
        expected: u64,
        /// The version whose content returns.
        to: u64,
    },
    /// Opens a failover record.
    StartFailover {
        /// What is moved and how.
        plan: FailoverPlan,
    },
    /// Writes to a failover record.
    AdvanceFailover {
        /// Which record.
        id: FailoverId,
        /// The record's sequence that this follows.
        sequence: u64,
        /// Where it stands now.
        state: FailoverState,
        /// What happened; it replaces the running line of the same step and attempt.
        step: Option<StepRecord>,
    },
    /// Makes a join token.
    CreateJoinToken {
        /// The token.
        token: JoinToken,
    },
    /// Ends a join token.
    RevokeJoinToken {
        /// The digest of its secret.
        secret: Digest,
    },
    /// Makes an API token; the id must be new.
    CreateApiToken {
        /// The token.
        token: ApiToken,
    },
    /// Ends an API token.
    RevokeApiToken {
        /// Its id.
        id: String,
    },
    /// Drops an API token that is revoked or expired.
    DropApiToken {
        /// Its id.
        id: String,
    },
    /// Stores a region's signed head of the audit chain (rule 18).
    PublishHead {
        /// The head.
        head: AuditHead,
    },
    /// Several commands in one agreed step, in order: all of them, or none when one is refused.
    /// The answer is that of the last. They do not nest.
    Together {
        /// The commands; at most [`super::limits::COMMANDS_TOGETHER_MAX`].
        commands: Vec<AdminCommand>,
    },
    /// Notes that somebody is about to change a queue. The change itself is agreed in the strong group;
    /// here only the audit chain hears of it.
    NoteQueue {
        /// Which queue.
        queue: QueueName,
        /// What is done to it.
        act: QueueAct,
    },
    /// Notes which CI runners of a label set a region started and ended since it last said so.
    NoteRunners {
        /// Which region.
        region: RegionId,
        /// Which label set.
        set: String,
        /// The names of those that were started.
        started: Vec<String>,
        /// The names of those that ended.
        ended: Vec<String>,
    },
    /// Notes that somebody is about to change a bucket; see [`NoteQueue`](Self::NoteQueue).
    NoteBucket {
        /// Which bucket.
        bucket: BucketName,
        /// What is done to it.
        act: BucketAct,
    },
    /// Puts an announced change of the homes in force; who asks has waited [`Homes::wait`] since it saw
    /// the announcement.
    ///
    /// [`Homes::wait`]: super::Homes::wait
    SettleHomes {
        /// The version of the homes that announced it.
        version: u64,
    },
    /// Has another region take the lease in a failover, because the one that was to may not any more.
    NameSuccessor {
        /// Which record.
        id: FailoverId,
        /// The record's sequence that this follows.
        sequence: u64,
        /// Who takes the lease.
        successor: RegionId,
    },
}

/// What is done to a bucket as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BucketAct {
    /// It is made.
    Create,
    /// Its settings change.
    Change,
    /// It is removed.
    Delete,
}

/// What is done to a queue as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum QueueAct {
    /// It is made.
    Create,
    /// Its settings change.
    Change,
    /// It is dropped, with its jobs.
    Delete,
    /// It is emptied.
    Purge,
    /// Its dead jobs are taken back.
    Redrive,
}

impl AdminCommand {
    /// The lowest agreed protocol version under which a member may propose this (rule 16); of several
    /// commands together that of the newest.
    #[must_use]
    pub fn since(&self) -> u16 {
        match self {
            Self::NameSuccessor { .. } => 2,
            Self::Together { commands } => commands.iter().map(Self::since).max().unwrap_or(1),
            _ => 1,
        }
    }
}
