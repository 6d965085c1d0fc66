//! Replicated state and its store.

use std::collections::BTreeSet;

use rhumb_regions::registry::ResidencyTag;
use rhumb_types::{AckLevel, ByteSize, Consistency};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Period, Size};

/// How replicated state behaves.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateSettings {
    /// What must be durable before a write is answered, where no namespace says otherwise.
    #[schemars(schema_with = "crate::words::ack")]
    pub ack: AckLevel,
    /// How long logs are kept beyond what every region has acknowledged.
    pub retention: RetentionSettings,
    /// Key prefixes with a policy of their own; the longest that matches a key applies.
    pub namespaces: Vec<NamespaceSettings>,
}

/// How long logs are kept: the larger of the two.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// At least this long.
    pub age: Period,
    /// At least this much per origin.
    pub size: Size,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { age: Period::from_secs(24 * 60 * 60), size: Size(ByteSize(1 << 30)) }
    }
}

/// How the keys under a prefix behave.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceSettings {
    /// The prefix.
    pub prefix: String,
    /// How writes are ordered.
    #[serde(default)]
    #[schemars(schema_with = "crate::words::consistency")]
    pub consistency: Consistency,
    /// What must be durable before a write is answered. Without it: `state.ack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::words::ack")]
    pub ack: Option<AckLevel>,
    /// The time to live of a key that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Period>,
    /// The jurisdictions in which it may be kept. Without any: everywhere.
    #[serde(default)]
    #[schemars(with = "BTreeSet<String>")]
    pub residency: BTreeSet<ResidencyTag>,
}

/// Where records are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In the node, below `data`.
    #[default]
    Embedded,
}
