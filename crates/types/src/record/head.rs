//! What a node keeps about a key beside its members.

use serde::{Deserialize, Serialize};

use super::{Cell, Cleared};

/// A key's head cell, with what this node has derived about the key.
///
/// Only `cell` is replicated. The rest follows from the transactions applied, and every node
/// derives it for itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// The replicated cell: the key's type, time to live, and a string's value.
    pub cell: Cell,
    /// How many member cells hold a visible entry or an unmarked delta; `u64::MAX` when a removal
    /// of the whole key left this unknown until the sweep has counted.
    pub members: u64,
    /// Removals of the whole key that the sweep has not yet taken out of the member rows: what
    /// this covers of a member's cell is not there.
    pub cleared: Cleared,
    /// The sequence of the last removal of a range of keys that this row already reflects.
    pub settled: u64,
}

impl Head {
    /// Whether nothing is left to store.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.cell.is_vacant() && self.members == 0 && self.cleared.is_empty()
    }
}
