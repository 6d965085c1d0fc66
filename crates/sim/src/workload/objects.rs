//! Who writes, reads and deletes objects, and what they were promised.
//!
//! Keys are of three sorts. *Lasting* ones are written once, and must be there for ever. *Hot* ones are
//! overwritten, deleted, copied over and tagged from every region. Those of the linearizable bucket are
//! registers: what their clients saw must have an order.
//!
//! A change notes what its region had applied before it was asked, and what it had applied once it was
//! answered: between these two lies what the change has seen. So it is known which versions it must
//! have taken away, and which it cannot have. What is acknowledged by a host while its disk lies, or
//! before it is taken back, is not known to be.
//!
//! Clients do what brings regions into each other's way: several call one register at a time, who has
//! deleted an object looks whether it is gone, who has read one reads it again, what was written last is
//! read most, and bytes that nobody refers to any more come back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rhumb_objects::{
    condition::Condition,
    etag::{EntityTag, EntityTags},
    index::Which,
};
use rhumb_types::{
    ErrorCode,
    record::{BlobHash, BlobRef, Body, BucketName, Dot, ObjectRecord, VersionId, VersionVector},
};

use super::load::Load;
use crate::{
    random::Random,
    run::Options,
    time::Micros,
    world::{
        World,
        objects::{Ask, End, Failure, PART_BYTES, applied},
    },
};

mod answers;
pub mod buckets;
mod reads;
pub mod registers;

pub(crate) use buckets::{LINEAR, RESIDENT, TAG, bucket, definitions};

use buckets::BUCKETS;
use reads::Get;
use registers::{Registers, SLOTS};

/// Requests per second, all clients together, unless the run says otherwise.
const REQUESTS_PER_SECOND: f64 = 14.0;
/// Hot keys of each bucket.
const HOT_KEYS: u64 = 3;
/// Contents that several objects share.
const SHARED: u64 = 6;
/// Contents that objects share which are overwritten and deleted: they go and come back.
const RETURNING: u64 = 8;
/// Calls of one register that come at a time, at most.
const VOLLEY_MAX: u64 = 4;

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It writes a version, and replaces the newest.
    Put,
    /// It deletes the newest.
    Delete,
    /// It deletes a version.
    DeleteVersion(VersionId),
    /// It writes a version anew.
    Tag,
}

/// What became of a change.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// Nobody knows.
    Unknown,
    /// Nothing was done.
    Refused,
    /// It was acknowledged.
    Done {
        /// By which transaction; none where there was nothing to do.
        dot: Option<Dot>,
        /// What its region had applied then.
        after: VersionVector,
        /// What is there now.
        record: Option<Box<ObjectRecord>>,
    },
}

/// A change that a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Mutation {
    pub(crate) kind: Kind,
    pub(crate) host: usize,
    /// What its region had applied before.
    pub(crate) before: VersionVector,
    pub(crate) fate: Fate,
}

impl Mutation {
    /// Whether it may have taken away what a transaction wrote.
    pub(crate) fn may_replace(&self, dot: Dot) -> bool {
        match &self.fate {
            Fate::Unknown => true,
            Fate::Refused => false,
            Fate::Done { after, .. } => after.covers(dot),
        }
    }

    /// Whether it has certainly taken away the newest version, where a transaction had written that.
    pub(crate) fn has_replaced(&self, dot: Dot) -> bool {
        let replaces = matches!(self.kind, Kind::Put | Kind::Delete);
        replaces && matches!(self.fate, Fate::Done { .. }) && self.before.covers(dot)
    }

    pub(crate) const fn dot(&self) -> Option<Dot> {
        match &self.fate {
            Fate::Done { dot, .. } => *dot,
            _ => None,
        }
    }

    pub(crate) fn record(&self) -> Option<&ObjectRecord> {
        match &self.fate {
            Fate::Done { record, .. } => record.as_deref(),
            _ => None,
        }
    }
}

/// An object.
pub(crate) type Object = (BucketName, Bytes);

/// What was asked, and is not answered.
#[derive(Debug)]
enum Asked {
    /// A change; when it was asked, and whether it must not be done.
    Change {
        object: Object,
        nth: usize,
        at: Micros,
        wrong: bool,
    },
    Get(Get),
    Register(registers::Waiting),
    Nothing,
}

/// How the requests of a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ObjectCounts {
    /// Changes that were acknowledged.
    pub changed: u64,
    /// Objects that were read.
    pub read: u64,
    /// Reads that found nothing.
    pub missed: u64,
    /// Requests that were refused, or whose outcome is not known.
    pub failed: u64,
    /// Registers of the linearizable bucket whose history has an order.
    pub ordered: u64,
}

impl ObjectCounts {
    /// Counts another run's in.
    pub const fn add(&mut self, other: Self) {
        self.changed += other.changed;
        self.read += other.read;
        self.missed += other.missed;
        self.failed += other.failed;
        self.ordered += other.ordered;
    }
}

