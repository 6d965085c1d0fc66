//! What must be durable before a caller hears yes, and how fresh a read must be.

use serde::{Deserialize, Serialize};

/// What must be durable before the caller hears yes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AckLevel {
    /// Committed here, not yet synced: a crash of this node may lose it.
    Memory,
    /// Fsynced here.
    #[default]
    Local,
    /// Fsynced here and in one other region.
    OneRemote,
    /// Fsynced in a majority of the data regions of the domain, this one included.
    Quorum,
}

/// How the keys of a namespace behave.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Written anywhere, applied everywhere in causal order.
    #[default]
    Eventual,
    /// As eventual; a read waits for what its client has seen.
    Session,
    /// Agreed by the strong group before it is answered.
    Strong,
    /// This region only; never logged.
    Cache,
}
