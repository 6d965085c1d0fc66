//! The objects beside a node: what the engine's `objects` do with tokio, done by futures of our own.
//!
//! Every decision is made by `rhumb_objects`; here it is read for, carried out and waited for. A task is
//! a future over [`Here`]; what it waits for has a ticket, and the world resolves that when it happens.
//! Tasks end with their process, as they do in a crash.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin as Pinned,
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;
use rhumb_node::{
    Event as NodeEvent, RequestId as NodeRequest, Submit, SubmitError, WaitAcks, reads,
};
use rhumb_objects::{index, refer::Committed};
use rhumb_ports::store::{Batch, Durability, MetaName, Write};
use rhumb_state::{Reply, RowId, visible};
use rhumb_types::{
    DomainId, MonoTime,
    record::{BlobHash, BucketName, Dot, Record, Space, VersionId, VersionVector},
};

use super::{Call, What, World};
use crate::{branch::Branch, host::Host, network::Packet, time::SECOND};

mod blobs;
mod calls;
mod change;
mod chores;
mod collect;
mod decide;
mod fetch;
mod granted;
mod here;
mod pace;
mod put;
mod read;
mod words;

pub use blobs::BlobDisk;
pub use calls::Failure;
pub(crate) use calls::Message;
pub(crate) use collect::AGES;
pub use here::Buckets;
pub(crate) use here::{Answered, Here, Ticket, Wish};
pub use pace::Pace;
pub(crate) use put::PART_BYTES;
pub use words::{Ask, Done, End};

/// Requests to a node from here on are of its objects.
pub(super) const REQUESTS: u64 = 1 << 50;
/// How long an index change waits for other regions, in microseconds.
const ACK_WAIT_MICROS: u64 = 5 * SECOND;

/// How many of a thousand blobs of a disk are damaged at a time.
const ROT_PER_MILLE: u64 = 300;

type Task = Pinned<Box<dyn Future<Output = ()>>>;

/// The objects of a process.
pub struct Beside {
    pub(crate) here: Here,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beside").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// What happens to the objects of a host.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A client asks.
    Asked { request: u64, ask: Box<Ask> },
    /// Something that a task waits for.
    Resolved { ticket: Ticket, answered: Answered },
    /// A write of a blob has had its time.
    Written { ticket: Ticket },
}

impl Beside {
    pub(crate) fn new(here: Here) -> Self {
        let mut beside = Self { here, tasks: BTreeMap::new(), next_task: 0 };
        beside.spawn(Box::pin(fetch::replicate(beside.here.clone())));
        beside.spawn(Box::pin(collect::collect(beside.here.clone())));
        beside.spawn(Box::pin(chores::chores(beside.here.clone())));
        beside.spawn(Box::pin(chores::scrub(beside.here.clone())));
        beside
    }

    fn spawn(&mut self, task: Task) {
        self.next_task += 1;
        self.tasks.insert(self.next_task, task);
        self.poll(self.next_task);
    }

    fn poll(&mut self, number: u64) {
        let Some(mut task) = self.tasks.remove(&number) else { return };
        self.here.state().current = number;
        let mut context = Context::from_waker(Waker::noop());
        if task.as_mut().poll(&mut context).is_pending() {
            self.tasks.insert(number, task);
        }
        let spawned = std::mem::take(&mut self.here.state().spawned);
        spawned.into_iter().for_each(|task| self.spawn(task));
    }

    fn resolve(&mut self, ticket: Ticket, answered: Answered) {
        let owner = {
            let mut state = self.here.state();
            let owner = state.waiting.remove(&ticket);
            if owner.is_some() {
                state.answered.insert(ticket, answered);
            }
            owner
        };
        if let Some(owner) = owner {
            self.poll(owner);
        }
    }
}

impl World {
    /// From now on there are these buckets, agreed and heard of everywhere.
    pub fn define_buckets(&mut self, buckets: Buckets) {
        self.buckets = Arc::new(buckets);
    }

    /// Processes that start from now on have objects with these times.
    pub const fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// A client asks the objects of a host; the answer is a [`Call::Object`]. A host without a process
    /// answers nothing.
    pub fn ask_objects(&mut self, host: usize, request: u64, ask: Ask) {
        self.plan(1, host, What::Object(Happening::Asked { request, ask: Box::new(ask) }));
    }

    /// The version that a host's own index shows under a key; nothing of a host that does not run.
    #[must_use]
    pub fn shows(&self, host: usize, bucket: &BucketName, key: &Bytes) -> Option<VersionId> {
        let here = self.objects(host)?;
        let versioning = here.definition(bucket).ok()?.versioning;
        let target = index::Target { bucket, versioning, key };
        let found = index::find(&here.rows(), target, index::Which::Newest).ok()?;
        found.record().filter(|record| record.content.is_some()).map(|record| record.version)
    }

