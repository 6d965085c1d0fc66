//! `ship`: from one source to several regions.
//!
//! A thread reads, packs are compressed on other threads, and one task hands each pack to every region
//! that lacks it. A region that fails all tries of a request is set aside, and the next in order takes
//! its place. At the end regions that lack something get it from one that has it. The manifest is
//! written last, so that a region has either all of an archive or none of it.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use rhumb_pack::{
    OpenError, PackRef, PlainPack, Root, Sealed, Sealer, Segment, SegmentRef, assemble,
};
use rhumb_types::MonoTime;
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet, time::MissedTickBehavior};

use crate::{
    archive::{Part, Prefix, present},
    budget::{Budget, Held},
    lane::{Body, Lane, State, Tries, retried, since},
    level::Level,
    limits::{
        LISTED_MAX, LOOK_INTERVAL, PACKERS_MAX, REGIONS_MAX, REQUESTS_PER_REGION,
        REQUESTS_PER_REGION_MAX, RETRIES, RETRY_DELAY, STAGED_BYTES, STEPS_MAX, UPLOADS_MAX,
    },
    progress::Progress,
    read::{ReadError, Reading, Source, Step, Summary, read},
    remote::{Remote, RemoteError},
    walk::Walk,
};

mod mend;
mod rehearsal;
mod report;

pub use rehearsal::{Estimate, RegionPlan, rehearse};
pub use report::{Outcome, RegionReport, Report};

/// How a shipment is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// In how many regions the archive is to be; in all by default.
    pub copies: Option<usize>,
    /// How many are enough to call it a success, if a degraded one; more than half by default.
    pub min_copies: Option<usize>,
    /// Bytes that are in memory at a time.
    pub staged: usize,
    /// Requests to each region at a time.
    pub requests: usize,
    /// How often a request is tried again.
    pub retries: u32,
    /// The pause before that.
    pub retry_delay: Duration,
    /// Whether users and groups are written down.
    pub owners: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            copies: None,
            min_copies: None,
            staged: STAGED_BYTES,
            requests: REQUESTS_PER_REGION,
            retries: RETRIES,
            retry_delay: RETRY_DELAY,
            owners: false,
        }
    }
}

/// Why nothing was shipped.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The numbers of copies cannot be met.
    #[error("{copies} copies, {min_copies} at least, cannot be made in {regions} regions")]
    Copies {
        /// How many are wanted.
        copies: usize,
        /// How many are enough.
        min_copies: usize,
        /// How many regions there are.
        regions: usize,
    },
    /// Too few regions answer.
    #[error("only {answered} regions answered, and {enough} copies are needed: {reasons}")]
    Unreachable {
        /// How many did.
        answered: usize,
        /// How many copies are enough.
        enough: usize,
        /// Why the others did not.
        reasons: String,
    },
    /// The source cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The archive is too large for one.
    #[error(transparent)]
    Seal(#[from] OpenError),
    /// A thread of this program broke off.
    #[error("a task broke off")]
    Broken(#[from] tokio::task::JoinError),
}

/// Sends a source to the regions, and seals it.
///
/// # Errors
/// When the source cannot be read, or too few regions answer at the begin. That regions were lost later
/// is in the report.
pub async fn ship(
    source: Source,
    remotes: Vec<Remote>,
    prefix: &Prefix,
    sealer: &Sealer,
    settings: Settings,
    progress: Arc<Progress>,
) -> Result<Report, ShipError> {
    let begun = Instant::now();
    let (wanted, enough) = copies(&settings, remotes.len())?;
    let name = shown_name(&source);
    let lanes = survey(remotes, prefix, &settings, wanted, enough).await?;
    let budget = Budget::new(settings.staged);
    let (steps, incoming) = mpsc::channel(STEPS_MAX);
    let reading = Reading {
        budget: budget.clone(),
        steps,
        progress: Arc::clone(&progress),
        owners: settings.owners,
        runtime: Handle::current(),
    };
    let counting = count(&source, &progress);
    let reader = tokio::task::spawn_blocking(move || read(source, reading));
    let mut shipment = Shipment {
        lanes,
        prefix: prefix.clone(),
        tries: Tries { retries: settings.retries, delay: settings.retry_delay },
        enough,
        wanted,
        budget,
        requests: settings.requests.clamp(1, REQUESTS_PER_REGION_MAX),
        level: Level::new(settings.staged),
        packing: JoinSet::new(),
        uploads: JoinSet::new(),
        packs: Vec::new(),
        segments: Vec::new(),
        progress,
        begun,
    };
    let carried = shipment.carry(incoming).await;
    drop(counting);
    let summary = match (reader.await?, carried) {
        // The reader ended because nobody was left to take anything; the report says why.
        (Err(ReadError::GivenUp), _) => Summary::default(),
        (read, carried) => {
            carried?;
            let summary = read?;
            shipment.mend().await;
            shipment.seal(sealer, &name).await?;
            summary
        }
    };
    Ok(shipment.report(summary, begun))
}

fn copies(settings: &Settings, regions: usize) -> Result<(usize, usize), ShipError> {
    let copies = settings.copies.unwrap_or(regions);
    let min_copies = settings.min_copies.unwrap_or(copies / 2 + 1);
    let fits =
        (1..=regions.min(REGIONS_MAX)).contains(&copies) && (1..=copies).contains(&min_copies);
    if fits {
        Ok((copies, min_copies))
    } else {
        Err(ShipError::Copies { copies, min_copies, regions })
    }
}

fn shown_name(source: &Source) -> String {
    match source {
        Source::Stream { name, .. } => name.clone(),
        Source::Tree(path) => path
            .canonicalize()
            .ok()
            .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "files".to_owned()),
    }
}

