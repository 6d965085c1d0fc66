//! What a shipment sends: packs and lists of files, in the order in which they are ready.
//!
//! A part that is asked for when it is in memory no longer, or that was never packed because every region
//! had it, comes from a region that has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use rhumb_pack::{
    PackRef, PlainPack, Root, Sealed, Sealer, Segment, SegmentRef, assemble,
    limits::{PACK_BYTES_MAX, SEGMENT_BYTES_MAX},
};
use rhumb_types::RegionId;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use super::{RegionReport, Settings, ShipError, Shipment, Survey, report::Outcome};
use crate::{
    archive::{Part, Prefix, is_part},
    budget::{Budget, Held},
    drive::{Errand, Freight, Next, Request, Wanted},
    level::Level,
    limits::{PACK_INDEX_BYTES_MAX, PACKERS_MAX, REFILL_BYTES, STEPS_MAX},
    progress::Progress,
    read::{ReadError, Reading, Source, Step, Summary, read},
    remote::{Remote, RemoteError},
};

/// The thread that reads, and what comes from it.
pub(super) struct Feed {
    steps: mpsc::Receiver<Step>,
    reader: JoinHandle<Result<Summary, ReadError>>,
    budget: Budget,
    level: Level,
}

impl Feed {
    /// Begins to read.
    pub(super) fn of(source: Source, settings: &Settings, progress: &Arc<Progress>) -> Self {
        let budget = Budget::new(settings.staged);
        let (sender, steps) = mpsc::channel(STEPS_MAX);
        let reading = Reading {
            budget: budget.clone(),
            steps: sender,
            progress: Arc::clone(progress),
            owners: settings.owners,
            runtime: Handle::current(),
        };
        let reader = tokio::task::spawn_blocking(move || read(source, reading));
        Self { steps, reader, budget, level: Level::new(settings.staged) }
    }
}

/// The bytes of an object, with their share of the budget; all regions send the same.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pieces: Arc<[Bytes]>,
    _held: Arc<Held>,
}

impl Body {
    fn new(pieces: Vec<Bytes>, held: Held) -> Self {
        Self { pieces: pieces.into(), _held: Arc::new(held) }
    }

    fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// What a region took.
pub(super) struct Taken {
    bytes: u64,
    /// Whether it came from another region.
    mended: bool,
}

/// What was done in one region.
#[derive(Clone, Copy, Default)]
struct Counts {
    sent_objects: u64,
    sent_bytes: u64,
    present: u64,
    mended: u64,
}

pub(super) struct Cargo<'a> {
    prefix: &'a Prefix,
    sealer: &'a Sealer,
    name: &'a str,
    progress: &'a Progress,
    remotes: Vec<Remote>,
    /// What the regions have that answered.
    has: BTreeMap<RegionId, BTreeSet<Part>>,
    lost: BTreeSet<RegionId>,
    counts: BTreeMap<RegionId, Counts>,
    feed: Option<Feed>,
    packing: JoinSet<(Part, Body)>,
    /// The parts by their number,
    parts: Vec<Part>,
    /// and all that are known, those included that are being packed.
    known: BTreeSet<Part>,
    /// How many parts were told of.
    told: usize,
    refills: Budget,
    packs: Vec<PackRef>,
    segments: Vec<SegmentRef>,
    summary: Option<Summary>,
    manifest: Option<Bytes>,
}

impl<'a> Cargo<'a> {
    pub(super) fn new(shipment: &Shipment<'a>, survey: &Survey, feed: Feed) -> Self {
        let answered = survey.regions.iter().filter_map(|(remote, said)| {
            said.as_ref().ok().map(|has| (remote.region().clone(), has.clone()))
        });
        Self {
            prefix: shipment.prefix,
            sealer: shipment.sealer,
            name: shipment.name,
            progress: shipment.progress,
            remotes: survey.regions.iter().map(|(remote, _)| remote.clone()).collect(),
            has: answered.collect(),
            lost: BTreeSet::new(),
            counts: BTreeMap::new(),
            feed: Some(feed),
            packing: JoinSet::new(),
            parts: Vec::new(),
            known: BTreeSet::new(),
            told: 0,
            refills: Budget::new(REFILL_BYTES),
            packs: Vec::new(),
            segments: Vec::new(),
            summary: None,
            manifest: None,
        }
    }

    /// Whether all was read, so that it could be sealed.
    pub(super) const fn is_sealed(&self) -> bool {
        self.manifest.is_some()
    }

