//! Documents that are changed at run time by compare-and-set: affinity rules, configuration,
//! namespaces.

use serde::{Deserialize, Serialize};

use crate::{AckLevel, Consistency, DomainId, RegionId, UnixMillis};

/// What an affinity rule looks at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleMatch {
    /// Everything: the priority override.
    Everything,
    /// A repository, as `organisation/name`.
    Repository(String),
    /// An organisation.
    Organisation(String),
    /// Keys that start with this text.
    KeyPrefix(String),
    /// Clients in a country (ISO 3166-1 alpha-2) or on a continent (two letters after `continent:`).
    Geography(String),
}

/// Sends what matches to a region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AffinityRule {
    /// What it applies to.
    pub matches: RuleMatch,
    /// Where that goes.
    pub region: RegionId,
}

/// Which document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// The affinity rules.
    Rules,
    /// The configuration that may change at run time.
    Config,
}

/// One version of a document, as listed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DocumentVersion {
    /// Counts the versions from 1; 0 is the empty document before the first.
    pub version: u64,
    /// When it was agreed.
    pub at: UnixMillis,
    /// Who put it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// How the keys under a prefix behave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamespacePolicy {
    /// The prefix; the longest that matches a key applies.
    pub prefix: String,
    /// How writes are ordered.
    pub consistency: Consistency,
    /// What must be durable before a write is answered.
    pub ack: AckLevel,
    /// The time to live of a key that names none, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Where it may be kept.
    pub domain: DomainId,
}
