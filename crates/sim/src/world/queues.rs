//! The queues beside a node: what they are told and what they want done, as the engine does it.
//!
//! Not here: who sends what to which region, workers, and everything else that callers do.

use std::{collections::BTreeMap, sync::Arc};

use rhumb_node::{Event as NodeEvent, RequestId as NodeRequest, SubmitError, SubmitOwned, reads};
use rhumb_ports::store::{Batch, Range, ReadStore, Write};
use rhumb_queue::{Ask, Definitions, Effect, Effects, Event, Queues, RequestId, Token, WriteError};
use rhumb_state::{ReadSet, RowId};
use rhumb_types::{
    RegionId,
    record::{OwnedId, OwnedRow, job::JOBS, queue::FRONTIERS},
};

use super::{Call, READ_MICROS, What, World, micros};
use crate::{branch::Branch, host::Host, network::Packet};

/// How often the queues are told that time has passed, as in the engine.
const TICK_MICROS: u64 = 50_000;
/// How long a write waits for other regions, as in the engine.
const ACK_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Requests to a node from here on are its queues'.
const REQUESTS: u64 = 1 << 48;

/// The queues of a process.
#[derive(Debug)]
pub struct Beside {
    /// The shipped machine.
    pub machine: Queues,
    /// What it wants done.
    wishes: Effects,
    /// Its writes that the node has not answered.
    writes: BTreeMap<NodeRequest, Token>,
    requests: u64,
}

impl Beside {
    /// The queues of a process that starts.
    ///
    /// # Panics
    /// When the limits of spillover contradict each other: a configuration is checked before it is run.
    #[must_use]
    pub fn new(config: rhumb_queue::Config) -> Self {
        let mut wishes = Effects::new();
        let machine = match Queues::new(config, &mut wishes) {
            Ok(machine) => machine,
            Err(error) => panic!("the queues cannot be made: {error}"),
        };
        Self { machine, wishes, writes: BTreeMap::new(), requests: REQUESTS }
    }
}

impl World {
    /// From now on there are these queues, as agreed and heard of everywhere at once.
    pub fn define(&mut self, definitions: Definitions) {
        self.definitions = Arc::new(definitions);
        for host in 0..self.hosts.len() {
            self.tell_queues(host, Event::Definitions(self.definitions.clone()));
        }
    }

    /// A caller asks the queues of a host; the answer is a [`Call::Queue`]. A host without a process
    /// answers nothing.
    pub fn ask_queues(&mut self, host: usize, request: RequestId, ask: Ask) {
        self.tell_queues(host, Event::Request { request, ask });
    }

    /// Tells the queues of a host something.
    pub fn tell_queues(&mut self, host: usize, event: Event) {
        self.plan(1, host, What::Queue(event));
    }

    /// The queues of a host, while it runs.
    #[must_use]
    pub fn queues(&self, host: usize) -> Option<&Queues> {
        let process = self.hosts.get(host)?.process.as_ref()?;
        process.queues.as_ref().map(|beside| &beside.machine)
    }

    pub(super) fn start_queues(&mut self, host: usize) {
        self.forget_spills(host);
        if self.queues(host).is_some() {
            self.carry_out_queues(host);
            self.tell_queues(host, Event::Definitions(self.definitions.clone()));
            self.plan(1, host, What::QueueTick);
        }
    }

    pub(super) fn queues_tick(&mut self, host: usize) {
        self.queue_event(host, Event::Tick);
        self.check_spills(host);
        self.plan(TICK_MICROS, host, What::QueueTick);
    }

    /// The rows of a batch that was committed, before the node hears that it was.
    pub(super) fn queue_rows(&mut self, host: usize, batch: &Batch) {
        if self.queues(host).is_none() {
            return;
        }
        let row = |write: &Write| match write {
            Write::Owned(row) if matches!(row.id.table, JOBS | FRONTIERS) => Some(row.clone()),
            _ => None,
        };
        let rows: Vec<OwnedRow> = batch.writes.iter().filter_map(row).collect();
        if !rows.is_empty() {
            self.queue_event(host, Event::Rows(rows));
        }
    }

    /// A node's answer about owned rows, when its queues asked. Says whether they did.
    pub(super) fn queue_owned(
        &mut self,
        host: usize,
        request: NodeRequest,
        result: &Result<Vec<OwnedRow>, SubmitError>,
    ) -> bool {
        let beside = self.process(host).and_then(|process| process.queues.as_mut());
        let Some(token) = beside.and_then(|beside| beside.writes.remove(&request)) else {
            return false;
        };
        let result = result.clone().map_err(|error| failed(&error));
        self.queue_event(host, Event::Owned { token, result });
        true
    }

