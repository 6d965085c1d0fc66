//! What rows of the index refer to, and where that ought to be.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_objects::{
    place::{self, Bounds, Ought},
    rows::Rows as _,
};
use rhumb_regions::{Key, RegionSet, RoutingSnapshot};
use rhumb_types::{
    RegionId, UnixMillis,
    record::{
        BlobRef, Body, BucketDefinition, BucketName, CodecError, HolderRecord, IndexKey,
        ObjectRecord, PartRecord, Record as _,
    },
};

use super::ObjectClient;
use crate::limits::HOLDERS_MAX;

/// The kinds of rows that refer to blobs.
pub(super) const KINDS: [&[u8]; 3] = [b"c", b"v", b"p"];

/// What a row refers to.
pub(super) struct Referred {
    pub(super) blobs: Vec<BlobRef>,
    /// Whose they are; nothing for a part.
    pub(super) place: Option<Place>,
}

/// The object that blobs belong to.
pub(super) struct Place {
    pub(super) bucket: BucketName,
    pub(super) key: Bytes,
    pub(super) taken_in: RegionId,
    pub(super) written: UnixMillis,
}

/// How a bucket's bytes are placed.
pub(super) type Placement = (BucketDefinition, Bounds);
/// The same of all buckets that were met; nothing of one that is gone, or that nobody may hold.
pub(super) type Placements = BTreeMap<BucketName, Option<Placement>>;

/// What a row refers to; nothing where its bytes lie in the row itself.
pub(super) fn referred(key: &[u8], row: &[u8]) -> Result<Option<Referred>, CodecError> {
    let (body, place) = match IndexKey::decode(key)? {
        IndexKey::Current { bucket, key } | IndexKey::Version { bucket, key, .. } => {
            let record = ObjectRecord::decode(row)?;
            let Some(content) = record.content else { return Ok(None) };
            let (taken_in, written) = (record.region, record.modified);
            (content.body, Some(Place { bucket, key, taken_in, written }))
        }
        IndexKey::Part { .. } => (PartRecord::decode(row)?.body, None),
        IndexKey::Holder { .. } | IndexKey::Upload { .. } => return Ok(None),
    };
    Ok(match body {
        Body::Blobs(blobs) if !blobs.is_empty() => Some(Referred { blobs, place }),
        Body::Blobs(_) | Body::Inline(_) => None,
    })
}

impl ObjectClient {
    pub(super) fn placement(
        &self,
        snapshot: &RoutingSnapshot,
        bucket: &BucketName,
    ) -> Option<Placement> {
        let definition = self.definition(bucket).ok()?;
        let bounds = Bounds::of(snapshot, &definition).ok()?;
        Some((definition, bounds))
    }

    pub(super) fn ought(
        &self,
        snapshot: &RoutingSnapshot,
        (definition, bounds): &Placement,
        place: &Place,
        blob: &BlobRef,
    ) -> Ought {
        let name = place::name(&place.bucket, &place.key);
        let holders = self.holding(snapshot, blob);
        place::ought(snapshot, definition, bounds, &Key::new(&name), &place.taken_in, holders)
    }

    /// The regions that say that they hold a blob for good.
    pub(super) fn holding(&self, snapshot: &RoutingSnapshot, blob: &BlobRef) -> RegionSet {
        let rows = self.engine().index().rows(&IndexKey::holders_of(&blob.hash), None, HOLDERS_MAX);
        let region = |(key, row): &(Bytes, Bytes)| match IndexKey::decode(key) {
            Ok(IndexKey::Holder { region, .. }) => {
                let lasting = HolderRecord::decode(row).is_ok_and(|holder| !holder.cached);
                lasting.then(|| snapshot.index(&region)).flatten()
            }
            _ => None,
        };
        rows.unwrap_or_default().iter().filter_map(region).collect()
    }
}
