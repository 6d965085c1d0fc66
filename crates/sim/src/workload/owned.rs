//! What the machines above a node will do with owned rows: take work in, hand it out, finish it.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use rhumb_node::{Event, RequestId, SubmitError, SubmitOwned, reads};
use rhumb_ports::store::ReadStore;
use rhumb_state::{RowId, owned::OwnedOp};
use rhumb_types::{
    AckLevel, Epoch, RegionId,
    record::{OwnedId, OwnedRow, OwnedState},
};

use super::REMOTE_WAIT_MICROS;
use crate::world::World;

/// The table of all rows of a run.
pub(crate) const TABLE: u8 = 1;
/// Rows that are in hand at a time; few, so that they are hot.
const JOBS: u64 = 6;
/// How long they are in hand, in microseconds.
const IN_HAND_MICROS: u64 = 2_000_000;
/// Requests from here on are of owned rows.
const REQUESTS: u64 = 1 << 32;

/// How the requests of a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnedCounts {
    /// Versions accepted with a yes.
    pub accepted: u64,
    /// Those of them that were pinned.
    pub pinned: u64,
    /// Requests whose lease ran out before the answer.
    pub fenced: u64,
}

impl OwnedCounts {
    /// Counts another run's in.
    pub const fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.pinned += other.pinned;
        self.fenced += other.fenced;
    }
}

/// A version that was acknowledged at `local` or more.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) row: OwnedRow,
    pub(crate) host: usize,
}

/// The callers, and their books.
#[derive(Debug, Default)]
pub(crate) struct OwnedWork {
    asked: BTreeMap<RequestId, (usize, AckLevel)>,
    requests: u64,
    pub(crate) kept: Vec<Kept>,
    pub(crate) counts: OwnedCounts,
}

impl OwnedWork {
    /// One request somewhere, most often where it should be sent; says when the next one comes.
    pub(crate) fn step(&mut self, world: &mut World) -> Duration {
        self.requests += 1;
        let request = RequestId(REQUESTS + self.requests);
        let nth = world.random.below(JOBS);
        let id = named(&format!("job{}-{nth}", world.now() / IN_HAND_MICROS));
        let hosts = world.hosts.len();
        let (asked, wanted) = (world.random.index(hosts), world.random.index(hosts));
        let wanted = if nth.is_multiple_of(2) { asked } else { wanted };
        let home = world.hosts.get(wanted).map(|host| host.config.region.clone());
        let seen = stored(world, asked, &id);
        let owner = seen.map(|row| row.home).or_else(|| home.clone());
        let acts = owner.and_then(|owner| acting(world, &owner));
        let host = acts.filter(|_| world.random.chance(600)).unwrap_or(asked);
        let mut ops = vec![self.op(world, host, id)];
        if world.random.chance(200) {
            ops.push(self.put(named(&format!("one{}", self.requests))));
        }
        let levels = [AckLevel::Memory, AckLevel::Local, AckLevel::OneRemote, AckLevel::Quorum];
        let ack = *world.random.pick(&levels).unwrap_or(&AckLevel::Local);
        if let Some(home) = home {
            self.submit(world, host, (request, home, ops, ack));
        }
        world.random.between(Duration::from_millis(1), Duration::from_millis(20))
    }

    fn put(&self, id: OwnedId) -> OwnedOp {
        OwnedOp::Put { id, payload: Bytes::from(format!("v{}", self.requests)) }
    }

    fn op(&self, world: &mut World, host: usize, id: OwnedId) -> OwnedOp {
        let Some(row) = stored(world, host, &id).filter(|_| world.random.chance(700)) else {
            return self.put(id);
        };
        let process = world.hosts.get(host).and_then(|host| host.process.as_ref());
        let held = process.and_then(|process| process.leases.get(&row.home));
        let here = world.hosts.get(host).is_some_and(|host| host.config.region == row.home);
        let receipt = match held {
            Some(tenure) if !(row.pinned && here) => tenure.epoch,
            _ => row.epoch,
        };
        // A worker may come back with a receipt of an earlier owner.
        let late = world.random.chance(100) && receipt > Epoch(0);
        let receipt = if late { Epoch(receipt.0 - 1) } else { receipt };
        let done = world.random.chance(100);
        let state = if done { OwnedState::Done } else { OwnedState::Ready };
        let payload = Bytes::from(format!("v{}", self.requests));
        OwnedOp::Change { id, receipt, state, payload }
    }

    fn submit(
        &mut self,
        world: &mut World,
        host: usize,
        (request, home, ops, ack): (RequestId, RegionId, Vec<OwnedOp>, AckLevel),
    ) {
        let now = world.now();
        let Some(machine) = world.hosts.get(host) else { return };
        let Some(process) = &machine.process else { return };
        let rows = ops.iter().map(|op| RowId::Owned(op.id().clone()));
        let Ok(reads) = reads::read_rows(process.store.as_ref(), rows) else { return };
        let deadline = machine.clock(now + REMOTE_WAIT_MICROS).mono;
        self.asked.insert(request, (host, ack));
        let submit = SubmitOwned { request, home, ops, ack, deadline, reads };
        world.submit(host, Event::Own(submit));
    }

    /// All agree: what was promised so far is forgotten.
    pub(crate) fn settle(&mut self) {
        self.asked.clear();
        self.kept.clear();
    }

    /// The level that a request was asked at.
    pub(crate) fn level(&self, request: RequestId) -> Option<AckLevel> {
        self.asked.get(&request).map(|(_, ack)| *ack)
    }

    /// A node has answered.
    pub(crate) fn answered(
        &mut self,
        request: RequestId,
        result: Result<Vec<OwnedRow>, SubmitError>,
    ) {
        let Some((host, ack)) = self.asked.remove(&request) else { return };
        let rows = match result {
            Ok(rows) => rows,
            Err(error) => {
                self.counts.fenced += u64::from(matches!(error, SubmitError::Fenced { .. }));
                return;
            }
        };
        for row in rows {
            self.counts.accepted += 1;
            self.counts.pinned += u64::from(row.pinned);
            // `memory` promises nothing.
            if ack > AckLevel::Memory {
                self.kept.push(Kept { row, host });
            }
        }
    }
}

fn named(name: &str) -> OwnedId {
    OwnedId { table: TABLE, key: Bytes::copy_from_slice(name.as_bytes()) }
}

fn stored(world: &World, host: usize, id: &OwnedId) -> Option<OwnedRow> {
    let process = world.hosts.get(host)?.process.as_ref()?;
    process.store.owned(id).ok().flatten()
}

/// The host that acts for a region, as far as anybody knows.
fn acting(world: &World, region: &RegionId) -> Option<usize> {
    world.hosts.iter().position(|host| {
        host.process.as_ref().is_some_and(|process| process.leases.contains_key(region))
    })
}