    pub(super) fn queue_event(&mut self, host: usize, event: Event) {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let clock = machine.clock(now);
        let Some(process) = &mut machine.process else { return };
        let Some(beside) = &mut process.queues else { return };
        beside.machine.on_event(clock, event, &mut beside.wishes);
        self.events += 1;
        self.carry_out_queues(host);
    }

    fn carry_out_queues(&mut self, host: usize) {
        let next = |world: &mut Self| world.process(host)?.queues.as_mut()?.wishes.pop();
        while let Some(effect) = next(self) {
            self.carry_out_queue(host, effect);
        }
    }

    fn carry_out_queue(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Own { token, home, ops, ack, drawn } => {
                let deadline = self
                    .hosts
                    .get(host)
                    .map(|machine| machine.clock(self.now.saturating_add(micros(ACK_WAIT))).mono);
                let Some(process) = self.process(host) else { return };
                let Some((beside, deadline)) = process.queues.as_mut().zip(deadline) else {
                    return;
                };
                let rows = ops.iter().map(|op| RowId::Owned(op.id().clone()));
                let Ok(mut reads) = reads::read_rows(process.store.as_ref(), rows) else { return };
                if drawn {
                    // The engine does not look: a row that is there would be lost.
                    let seen = reads.owned.iter().find(|(_, row)| row.is_some());
                    assert!(seen.is_none(), "an id was drawn that has a row: {seen:?}");
                    reads = ReadSet::absent(reads.owned.into_iter().map(|(id, _)| id).collect());
                }
                beside.requests += 1;
                let request = NodeRequest(beside.requests);
                beside.writes.insert(request, token);
                let submit = SubmitOwned { request, home, ops, ack, deadline, reads };
                self.plan(1, host, What::Node(NodeEvent::Own(submit)));
            }
            Effect::Fetch { token, rows } => {
                self.plan(READ_MICROS, host, What::QueueFetch { token, rows });
            }
            Effect::Scan { table, after, rows_max } => {
                let Some(process) = self.process(host) else { return };
                let range = Range { after, limit: rows_max };
                let Ok(rows) = process.store.owned_rows(table, range) else { return };
                let end = rows.len() < rows_max;
                self.queue_event(host, Event::Scanned { rows, end });
            }
            Effect::Drop(rows) => {
                self.forgotten.extend(rows.iter().map(|id| (host, id.clone())));
                self.plan(1, host, What::Node(NodeEvent::DropOwned(rows)));
            }
            Effect::Answer { request, result } => {
                self.note(host, format_args!("ANSWERS {request:?} {result:?}"));
                self.calls.push_back(Call::Queue { host, request, result });
            }
            Effect::Publish(finished) => {
                if !finished.completed {
                    self.branches.note(Branch::JobDied);
                }
            }
            Effect::Advertise(advert) => {
                for to in (0..self.hosts.len()).filter(|to| *to != host) {
                    if self.network.link(host, to).up {
                        self.transmit(host, to, Packet::Advert(advert.clone()));
                    }
                }
            }
            Effect::Alarm(text) => self.calls.push_back(Call::Alarm { host, text }),
        }
    }

    pub(super) fn queue_fetch(&mut self, host: usize, token: Token, rows: &[OwnedId]) {
        let Some(process) = self.process(host) else { return };
        let read = |id: &OwnedId| process.store.owned(id).ok().flatten();
        let rows = rows.iter().map(read).collect();
        self.queue_event(host, Event::Fetched { token, rows });
    }

    /// The host that acts for a region's home now, by its own clock; of the hosts that run.
    #[must_use]
    pub fn acting(&self, home: &RegionId) -> Option<usize> {
        let acts = |machine: &Host| {
            let tenure = machine.process.as_ref()?.leases.get(home)?;
            tenure.at(machine.clock(self.now).mono)
        };
        self.hosts.iter().position(|machine| acts(machine).is_some())
    }
}

/// What may have been written is told apart from what certainly was not.
fn failed(error: &SubmitError) -> WriteError {
    let why: Arc<str> = error.to_string().into();
    match error {
        SubmitError::Fenced { .. } | SubmitError::Unconfirmed { .. } | SubmitError::Disk(_) => {
            WriteError::Unknown(why)
        }
        _ => WriteError::Refused { code: error.code(), why },
    }
}
