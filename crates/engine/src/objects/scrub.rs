//! Reading what is held again, to see whether it is sound; what is not is fetched from another region.
//!
//! What is looked at is what this region says that it holds, and what its store holds besides: bytes
//! that a crash left without a row are given one, so that their home finds them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_node::Event as NodeEvent;
use rhumb_objects::{
    rows::Rows as _,
    scrub::{BLOBS_PER_TICK_MAX, Batch, Found, Progress, Scrub},
};
use rhumb_ports::{
    blobs::{BlobError, HeldBlob},
    store::MetaName,
};
use rhumb_types::record::{BlobHash, BlobRef, HolderRecord, IndexKey, Record};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use super::{ObjectClient, ObjectError, replicate::Wished};
use crate::{Engine, driver, limits::WALK_PAGE_ROWS};

/// Under which name the place is kept.
const REMEMBERED: &str = "scrub";

/// The place, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept(Progress);

impl Record for Kept {
    const VERSION: u8 = 1;
}

impl Engine {
    pub(super) fn scrub(&self, period: Duration, tick: Duration) {
        let Some(client) = self.objects() else { return };
        let kept = self.shared().store.meta(&MetaName::Other(REMEMBERED.to_owned()));
        let kept = kept.ok().flatten().and_then(|bytes| Kept::decode(&bytes).ok());
        let now = self.clock().now().wall;
        let scrub = Scrub::new(period, now, kept.map(|kept| kept.0));
        self.tasks().spawn_until_stopped(run(client, scrub, tick));
    }
}

async fn run(client: ObjectClient, mut scrub: Scrub, tick: Duration) {
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(batch) = scrub.next(client.engine().clock().now().wall) else { continue };
        match client.verify(&mut scrub, &batch).await {
            Ok(exhausted) => {
                let now = client.engine().clock().now().wall;
                scrub.on_batch_end(now, &batch, exhausted);
                client.remember(scrub.progress()).await;
            }
            Err(error) => tracing::warn!(%error, "the scrub goes on later"),
        }
    }
}

/// What is known of a blob in a batch.
#[derive(Default)]
struct Known {
    bytes: u64,
    /// What the store says.
    stored: Option<HeldBlob>,
    /// Whether a row says that it is here.
    said: bool,
}

impl ObjectClient {
    async fn remember(&self, progress: Progress) {
        let name = MetaName::Other(REMEMBERED.to_owned());
        let event = NodeEvent::Remember { name, value: Kept(progress).encode() };
        let _stopped = self.engine().shared().inputs.send(driver::Input::Event(event)).await;
    }

    /// Verifies what a batch names; says whether there was no more up to its end.
    async fn verify(&self, scrub: &mut Scrub, batch: &Batch) -> Result<bool, ObjectError> {
        let within = |hash: &BlobHash| batch.until.is_none_or(|until| *hash <= until);
        let blobs = &self.running().blobs;
        let stored = blobs.list(batch.after, BLOBS_PER_TICK_MAX).await?;
        let (said, said_end) = self.said_held(batch.after)?;
        // Where the nearer of the two lists was cut off, the other says nothing yet.
        let full = stored.len() >= BLOBS_PER_TICK_MAX;
        let stored_end = stored.last().map(|held| held.blob.hash).filter(|_| full);
        let end = [stored_end, said_end].into_iter().flatten().min();
        let mut known: BTreeMap<BlobHash, Known> = BTreeMap::new();
        for held in stored {
            let entry = known.entry(held.blob.hash).or_default();
            entry.bytes = held.blob.bytes;
            entry.stored = Some(held);
        }
        for (hash, record) in said {
            let entry = known.entry(hash).or_default();
            (entry.bytes, entry.said) = (record.bytes, true);
        }
        let mut read = 0;
        for (hash, known) in known {
            if !within(&hash) || end.is_some_and(|end| hash > end) {
                return Ok(!within(&hash));
            }
            if read >= batch.bytes_max {
                return Ok(false);
            }
            read += known.bytes;
            self.verify_one(scrub, hash, known).await?;
        }
        Ok(end.is_none())
    }

    async fn verify_one(
        &self,
        scrub: &mut Scrub,
        hash: BlobHash,
        known: Known,
    ) -> Result<(), ObjectError> {
        let Known { bytes, stored, said } = known;
        let blob = BlobRef { hash, bytes };
        let found = match self.running().blobs.verify(hash).await {
            Ok(()) => Found::Sound,
            Err(BlobError::Missing(_) | BlobError::Damaged { .. }) => Found::Damaged,
            Err(_) => Found::Unknown,
        };
        if !said {
            // An upload under way has no row yet.
            let age =
                stored.map(|held| self.engine().clock().now().wall.saturating_since(held.since));
            let old = age.is_some_and(|age| age >= self.running().config.collect.grace);
            if old && found == Found::Sound {
                self.hold(&[blob]).await?;
            }
            return Ok(());
        }
        let holders = self.holders(&hash, self.region());
        if let Some(wish) = scrub.on_verified(blob, found, holders) {
            tracing::warn!(%hash, "a blob is damaged or gone, and is fetched from another region");
            let _full = self.running().fetch.send(Wished::Repair(wish)).await;
        }
        Ok(())
    }

    /// What this region says that it holds after a hash, and where the list was cut off.
    #[expect(clippy::type_complexity, reason = "a list and its end")]
    fn said_held(
        &self,
        after: Option<BlobHash>,
    ) -> Result<(Vec<(BlobHash, HolderRecord)>, Option<BlobHash>), ObjectError> {
        let after = after.map(|hash| IndexKey::after_holders_of(&hash));
        let rows = self.engine().index().rows(b"h", after.as_deref(), WALK_PAGE_ROWS)?;
        let full = rows.len() >= WALK_PAGE_ROWS;
        let mut said = Vec::new();
        let mut hashes = BTreeSet::new();
        for (key, row) in rows {
            let Ok(IndexKey::Holder { hash, region }) = IndexKey::decode(&key) else { continue };
            hashes.insert(hash);
            if region == *self.region()
                && let Ok(record) = HolderRecord::decode(&row)
            {
                said.push((hash, record));
            }
        }
        // The last hash may have rows that were cut off.
        let last = hashes.pop_last().filter(|_| full);
        let end = hashes.pop_last().filter(|_| last.is_some());
        said.retain(|(hash, _)| Some(*hash) != last);
        Ok((said, end))
    }
}
