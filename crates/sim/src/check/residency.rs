//! Rule 3: what belongs to a domain reaches no region that does not carry it.

use std::collections::BTreeSet;

use rhumb_node::NodeConfig;
use rhumb_ports::{
    peer::{PeerMessage, SnapshotChunk},
    store::Write,
};
use rhumb_types::{DomainId, OriginId, RegionId, record::Cell};

use super::{Check, Checker};

/// What every host carries beside the domain of every region; a witness carries nothing.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    regions: Vec<RegionId>,
    domains: Vec<Option<BTreeSet<DomainId>>>,
}

impl Carried {
    /// From the hosts' own configuration.
    pub(crate) fn new<'h>(hosts: impl Iterator<Item = &'h NodeConfig> + Clone) -> Self {
        let domains = hosts.clone().map(|it| (!it.witness).then(|| it.domains.clone())).collect();
        Self { regions: hosts.map(|it| it.region.clone()).collect(), domains }
    }

    /// The region of a host.
    pub(crate) fn region(&self, host: usize) -> Option<&RegionId> {
        self.regions.get(host)
    }

    /// Whether a host may hold what an origin wrote.
    pub(crate) fn carries(&self, host: usize, origin: OriginId) -> bool {
        let domain = origin.domain();
        let carried = self.domains.get(host).and_then(Option::as_ref);
        carried.is_some_and(|all| domain == DomainId::EVERYWHERE || all.contains(&domain))
    }

    /// Whether a host holds data at all.
    pub(crate) fn holds_data(&self, host: usize) -> bool {
        self.domains.get(host).is_some_and(Option::is_some)
    }
}

fn writers(cell: &Cell) -> impl Iterator<Item = OriginId> + '_ {
    let entries = cell.entries.iter().map(|entry| entry.dot.origin);
    entries.chain(cell.deltas.iter().map(|delta| delta.origin))
}

impl Checker {
    /// A row reaches the disk of a host.
    pub(super) fn stored(&mut self, host: usize, write: &Write) {
        let foreign = |origin: &OriginId| !self.carried.carries(host, *origin);
        let found = match write {
            Write::Log { origin, .. } => Some(*origin).filter(foreign),
            Write::Head { head: Some(head), .. } => writers(&head.cell).find(foreign),
            Write::Member { cell: Some(cell), .. } => writers(cell).find(foreign),
            _ => None,
        };
        if let Some(origin) = found {
            let what = format!("host {host} stores what {origin} wrote and does not carry it");
            self.violated(Check::Residency, what);
        }
    }

    /// A message leaves for a host.
    pub(super) fn ships(&mut self, to: usize, message: &PeerMessage) {
        let foreign = |origin: &OriginId| !self.carried.carries(to, *origin);
        let found = match message {
            PeerMessage::Log(batch) => Some(batch.origin).filter(foreign),
            PeerMessage::Snapshot(chunk) => in_snapshot(chunk).into_iter().find(foreign),
            _ => None,
        };
        if let Some(origin) = found {
            let what = format!("host {to} is sent what {origin} wrote and does not carry it");
            self.violated(Check::Residency, what);
        }
    }
}

fn in_snapshot(chunk: &SnapshotChunk) -> BTreeSet<OriginId> {
    let cells = chunk.keys.iter().flat_map(|key| {
        std::iter::once(&key.head.cell).chain(key.members.iter().map(|(_, cell)| cell))
    });
    let named = chunk.vector.iter().map(|(origin, _)| origin);
    cells.flat_map(writers).chain(named).collect()
}
