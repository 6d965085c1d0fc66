//! One machine: a node, its disk, its clocks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use rhumb_node::{
    Boot, Effects, Identity, Node, NodeConfig, NodeStatus, Origins,
    oversee::{Leases, Overseer, OverseerConfig, OverseerEffects},
    reads::Transfers,
};
use rhumb_ports::{
    memory::{Faults, MemoryDisk, MemoryStore},
    store::{MetaName, ReadStore, Store},
};
use rhumb_regions::RoutingSnapshot;
use rhumb_state::ClearedPrefixes;
use rhumb_types::{
    MonoTime, OriginId, RegionId, Timestamp, UnixMillis,
    control::ControlView,
    planted::{self, Planted},
    record::{Record, Space},
};

use crate::{
    group::{Member, Seat},
    world::{
        Beside, What,
        objects::{Beside as Objects, BlobDisk},
    },
};

/// The wall clock at the start of every run, in milliseconds.
const WALL_START: u64 = 1_700_000_000_000;

/// What runs while the machine is up.
#[derive(Debug)]
pub struct Process {
    /// The machine under test.
    pub node: Node,
    /// Its store.
    pub store: Arc<MemoryStore>,
    /// What the last event wants done.
    pub effects: Effects,
    /// Snapshots that peers are loading.
    pub transfers: Transfers<MemoryStore>,
    /// The overseer, where the run has any.
    pub overseer: Option<Overseer>,
    /// What it wants done.
    pub wishes: OverseerEffects,
    /// The queues, where the run has any.
    pub queues: Option<Beside>,
    /// The objects, where the run has any.
    pub objects: Option<Objects>,
    /// What is agreed, as its overseer was last shown.
    pub view: Arc<ControlView>,
    /// The leases under which the process acts.
    pub leases: Arc<Leases>,
    /// Those that its node was last shown.
    pub shown: Arc<Leases>,
    /// The routing that its overseer published last.
    pub routing: Option<Arc<RoutingSnapshot>>,
    /// What its node said last of itself.
    pub status: Arc<NodeStatus>,
    /// What it knows of the group.
    pub member: Member,
    /// What was seen of it so far, for what is rare.
    pub(crate) seen: Seen,
}

/// What was seen of a process.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// It loads a snapshot.
    pub(crate) loading: bool,
    /// Which logs it asked whom for, over which connection.
    pub(crate) asked: BTreeMap<(OriginId, usize), u64>,
    /// Peers that it has put out, and when, by its own clock.
    pub(crate) out: BTreeMap<RegionId, MonoTime>,
}

/// One machine.
#[derive(Debug)]
pub struct Host {
    /// Its configuration.
    pub config: NodeConfig,
    /// Its overseer's configuration, where the run has overseers.
    pub oversight: Option<OverseerConfig>,
    /// Its queues' configuration, where the run has queues.
    pub queueing: Option<rhumb_queue::Config>,
    /// Whether it has objects.
    pub storing: bool,
    /// What outlives a crash.
    pub disk: MemoryDisk,
    /// Its blobs, on the same disk.
    pub blobs: BlobDisk,
    /// What its disk will be taken back to.
    pub(crate) backup: Option<(MemoryDisk, BlobDisk)>,
    /// Its place in the group; on a disk of its own.
    pub seat: Seat,
    /// What runs, when it is up.
    pub process: Option<Process>,
    /// Counts starts; events of an earlier one are lost.
    pub incarnation: u64,
    /// Until when it is frozen, in microseconds of the run.
    pub paused_until: u64,
    /// For how long it freezes once it asks for something to be agreed.
    pub freeze_asking: Option<Duration>,
    /// Until when it handles what it was last given, in microseconds of the run.
    pub(crate) busy_until: u64,
    /// How long it takes to handle an event, in microseconds.
    pub handling_micros: u64,
    /// What waits until it is done.
    pub(crate) inbox: VecDeque<What>,
    /// How far its wall clock is off, in milliseconds.
    pub wall_offset: i64,
    /// How much faster than true time its monotonic clock runs, in parts per million.
    pub drift_ppm: i64,
    /// What its monotonic clock has not counted, in microseconds; 0 for a sound clock.
    pub(crate) uncounted_micros: u64,
    /// Added to every commit, in microseconds.
    pub disk_delay_micros: u64,
    /// Until when nothing reaches its disk, in microseconds of the run.
    pub disk_stalled_until: u64,
}

