//! The objects of a node: the index in the store, the bytes behind the port `Blobs` (ADR 0010).
//!
//! The rules of the index are pure, in `rhumb_objects`; here they are read for, carried out by one
//! compare-and-set each, and repeated when a row was changed meanwhile. In a linearizable bucket they
//! are carried out by the region that acts for the key's home (rule 10).
//!
//! Bytes come in through [`body`], leave through [`bytes`], which reads from the nearest region that has
//! them, and are fetched by [`replicate`] where the bucket wants them.
//!
//! Deliberately absent: what a request may do, and its protocol.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rhumb_ports::blobs::Blobs;
use rhumb_types::RegionId;
use tokio::sync::{mpsc, watch};

use crate::{
    Engine,
    agreed::{AgreedBuckets, Follower},
    limits,
};

mod ask;
mod body;
mod buckets;
mod bytes;
mod chores;
mod client;
mod copies;
mod digest;
mod error;
mod feed;
mod index;
mod list;
mod peers;
mod pins;
mod replicate;
mod wire;

pub use client::{About, ByteStream, CopyResult, Deleted, Done, ObjectClient, Put};
pub use digest::{Digests, Late};
pub use error::ObjectError;
pub use peers::ObjectService;

pub(crate) use feed::Feed;
use pins::Pins;

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
}

impl ObjectsConfig {
    /// What a region is started with that says nothing of its own.
    #[must_use]
    pub const fn new(region: RegionId) -> Self {
        Self {
            region,
            fetches: limits::FETCHES,
            copy_retries: limits::COPY_RETRIES,
            copy_pause: limits::COPY_PAUSE,
            copy_wait: limits::COPY_WAIT,
            chores_every: limits::CHORES_INTERVAL,
        }
    }
}

/// What an engine keeps of its objects.
pub(crate) struct Running {
    pub(crate) config: ObjectsConfig,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) buckets: watch::Receiver<Arc<AgreedBuckets>>,
    pub(crate) pins: Pins,
    pub(crate) fetch: replicate::Wishes,
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
        let running = Running { config, blobs, buckets, pins: Pins::default(), fetch };
        let fresh = shared.objects.set(running).is_ok();
        assert!(fresh, "the objects are started once");
        // What was committed before is found by the walk.
        shared.object_feed.attach(rows);
        self.replicate(committed, wishes);
        self.do_chores(chores_every);
    }

    /// The objects; `None` until they are started, and on a witness.
    #[must_use]
    pub fn objects(&self) -> Option<ObjectClient> {
        self.shared().objects.get().is_some().then(|| ObjectClient::new(self.clone()))
    }
}

/// The place in an engine where its objects will be.
pub(crate) type Slot = OnceLock<Running>;
