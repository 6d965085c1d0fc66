//! What is due in time: lifecycles, objects that regions changed at a time, parts that nobody wants, what
//! removed regions held.
//!
//! One walk after the other over the index of this region. Of an object only the region that acts for
//! its home does anything, so that the others have nothing to undo; it would do no harm if two did.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_objects::{
    Change,
    index::{self, Target},
    lifecycle::{self, Due, Sweep},
    list::{self, Listing},
    multipart::Orphans,
    rows::Rows as _,
};
use rhumb_types::{
    AckLevel, RegionId,
    record::{BucketConsistency, BucketDefinition, BucketName, IndexKey, Versioning},
};
use tokio::time::sleep;

use super::{ObjectClient, ObjectError, decide::By};
use crate::{Engine, agreed::AgreedBuckets, limits::WALK_PAGE_ROWS};

impl Engine {
    pub(super) fn do_chores(&self, every: Duration) {
        let Some(client) = self.objects() else { return };
        self.tasks().spawn_until_stopped(async move {
            loop {
                sleep(every).await;
                client.chores().await;
            }
        });
    }
}

impl ObjectClient {
    async fn chores(&self) {
        let buckets: Arc<AgreedBuckets> = self.buckets();
        for (name, bucket) in &buckets.entries {
            let definition = &bucket.entry.definition;
            if let Err(error) = self.age(name, definition).await {
                tracing::warn!(%error, bucket = %name, "its lifecycle was not carried out to the end");
            }
            // Who decides about the keys of a linearizable bucket does so one after the other.
            let looked = match definition.consistency {
                BucketConsistency::Linearizable => self.settle_all(name).await,
                BucketConsistency::Eventual if definition.versioning != Versioning::Off => {
                    self.mend(name, definition).await
                }
                BucketConsistency::Eventual => Ok(()),
            };
            if let Err(error) = looked {
                tracing::warn!(%error, bucket = %name, "its objects were not looked through");
            }
        }
        if let Err(error) = self.sweep_fences().await {
            tracing::warn!(%error, "the beginnings of terms that are long over are left");
        }
        if let Err(error) = self.sweep_parts().await {
            tracing::warn!(%error, "parts of ended uploads are left");
        }
        if let Err(error) = self.sweep_holders().await {
            tracing::warn!(%error, "rows of removed regions are left");
        }
    }

    /// Whether this region does the chores of a key.
    fn is_mine(&self, bucket: &BucketName, key: &[u8]) -> bool {
        self.still_acts(bucket, key).is_ok()
    }

    /// Carries a bucket's lifecycle out.
    async fn age(
        &self,
        bucket: &BucketName,
        definition: &BucketDefinition,
    ) -> Result<(), ObjectError> {
        if definition.lifecycle.iter().all(|rule| rule.disabled) {
            return Ok(());
        }
        let mut sweep = Sweep::default();
        loop {
            let now = self.engine().clock().now().wall;
            let step = sweep.step(&self.engine().index(), bucket, &definition.lifecycle, now)?;
            for due in step.due {
                if self.is_mine(bucket, &due.key) {
                    self.expire(bucket, definition, &due).await?;
                }
            }
            if step.done {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    async fn expire(
        &self,
        bucket: &BucketName,
        definition: &BucketDefinition,
        due: &Due,
    ) -> Result<(), ObjectError> {
        let Due { key, what, .. } = due;
        let rule = definition.lifecycle.get(due.rule).map_or("", |rule| rule.id.as_str());
        tracing::debug!(%bucket, key = %key.escape_ascii(), ?what, rule, "its time is over");
        let writing = self.writing();
        let by = match definition.consistency {
            BucketConsistency::Eventual => By::Anyone(AckLevel::Local),
            BucketConsistency::Linearizable => self.by_home(bucket, key).await?,
        };
        let target = Target { bucket, versioning: definition.versioning, key };
        let done = self.change_index(&by, |rows| {
            Ok(((), lifecycle::carry_out(rows, target, *what, writing.clone())?))
        });
        done.await.map(|_| ())
    }

    /// Makes the newest versions of a bucket's objects the newest.
    async fn mend(
        &self,
        bucket: &BucketName,
        definition: &BucketDefinition,
    ) -> Result<(), ObjectError> {
        let mut after = None;
        loop {
            let listing = Listing { after, max: list::LISTED_MAX, ..Listing::default() };
            let page = list::versions(&self.engine().index(), bucket, &listing)?;
            let mut keys: Vec<Bytes> = page.entries.into_iter().map(|it| it.key).collect();
            keys.dedup();
            for key in keys {
                if !self.is_mine(bucket, &key) {
                    continue;
                }
                let target = Target { bucket, versioning: definition.versioning, key: &key };
                let by = By::Anyone(AckLevel::Local);
                self.change_index(&by, |rows| Ok(((), index::mend(rows, target)?))).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes the rows of parts away whose upload has ended.
    async fn sweep_parts(&self) -> Result<(), ObjectError> {
        let mut orphans = Orphans::default();
        loop {
            let step = orphans.step(&self.engine().index())?;
            if !step.change.is_empty() {
                // Not as expected: somebody else was faster.
                self.engine().compare_and_set(AckLevel::Local, step.change).await?;
            }
            if step.done {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes away what regions that are no longer members said that they hold. Who acts for the home of a
    /// hash does.
    async fn sweep_holders(&self) -> Result<(), ObjectError> {
        let Some(view) = self.engine().agreed() else { return Ok(()) };
        let members: BTreeSet<RegionId> =
            view.borrow().members.iter().map(|member| member.region.clone()).collect();
        if !members.contains(self.region()) {
            return Ok(());
        }
        let homes = self.hash_homes();
        let is_gone = |key: &Bytes| match IndexKey::decode(key) {
            Ok(IndexKey::Holder { hash, region }) if !members.contains(&region) => {
                homes.of(&hash).is_some_and(|home| self.engine().may_act(home).is_some())
            }
            _ => false,
        };
        let mut after: Option<Bytes> = None;
        loop {
            let rows = self.engine().index().rows(b"h", after.as_deref(), WALK_PAGE_ROWS)?;
            let is_last = rows.len() < WALK_PAGE_ROWS;
            after = rows.last().map(|(key, _)| key.clone());
            let mut change = Change::default();
            for (key, row) in rows.into_iter().filter(|(key, _)| is_gone(key)) {
                change.expect.push((key.clone(), Some(row)));
                change.write.push((key, None));
            }
            if !change.is_empty() {
                // Not as expected: somebody else was faster.
                self.engine().compare_and_set(AckLevel::Local, change).await?;
            }
            if is_last {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}