/// Counts what there is to read, beside the reading. Ends with what it returns.
fn count(source: &Source, progress: &Arc<Progress>) -> JoinSet<()> {
    let mut counting = JoinSet::new();
    if let Source::Tree(top) = source {
        let (top, progress): (PathBuf, _) = (top.clone(), Arc::clone(progress));
        counting.spawn_blocking(move || {
            // What cannot be read is found by the reader, who says so.
            for found in Walk::new(&top).into_iter().flatten().flatten() {
                if found.metadata.is_file() {
                    progress.total.add(found.metadata.len());
                }
            }
            progress.counted.store(true, Ordering::Relaxed);
        });
    }
    counting
}

/// Asks every region what it has, and chooses those that answer first.
async fn survey(
    remotes: Vec<Remote>,
    prefix: &Prefix,
    settings: &Settings,
    wanted: usize,
    enough: usize,
) -> Result<Vec<Lane>, ShipError> {
    let requests = settings.requests.clamp(1, REQUESTS_PER_REGION_MAX);
    let tries = Tries { retries: settings.retries, delay: settings.retry_delay };
    let mut lanes: Vec<Lane> = remotes
        .into_iter()
        .map(|remote| Lane::new(remote, requests, MonoTime::default()))
        .collect();
    let mut asked = JoinSet::new();
    for (at, lane) in lanes.iter().enumerate() {
        let (remote, prefix) = (lane.remote.clone(), prefix.clone());
        asked.spawn(
            async move { (at, retried(tries, || present(&remote, &prefix, LISTED_MAX)).await) },
        );
    }
    let mut answered = 0;
    while let Some(answer) = asked.join_next().await {
        let (at, answer) = answer?;
        let Some(lane) = lanes.get_mut(at) else { continue };
        match answer {
            Ok(has) => {
                lane.has = has;
                answered += 1;
                if answered <= wanted {
                    lane.state = State::Live;
                }
            }
            Err(error) => lane.lose(error.to_string()),
        }
    }
    if answered >= enough {
        return Ok(lanes);
    }
    let lost = lanes.iter().filter_map(|lane| match &lane.state {
        State::Lost(reason) => Some(format!("{}: {reason}", lane.region())),
        State::Live | State::Spare => None,
    });
    Err(ShipError::Unreachable { answered, enough, reasons: lost.collect::<Vec<_>>().join("; ") })
}

