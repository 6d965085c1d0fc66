//! Rule 6: what a node holds when it begins to act under a lease, against what the regions in reach
//! held when it asked for it.

use std::collections::BTreeMap;

use rhumb_node::oversee::{Leases, Token};
use rhumb_types::{
    Epoch, RegionId,
    control::{AdminCommand, RegionLease},
    record::VersionVector,
};

use super::World;
use crate::check::Check;

/// A connection that stands, and is not cut, for so long has been used by both sides, in microseconds.
const LINKED_MICROS: u64 = 1_000_000;

/// What another host held.
#[derive(Debug, Clone)]
struct Holding {
    host: usize,
    incarnation: u64,
    connection: u64,
    synced: VersionVector,
}

/// What the others held when a region's lease was asked for.
#[derive(Debug, Clone)]
struct Asked {
    region: RegionId,
    at: u64,
    others: Vec<Holding>,
}

/// One life of a host.
type Life = (usize, u64);

/// The requests for leases, until a node begins to act.
#[derive(Debug, Default)]
pub(super) struct Openings {
    asked: BTreeMap<(Life, Token), Asked>,
    granted: BTreeMap<(Life, RegionId), (Epoch, Asked)>,
}

impl World {
    /// Forgets the requests of processes that have ended.
    pub(super) fn settle_openings(&mut self) {
        let lives: Vec<Life> = (0..self.hosts.len()).map(|host| self.life(host)).collect();
        self.openings.asked.retain(|(life, _), _| lives.contains(life));
        self.openings.granted.retain(|(life, _), _| lives.contains(life));
    }

    fn life(&self, host: usize) -> Life {
        (host, self.hosts.get(host).map_or(0, |host| host.incarnation))
    }

    /// A host asks for something to be agreed.
    pub(super) fn note_asked(&mut self, host: usize, token: Token, command: &AdminCommand) {
        use AdminCommand as C;
        let (C::AcquireLease { region, .. }
        | C::RenewLease { region, .. }
        | C::TakeOverLease { region, .. }) = command
        else {
            return;
        };
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        let others = others.filter_map(|other| self.holding(host, other)).collect();
        let asked = Asked { region: region.clone(), at: self.now, others };
        self.openings.asked.insert((self.life(host), token), asked);
    }

    /// What a host in reach of another holds.
    fn holding(&mut self, host: usize, other: usize) -> Option<Holding> {
        if !self.is_up(other) || !self.network.is_up(host, other) {
            return None;
        }
        let (_, incarnation) = self.life(other);
        let link = self.network.link(host, other);
        let cuts = link.directions.iter().map(|way| way.cut_since);
        let since = cuts.fold(link.up_since, u64::max);
        let connection = link.connection;
        let now = self.now;
        let heard = self
            .network
            .direction(other, host)
            .is_heard_since(now.saturating_sub(LINKED_MICROS), now);
        if now - since < LINKED_MICROS || !heard {
            return None;
        }
        let synced = self.checker.holds(other);
        Some(Holding { host: other, incarnation, connection, synced })
    }

    /// A request was answered. What counts is the first that was granted in an epoch.
    pub(super) fn note_granted(&mut self, host: usize, token: Token, lease: Option<&RegionLease>) {
        let life = self.life(host);
        let asked = self.openings.asked.remove(&(life, token));
        let (Some(asked), Some(lease)) = (asked, lease) else { return };
        let granted = self.openings.granted.entry((life, asked.region.clone()));
        let granted = granted.or_insert_with(|| (lease.epoch, asked.clone()));
        if granted.0 != lease.epoch {
            *granted = (lease.epoch, asked);
        }
    }

    /// A node acts under these leases from now on.
    pub(super) fn note_acting(&mut self, host: usize, leases: &Leases) {
        let life = self.life(host);
        let before = self.process(host).map(|process| process.leases.clone()).unwrap_or_default();
        for (region, tenure) in leases {
            let acted = before.get(region).is_some_and(|known| known.epoch == tenure.epoch);
            let granted = self.openings.granted.get(&(life, region.clone())).cloned();
            let granted = granted.filter(|(epoch, _)| *epoch == tenure.epoch && !acted);
            if let Some((_, asked)) = granted {
                self.check_opening(host, &asked);
            }
        }
    }

    fn check_opening(&mut self, host: usize, asked: &Asked) {
        let own = self.checker.holds(host);
        for held in &asked.others {
            let stayed = self.stayed_in_reach(host, held, asked.at);
            let lacks = held.synced.iter().find(|(origin, version)| *version > own.get(*origin));
            if let Some((origin, version)) = lacks.filter(|_| stayed) {
                let what = format!(
                    "host {host} acts for {} with {} of {origin}, and host {} held {version}",
                    asked.region,
                    own.get(origin),
                    held.host
                );
                self.checker.violated(Check::Opened, what);
            }
        }
    }

    /// Whether a host has run, been linked in both directions, and been heard, since a time.
    fn stayed_in_reach(&mut self, host: usize, held: &Holding, since: u64) -> bool {
        let same = self.life(held.host) == (held.host, held.incarnation);
        let frozen = |host: usize| self.hosts.get(host).is_some_and(|it| it.paused_until > since);
        let frozen = frozen(host) || frozen(held.host);
        let link = self.network.link(host, held.host);
        let cut = link.directions.iter().any(|way| way.cut || way.cut_since > since);
        let linked = !cut && link.up && link.connection == held.connection;
        let now = self.now;
        same && !frozen
            && linked
            && self.network.direction(held.host, host).is_heard_since(since, now)
    }
}