/// Clients of objects, and their books.
#[derive(Debug)]
pub(crate) struct Objects {
    load: Load,
    round: u64,
    requests: u64,
    asked: BTreeMap<u64, (usize, Asked)>,
    pub(crate) changes: BTreeMap<Object, Vec<Mutation>>,
    /// Lasting keys that were acknowledged.
    lasting: Vec<Object>,
    contents: u64,
    /// Whose clients called a register last, and which.
    called_last: Option<(usize, u64)>,
    /// What the clients of a host read last.
    read_last: BTreeMap<usize, Object>,
    /// Contents that only objects refer to whose bytes may not lie everywhere.
    resident: BTreeSet<BlobHash>,
    pub(crate) registers: Registers,
    pub(crate) counts: ObjectCounts,
}

impl Objects {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            load: Load::with(options, REQUESTS_PER_SECOND),
            round: 0,
            requests: 0,
            asked: BTreeMap::new(),
            changes: BTreeMap::new(),
            lasting: Vec::new(),
            contents: SHARED + RETURNING,
            called_last: None,
            read_last: BTreeMap::new(),
            resident: BTreeSet::new(),
            registers: Registers::default(),
            counts: ObjectCounts::default(),
        }
    }

    /// How long it is until somebody asks again.
    pub(crate) fn pause(&mut self, world: &World) -> std::time::Duration {
        self.load.pause(world.now())
    }

    /// All agree: what was promised so far is forgotten.
    pub(crate) fn settle(&mut self) {
        self.round += 1;
        self.asked.clear();
        self.changes.clear();
        self.lasting.clear();
        self.read_last.clear();
        self.resident.clear();
        self.registers.settle();
    }

    /// A disk has lost what it had confirmed.
    pub(crate) fn forgot(&mut self) {
        self.registers.forget();
    }

    /// A client of a host does something.
    pub(crate) fn step(&mut self, world: &mut World, host: usize) {
        if world.objects(host).is_none() {
            return;
        }
        match world.random.below(100) {
            0..=27 => self.put_lasting(world, host),
            28..=43 => self.put_hot(world, host),
            44..=55 => self.delete(world, host),
            56..=61 => self.copy_or_tag(world, host),
            62..=76 => self.get(world, host),
            _ => self.volley(world, host),
        }
    }

    /// Clients of this host, and now and then of others, call a register at a time. Often they are those
    /// that called one last.
    fn volley(&mut self, world: &mut World, host: usize) {
        let again = self.called_last.filter(|_| world.random.chance(600));
        let (host, nth) = again.unwrap_or_else(|| (host, world.random.below(SLOTS)));
        self.called_last = Some((host, nth));
        for _ in 0..=world.random.below(VOLLEY_MAX) {
            let others = world.random.chance(300);
            let at = if others { world.random.index(world.hosts.len()) } else { host };
            if world.objects(at).is_none() {
                continue;
            }
            if let Some((ask, waiting)) = self.registers.act(&mut world.random, (self.round, nth)) {
                self.ask(world, at, ask, Asked::Register(waiting));
            }
        }
    }

    fn ask(&mut self, world: &mut World, host: usize, ask: Ask, asked: Asked) {
        self.requests += 1;
        self.asked.insert(self.requests, (host, asked));
        world.ask_objects(host, self.requests, ask);
    }

    /// Asks for a change of an object.
    fn change(&mut self, world: &mut World, host: usize, (object, kind): (Object, Kind), ask: Ask) {
        let before = seen(world, host);
        let changes = self.changes.entry(object.clone()).or_default();
        let nth = changes.len();
        changes.push(Mutation { kind, host, before, fate: Fate::Unknown });
        let wrong = matches!(ask, Ask::Parts { end: End::Wrong, .. });
        let at = world.now();
        self.ask(world, host, ask, Asked::Change { object, nth, at, wrong });
    }

    fn bucket(&self, random: &mut Random) -> BucketName {
        bucket(random.pick(&BUCKETS).unwrap_or(&"plain"))
    }

    fn hot(&mut self, random: &mut Random) -> Object {
        let nth = self.load.key(random, HOT_KEYS);
        (self.bucket(random), Bytes::from(format!("{}/hot/{nth}", self.round)))
    }

    /// A body: in the index, or of one to three blobs, some of which are those of other objects.
    fn body(&mut self, random: &mut Random, lasts: bool) -> Body {
        if random.chance(300) {
            return Body::Inline(Bytes::from(format!("inline {}", random.bits())));
        }
        let count = 1 + random.below(3);
        Body::Blobs((0..count).map(|_| self.blob(random, lasts)).collect())
    }

    fn blob(&mut self, random: &mut Random, lasts: bool) -> BlobRef {
        let content = match random.below(8) {
            0 | 1 if lasts => random.below(SHARED),
            0..=4 if !lasts => SHARED + random.below(RETURNING),
            _ => {
                self.contents += 1;
                self.contents
            }
        };
        blob(content, 2_000 + content % 7 * 3_000)
    }

    fn put_lasting(&mut self, world: &mut World, host: usize) {
        let bucket = self.bucket(&mut world.random);
        let key = Bytes::from(format!("{}/lasting/{}", self.round, self.requests + 1));
        let object = (bucket.clone(), key.clone());
        let etag = (self.requests + 1).to_string();
        let condition = Condition::default();
        if world.random.chance(250) {
            let end = match world.random.below(10) {
                0..=5 => End::Complete,
                6 => End::Abort,
                7 => End::Wrong,
                _ => End::Forget,
            };
            let count = 1 + world.random.below(3);
            let parts = (0..count).map(|_| {
                self.contents += 1;
                blob(self.contents, PART_BYTES)
            });
            let parts = parts.collect();
            let ask = Ask::Parts { bucket, key, etag, parts, end };
            return match end {
                End::Complete => self.change(world, host, (object, Kind::Put), ask),
                // Of these nothing must ever be there.
                End::Abort | End::Forget => self.ask(world, host, ask, Asked::Nothing),
                End::Wrong => self.change(world, host, (object, Kind::Put), ask),
            };
        }
        let body = self.body(&mut world.random, true);
        let ask = Ask::Put { bucket, key, etag, body, condition };
        self.change(world, host, (object, Kind::Put), ask);
    }

    fn put_hot(&mut self, world: &mut World, host: usize) {
        let (bucket, key) = self.hot(&mut world.random);
        let object = (bucket.clone(), key.clone());
        let etag = (self.requests + 1).to_string();
        let body = self.body(&mut world.random, false);
        let mut condition = Condition::default();
        match world.random.below(4) {
            0 => condition.if_none_match = Some(EntityTags::Any),
            1 => condition.if_match = self.known(&object).map(matching),
            _ => {}
        }
        let ask = Ask::Put { bucket, key, etag, body, condition };
        self.change(world, host, (object, Kind::Put), ask);
    }

    /// The entity tag of the last version that somebody heard of.
    fn known(&self, object: &Object) -> Option<String> {
        let records = self.changes.get(object)?.iter().rev().filter_map(Mutation::record);
        records.filter_map(|record| Some(record.content.as_ref()?.etag.clone())).next()
    }

    fn delete(&mut self, world: &mut World, host: usize) {
        let (bucket, key) = self.hot(&mut world.random);
        let object = (bucket.clone(), key.clone());
        let versions = self.changes.get(&object).into_iter().flatten();
        let versions: Vec<VersionId> = versions
            .filter(|change| change.kind == Kind::Put)
            .filter_map(|change| Some(change.record()?.version))
            .collect();
        let version = world.random.pick(&versions).copied();
        let version = version.filter(|_| bucket.as_str() == "kept" && world.random.chance(400));
        let (which, kind) = match version {
            Some(version) => (Which::Version(version), Kind::DeleteVersion(version)),
            None => (Which::Newest, Kind::Delete),
        };
        let ask = Ask::Delete { bucket, key, which };
        self.change(world, host, (object, kind), ask);
    }

    fn copy_or_tag(&mut self, world: &mut World, host: usize) {
        let (bucket, key) = self.hot(&mut world.random);
        let object = (bucket.clone(), key.clone());
        if world.random.chance(500) {
            return self.change(world, host, (object, Kind::Tag), Ask::Tag { bucket, key });
        }
        // A copy that stays keeps its bytes from going.
        let kind = if world.random.chance(300) { "lasting" } else { "copy" };
        let to = Bytes::from(format!("{}/{kind}/{}", self.round, self.requests + 1));
        let target = (bucket.clone(), to.clone());
        let ask = Ask::Copy { bucket, from: key, key: to };
        self.change(world, host, (target, Kind::Put), ask);
    }
}