/// A part that is ready to be sent.
struct Packed {
    part: Part,
    body: Body,
}

/// What became of an upload.
struct Uploaded {
    lane: usize,
    part: Part,
    bytes: u64,
    /// Nothing when the region was set aside meanwhile.
    result: Option<Result<(), RemoteError>>,
}

struct Shipment {
    lanes: Vec<Lane>,
    prefix: Prefix,
    tries: Tries,
    wanted: usize,
    enough: usize,
    budget: Budget,
    requests: usize,
    level: Level,
    packing: JoinSet<Packed>,
    uploads: JoinSet<Uploaded>,
    packs: Vec<PackRef>,
    segments: Vec<SegmentRef>,
    progress: Arc<Progress>,
    begun: Instant,
}

impl Shipment {
    /// Takes what the reader gives until there is no more, and all is sent or nobody is left to take it.
    async fn carry(&mut self, mut steps: mpsc::Receiver<Step>) -> Result<(), ShipError> {
        let mut open = true;
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while open || !self.packing.is_empty() || self.waiting() > 0 {
            let room = self.waiting() < UPLOADS_MAX && self.packing.len() < PACKERS_MAX;
            tokio::select! {
                step = steps.recv(), if open && room => match step {
                    Some(Step::Pack(pack, held)) => self.pack(pack, held),
                    Some(Step::Segment(segment)) => self.segment(segment),
                    None => open = false,
                },
                Some(packed) = self.packing.join_next() => self.upload(packed?),
                Some(uploaded) = self.uploads.join_next() => self.uploaded(uploaded?),
                _ = looks.tick() => self.look(),
            }
            self.begin_uploads();
            if !self.can_succeed() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether enough regions are left, those counted that were set aside for now and may come back.
    fn can_succeed(&self) -> bool {
        self.lanes.iter().any(Lane::is_live)
    }

    /// Compresses a pack, unless every region has it.
    fn pack(&mut self, pack: PlainPack, mut held: Held) {
        self.packs.push(PackRef { id: pack.id, bytes: pack.bytes });
        let part = Part::Pack(pack.id);
        if !self.wanted_somewhere(part) {
            return;
        }
        let level = self.level.next(self.budget.free());
        self.packing.spawn_blocking(move || {
            let chunks: Vec<Sealed> =
                pack.chunks.into_iter().map(|chunk| Sealed::new(&chunk, level)).collect();
            let pieces = assemble(chunks);
            held.shrink(pieces.iter().map(Bytes::len).sum());
            Packed { part, body: Body::new(pieces, held) }
        });
    }

    fn segment(&mut self, segment: Segment) {
        self.segments.push(segment.named);
        let part = Part::Segment(segment.named.hash);
        if self.wanted_somewhere(part) {
            self.upload(Packed { part, body: Body::new(vec![segment.bytes], Held::default()) });
        }
    }

    /// Whether a region lacks this part; those that have it are counted.
    fn wanted_somewhere(&mut self, part: Part) -> bool {
        let mut wanted = false;
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_live()) {
            if lane.lacks(part) {
                wanted = true;
            } else {
                lane.present += 1;
                self.progress.region(lane.region()).inspect(|shown| shown.present.add(1));
            }
        }
        wanted
    }

    /// Hands a part to each region that lacks it.
    fn upload(&mut self, packed: Packed) {
        let Packed { part, body } = packed;
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_live()) {
            if lane.lacks(part) {
                lane.pending.insert(part);
                lane.queue.push_back((part, body.clone()));
            }
        }
    }

