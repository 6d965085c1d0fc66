//! What the control plane agrees on: members, administrative states, leases, rules and audit.
//!
//! Plain data, all of it stored in the agreed log and in snapshots, so the order of an enum's
//! variants and of a struct's fields is frozen: append, never insert (rule 16). What a command
//! does is the business of `rhumb-regions`' administrative machine.

pub mod audit;
pub mod command;
pub mod digest;
pub mod document;
pub mod failover;
pub mod homes;
pub mod lease;
pub mod limits;
pub mod member;
pub mod outcome;
pub mod query;
pub mod token;

pub use audit::{AuditEntry, AuditHead};
pub use command::{AdminCommand, AdminRequest, BucketAct, NODE_ACTOR, QueueAct};
pub use digest::{Digest, DigestError};
pub use document::{AffinityRule, Document, DocumentVersion, NamespacePolicy, RuleMatch};
pub use failover::{
    DutyMove, FailoverId, FailoverKind, FailoverMode, FailoverPlan, FailoverRecord, FailoverState,
    FailoverStep, FailoverStrategy, StepRecord, StepState,
};
pub use homes::Homes;
pub use lease::{LeaseParty, RegionLease};
pub use member::{AdminState, Ballot, Member, MemberRole, RegionStatus, Verdict};
pub use outcome::{AdminAnswer, AdminOutcome, AdminRefusal};
pub use query::{AdminQuery, AdminQueryAnswer, ControlView};
pub use token::{ApiRole, ApiToken, JoinToken};