fn blobs(record: &ObjectRecord) -> impl Iterator<Item = BlobHash> + '_ {
    let body = record.content.as_ref().map(|content| &content.body);
    let blobs = match body {
        Some(Body::Blobs(blobs)) => blobs.as_slice(),
        _ => &[],
    };
    blobs.iter().map(|blob| blob.hash)
}

/// Whether a key is written once.
pub(crate) fn is_lasting(key: &[u8]) -> bool {
    key.windows(9).any(|part| part == b"/lasting/")
}

/// A blob of a content.
fn blob(content: u64, bytes: u64) -> BlobRef {
    let mut random = Random::new(content ^ 0x626c_6f62);
    let mut hash = [0; 32];
    for chunk in hash.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.bits().to_be_bytes());
    }
    BlobRef { hash: BlobHash(hash), bytes }
}

pub(super) fn matching(etag: String) -> EntityTags {
    EntityTags::Of(vec![EntityTag { tag: etag, weak: false }])
}

/// What a host has applied.
fn seen(world: &World, host: usize) -> VersionVector {
    let process = world.hosts.get(host).and_then(|machine| machine.process.as_ref());
    process.map(|process| applied(process.store.as_ref())).unwrap_or_default()
}

/// Whether a failure says that the condition did not hold.
pub(super) const fn is_unmet(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::Conflict | ErrorCode::NotFound)
}
