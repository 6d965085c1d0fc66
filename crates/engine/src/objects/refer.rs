//! What rows of the index refer to, by what this region's index says.

use rhumb_objects::refer::{self, Placement};
use rhumb_regions::{RegionSet, RoutingSnapshot};
use rhumb_types::record::{BlobRef, BucketName};

use super::ObjectClient;

impl ObjectClient {
    pub(super) fn placement(
        &self,
        snapshot: &RoutingSnapshot,
        bucket: &BucketName,
    ) -> Option<Placement> {
        Placement::of(snapshot, self.definition(bucket).ok()?)
    }

    /// The same for what this region itself ought to hold. One that was failed over fetches although it
    /// is still disabled, so that nothing is missing when it gets its duties back.
    pub(super) fn placement_here(
        &self,
        snapshot: &RoutingSnapshot,
        bucket: &BucketName,
    ) -> Option<Placement> {
        let mut placement = self.placement(snapshot, bucket)?;
        if let Some(here) = snapshot.index(self.region()).filter(|_| self.is_displaced()) {
            placement.bounds = placement.bounds.with_returning(snapshot, here);
        }
        Some(placement)
    }

    /// Whether the duties of this region were moved by a failover, and not by an operator.
    pub(super) fn is_displaced(&self) -> bool {
        let view = self.engine().agreed();
        view.is_some_and(|view| view.borrow().displaced.contains_key(self.region()))
    }

    /// The regions that say that they hold a blob for good.
    pub(super) fn holding(&self, snapshot: &RoutingSnapshot, blob: &BlobRef) -> RegionSet {
        refer::holding(&self.engine().index(), snapshot, &blob.hash)
    }
}
