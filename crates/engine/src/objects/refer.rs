//! What rows of the index refer to, by what this region's index says.

use rhumb_objects::{
    place::Ought,
    refer::{self, Place, Placement},
};
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

    pub(super) fn ought(
        &self,
        snapshot: &RoutingSnapshot,
        placement: &Placement,
        place: &Place,
        blob: &BlobRef,
    ) -> Ought {
        placement.ought(&self.engine().index(), snapshot, place, blob)
    }

    /// The regions that say that they hold a blob for good.
    pub(super) fn holding(&self, snapshot: &RoutingSnapshot, blob: &BlobRef) -> RegionSet {
        refer::holding(&self.engine().index(), snapshot, &blob.hash)
    }
}
