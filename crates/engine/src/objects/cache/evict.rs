//! What a region has of an object of a cache, and how it lets go of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_objects::{
    Change,
    condition::Condition,
    index::{self, Target, Which, Writing},
    refer::HOLDERS_MAX,
    rows::Rows,
    want::cache::{ReadId, Victim, given_up, is_given_up},
};
use rhumb_ports::store::StoreError;
use rhumb_regions::{Health, RoutingSnapshot};
use rhumb_types::{
    AckLevel, RegionId,
    record::{BlobHash, Body, BucketName, HolderRecord, IndexKey, ObjectRecord, Record as _},
};

use super::super::{ObjectClient, ObjectError, decide::By};

/// What this region has of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Elsewhere,
    /// A copy that was given up and is not gone.
    Leaving(u64),
    /// So many bytes; others hold them too, or not.
    Here { bytes: u64, shared: bool },
    /// The same of bytes that nobody else holds any more, or that another object let go: they are to
    /// stay after all, unless they are let go anew.
    Back { bytes: u64 },
}

/// What went.
enum Gone {
    Nothing,
    /// The copy that is here, once it is granted.
    Copy(u64),
    /// The object, everywhere.
    Object(u64),
}

impl ObjectClient {
    pub(super) fn victim(
        &self,
        key: Bytes,
        record: &ObjectRecord,
        (bytes, alone): (u64, bool),
    ) -> Victim {
        let read = ReadId::of(record);
        let written = record.modified;
        let used = self.books().last_read(read).map_or(written, |at| at.max(written));
        Victim { used, key, bytes, read, alone }
    }

    pub(super) fn standing(
        &self,
        index: &impl Rows<Error = StoreError>,
        record: &ObjectRecord,
        snapshot: &RoutingSnapshot,
    ) -> Result<Standing, ObjectError> {
        let Some(content) = &record.content else { return Ok(Standing::Elsewhere) };
        let blobs = match &content.body {
            Body::Inline(_) => {
                return Ok(Standing::Here { bytes: content.bytes, shared: false });
            }
            Body::Blobs(blobs) => blobs,
        };
        let (mut bytes, mut shared, mut leaving, mut back) = (0, true, true, false);
        for blob in blobs {
            let holders = self.holders_of(index, &blob.hash)?;
            let Some(mine) = holders.get(self.region()) else { continue };
            bytes += blob.bytes;
            let (given_up, elsewhere) = (is_given_up(mine), self.is_held_well(&holders, snapshot));
            leaving &= given_up;
            shared &= elsewhere;
            back |= given_up && !elsewhere;
        }
        Ok(match bytes {
            0 => Standing::Elsewhere,
            bytes if shared && leaving => Standing::Leaving(bytes),
            bytes if back => Standing::Back { bytes },
            bytes => Standing::Here { bytes, shared },
        })
    }

