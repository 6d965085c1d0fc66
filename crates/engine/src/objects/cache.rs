//! Buckets that are caches: what was not read for longest goes where a region holds too much of one.
//!
//! Each region looks after what it holds itself. Every commit says how much a cache may have grown
//! ([`Books`]); once it may be past its bound, the region walks over the bucket's objects, counts what it
//! holds of them, and lets the least lately read go. An object whose bytes other regions hold too stays,
//! and only the copy here is given up, which goes by grant (rule 12). Where this is the last copy, and
//! where the bytes lie in the index, the object is removed, in every region; before that the others are
//! asked when they read it.
//!
//! Nothing survives a restart: the walk finds what is held, and until it is read again an object counts
//! as read when it was written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rhumb_objects::{
    rows::Rows as _,
    want::cache::{ReadId, Sweep, Swept, Victim},
};
use rhumb_regions::RoutingSnapshot;
use rhumb_telemetry::{Metrics, metrics::Caches};
use rhumb_types::{
    UnixMillis,
    record::{BlobHash, BucketDefinition, BucketName, IndexKey, ObjectRecord, Record as _},
};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{ObjectClient, ObjectError};
use crate::{
    Engine,
    limits::{
        BACK_MAX, CACHE_LOOK_INTERVAL, CACHE_REST_PART, CACHE_TICK, EVICTIONS_AT_ONCE,
        WALK_PAGE_ROWS,
    },
};

mod books;
mod evict;

pub(crate) use books::Books;
use evict::Standing;

/// A look through a cache.
#[derive(Default)]
struct Look {
    sweep: Sweep,
    /// Bytes of copies that were given up and are not gone.
    leaving: u64,
    /// What is to stay after all.
    back: Vec<(Bytes, ObjectRecord)>,
}

impl Look {
    /// Notes an object; gives its bytes here if it may go, and whether nobody else holds them.
    fn on_object(
        &mut self,
        standing: Standing,
        key: &Bytes,
        record: &ObjectRecord,
    ) -> Option<(u64, bool)> {
        match standing {
            Standing::Elsewhere => None,
            Standing::Leaving(bytes) => {
                self.leaving += bytes;
                self.sweep.on_leaving(bytes);
                None
            }
            Standing::Here { bytes, shared } => Some((bytes, !shared)),
            Standing::Back { bytes } => {
                if self.back.len() < BACK_MAX {
                    self.back.push((key.clone(), record.clone()));
                }
                Some((bytes, true))
            }
        }
    }
}

/// What was known of a cache after the last look.
#[derive(Debug, Clone, Copy)]
struct Known {
    staying: u64,
    looked: Instant,
    rest_until: Instant,
}

impl Engine {
    /// Keeps caches within their bounds.
    pub(super) fn keep_caches(&self) {
        let Some(client) = self.objects() else { return };
        self.tasks().spawn_until_stopped(async move {
            let mut known = BTreeMap::new();
            let mut ticks = interval(CACHE_TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                client.look_after_caches(&mut known).await;
            }
        });
    }
}

impl ObjectClient {
    pub(super) fn books(&self) -> &Books {
        self.engine().shared().object_feed.books()
    }

    /// The metrics of caches, once there are some.
    #[must_use]
    pub fn cache_metrics(&self) -> Option<Caches> {
        self.engine().shared().meter.metrics().map(Metrics::caches)
    }

    /// Whether a bucket is a cache.
    #[must_use]
    pub fn is_cache(&self, bucket: &BucketName) -> bool {
        let buckets = self.running().buckets.borrow();
        let found = buckets.entries.get(bucket);
        found.is_some_and(|it| it.entry.definition.cache_bytes_max.is_some())
    }

    /// Notes that an object of a cache is used, so that it stays longer.
    pub fn note_use(&self, record: &ObjectRecord) {
        self.books().read(ReadId::of(record), self.engine().clock().now().wall);
    }

    /// Another region reads bytes of this one.
    pub(super) fn note_remote_use(&self, hash: &BlobHash) {
        if !self.books().is_empty() {
            let at = self.engine().clock().now().wall;
            self.books().read(ReadId::of_blob(hash), at);
        }
    }

