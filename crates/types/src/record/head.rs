//! What a node keeps about a key beside its members.

use serde::{Deserialize, Serialize};

use super::{Cell, VersionVector};

/// A key's head cell, with what this node has derived about the key.
///
/// Only `cell` is replicated. The rest follows from the transactions applied, and every node
/// derives it for itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// The replicated cell: the key's type, time to live, and a string's value.
    pub cell: Cell,
    /// How many member cells hold a visible entry or an unmarked delta.
    pub members: u64,
    /// What removals of the whole key have covered and the sweep has not yet taken out of the
    /// member rows: a member entry whose dot this vector covers is not there.
    pub cleared: VersionVector,
}

impl Head {
    /// Whether nothing is left to store.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.cell.is_vacant() && self.members == 0 && self.cleared.is_empty()
    }
}
