//! Who writes, reads and deletes objects, and what they were promised.
//!
//! Keys are of three sorts. *Lasting* ones are written once, and must be there for ever. *Hot* ones are
//! overwritten, deleted, copied over and tagged from every region. Those of the linearizable bucket are
//! registers: what their clients saw must have an order.
//!
//! A change notes what its region had applied before it was asked, and what it had applied once it was
//! answered: between these two lies what the change has seen. So it is known which versions it must
//! have taken away, and which it cannot have.

use std::collections::BTreeMap;

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
pub mod registers;

pub(crate) use buckets::{LINEAR, RESIDENT, TAG, bucket, definitions};

use buckets::BUCKETS;
use registers::Registers;

/// Requests per second, all clients together, unless the run says otherwise.
const REQUESTS_PER_SECOND: f64 = 14.0;
/// Hot keys of each bucket.
const HOT_KEYS: u64 = 3;
/// Contents that several objects share.
const SHARED: u64 = 6;

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

/// A read that was asked for.
#[derive(Debug)]
struct Get {
    object: Object,
    before: VersionVector,
    /// Regions that hold the object for certain and are in reach, with their connection and life.
    holders: Vec<(usize, u64, u64)>,
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
            contents: SHARED,
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
        self.registers.settle();
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
            62..=79 => self.get(world, host),
            _ if !all_joined(world) => {}
            _ => {
                let round = self.round;
                if let Some((ask, waiting)) = self.registers.act(&mut world.random, round) {
                    self.ask(world, host, ask, Asked::Register(waiting));
                }
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
    fn body(&mut self, random: &mut Random) -> Body {
        if random.chance(300) {
            return Body::Inline(Bytes::from(format!("inline {}", random.bits())));
        }
        let count = 1 + random.below(3);
        Body::Blobs((0..count).map(|_| self.blob(random)).collect())
    }

    fn blob(&mut self, random: &mut Random) -> BlobRef {
        let content = if random.chance(250) {
            random.below(SHARED)
        } else {
            self.contents += 1;
            self.contents
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
        let body = self.body(&mut world.random);
        let ask = Ask::Put { bucket, key, etag, body, condition };
        self.change(world, host, (object, Kind::Put), ask);
    }

    fn put_hot(&mut self, world: &mut World, host: usize) {
        let (bucket, key) = self.hot(&mut world.random);
        let object = (bucket.clone(), key.clone());
        let etag = (self.requests + 1).to_string();
        let body = self.body(&mut world.random);
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
        let to = Bytes::from(format!("{}/lasting/{}", self.round, self.requests + 1));
        let target = (bucket.clone(), to.clone());
        let ask = Ask::Copy { bucket, from: key, key: to };
        self.change(world, host, (target, Kind::Put), ask);
    }

    fn get(&mut self, world: &mut World, host: usize) {
        let lasting = world.random.chance(600).then(|| world.random.index(self.lasting.len()));
        let object = lasting.and_then(|at| self.lasting.get(at)).cloned();
        let object = object.unwrap_or_else(|| self.hot(&mut world.random));
        let (bucket, key) = object.clone();
        let before = seen(world, host);
        let holders = match self.changes.get(&object).map(Vec::as_slice) {
            // Written once and acknowledged: there it is.
            Some([only]) if only.dot().is_some() && only.kind == Kind::Put => {
                in_reach(world, host, only.host)
            }
            _ => Vec::new(),
        };
        let get = Get { object, before, holders };
        self.ask(world, host, Ask::Get { bucket, key }, Asked::Get(get));
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
/// Whether all hosts that run know all regions as members. Before that the homes of keys move with each
/// one that joins, and no lease is handed over: what a linearizable bucket does not promise then.
fn all_joined(world: &World) -> bool {
    let mut processes = world.hosts.iter().filter_map(|machine| machine.process.as_ref());
    processes.all(|process| process.view.members.len() == world.hosts.len())
}

fn seen(world: &World, host: usize) -> VersionVector {
    let process = world.hosts.get(host).and_then(|machine| machine.process.as_ref());
    process.map(|process| applied(process.store.as_ref())).unwrap_or_default()
}

/// A region that another asks and hears from, as it seems.
fn in_reach(world: &mut World, host: usize, other: usize) -> Vec<(usize, u64, u64)> {
    let calm = |world: &World, host: usize| {
        world.hosts.get(host).is_some_and(|machine| {
            machine.process.is_some()
                && !machine.is_held(world.now())
                && machine.handling_micros == 0
        })
    };
    if host == other || !calm(world, host) || !calm(world, other) {
        return Vec::new();
    }
    if !world.network.is_clear(host, other) {
        return Vec::new();
    }
    let connection = world.network.link(host, other).connection;
    let life = world.hosts.get(other).map_or(0, |machine| machine.incarnation);
    vec![(other, connection, life)]
}

fn stayed_in_reach(world: &mut World, host: usize, holder: (usize, u64, u64)) -> bool {
    in_reach(world, host, holder.0).contains(&holder)
}

/// Whether a failure says that the condition did not hold.
pub(super) const fn is_unmet(failure: &Failure) -> bool {
    matches!(failure.code, ErrorCode::Conflict | ErrorCode::NotFound)
}