    /// How many packs there are.
    pub(super) const fn packs(&self) -> usize {
        self.packs.len()
    }

    /// What was done in a region.
    pub(super) fn counts(&self, region: &RegionId) -> RegionReport {
        let Counts { sent_objects, sent_bytes, present, mended } =
            self.counts.get(region).copied().unwrap_or_default();
        let (region, outcome) = (region.clone(), Outcome::Spare);
        RegionReport { region, outcome, sent_objects, sent_bytes, present, mended }
    }

    /// A region that was lost answers again, and has this.
    pub(super) fn returns(&mut self, region: &RegionId, has: BTreeSet<Part>) {
        self.lost.remove(region);
        self.has.insert(region.clone(), has);
    }

    /// Begins with the first part again.
    pub(super) const fn rewind(&mut self) {
        self.told = 0;
    }

    /// Ends the reading, and says what was read.
    pub(super) async fn end(&mut self) -> Result<Summary, ShipError> {
        if let Some(Feed { reader, steps, .. }) = self.feed.take() {
            drop(steps);
            match reader.await? {
                // It ended because nobody was left to take anything; the report says why.
                Err(ReadError::GivenUp) | Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.summary.take().unwrap_or_default())
    }

    /// Compresses a pack, unless every region that is sent to has it.
    fn pack(&mut self, pack: PlainPack, mut held: Held, active: &[RegionId]) -> Option<Told> {
        self.packs.push(PackRef { id: pack.id, bytes: pack.bytes });
        let part = Part::Pack(pack.id);
        if !self.known.insert(part) {
            return None;
        }
        if active.iter().all(|region| self.is_there(region, part)) {
            return Some(self.tell(part, None, pack.bytes.into()));
        }
        let level = match &mut self.feed {
            Some(feed) => feed.level.next(feed.budget.free()),
            None => 1,
        };
        self.packing.spawn_blocking(move || {
            let chunks: Vec<Sealed> =
                pack.chunks.into_iter().map(|chunk| Sealed::new(&chunk, level)).collect();
            let pieces = assemble(chunks);
            held.shrink(pieces.iter().map(Bytes::len).sum());
            (part, Body::new(pieces, held))
        });
        None
    }

    fn segment(&mut self, segment: Segment) -> Option<Told> {
        self.segments.push(segment.named);
        let part = Part::Segment(segment.named.hash);
        self.known.insert(part).then(|| {
            let body = Body::new(vec![segment.bytes], Held::default());
            let bytes = body.bytes();
            self.tell(part, Some(body), bytes)
        })
    }

    fn is_there(&self, region: &RegionId, part: Part) -> bool {
        self.has.get(region).is_some_and(|has| has.contains(&part))
    }

    /// A part gets its number.
    fn tell(&mut self, part: Part, body: Option<Body>, bytes: u64) -> Told {
        self.parts.push(part);
        self.told = self.parts.len();
        let there = self.holders(part);
        for region in &there {
            self.counts.entry(region.clone()).or_default().present += 1;
            self.progress.region(region).inspect(|shown| shown.present.add(1));
        }
        Next { part: body, bytes, there }
    }

    fn holders(&self, part: Part) -> Vec<RegionId> {
        let holds = self.has.iter().filter(|(_, has)| has.contains(&part));
        holds.map(|(region, _)| region.clone()).collect()
    }

    /// Of parts that were all told of before, the next.
    fn again(&mut self) -> Option<Told> {
        let part = *self.parts.get(self.told)?;
        self.told += 1;
        Some(Next { part: None, bytes: 0, there: self.holders(part) })
    }

    /// All was read: it is sealed.
    async fn seal(&mut self) -> Result<(), ShipError> {
        let Some(feed) = &mut self.feed else { return Ok(()) };
        let read = (&mut feed.reader).await?;
        self.feed = None;
        self.summary = Some(read?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let created = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let root = Root::new(created, self.name, self.segments.clone(), self.packs.clone());
        self.manifest = Some(root.seal(self.sealer)?.into());
        Ok(())
    }
}

type Told = Next<Option<Body>>;

impl Freight for Cargo<'_> {
    type Part = Option<Body>;
    type Sent = Taken;
    type Error = ShipError;

    async fn next(&mut self, wanted: Wanted<'_>) -> Result<Option<Told>, ShipError> {
        while let Some(feed) = &mut self.feed {
            let room = self.packing.len() < PACKERS_MAX;
            let told = tokio::select! {
                // Ends when the reader has, and then is asked no more: the reader's end is waited for.
                step = feed.steps.recv(), if room => match step {
                    Some(Step::Pack(pack, held)) => self.pack(pack, held, wanted.active),
                    Some(Step::Segment(segment)) => self.segment(segment),
                    None if self.packing.is_empty() => {
                        self.seal().await?;
                        return Ok(None);
                    }
                    None => {
                        let packed = self.packing.join_next().await;
                        self.packed(packed)?
                    }
                },
                packed = self.packing.join_next(), if !self.packing.is_empty() => {
                    self.packed(packed)?
                }
            };
            if told.is_some() {
                return Ok(told);
            }
        }
        Ok(self.again())
    }

    fn send(&mut self, errand: Errand<Option<Body>>) -> Request<Taken> {
        let Errand { remote, number, part: body, .. } = errand;
        let Some(part) = self.parts.get(number).copied() else {
            return Box::pin(async { Err(RemoteError::gone("there is no such part")) });
        };
        let key = self.prefix.key(part);
        if let Some(body) = body.flatten() {
            return Box::pin(async move {
                remote.put(&key, &body.pieces).await?;
                Ok(Taken { bytes: body.bytes(), mended: false })
            });
        }
        let holds = |it: &&Remote| {
            let region = it.region();
            region != remote.region() && !self.lost.contains(region) && self.is_there(region, part)
        };
        let holders = self.remotes.iter().filter(holds).cloned().collect();
        let refill = Refill { part, key, holders, budget: self.refills.clone() };
        Box::pin(async move {
            let (bytes, _held) = refill.fetch().await?;
            remote.put(&refill.key, std::slice::from_ref(&bytes)).await?;
            Ok(Taken { bytes: bytes.len() as u64, mended: true })
        })
    }

    fn sent(&mut self, region: &RegionId, number: usize, taken: Taken) {
        let Some(part) = self.parts.get(number).copied() else { return };
        self.has.entry(region.clone()).or_default().insert(part);
        let counts = self.counts.entry(region.clone()).or_default();
        if taken.mended {
            counts.mended += 1;
        } else {
            counts.sent_objects += 1;
            counts.sent_bytes += taken.bytes;
        }
    }

    fn finish(&mut self, remote: &Remote) -> Request<()> {
        let (remote, key, manifest) =
            (remote.clone(), self.prefix.manifest(), self.manifest.clone());
        Box::pin(async move {
            // The machine asks for this when all was read.
            let Some(manifest) = manifest else { return Err(RemoteError::gone("no manifest")) };
            remote.put(&key, &[manifest]).await
        })
    }

    fn abort(&mut self, remote: &Remote) -> Option<Request<()>> {
        self.lost.insert(remote.region().clone());
        None
    }
}

impl Cargo<'_> {
    fn packed(
        &mut self,
        packed: Option<Result<(Part, Body), tokio::task::JoinError>>,
    ) -> Result<Option<Told>, ShipError> {
        let Some(packed) = packed else { return Ok(None) };
        let (part, body) = packed?;
        let bytes = body.bytes();
        Ok(Some(self.tell(part, Some(body), bytes)))
    }
}

/// One part, from whoever has it to the one that lacks it.
struct Refill {
    part: Part,
    key: String,
    holders: Vec<Remote>,
    budget: Budget,
}

impl Refill {
    async fn fetch(&self) -> Result<(Bytes, Held), RemoteError> {
        let most = match self.part {
            Part::Pack(_) => PACK_BYTES_MAX + PACK_INDEX_BYTES_MAX,
            Part::Segment(_) => SEGMENT_BYTES_MAX,
        };
        let mut held = self.budget.hold(most).await;
        let mut why = RemoteError::gone("no region that is left has it");
        for holder in &self.holders {
            match self.of(holder, most).await {
                Ok(bytes) => {
                    held.shrink(bytes.len());
                    return Ok((bytes, held));
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn of(&self, holder: &Remote, most: usize) -> Result<Bytes, RemoteError> {
        let bytes = holder.get(&self.key, most).await?;
        let (part, looked) = (self.part, bytes.clone());
        let whole = tokio::task::spawn_blocking(move || is_part(part, &looked)).await;
        if whole.unwrap_or(false) {
            Ok(bytes)
        } else {
            Err(RemoteError::gone(format!("it is damaged in {}", holder.region())))
        }
    }
}
