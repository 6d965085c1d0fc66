//! What rows of the index refer to, where that ought to be, and where it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_regions::{Key, RegionIndex, RegionSet, RoutingSnapshot};
use rhumb_types::{
    RegionId, UnixMillis,
    record::{
        BlobHash, BlobRef, Body, BucketDefinition, BucketName, Cell, CodecError, Dot, HolderRecord,
        IndexKey, ObjectRecord, PartRecord, Record, VersionVector,
    },
};

use crate::{
    grant::HolderEvent,
    place::{self, Bounds, Ought},
    rows::Rows,
};

/// The kinds of rows that refer to blobs.
pub const KINDS: [&[u8]; 3] = [b"c", b"v", b"p"];
/// The kind of rows that say who holds blobs.
const HOLDERS: &[u8] = b"h";
/// Holders of a blob that are looked at.
pub const HOLDERS_MAX: usize = 64;

/// What a row refers to.
#[derive(Debug, Clone)]
pub struct Referred {
    /// The blobs.
    pub blobs: Vec<BlobRef>,
    /// Whose they are; nothing for a part.
    pub place: Option<Place>,
}

/// The object that blobs belong to.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: Bytes,
    /// The region that took it in.
    pub taken_in: RegionId,
    /// When.
    pub written: UnixMillis,
}

/// How a bucket's bytes are placed.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Its settings.
    pub definition: BucketDefinition,
    /// The regions that these leave.
    pub bounds: Bounds,
}

/// The same of all buckets that were met; nothing of one that is gone, or that nobody may hold.
pub type Placements = BTreeMap<BucketName, Option<Placement>>;

/// What a row refers to; nothing where its bytes lie in the row itself.
///
/// # Errors
/// When the row cannot be understood.
pub fn referred(key: &[u8], row: &[u8]) -> Result<Option<Referred>, CodecError> {
    let (body, place) = match IndexKey::decode(key)? {
        IndexKey::Current { bucket, key } | IndexKey::Version { bucket, key, .. } => {
            let record = ObjectRecord::decode(row)?;
            let Some(content) = record.content else { return Ok(None) };
            let (taken_in, written) = (record.region, record.modified);
            (content.body, Some(Place { bucket, key, taken_in, written }))
        }
        IndexKey::Part { .. } => (PartRecord::decode(row)?.body, None),
        IndexKey::Holder { .. } | IndexKey::Upload { .. } | IndexKey::Fence { .. } => {
            return Ok(None);
        }
    };
    Ok(match body {
        Body::Blobs(blobs) if !blobs.is_empty() => Some(Referred { blobs, place }),
        Body::Blobs(_) | Body::Inline(_) => None,
    })
}

impl Placement {
    /// How a bucket's bytes are placed; `None` when nobody may hold them.
    #[must_use]
    pub fn of(snapshot: &RoutingSnapshot, definition: BucketDefinition) -> Option<Self> {
        let bounds = Bounds::of(snapshot, &definition).ok()?;
        Some(Self { definition, bounds })
    }

    /// Whether a region may hold them.
    #[must_use]
    pub fn allows(&self, region: RegionIndex) -> bool {
        self.bounds.allowed().contains(region)
    }

    /// Where copies of an object's blob ought to be that these regions hold.
    #[must_use]
    pub fn ought(&self, snapshot: &RoutingSnapshot, place: &Place, holders: RegionSet) -> Ought {
        let name = place::name(&place.bucket, &place.key);
        let Self { definition, bounds } = self;
        place::ought(snapshot, definition, bounds, &Key::new(&name), &place.taken_in, holders)
    }
}

/// The regions that say that they hold a blob for good.
#[must_use]
pub fn holding<S: Rows>(rows: &S, snapshot: &RoutingSnapshot, hash: &BlobHash) -> RegionSet {
    let rows = rows.rows(&IndexKey::holders_of(hash), None, HOLDERS_MAX);
    let region = |(key, row): &(Bytes, Bytes)| match IndexKey::decode(key) {
        Ok(IndexKey::Holder { region, .. }) => {
            let lasting = HolderRecord::decode(row).is_ok_and(|holder| !holder.cached);
            lasting.then(|| snapshot.index(&region)).flatten()
        }
        _ => None,
    };
    rows.unwrap_or_default().iter().filter_map(region).collect()
}

