//! What the writer of a transaction had seen.

use rhumb_types::record::{Dot, Removal, Transaction, VersionVector};

/// A transaction's dot and its context: `deps` and every earlier version of its own origin.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The transaction's own dot.
    pub dot: Dot,
    /// What the writer had applied of other origins.
    pub deps: &'a VersionVector,
}

impl<'a> Context<'a> {
    /// The context of a transaction.
    #[must_use]
    pub const fn of(transaction: &'a Transaction) -> Self {
        Self { dot: transaction.dot(), deps: &transaction.deps }
    }

    /// Whether the writer had seen a write. Its own dot it had not.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        if dot.origin == self.dot.origin {
            dot.version < self.dot.version
        } else {
            self.deps.covers(dot)
        }
    }

    /// Whether a change of this transaction takes a write away: what the context covers, and what
    /// the transaction itself wrote before, since its changes apply in order.
    #[must_use]
    pub fn removes(&self, dot: Dot) -> bool {
        dot == self.dot || self.covers(dot)
    }

    /// The removal that a range change of this transaction is.
    #[must_use]
    pub fn removal(&self) -> Removal {
        let mut seen = self.deps.clone();
        seen.remove(self.dot.origin);
        seen.raise(self.dot.origin, self.dot.version.saturating_sub(1));
        Removal { dot: self.dot, seen }
    }
}
