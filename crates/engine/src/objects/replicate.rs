//! Fetching what this region ought to hold, and does not.
//!
//! Rows tell it as they are committed; a walk over the index finds what was missed: after a start, when
//! a bucket has other settings, when regions are enabled or disabled, when rows came too fast, and from
//! time to time. What is fetched first,
//! and how often, is the business of `rhumb_objects::want`.

use bytes::Bytes;
use rhumb_objects::{
    pace::Need,
    refer::{KINDS, Placements, Referred, referred},
    rows::Rows as _,
    want::{Fetch, FetchEnd, Priority, Want, Wish, promotion::Promotions},
};
use rhumb_regions::RegionSet;
use rhumb_types::{
    RegionId, UnixMillis,
    record::{BlobRef, BucketName},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{ObjectClient, feed::Rows, peers::FetchError};
use crate::{
    Engine,
    limits::{PLACEMENT_LOOK_INTERVAL, WALK_INTERVAL, WALK_PAGE_ROWS, WISHES_MAX},
};

/// A blob that was read from another region.
#[derive(Debug)]
pub(crate) struct RemoteRead {
    bucket: BucketName,
    blob: BlobRef,
    taken_in: RegionId,
}

/// What others want fetched.
#[derive(Debug)]
pub(crate) enum Wished {
    /// A blob was read from another region.
    Read(RemoteRead),
    /// A blob that ought to be here is damaged or gone.
    Repair(Wish),
}

/// Where that is told.
pub(crate) type Wishes = mpsc::Sender<Wished>;

pub(super) fn wishes() -> (Wishes, mpsc::Receiver<Wished>) {
    mpsc::channel(WISHES_MAX)
}

impl ObjectClient {
    /// A blob is read from another region. Nobody waits: what is left out is told by the next read.
    pub(super) fn wish(&self, bucket: &BucketName, blob: BlobRef, taken_in: &RegionId) {
        let read = RemoteRead { bucket: bucket.clone(), blob, taken_in: taken_in.clone() };
        let _full = self.running().fetch.try_send(Wished::Read(read));
    }
}

impl Engine {
    pub(super) fn replicate(
        &self,
        committed: mpsc::Receiver<Rows>,
        wishes: mpsc::Receiver<Wished>,
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
            walk_again: false,
            walks_at: Instant::now() + WALK_INTERVAL,
            holders: None,
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

struct Replicator {
    client: ObjectClient,
    want: Want,
    promotions: Promotions,
    fetching: JoinSet<(BlobRef, FetchEnd)>,
    fetches: usize,
    walk: Option<Walk>,
    /// Whether another follows the one under way, which may have passed what it would look for.
    walk_again: bool,
    /// When the next one begins in any case.
    walks_at: Instant,
    /// Who may hold bytes, and whether this region counts among them although it is disabled.
    holders: Option<(RegionSet, bool)>,
}

impl Replicator {
    async fn run(
        mut self,
        mut committed: mpsc::Receiver<Rows>,
        mut wishes: mpsc::Receiver<Wished>,
    ) {
        let mut buckets = self.client.running().buckets.clone();
        let mut looks = interval(PLACEMENT_LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.begin_fetches();
            if self.client.engine().shared().object_feed.has_missed() {
                self.walk_anew();
            }
            let wakes = self.wakes_at();
            tokio::select! {
                Some(rows) = committed.recv() => self.look(rows, Priority::Written).await,
                Some(wished) = wishes.recv() => match wished {
                    Wished::Read(read) => self.on_remote_read(read),
                    Wished::Repair(wish) => self.want.add(wish),
                },
                Some(Ok((blob, end))) = self.fetching.join_next() => {
                    let now = self.client.engine().clock().now().mono;
                    self.want.on_end(now, &blob.hash, end);
                }
                // Where the bytes of a bucket ought to be may be another question now.
                Ok(()) = buckets.changed() => self.walk_anew(),
                _ = looks.tick() => if self.is_placed_anew() {
                    self.walk_anew();
                },
                () = sleep_until(wakes) => self.on_time().await,
                else => return,
            }
        }
    }

    /// When there is something to do that nobody tells.
    fn wakes_at(&self) -> Instant {
        if self.walk.is_some() && !self.is_behind() {
            return Instant::now();
        }
        // Without room for a fetch its end is what is waited for.
        let room = self.fetching.len() < self.fetches;
        let pause = self.want.wakes_at().filter(|_| room).map(|at| {
            let now = self.client.engine().clock().now().mono;
            Instant::now() + at.saturating_since(now)
        });
        pause.map_or(self.walks_at, |pause| pause.min(self.walks_at))
    }

    /// Whether there is so much to fetch that a walk would only fill the queue. It goes on from where it
    /// is once there is less. What waits for a region that does not answer holds nobody up.
    fn is_behind(&self) -> bool {
        self.want.ready() > WALK_PAGE_ROWS
    }

    /// Whether regions were enabled or disabled since this was last asked: then copies ought to be in
    /// other places.
    fn is_placed_anew(&mut self) -> bool {
        let Some(snapshot) = self.client.engine().routing() else { return false };
        let holders = Some((snapshot.data(), self.client.is_displaced()));
        let changed = self.holders.is_some() && self.holders != holders;
        self.holders = holders;
        changed
    }

    /// Something may be missing that no row will tell.
    fn walk_anew(&mut self) {
        self.walk_again = self.walk.is_some();
        self.walk.get_or_insert_default();
    }

    async fn on_time(&mut self) {
        if Instant::now() >= self.walks_at {
            self.walks_at = Instant::now() + WALK_INTERVAL;
            self.walk.get_or_insert_default();
        }
        if self.is_behind() {
            return;
        }
        let Some(mut walk) = self.walk.take() else { return };
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
        } else if std::mem::take(&mut self.walk_again) {
            self.walk = Some(Walk::default());
        }
        self.look(rows, Priority::Missing).await;
    }

    /// Looks which blobs of some rows ought to be here and are not.
    async fn look(&mut self, rows: Rows, priority: Priority) {
        let client = self.client.clone();
        let Some(snapshot) = client.engine().routing() else { return };
        let Some(here) = snapshot.index(client.region()) else { return };
        let mut buckets = Placements::new();
        for (key, row) in rows {
            // Parts are copied once they are an object.
            let Ok(Some(Referred { blobs, place: Some(place) })) = referred(&key, &row) else {
                continue;
            };
            let known = buckets
                .entry(place.bucket.clone())
                .or_insert_with(|| client.placement_here(&snapshot, &place.bucket));
            let Some(placement) = known else { continue };
            for blob in &blobs {
                let holders = client.holding(&snapshot, blob);
                let ought = placement.ought(&snapshot, &place, holders);
                if ought.regions.contains(here) && !holders.contains(here) {
                    self.want_here(blob, priority, place.written, &place.taken_in).await;
                }
            }
        }
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
            Ok(None) => self.wish(blob, priority, written, taken_in),
            Err(error) => {
                tracing::warn!(%error, "the store of blobs does not answer");
                // The fetch is tried again until it does; what turns out to be here is kept.
                self.wish(blob, priority, written, taken_in);
            }
        }
    }

    fn wish(
        &mut self,
        blob: &BlobRef,
        priority: Priority,
        written: UnixMillis,
        taken_in: &RegionId,
    ) {
        let sources = self.client.holders(&blob.hash, taken_in);
        self.want.add(Wish { blob: *blob, priority, written, sources });
    }

    fn on_remote_read(&mut self, read: RemoteRead) {
        let RemoteRead { bucket, blob, taken_in } = read;
        let Some(snapshot) = self.client.engine().routing() else { return };
        let Some(placement) = self.client.placement_here(&snapshot, &bucket) else { return };
        // However often they are read: bytes do not come to a region that may not hold them.
        let here = snapshot.index(self.client.region());
        if !here.is_some_and(|here| placement.allows(here)) {
            return;
        }
        let now = self.client.engine().clock().now();
        let after = placement.definition.promote_after;
        if self.promotions.on_remote_read(now.mono, blob.hash, after) {
            let sources = self.client.holders(&blob.hash, &taken_in);
            let priority = Priority::Promoted;
            self.client.books().fetching(&bucket, blob.bytes);
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
    match client.fetch(source, blob, Need::Background).await {
        Ok(()) => {}
        Err(FetchError::NotThere) => return FetchEnd::NotThere,
        Err(error) => {
            tracing::debug!(%error, %source, hash = %blob.hash, ?priority, "a blob was not fetched");
            return FetchEnd::Failed;
        }
    }
    match client.hold(&[blob]).await {
        Ok(()) => {
            if priority == Priority::Promoted {
                client.running().keeper.like(blob.hash);
            }
            FetchEnd::Held
        }
        // It is here; the walk says so later.
        Err(_) => FetchEnd::Failed,
    }
}