    /// Some blobs of a host are damaged that others hold too.
    pub(crate) fn rot(&mut self, host: usize, dice: &mut crate::random::Random) {
        let Some(machine) = self.hosts.get(host) else { return };
        let others = || self.hosts.iter().enumerate().filter(move |(nth, _)| *nth != host);
        let elsewhere = |hash: &BlobHash| others().any(|(_, other)| other.blobs.is_sound(hash));
        let mut hit = Vec::new();
        for (hash, _) in machine.blobs.all() {
            if elsewhere(&hash) && dice.chance(ROT_PER_MILLE) {
                machine.blobs.damage(&hash);
                hit.push(hash);
            }
        }
        self.rotten.extend(hit);
    }

    /// The objects of a host, while it runs.
    pub(crate) fn objects(&self, host: usize) -> Option<&Here> {
        let process = self.hosts.get(host)?.process.as_ref()?;
        process.objects.as_ref().map(|beside| &beside.here)
    }

    pub(super) fn start_objects(&mut self, host: usize) {
        let now = self.now;
        let random = crate::random::Random::new(self.random.bits());
        let (buckets, pace) = (self.buckets.clone(), self.pace);
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if !machine.storing {
            return;
        }
        let clock = machine.clock(now);
        let first = machine.incarnation == 1;
        let (disk, blobs) = (machine.disk.clone(), machine.blobs.clone());
        let region = machine.config.region.clone();
        let Some(process) = &mut machine.process else { return };
        let applied = applied(process.store.as_ref());
        let made =
            here::Made { region, store: process.store.clone(), disk, blobs, buckets, pace, random };
        let here = Here::new(made, clock, &applied, first);
        process.objects = Some(Beside::new(here));
        self.objects_turn(host, |_| {});
    }

    /// Something happens to the objects of a host.
    pub(super) fn object_event(&mut self, host: usize, happening: Happening) {
        match happening {
            Happening::Asked { request, ask } => self.objects_turn(host, |beside| {
                let here = beside.here.clone();
                beside.spawn(Box::pin(async move {
                    let answer = put::asked(&here, *ask).await;
                    here.wish(Wish::Answer { request, answer: Box::new(answer) });
                }));
            }),
            Happening::Resolved { ticket, answered } => {
                self.objects_turn(host, |beside| beside.resolve(ticket, answered));
            }
            Happening::Written { ticket } => {
                let faults = self.hosts.get(host).map(|machine| machine.disk.faults());
                let failed = faults.is_some_and(|faults| faults.full || faults.sync_fails);
                if failed {
                    self.branches.note(Branch::BlobRefused);
                }
                let answered = Answered::Written(!failed);
                self.objects_turn(host, |beside| beside.resolve(ticket, answered));
            }
        }
    }

    pub(super) fn object_message(&mut self, host: usize, from: usize, message: Message) {
        let from = self.region(from);
        self.objects_turn(host, |beside| match message {
            Message::Call { number, call } => {
                let here = beside.here.clone();
                beside.spawn(Box::pin(async move {
                    let told = calls::told(&here, &from, *call).await;
                    let message = Message::Answer { number, told: Box::new(told) };
                    here.wish(Wish::Send { to: from, message });
                }));
            }
            Message::Answer { number, told } => {
                beside.resolve(number, Answered::Told(Some(*told)));
            }
        });
    }

    /// Lets tasks go on, with what is known now, and carries out what they wish.
    fn objects_turn(&mut self, host: usize, turn: impl FnOnce(&mut Beside)) {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let clock = machine.clock(now);
        let Some(process) = &mut machine.process else { return };
        let Some(beside) = &mut process.objects else { return };
        {
            let mut state = beside.here.state();
            state.now = clock;
            state.routing.clone_from(&process.routing);
            state.leases.clone_from(&process.leases);
            state.view.clone_from(&process.view);
            state.status.clone_from(&process.status);
        }
        turn(beside);
        self.events += 1;
        let wishes = std::mem::take(&mut beside.here.state().wishes);
        for wish in wishes {
            self.grant_wish(host, wish);
        }
    }

