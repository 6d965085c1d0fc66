//! Copies of an upload in other regions, made while it still comes in.
//!
//! A region that is to have a copy is told which blobs, and fetches them itself: whoever ends up with
//! the bytes has asked for them, checked them, and says so in the index. The machine of uploads says who
//! is asked for which blob and when, and who takes the place of a region that fails, or that routing knows
//! to be down. The blobs lie here, so that nobody holds up anybody.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rhumb_objects::upload::{Effect, Event, Fault, Report, Rewind, Upload, UploadConfig};
use rhumb_regions::{Health, RoutingSnapshot};
use rhumb_types::{
    MonoTime, RegionId,
    record::{BlobRef, BucketName},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{CopyResult, ObjectClient, ObjectsConfig, peers::Keep};

/// What is to be copied so far.
#[derive(Debug, Default)]
struct Source {
    blobs: Vec<BlobRef>,
    ended: bool,
    /// Nobody waits any longer.
    abandoned: bool,
}

/// Makes copies of one upload. Dropping it ends that; what was copied is collected in time.
pub(super) struct Copier {
    source: watch::Sender<Source>,
    driving: JoinSet<Vec<CopyResult>>,
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
        let ObjectsConfig { copy_retries, copy_pause, .. } = client.running().config;
        let count = targets.len();
        let config = UploadConfig {
            retries: copy_retries,
            delay: copy_pause,
            copies_needed: u8::try_from(count).unwrap_or(u8::MAX),
            patience: Duration::MAX,
            parts_kept: usize::MAX,
            parts_max: usize::MAX,
            rewind: Rewind::Free,
        };
        let source = watch::Sender::new(Source::default());
        let routes = client.engine().routes();
        let regions = targets.iter().chain(&spares).cloned().collect();
        let copying = Copying {
            client,
            bucket,
            upload: Upload::new(config, targets, spares),
            begun: Instant::now(),
            source: source.subscribe(),
            routes,
            regions,
            blobs: Vec::new(),
            told_end: false,
            asked: JoinSet::new(),
            reasons: BTreeMap::new(),
            out: Vec::new(),
        };
        let mut driving = JoinSet::new();
        driving.spawn(copying.run());
        Self { source, driving, targets: count }
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
        let ended = match timeout(wait, self.driving.join_next()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.source.send_modify(|source| source.abandoned = true);
                self.driving.join_next().await
            }
        };
        // A task that broke off has made no copies that anybody knows of.
        ended.and_then(Result::ok).unwrap_or_default()
    }
}

/// Waits for the next snapshot; for ever where there is none to come.
async fn changed(
    routes: &mut Option<watch::Receiver<Arc<RoutingSnapshot>>>,
) -> Result<(), watch::error::RecvError> {
    match routes {
        Some(routes) => routes.changed().await,
        None => std::future::pending().await,
    }
}

/// What became of asking a region to keep a blob.
struct Asked {
    region: RegionId,
    part: usize,
    result: Result<(), String>,
}

/// One upload's copies on their way.
struct Copying {
    client: ObjectClient,
    bucket: BucketName,
    upload: Upload,
    begun: Instant,
    source: watch::Receiver<Source>,
    /// Who is down; nothing once the node stops.
    routes: Option<watch::Receiver<Arc<RoutingSnapshot>>>,
    /// All regions of the plan.
    regions: Vec<RegionId>,
    /// The blobs that the machine knows of,
    blobs: Vec<BlobRef>,
    /// and whether it knows that there are no more.
    told_end: bool,
    asked: JoinSet<Asked>,
    reasons: BTreeMap<RegionId, String>,
    out: Vec<Effect>,
}

impl Copying {
    async fn run(mut self) -> Vec<CopyResult> {
        self.see();
        loop {
            self.look();
            if let Some(report) = self.settle() {
                return self.results(report);
            }
            let wakes = self.upload.wakes_at().filter(|at| *at != MonoTime(u64::MAX));
            let wakes = wakes.map(|at| self.begun + Duration::from_micros(at.0));
            tokio::select! {
                changed = self.source.changed() => {
                    // The one who adds blobs went away; so does this.
                    if changed.is_err() {
                        self.tell(Event::Abandoned);
                    }
                }
                seen = changed(&mut self.routes) => match seen {
                    Ok(()) => self.see(),
                    Err(_) => self.routes = None,
                },
                Some(Ok(asked)) = self.asked.join_next() => self.answered(asked),
                () = sleep_until(wakes.unwrap_or(self.begun)), if wakes.is_some() => {
                    self.tell(Event::Tick);
                }
            }
        }
    }

    fn tell(&mut self, event: Event<'_>) {
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.upload.on_event(MonoTime(micros), event, &mut self.out);
    }

    /// Tells the machine which regions are down.
    fn see(&mut self) {
        let Some(routes) = &mut self.routes else { return };
        let snapshot = routes.borrow_and_update().clone();
        for region in std::mem::take(&mut self.regions) {
            let at = snapshot.index(&region);
            let down = at.is_none_or(|at| snapshot.region(at).health == Health::Down);
            self.tell(Event::Health { region: &region, down });
            self.regions.push(region);
        }
    }

    /// Tells the machine what is new of the source.
    fn look(&mut self) {
        let (new, ended, abandoned) = {
            let source = self.source.borrow_and_update();
            let new = source.blobs.get(self.blobs.len()..).unwrap_or_default().to_vec();
            (new, source.ended, source.abandoned)
        };
        for blob in new {
            self.blobs.push(blob);
            self.tell(Event::Part { bytes: blob.bytes, there: &[] });
        }
        if ended && !self.told_end {
            self.told_end = true;
            self.tell(Event::End);
        }
        if abandoned {
            self.tell(Event::Abandoned);
        }
    }

    /// Does what the machine wants done; its report, once there is one.
    fn settle(&mut self) -> Option<Report> {
        let mut report = None;
        // What is answered at once may want more done.
        while !self.out.is_empty() {
            for effect in std::mem::take(&mut self.out) {
                match effect {
                    Effect::Send { region, part, .. } => self.ask(region, part),
                    // The index says that a region has it, and is written later.
                    Effect::Finish(region) => {
                        self.tell(Event::Finished { region: &region, result: Ok(()) });
                    }
                    // What a region has already is collected in time.
                    Effect::Abort(_) | Effect::Keep { .. } => {}
                    Effect::Done(done) => report = Some(done),
                }
            }
        }
        report
    }

    fn ask(&mut self, region: RegionId, part: usize) {
        let Some(blob) = self.blobs.get(part).copied() else { return };
        let keep = Keep { bucket: self.bucket.clone(), blobs: vec![blob] };
        let client = self.client.clone();
        self.asked.spawn(async move {
            let result = client.ask_to_keep(&region, &keep).await;
            Asked { region, part, result }
        });
    }

    fn answered(&mut self, asked: Asked) {
        let Asked { region, part, result } = asked;
        let result = result.map_err(|why| {
            self.reasons.insert(region.clone(), why);
            Fault::Refused
        });
        self.tell(Event::Sent { region: &region, part, result });
    }

    fn results(mut self, report: Report) -> Vec<CopyResult> {
        let result = |region: rhumb_objects::upload::RegionResult| CopyResult {
            outcome: region.result.map_err(|fault| match fault {
                Fault::TooLate => fault.to_string(),
                _ => self.reasons.remove(&region.region).unwrap_or_else(|| fault.to_string()),
            }),
            region: region.region,
        };
        report.regions.into_iter().map(result).collect()
    }
}