    async fn look_after_caches(&self, known: &mut BTreeMap<BucketName, Known>) {
        let agreed = self.buckets();
        let bound = |definition: &BucketDefinition| definition.cache_bytes_max.map(|it| it.0);
        let caches: BTreeMap<&BucketName, u64> = agreed
            .entries
            .iter()
            .filter_map(|(name, bucket)| Some((name, bound(&bucket.entry.definition)?)))
            .collect();
        self.books().follow(&caches.keys().map(|name| (*name).clone()).collect());
        for gone in known.keys().filter(|name| !caches.contains_key(*name)) {
            self.cache_metrics().inspect(|shown| shown.forget(gone));
        }
        known.retain(|name, _| caches.contains_key(name));
        for (bucket, bytes_max) in caches {
            let due = known.get(bucket).is_none_or(|known| {
                let now = Instant::now();
                let full = known.staying.saturating_add(self.books().grown(bucket)) > bytes_max;
                now >= known.rest_until && (full || now >= known.looked + CACHE_LOOK_INTERVAL)
            });
            if !due {
                continue;
            }
            self.books().take_grown(bucket);
            match self.shrink(bucket, bytes_max).await {
                Ok((staying, took)) => {
                    let looked = Instant::now();
                    // A large cache is not looked through all the time.
                    let rest_until = looked + (took * CACHE_REST_PART).max(CACHE_TICK);
                    known.insert(bucket.clone(), Known { staying, looked, rest_until });
                }
                Err(error) => tracing::warn!(%error, %bucket, "a cache is looked after later"),
            }
        }
    }

    /// Looks a cache through and lets go what is too much; says how much stays, and how long the look
    /// took.
    async fn shrink(
        &self,
        bucket: &BucketName,
        bytes_max: u64,
    ) -> Result<(u64, Duration), ObjectError> {
        let Some(snapshot) = self.engine().routing() else {
            return Err(ObjectError::Unavailable("this node does not route yet".to_owned()));
        };
        let began = Instant::now();
        let Look { sweep, leaving, back } = self.look_through(bucket, &snapshot).await?;
        let took = began.elapsed();
        let Swept { held, objects, victims } = sweep.finish(bytes_max);
        let going: BTreeSet<Bytes> = victims.iter().map(|victim| victim.key.clone()).collect();
        self.learn_reads(&victims).await;
        let wanted: u64 = victims.iter().map(|victim| victim.bytes).sum();
        let let_go = |victim: Victim| {
            let (client, snapshot) = (self.clone(), snapshot.clone());
            async move {
                let gone = client.let_go(bucket, &victim, &snapshot).await;
                gone.unwrap_or_else(|error| {
                    let key = victim.key.escape_ascii();
                    tracing::warn!(%error, %bucket, %key, "an object of a full cache stays");
                    0
                })
            }
        };
        let gone: u64 = stream::iter(victims)
            .map(let_go)
            .buffer_unordered(EVICTIONS_AT_ONCE)
            .fold(0, async |sum, bytes: u64| sum + bytes)
            .await;
        if wanted > 0 {
            tracing::debug!(%bucket, held, wanted, gone, "a full cache was cut down");
        }
        for (key, record) in back.iter().filter(|(key, _)| !going.contains(key)) {
            self.take_back(key, record).await;
        }
        let staying = held.saturating_sub(leaving).saturating_sub(gone);
        self.cache_metrics().inspect(|shown| shown.holds(bucket, staying, objects));
        Ok((staying, took))
    }

    /// Walks over a cache's objects.
    async fn look_through(
        &self,
        bucket: &BucketName,
        snapshot: &RoutingSnapshot,
    ) -> Result<Look, ObjectError> {
        let prefix = IndexKey::currents(bucket, b"");
        let (mut look, mut after) = (Look::default(), None::<Bytes>);
        loop {
            let index = self.engine().index();
            let rows = index.rows(&prefix, after.as_deref(), WALK_PAGE_ROWS)?;
            for (row, bytes) in &rows {
                let Ok(IndexKey::Current { key, .. }) = IndexKey::decode(row) else { continue };
                let Ok(record) = ObjectRecord::decode(bytes) else { continue };
                let standing = self.standing(&index, &record, snapshot)?;
                if let Some((bytes, alone)) = look.on_object(standing, &key, &record) {
                    look.sweep.on_object(self.victim(key, &record, (bytes, alone)));
                }
            }
            after = rows.last().map(|(key, _)| key.clone());
            if rows.len() < WALK_PAGE_ROWS {
                return Ok(look);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Asks the other regions when they last read what would go everywhere.
    async fn learn_reads(&self, victims: &[Victim]) {
        let ids: Vec<ReadId> = victims.iter().filter(|it| it.alone).map(|it| it.read).collect();
        if ids.is_empty() {
            return;
        }
        let status = self.engine().status();
        let mut asked = JoinSet::new();
        for peer in status.peers.iter().filter(|peer| !peer.witness) {
            let (client, region, ids) = (self.clone(), peer.region.clone(), ids.clone());
            asked.spawn(async move { client.ask_for_reads(&region, ids).await });
        }
        while let Some(answer) = asked.join_next().await {
            // Who does not answer has no say.
            let Ok(Some(times)) = answer else { continue };
            for (id, at) in ids.iter().zip(times) {
                at.into_iter().for_each(|at| self.books().read(*id, at));
            }
        }
    }

    /// Tells another region when this one last read something.
    pub(super) fn tell_reads(&self, ids: &[ReadId]) -> Vec<Option<UnixMillis>> {
        ids.iter().map(|id| self.books().last_read(*id)).collect()
    }
}