impl Host {
    /// A machine that is down, with an empty disk.
    #[must_use]
    pub fn new(config: NodeConfig, oversight: Option<OverseerConfig>) -> Self {
        Self {
            config,
            oversight,
            queueing: None,
            storing: false,
            disk: MemoryDisk::new(),
            blobs: BlobDisk::default(),
            backup: None,
            seat: Seat::default(),
            process: None,
            incarnation: 0,
            paused_until: 0,
            freeze_asking: None,
            busy_until: 0,
            handling_micros: 0,
            inbox: VecDeque::new(),
            wall_offset: 0,
            drift_ppm: 0,
            uncounted_micros: 0,
            disk_delay_micros: 0,
            disk_stalled_until: 0,
        }
    }

    /// What its clocks read at a time of the run, in microseconds.
    #[must_use]
    pub fn clock(&self, at: u64) -> Timestamp {
        // A year of the fastest clock fits.
        let drift = at.cast_signed() * self.drift_ppm / 1_000_000;
        let elapsed = at.saturating_add_signed(drift).saturating_sub(self.uncounted_micros);
        // Wall clocks are steered, and do not drift.
        let wall = (WALL_START + at / 1_000).saturating_add_signed(self.wall_offset);
        Timestamp { wall: UnixMillis(wall), mono: MonoTime(elapsed) }
    }

    /// The time of the run, in microseconds, at which its monotonic clock reads something.
    #[must_use]
    pub fn when(&self, mono: MonoTime) -> u64 {
        let counted = i128::from(mono.0) + i128::from(self.uncounted_micros);
        let at = counted * 1_000_000 / i128::from(1_000_000 + self.drift_ppm);
        u64::try_from(at).unwrap_or(u64::MAX)
    }

    /// Starts the process on what the disk holds.
    ///
    /// # Panics
    /// When the disk holds a record that the node itself wrote and cannot read: a bug.
    pub fn start(&mut self, at: u64, entropy: u64) {
        self.incarnation += 1;
        if planted::is(Planted::DiskForgets) {
            self.disk.set_faults(Faults { sync_lies: true, ..self.disk.faults() });
        }
        let store = self.disk.open();
        let now = self.clock(at);
        let boot = boot(&store, entropy);
        let node = Node::new(self.config.clone(), boot, now);
        let mut wishes = OverseerEffects::new();
        let overseer = self.oversight.clone().map(|config| {
            let remembered = meta::<ControlView>(&store, &MetaName::Snapshot);
            Overseer::new(config, remembered, now, &mut wishes)
        });
        self.process = Some(Process {
            node,
            store: Arc::new(store),
            effects: Effects::new(),
            transfers: Transfers::<MemoryStore>::new(),
            overseer,
            wishes,
            queues: self.queueing.clone().map(Beside::new),
            objects: None,
            view: Arc::default(),
            leases: Arc::default(),
            shown: Arc::default(),
            routing: None,
            status: Arc::default(),
            member: Member::default(),
            seen: Seen::default(),
        });
    }

    /// Whether it does nothing at a time, for it is frozen or busy.
    pub(crate) fn is_held(&self, at: u64) -> bool {
        self.held_until() > at
    }

    /// Until when it does nothing.
    pub(crate) fn held_until(&self) -> u64 {
        self.paused_until.max(self.busy_until)
    }

    /// Ends the process at once. `kept` unsynced batches survive on the disk.
    pub fn crash(&mut self, kept: usize) {
        self.incarnation += 1;
        self.process = None;
        self.inbox.clear();
        self.busy_until = 0;
        self.disk.crash(kept);
        self.blobs.crash();
    }
}

fn boot(store: &MemoryStore, entropy: u64) -> Boot {
    let cleared = meta::<ClearedPrefixes>(store, &MetaName::Cleared(Space::USER));
    let newest = store.conflicts(1).ok().and_then(|newest| newest.first().map(|(at, _)| at + 1));
    Boot {
        recovered: store.recovered().clone(),
        identity: meta::<Identity>(store, &MetaName::Identity),
        origins: meta::<Origins>(store, &MetaName::Origins).unwrap_or_default(),
        commit: store.commit_number(),
        cleared: cleared.map(|cleared| (Space::USER, cleared)).into_iter().collect(),
        conflicts: newest.unwrap_or(0),
        entropy,
    }
}

fn meta<R: Record>(store: &MemoryStore, name: &MetaName) -> Option<R> {
    let bytes = match store.meta(name) {
        Ok(bytes) => bytes?,
        Err(error) => panic!("the simulated disk cannot be read: {error}"),
    };
    match R::decode(&bytes) {
        Ok(record) => Some(record),
        Err(error) => panic!("a record that the node wrote cannot be read: {error}"),
    }
}
