//! The objects of a node: the index in the store, the bytes behind the port `Blobs` (ADR 0010).
//!
//! The rules of the index are pure, in `rhumb_objects`; here they are read for, carried out by one
//! compare-and-set each, and repeated when a row was changed meanwhile. In a linearizable bucket they
//! are carried out by the region that acts for the key's home (rule 10).
//!
//! Bytes come in through [`body`], leave through [`bytes`], which reads from the nearest region that has
//! them, and are fetched by [`replicate`] where the bucket wants them. What shares the way from a region
//! takes turns there ([`ways`]).
//!
//! What a region may not hold is passed on ([`pass`]) to one that may.
//!
//! Deliberately absent: what a request may do, and its protocol.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use rhumb_objects::{
    grant::{WalkConfig, limits::SILENCE},
    scrub::SCRUB_PERIOD,
};
use rhumb_ports::{blobs::Blobs, store::MetaName};
use rhumb_types::{
    RegionId,
    record::{Record as _, VersionVector},
};
use tokio::sync::{mpsc, watch};

use crate::{
    Engine,
    agreed::{AgreedBuckets, Follower},
    limits,
};

mod answer;
mod ask;
mod body;
mod buckets;
mod bytes;
mod cache;
mod catch_up;
mod chores;
mod client;
mod collect;
mod copies;
mod decide;
mod digest;
mod error;
mod feed;
mod home;
mod index;
mod keep;
mod list;
mod pass;
mod peers;
mod refer;
mod refusal;
mod replicate;
mod scrub;
mod uploads;
mod ways;
mod wire;

pub use answer::ObjectService;
pub use bytes::Opened;
pub use client::{About, ByteStream, CopyResult, Deleted, Done, ObjectClient, Put};
pub use digest::{Digests, Late};
pub use error::ObjectError;

pub(crate) use feed::Feed;
use keep::Keeper;

/// What the objects of a node are started with.
#[derive(Clone, Debug)]
pub struct ObjectsConfig {
    /// The region of this node.
    pub region: RegionId,
    /// How many blobs are fetched from other regions at a time.
    pub fetches: usize,
    /// How often a region that did not take a copy is asked again, before another takes its place.
    pub copy_retries: u32,
    /// How long to wait before that.
    pub copy_pause: Duration,
    /// How long an upload waits for the copies that its bucket asks for.
    pub copy_wait: Duration,
    /// Time between two looks at what is due: lifecycles, and what is left of uploads.
    pub chores_every: Duration,
    /// Time between two looks for blobs that may go,
    pub collect_every: Duration,
    /// and how old they must be.
    pub collect: WalkConfig,
    /// How long this region lets nobody remove anything of its own after a start. Shorter than two
    /// rounds of a home is for tests.
    pub silence: Duration,
    /// In what time everything that is held is read again,
    pub scrub_period: Duration,
    /// and the time between two steps of that.
    pub scrub_tick: Duration,
}

impl ObjectsConfig {
    /// What a region is started with that says nothing of its own.
    #[must_use]
    pub fn new(region: RegionId) -> Self {
        Self {
            region,
            fetches: limits::FETCHES,
            copy_retries: limits::COPY_RETRIES,
            copy_pause: limits::COPY_PAUSE,
            copy_wait: limits::COPY_WAIT,
            chores_every: limits::CHORES_INTERVAL,
            collect_every: limits::COLLECT_INTERVAL,
            collect: WalkConfig::default(),
            silence: SILENCE,
            scrub_period: SCRUB_PERIOD,
            scrub_tick: limits::SCRUB_TICK,
        }
    }
}

/// What an engine keeps of its objects.
pub(crate) struct Running {
    pub(crate) config: ObjectsConfig,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) buckets: watch::Receiver<Arc<AgreedBuckets>>,
    pub(crate) keeper: Keeper,
    pub(crate) fetch: replicate::Wishes,
    pub(crate) passes: pass::Passes,
    pub(crate) ways: ways::Ways,
    pub(crate) terms: decide::Terms,
    /// Uploads that were placed so far, for strategies that take turns.
    pub(crate) turns: AtomicU64,
}

impl Engine {
    /// Starts the objects of this node, once the groups are attached and the overseer runs.
    ///
    /// # Panics
    /// Without the groups, or a second time.
    pub fn start_objects(&self, config: ObjectsConfig, blobs: Arc<dyn Blobs>) {
        let shared = self.shared();
        let agreed = shared.agreed.get().map(|shown| shown.buckets.clone());
        assert!(agreed.is_some(), "the groups are attached before the objects start");
        let remembered = Arc::new(self.remembered());
        let (known, buckets) = watch::channel(remembered.clone());
        if let Some(agreed) = agreed {
            let mut newest = Follower::new(remembered, agreed, shared.inputs.clone());
            self.tasks().spawn_until_drained(async move {
                while let Some(agreed) = newest.next().await {
                    known.send_replace(agreed);
                }
            });
        }
        let (fetch, wishes) = replicate::wishes();
        let chores_every = config.chores_every;
        let (rows, committed) = mpsc::channel(limits::OBJECT_ROWS_UNREAD_MAX);
        let (collect_every, walk) = (config.collect_every, config.collect);
        let (period, tick) = (config.scrub_period, config.scrub_tick);
        let applied = || self.committed_vector();
        let keeper = Keeper::new(shared.clock.clone(), config.silence, &applied());
        // From here on every commit is told; what was committed before is covered.
        shared.object_feed.attach(rows, keeper.clone(), config.region.clone());
        keeper.covered(&applied());
        let passes = pass::Passes::default();
        let ways = ways::Ways::new(shared.clock.clone());
        let (terms, turns) = (decide::Terms::default(), AtomicU64::new(0));
        let running = Running { config, blobs, buckets, keeper, fetch, passes, ways, terms, turns };
        let fresh = shared.objects.set(running).is_ok();
        assert!(fresh, "the objects are started once");
        self.replicate(committed, wishes);
        self.do_chores(chores_every);
        self.collect(collect_every, walk);
        self.scrub(period, tick);
        self.keep_caches();
    }

    /// What is committed, as the store says.
    fn committed_vector(&self) -> VersionVector {
        let bytes = self.shared().store.meta(&MetaName::Applied).ok().flatten();
        bytes.and_then(|bytes| VersionVector::decode(&bytes).ok()).unwrap_or_default()
    }

    /// The objects; `None` until they are started, and on a witness.
    #[must_use]
    pub fn objects(&self) -> Option<ObjectClient> {
        self.shared().objects.get().is_some().then(|| ObjectClient::new(self.clone()))
    }
}

/// The place in an engine where its objects will be.
pub(crate) type Slot = OnceLock<Running>;
