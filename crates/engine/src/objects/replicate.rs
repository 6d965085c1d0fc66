//! Fetching what this region ought to hold, and does not.
//!
//! Rows tell it as they are committed; a walk over the index finds what was missed, after a start and
//! from time to time. What is fetched first, and how often, is the business of `rhumb_objects::want`.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_objects::{
    place::{self, Bounds},
    rows::Rows as _,
    want::{Fetch, FetchEnd, Priority, Want, Wish, promotion::Promotions},
};
use rhumb_regions::{Key, RegionSet, RoutingSnapshot};
use rhumb_types::{
    RegionId, UnixMillis,
    record::{
        BlobRef, Body, BucketDefinition, BucketName, HolderRecord, IndexKey, ObjectRecord,
        Record as _,
    },
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{ObjectClient, feed::Rows, peers::FetchError};
use crate::{
    Engine,
    limits::{HOLDERS_MAX, WALK_INTERVAL, WALK_PAGE_ROWS, WISHES_MAX},
};

/// A blob that was read from another region.
#[derive(Debug)]
pub(crate) struct RemoteRead {
    bucket: BucketName,
    blob: BlobRef,
    taken_in: RegionId,
}

/// Where reads from other regions are told.
pub(crate) type Wishes = mpsc::Sender<RemoteRead>;

pub(super) fn wishes() -> (Wishes, mpsc::Receiver<RemoteRead>) {
    mpsc::channel(WISHES_MAX)
}

impl ObjectClient {
    /// A blob is read from another region. Nobody waits: what is left out is told by the next read.
    pub(super) fn wish(&self, bucket: &BucketName, blob: BlobRef, taken_in: &RegionId) {
        let read = RemoteRead { bucket: bucket.clone(), blob, taken_in: taken_in.clone() };
        let _full = self.running().fetch.try_send(read);
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

impl Engine {
    pub(super) fn replicate(
        &self,
        committed: mpsc::Receiver<Rows>,
        wishes: mpsc::Receiver<RemoteRead>,
    ) {
        let Some(client) = self.objects() else { return };
        let fetches = client.running().config.fetches;
        let replicator = Replicator {
            client,
            want: Want::default(),
            promotions: Promotions::default(),
            fetching: JoinSet::new(),
            fetches,
            walk: Some(Walk::default()),
            walk_again: Instant::now() + WALK_INTERVAL,
        };
        self.tasks().spawn_until_stopped(replicator.run(committed, wishes));
    }
}

/// How far a walk over the index has come.
#[derive(Debug, Default)]
struct Walk {
    kind: usize,
    after: Option<Bytes>,
}

/// The kinds of rows that refer to blobs.
pub(super) const KINDS: [&[u8]; 3] = [b"c", b"v", b"p"];

struct Replicator {
    client: ObjectClient,
    want: Want,
    promotions: Promotions,
    fetching: JoinSet<(BlobRef, FetchEnd)>,
    fetches: usize,
    walk: Option<Walk>,
    walk_again: Instant,
}

impl Replicator {
    async fn run(
        mut self,
        mut committed: mpsc::Receiver<Rows>,
        mut wishes: mpsc::Receiver<RemoteRead>,
    ) {
        loop {
            self.begin_fetches();
            let wakes = self.wakes_at();
            tokio::select! {
                Some(rows) = committed.recv() => self.look(rows, Priority::Written).await,
                Some(read) = wishes.recv() => self.on_remote_read(read),
                Some(Ok((blob, end))) = self.fetching.join_next() => {
                    let now = self.client.engine().clock().now().mono;
                    self.want.on_end(now, &blob.hash, end);
                }
                () = sleep_until(wakes) => self.on_time().await,
                else => return,
            }
        }
    }

    /// When there is something to do that nobody tells.
    fn wakes_at(&self) -> Instant {
        if self.walk.is_some() {
            return Instant::now();
        }
        let pause = self.want.wakes_at().map(|at| {
            let now = self.client.engine().clock().now().mono;
            Instant::now() + at.saturating_since(now)
        });
        pause.map_or(self.walk_again, |pause| pause.min(self.walk_again))
    }

    async fn on_time(&mut self) {
        if self.client.engine().shared().object_feed.has_missed()
            || Instant::now() >= self.walk_again
        {
            self.walk.get_or_insert_default();
            self.walk_again = Instant::now() + WALK_INTERVAL;
        }
        let Some(mut walk) = self.walk.take() else { return };
        // Behind on fetches: a walk would only fill the queue.
        if self.want.len() > WALK_PAGE_ROWS {
            self.walk_again = Instant::now() + WALK_INTERVAL / 10;
            return;
        }
        let Some(kind) = KINDS.get(walk.kind) else { return };
        let engine = self.client.engine();
        let page = engine.index().rows(kind, walk.after.as_deref(), WALK_PAGE_ROWS);
        let rows = match page {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "the walk over the index ends early");
                return;
            }
        };
        walk.after = rows.last().map(|(key, _)| key.clone());
        if rows.len() < WALK_PAGE_ROWS {
            walk = Walk { kind: walk.kind + 1, after: None };
        }
        if walk.kind < KINDS.len() {
            self.walk = Some(walk);
        }
        self.look(rows, Priority::Missing).await;
    }

    /// Looks which blobs of some rows ought to be here and are not.
    async fn look(&mut self, rows: Rows, priority: Priority) {
        let Some(snapshot) = self.client.engine().routing() else { return };
        let mut bounds = BTreeMap::new();
        for (key, row) in rows {
            let Some(found) = referred(&key, &row) else { continue };
            let Some((definition, allowed)) = self.bounds(&snapshot, &mut bounds, &found.bucket)
            else {
                continue;
            };
            for blob in &found.blobs {
                let holders = self.client.holding(&snapshot, blob);
                let name = place::name(&found.bucket, &found.key);
                let ought = place::ought(
                    &snapshot,
                    &definition,
                    &allowed,
                    &Key::new(&name),
                    &found.taken_in,
                    holders,
                );
                let here = snapshot.index(self.client.region());
                if !here.is_some_and(|here| ought.regions.contains(here) && !holders.contains(here))
                {
                    continue;
                }
                self.want_here(blob, priority, found.written, &found.taken_in).await;
            }
        }
    }

    fn bounds(
        &self,
        snapshot: &RoutingSnapshot,
        known: &mut BTreeMap<BucketName, Option<(BucketDefinition, Bounds)>>,
        bucket: &BucketName,
    ) -> Option<(BucketDefinition, Bounds)> {
        let make = || {
            let definition = self.client.definition(bucket).ok()?;
            let bounds = Bounds::of(snapshot, &definition).ok()?;
            Some((definition, bounds))
        };
        known.entry(bucket.clone()).or_insert_with(make).clone()
    }

    async fn want_here(
        &mut self,
        blob: &BlobRef,
        priority: Priority,
        written: UnixMillis,
        taken_in: &RegionId,
    ) {
        let Ok(_pin) = self.client.running().keeper.pin(blob.hash).await else { return };
        match self.client.running().blobs.stat(blob.hash).await {
            // It is here, and nobody was told: a crash came between the two.
            Ok(Some(_)) => {
                if let Err(error) = self.client.hold(std::slice::from_ref(blob)).await {
                    tracing::debug!(%error, hash = %blob.hash, "what is held is said later");
                }
            }
            Ok(None) => {
                let sources = self.client.holders(&blob.hash, taken_in);
                self.want.add(Wish { blob: *blob, priority, written, sources });
            }
            Err(error) => tracing::warn!(%error, "the store of blobs does not answer"),
        }
    }

    fn on_remote_read(&mut self, read: RemoteRead) {
        let RemoteRead { bucket, blob, taken_in } = read;
        let Ok(definition) = self.client.definition(&bucket) else { return };
        let now = self.client.engine().clock().now();
        if self.promotions.on_remote_read(now.mono, blob.hash, definition.promote_after) {
            let sources = self.client.holders(&blob.hash, &taken_in);
            let priority = Priority::Promoted;
            self.want.add(Wish { blob, priority, written: now.wall, sources });
        }
    }

    fn begin_fetches(&mut self) {
        while self.fetching.len() < self.fetches {
            let now = self.client.engine().clock().now().mono;
            let Some(Fetch { blob, source, priority }) = self.want.next(now) else { return };
            let client = self.client.clone();
            self.fetching.spawn(async move {
                let end = fetch(&client, &source, blob, priority).await;
                (blob, end)
            });
        }
    }
}

async fn fetch(
    client: &ObjectClient,
    source: &RegionId,
    blob: BlobRef,
    priority: Priority,
) -> FetchEnd {
    let Ok(_pin) = client.running().keeper.pin(blob.hash).await else { return FetchEnd::Failed };
    match client.fetch(source, blob).await {
        Ok(()) => {}
        Err(FetchError::NotThere) => return FetchEnd::NotThere,
        Err(error) => {
            tracing::debug!(%error, %source, hash = %blob.hash, ?priority, "a blob was not fetched");
            return FetchEnd::Failed;
        }
    }
    match client.hold(&[blob]).await {
        Ok(()) => FetchEnd::Held,
        // It is here; the walk says so later.
        Err(_) => FetchEnd::Failed,
    }
}

/// What a row refers to.
struct Referred {
    bucket: BucketName,
    key: Bytes,
    taken_in: RegionId,
    written: UnixMillis,
    blobs: Vec<BlobRef>,
}

fn referred(key: &[u8], row: &[u8]) -> Option<Referred> {
    let blobs = |body: Body| match body {
        Body::Blobs(blobs) if !blobs.is_empty() => Some(blobs),
        _ => None,
    };
    match IndexKey::decode(key).ok()? {
        IndexKey::Current { bucket, key } | IndexKey::Version { bucket, key, .. } => {
            let record = ObjectRecord::decode(row).ok()?;
            let blobs = blobs(record.content?.body)?;
            let (taken_in, written) = (record.region, record.modified);
            Some(Referred { bucket, key, taken_in, written, blobs })
        }
        // Parts are copied once they are an object.
        _ => None,
    }
}