    fn grant_wish(&mut self, host: usize, wish: Wish) {
        match wish {
            Wish::Sleep { ticket, micros } => {
                let happening = Happening::Resolved { ticket, answered: Answered::Slept };
                self.plan(micros, host, What::Object(happening));
            }
            Wish::Write { ticket } => {
                let after = self.disk_time(host, Durability::Synced);
                self.plan(after, host, What::Object(Happening::Written { ticket }));
            }
            Wish::Submit { ticket, op, ack } => {
                let deadline = self.deadline(host);
                let Some(process) = self.process(host) else { return };
                let mut rows = Vec::new();
                op.rows(&mut |row| rows.push(RowId::from(row)));
                let Ok(reads) = reads::read_rows(process.store.as_ref(), rows.into_iter()) else {
                    return;
                };
                let request = NodeRequest(REQUESTS + ticket);
                let ops = vec![op];
                let submit =
                    Submit { request, ops, ack, deadline, reads, atomic: false, guard: None };
                self.plan(1, host, What::Node(NodeEvent::Submit(submit)));
            }
            Wish::Acks { ticket, written, regions } => {
                let request = NodeRequest(REQUESTS + ticket);
                let deadline = self.deadline(host);
                let wait = WaitAcks { request, written, regions, deadline };
                self.plan(1, host, What::Node(NodeEvent::WaitAcks(wait)));
            }
            Wish::Call { ticket, to, call, wait } => {
                let message = Message::Call { number: ticket, call: Box::new(call) };
                let sent = self.send_object(host, &to, message);
                let after = if sent { wait } else { 1 };
                let answered = Answered::Told((!sent).then_some(calls::Told::Unsent));
                self.plan(after, host, What::Object(Happening::Resolved { ticket, answered }));
            }
            Wish::Send { to, message } => {
                self.send_object(host, &to, message);
            }
            Wish::Answer { request, answer } => {
                self.calls.push_back(Call::Object { host, request, answer });
            }
            Wish::Note(branch) => self.branches.note(branch),
            Wish::Broken(check, what) => self.checker.violated(check, what),
        }
    }

    fn deadline(&self, host: usize) -> MonoTime {
        let at = self.now + ACK_WAIT_MICROS;
        self.hosts.get(host).map_or(MonoTime(0), |machine| machine.clock(at).mono)
    }

    /// Sends a message to another region; says whether there is a link.
    fn send_object(&mut self, host: usize, to: &rhumb_types::RegionId, message: Message) -> bool {
        let Some(to) = self.host_of(to) else { return false };
        let up = self.network.link(host, to).up;
        if up {
            self.transmit(host, to, Packet::Object(message));
        }
        up
    }

    /// A node has answered a write of its objects.
    pub(super) fn object_replied(
        &mut self,
        host: usize,
        request: NodeRequest,
        result: Result<(Vec<Reply>, VersionVector), SubmitError>,
    ) {
        let answered = Answered::Replied(result);
        self.objects_turn(host, |beside| beside.resolve(request.0 - REQUESTS, answered));
    }

    /// A node says how many regions have what its objects have written.
    pub(super) fn object_acked(&mut self, host: usize, request: NodeRequest, regions: usize) {
        let answered = Answered::Acked(regions);
        self.objects_turn(host, |beside| beside.resolve(request.0 - REQUESTS, answered));
    }

    /// A batch was committed, before the node hears that it was.
    pub(super) fn object_rows(&mut self, host: usize, batch: &Batch) {
        let clock = self.hosts.get(host).map(|machine: &Host| machine.clock(self.now));
        let (Some(here), Some(clock)) = (self.objects(host), clock) else { return };
        let mut state = here.state();
        let (mut committed, mut applied) = (Committed::new(here.region()), None);
        for write in &batch.writes {
            match write {
                Write::Log { origin, version, .. } if origin.domain() == DomainId::EVERYWHERE => {
                    committed.on_transaction(Dot { origin: *origin, version: *version });
                }
                Write::Meta { name: MetaName::Applied, value: Some(bytes) } => {
                    applied = VersionVector::decode(bytes).ok();
                }
                _ => {}
            }
        }
        for write in &batch.writes {
            let Write::Head { space: Space::OBJECTS, key, head: Some(head) } = write else {
                continue;
            };
            committed.on_cell(key, &head.cell);
            if let (Some(b'c' | b'v'), Some(row)) = (key.first(), visible::whole(&head.cell)) {
                state.rows.push_back((key.clone(), row.clone()));
            }
        }
        let holder = &mut state.holder;
        committed
            .tell(applied.as_ref(), |event| holder.on_event(clock.mono, event, &mut Vec::new()));
    }
}

/// Whether a request to a node is of its objects.
pub(super) const fn is_theirs(request: NodeRequest) -> bool {
    request.0 >= REQUESTS
}

/// What a store has applied.
pub(crate) fn applied(store: &impl rhumb_ports::store::ReadStore) -> VersionVector {
    let bytes = store.meta(&MetaName::Applied).ok().flatten();
    bytes.and_then(|bytes| VersionVector::decode(&bytes).ok()).unwrap_or_default()
}