    /// Begins what the regions can take now.
    fn begin_uploads(&mut self) {
        let now = self.now();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            while let Some(upload) = lane.next(&self.prefix, self.tries, now) {
                self.uploads.spawn(async move {
                    let (part, bytes) = (upload.part, upload.bytes());
                    Uploaded { lane: at, part, bytes, result: upload.run().await }
                });
            }
        }
    }

    /// Uploads that are under way or wait for it.
    fn waiting(&self) -> usize {
        self.uploads.len() + self.lanes.iter().map(|lane| lane.queue.len()).sum::<usize>()
    }

    /// Time since the begin, as the controllers count it.
    fn now(&self) -> MonoTime {
        since(self.begun)
    }

    /// Looks how much left for each region.
    fn look(&mut self) {
        let now = self.now();
        for lane in &mut self.lanes {
            let bytes = lane.look(now);
            self.progress.region(lane.region()).inspect(|shown| shown.bytes.add(bytes));
        }
    }

    fn uploaded(&mut self, uploaded: Uploaded) {
        let now = self.now();
        let Some(lane) = self.lanes.get_mut(uploaded.lane) else { return };
        lane.pending.remove(&uploaded.part);
        lane.ended(matches!(uploaded.result, Some(Ok(()))), now);
        match uploaded.result {
            None => {}
            Some(Ok(())) => {
                lane.has.insert(uploaded.part);
                lane.sent_bytes += uploaded.bytes;
                lane.sent_objects += 1;
                self.progress.region(lane.region()).inspect(|shown| shown.objects.add(1));
            }
            Some(Err(error)) if lane.is_live() => {
                let at = uploaded.lane;
                self.set_aside(at, &error);
            }
            Some(Err(_)) => {}
        }
    }

    /// Sets a region aside; a spare one takes its place. What that lacks it gets at the end.
    fn set_aside(&mut self, at: usize, error: &RemoteError) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        tracing::warn!(region = %lane.region(), %error, "the region is set aside");
        lane.lose(error.to_string());
        if let Some(shown) = self.progress.region(lane.region()) {
            shown.lost.store(true, Ordering::Relaxed);
        }
        if let Some(spare) = self.lanes.iter_mut().find(|lane| lane.state == State::Spare) {
            tracing::warn!(region = %spare.region(), "the region takes its place");
            spare.state = State::Live;
        }
    }

    /// All parts of the archive.
    fn parts(&self) -> BTreeSet<Part> {
        let packs = self.packs.iter().map(|pack| Part::Pack(pack.id));
        packs.chain(self.segments.iter().map(|segment| Part::Segment(segment.hash))).collect()
    }

    /// Writes the manifest to every region that has all parts.
    async fn seal(&mut self, sealer: &Sealer, name: &str) -> Result<(), ShipError> {
        let parts = self.parts();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let created = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let root = Root::new(created, name, self.segments.clone(), self.packs.clone());
        let bytes = Bytes::from(root.seal(sealer)?);
        let (key, tries) = (self.prefix.manifest(), self.tries);
        let mut writes = JoinSet::new();
        for (at, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.is_live()) {
            let missing = parts.difference(&lane.has).count();
            if missing > 0 {
                lane.lose(format!("{missing} of {} objects are missing", parts.len()));
                continue;
            }
            let (remote, key, body) = (lane.remote.clone(), key.clone(), bytes.clone());
            writes.spawn(async move {
                (at, retried(tries, || remote.put(&key, std::slice::from_ref(&body))).await)
            });
        }
        while let Some(written) = writes.join_next().await {
            let (at, result) = written?;
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            if let Err(error) = result {
                lane.lose(error.to_string());
            }
        }
        Ok(())
    }

    fn report(&self, summary: Summary, begun: Instant) -> Report {
        let region = |lane: &Lane| RegionReport {
            region: lane.region().clone(),
            outcome: match &lane.state {
                State::Live => Outcome::Complete,
                State::Spare => Outcome::Spare,
                State::Lost(reason) => Outcome::Lost(reason.clone()),
            },
            sent_objects: lane.sent_objects,
            sent_bytes: lane.sent_bytes,
            present: lane.present,
            mended: lane.mended,
        };
        Report {
            summary,
            packs: self.packs.len(),
            wanted: self.wanted,
            enough: self.enough,
            regions: self.lanes.iter().map(region).collect(),
            took: begun.elapsed(),
        }
    }
}