/// The other regions that may hold a blob, the nearest first: those that say so, the one that took it
/// in, and then all others, because what they say may not be here yet.
#[must_use]
pub fn sources<S: Rows>(
    rows: &S,
    snapshot: &RoutingSnapshot,
    here: RegionIndex,
    (hash, taken_in): (&BlobHash, &RegionId),
) -> Vec<RegionId> {
    let rows = rows.rows(&IndexKey::holders_of(hash), None, HOLDERS_MAX);
    let region = |(key, _): &(Bytes, Bytes)| match IndexKey::decode(key) {
        Ok(IndexKey::Holder { region, .. }) => Some(region),
        _ => None,
    };
    let said: Vec<RegionId> = rows.unwrap_or_default().iter().filter_map(region).collect();
    let known: RegionSet = said
        .iter()
        .chain(std::iter::once(taken_in))
        .filter_map(|region| snapshot.index(region))
        .filter(|at| *at != here)
        .collect();
    let others: RegionSet =
        snapshot.data().iter().filter(|at| *at != here && !known.contains(*at)).collect();
    let name = |at: RegionIndex| snapshot.id(at).clone();
    let mut order: Vec<RegionId> =
        place::nearest(snapshot, here, known).into_iter().map(name).collect();
    order.extend(place::nearest(snapshot, here, others).into_iter().map(name));
    order
}

/// What a batch that was committed says to a holder of blobs: which transactions came, and to which
/// blobs their rows refer. First every transaction of domain 0, then every cell of the index.
///
/// That the holder said so itself counts as a reference, too: a home that has not heard of it may take the
/// copy for an old one, while an upload counts on it.
#[derive(Debug)]
pub struct Committed<'r> {
    here: &'r RegionId,
    dots: BTreeMap<Dot, Vec<BlobHash>>,
}

impl<'r> Committed<'r> {
    /// For the holder of a region.
    #[must_use]
    pub const fn new(here: &'r RegionId) -> Self {
        Self { here, dots: BTreeMap::new() }
    }

    /// A transaction of domain 0 is part of the batch.
    pub fn on_transaction(&mut self, dot: Dot) {
        self.dots.insert(dot, Vec::new());
    }

    /// A cell of the index is written.
    pub fn on_cell(&mut self, key: &[u8], cell: &Cell) {
        let own = key.starts_with(HOLDERS).then(|| self.own(key)).flatten();
        for entry in &cell.entries {
            if let (Some(hashes), Some(row)) = (self.dots.get_mut(&entry.dot), entry.value.bytes())
            {
                hashes.extend(own);
                let blobs = referred(key, row).ok().flatten().map(|it| it.blobs);
                hashes.extend(blobs.unwrap_or_default().into_iter().map(|blob| blob.hash));
            }
        }
    }

    fn own(&self, key: &[u8]) -> Option<BlobHash> {
        match IndexKey::decode(key) {
            Ok(IndexKey::Holder { hash, region }) if region == *self.here => Some(hash),
            _ => None,
        }
    }

    /// Tells it. A batch without transactions is of a snapshot: then what is applied after it counts as
    /// covered.
    pub fn tell(&self, applied: Option<&VersionVector>, mut tell: impl FnMut(HolderEvent<'_>)) {
        for (dot, references) in &self.dots {
            tell(HolderEvent::Applied { dot: *dot, references });
        }
        if let Some(vector) = applied.filter(|_| self.dots.is_empty()) {
            tell(HolderEvent::Covered(vector));
        }
    }
}

#[cfg(test)]
mod tests {
    use rhumb_types::{
        DomainId, Hlc, OriginId,
        record::{Entry, Value},
    };

    use super::*;

    #[test]
    fn what_this_region_says_of_a_copy_refers_to_it_and_what_others_say_does_not() {
        let [here, there] = ["eu", "ap"].map(|name| RegionId::new(name).unwrap());
        let dot = Dot { origin: OriginId::new(7, DomainId::EVERYWHERE), version: 5 };
        let mut committed = Committed::new(&here);
        committed.on_transaction(dot);
        for (region, hash) in [(&here, BlobHash([1; 32])), (&there, BlobHash([2; 32]))] {
            let holder = HolderRecord { bytes: 10, since: UnixMillis(0), cached: false };
            let value = Value::Bytes(holder.encode());
            let hlc = Hlc::from_millis(UnixMillis(1));
            let entry = Entry { dot, hlc, value, expiry: None };
            let key = IndexKey::Holder { hash, region: region.clone() }.encode();
            committed
                .on_cell(&key, &Cell { entries: [entry].into_iter().collect(), ..Cell::default() });
        }
        let mut told = Vec::new();
        committed.tell(None, |event| match event {
            HolderEvent::Applied { dot, references } => told.push((dot, references.to_vec())),
            other => panic!("{other:?}"),
        });
        assert_eq!(told, [(dot, vec![BlobHash([1; 32])])]);
    }
}
