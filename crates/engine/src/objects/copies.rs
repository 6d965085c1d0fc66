//! Copies of an upload in other regions, made while it still comes in.
//!
//! A region that is to have a copy is told which blobs, and fetches them itself: whoever ends up with
//! the bytes has asked for them, checked them, and says so in the index. One that fails is tried again
//! a few times; then the next region of the plan gets all of it, from the first blob on.

use std::time::Duration;

use rhumb_types::{
    RegionId,
    record::{BlobRef, BucketName},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::{CopyResult, ObjectClient, ObjectsConfig, peers::Keep};
use crate::limits::COPY_BLOBS_PER_CALL;

/// What a copy is made of so far.
#[derive(Debug, Default)]
struct Source {
    blobs: Vec<BlobRef>,
    ended: bool,
}

/// Makes copies of one upload. Dropping it ends that; what was copied is collected in time.
pub(super) struct Copier {
    source: watch::Sender<Source>,
    running: JoinSet<CopyResult>,
    spares: std::vec::IntoIter<RegionId>,
    client: ObjectClient,
    bucket: BucketName,
    targets: usize,
}

impl Copier {
    /// Begins copies in some regions; `spares` stand in for those that fail.
    pub(super) fn new(
        client: ObjectClient,
        bucket: BucketName,
        targets: Vec<RegionId>,
        spares: Vec<RegionId>,
    ) -> Self {
        let mut copier = Self {
            source: watch::Sender::new(Source::default()),
            running: JoinSet::new(),
            spares: spares.into_iter(),
            client,
            bucket,
            targets: targets.len(),
        };
        targets.into_iter().for_each(|region| copier.begin(region));
        copier
    }

    fn begin(&mut self, region: RegionId) {
        let (client, source) = (self.client.clone(), self.source.subscribe());
        let bucket = self.bucket.clone();
        self.running.spawn(async move {
            let outcome = copy(&client, &bucket, &region, source).await;
            CopyResult { region, outcome }
        });
    }

    /// How many copies are being made.
    pub(super) const fn targets(&self) -> usize {
        self.targets
    }

    /// One more blob is here.
    pub(super) fn add(&mut self, blob: BlobRef) {
        self.source.send_modify(|source| source.blobs.push(blob));
    }

    /// All of it is here: waits for the copies, as long as that may take.
    pub(super) async fn finish(mut self, wait: Duration) -> Vec<CopyResult> {
        self.source.send_modify(|source| source.ended = true);
        let until = Instant::now() + wait;
        let (mut results, mut copied) = (Vec::new(), 0);
        while copied < self.targets {
            let Ok(Some(ended)) = timeout_at(until, self.running.join_next()).await else { break };
            let Ok(result) = ended else { continue };
            if result.outcome.is_ok() {
                copied += 1;
            } else if let Some(spare) = self.spares.next() {
                self.begin(spare);
            }
            results.push(result);
        }
        results
    }
}

/// Has a region copy what comes, until all of it has come.
async fn copy(
    client: &ObjectClient,
    bucket: &BucketName,
    region: &RegionId,
    mut source: watch::Receiver<Source>,
) -> Result<(), String> {
    let mut copied = 0;
    loop {
        let (new, ended) = {
            let source = source.borrow_and_update();
            let new = source.blobs.iter().skip(copied).take(COPY_BLOBS_PER_CALL);
            (new.copied().collect::<Vec<BlobRef>>(), source.ended)
        };
        if new.is_empty() {
            if ended {
                return Ok(());
            }
            source.changed().await.map_err(|_| "the upload broke off".to_owned())?;
            continue;
        }
        copied += new.len();
        let keep = Keep { bucket: bucket.clone(), blobs: new };
        let ObjectsConfig { copy_retries: retries, copy_pause: pause, .. } =
            client.running().config;
        let mut tries = 0;
        while let Err(why) = client.ask_to_keep(region, &keep).await {
            if tries == retries {
                return Err(why);
            }
            tries += 1;
            sleep(pause).await;
        }
    }
}