    /// Whether all bytes of an object are here, or in a region that looks well.
    ///
    /// # Errors
    /// [`ObjectError`] when the index cannot be read.
    pub fn is_within_reach(&self, record: &ObjectRecord) -> Result<bool, ObjectError> {
        let Some(content) = &record.content else { return Ok(false) };
        let Body::Blobs(blobs) = &content.body else { return Ok(true) };
        let Some(snapshot) = self.engine().routing() else { return Ok(false) };
        let index = self.engine().index();
        for blob in blobs {
            let holders = self.holders_of(&index, &blob.hash)?;
            let well = |region: &RegionId| region == self.region() || is_well(&snapshot, region);
            // The row of an object may be known before those of its holders.
            let unsaid = holders.is_empty() && well(&record.region);
            if !unsaid && !holders.keys().any(well) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether another region holds a blob for good, and looks well.
    fn is_held_well(
        &self,
        holders: &BTreeMap<RegionId, HolderRecord>,
        snapshot: &RoutingSnapshot,
    ) -> bool {
        holders.iter().any(|(region, row)| {
            region != self.region() && !row.cached && is_well(snapshot, region)
        })
    }

    fn holders_of(
        &self,
        index: &impl Rows<Error = StoreError>,
        hash: &BlobHash,
    ) -> Result<BTreeMap<RegionId, HolderRecord>, ObjectError> {
        let rows = index.rows(&IndexKey::holders_of(hash), None, HOLDERS_MAX)?;
        let holder = |(key, row): &(Bytes, Bytes)| match IndexKey::decode(key) {
            Ok(IndexKey::Holder { region, .. }) => Some((region, HolderRecord::decode(row).ok()?)),
            _ => None,
        };
        Ok(rows.iter().filter_map(holder).collect())
    }

    /// Lets an object go, or only the copy of it that is here; says how many bytes went, or will go.
    pub(super) async fn let_go(
        &self,
        bucket: &BucketName,
        victim: &Victim,
        snapshot: &RoutingSnapshot,
    ) -> Result<u64, ObjectError> {
        // Whoever loses this to a crash finds the object where it was.
        let by = By::Anyone(AckLevel::Memory);
        let parting = self.change_index(&by, |rows| self.parting(bucket, victim, snapshot, rows));
        let (gone, _) = parting.await?;
        let shown = self.cache_metrics();
        match gone {
            Gone::Nothing => Ok(0),
            Gone::Copy(bytes) => {
                shown.inspect(|shown| shown.given_up(bucket));
                Ok(bytes)
            }
            Gone::Object(bytes) => {
                shown.inspect(|shown| shown.evicted(bucket, bytes));
                Ok(bytes)
            }
        }
    }

    /// Says again that this region holds an object's bytes for good, as far as they are here.
    pub(super) async fn take_back(&self, key: &[u8], record: &ObjectRecord) {
        let body = record.content.as_ref().map(|content| &content.body);
        let Some(Body::Blobs(blobs)) = body else { return };
        for blob in blobs {
            let taken = async {
                let _pin = self.running().keeper.pin(blob.hash).await?;
                match self.running().blobs.stat(blob.hash).await? {
                    Some(_) => self.hold(std::slice::from_ref(blob)).await,
                    None => Ok(()),
                }
            };
            if let Err(error) = taken.await {
                let key = key.escape_ascii();
                tracing::debug!(%error, %key, "what is to stay is said later");
            }
        }
    }

    /// What is to be written so that an object goes; nothing where it was used or written meanwhile.
    fn parting(
        &self,
        bucket: &BucketName,
        victim: &Victim,
        snapshot: &RoutingSnapshot,
        rows: &impl Rows<Error = StoreError>,
    ) -> Result<(Gone, Change), ObjectError> {
        let definition = self.definition(bucket)?;
        let target = Target { bucket, versioning: definition.versioning, key: &victim.key };
        let stays = || Ok((Gone::Nothing, Change::default()));
        let found = index::find(rows, target, Which::Newest)?;
        let Some(record) = found.record() else { return stays() };
        let (bytes, shared) = match self.standing(rows, record, snapshot)? {
            Standing::Here { bytes, shared } => (bytes, shared),
            Standing::Back { bytes } => (bytes, false),
            Standing::Elsewhere | Standing::Leaving(_) => return stays(),
        };
        if self.victim(victim.key.clone(), record, (bytes, !shared)).used > victim.used {
            return stays();
        }
        let (gone, mut change) = if shared {
            (Gone::Copy(bytes), Change::default())
        } else {
            let writing = Writing {
                version: self.engine().new_version(),
                at: self.engine().clock().now().wall,
                region: self.region().clone(),
            };
            let any = Condition::default();
            let deleted = index::delete(rows, target, Which::Newest, writing, &any)?;
            if deleted.gone.iter().any(|gone| gone.version != record.version) {
                return stays();
            }
            (Gone::Object(bytes), deleted.change)
        };
        self.give_up(rows, record, &mut change)?;
        Ok((gone, change))
    }

    /// Adds to a change that this region would rather not hold an object's blobs. They go by grant: what
    /// anything else refers to stays where it is needed.
    fn give_up(
        &self,
        rows: &impl Rows<Error = StoreError>,
        record: &ObjectRecord,
        change: &mut Change,
    ) -> Result<(), ObjectError> {
        let body = record.content.as_ref().map(|content| &content.body);
        let Some(Body::Blobs(blobs)) = body else { return Ok(()) };
        for blob in blobs {
            let key = IndexKey::Holder { hash: blob.hash, region: self.region().clone() }.encode();
            if let Some(known) = rows.row(&key)? {
                self.running().keeper.unlike(blob.hash);
                change.expect.push((key.clone(), Some(known)));
                change.write.push((key, Some(given_up(blob.bytes).encode())));
            }
        }
        Ok(())
    }
}

fn is_well(snapshot: &RoutingSnapshot, region: &RegionId) -> bool {
    let at = snapshot.index(region);
    at.is_some_and(|at| snapshot.region(at).health != Health::Down)
}
