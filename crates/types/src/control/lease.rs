//! Region leases.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Epoch, NodeId, RegionId};

/// Who holds a region's lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaseParty {
    /// The node.
    pub node: NodeId,
    /// Its region, which is the lease's own unless another took over.
    pub region: RegionId,
}

/// The right to act as owner of a region's duties.
///
/// No time is agreed, only numbers: who holds it, under which epoch, and how often that tenure was
/// renewed. Each node turns the numbers into time on its own clock (rule 7).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RegionLease {
    /// Rises with every tenure; never falls.
    pub epoch: Epoch,
    /// Counts the renewals of this tenure; what a takeover must have seen unchanged.
    pub renewal: u64,
    /// How long one renewal lasts, in milliseconds.
    pub duration_ms: u64,
    /// Who holds it; `None` before the first tenure and after a release.
    pub holder: Option<LeaseParty>,
}

impl RegionLease {
    /// How long one renewal lasts.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }
}
