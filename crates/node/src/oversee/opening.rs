//! Rule 6: who begins to act under a lease first holds what the regions in reach hold.
//!
//! What an earlier owner accepted is in the logs, and an acknowledged part of it may be anywhere.
//! The earlier owner stopped before the lease was asked for, so it is enough to hear from every
//! region in reach what it has fsynced, in words that it said after the lease was asked for, and to
//! have that fsynced here. What regions out of reach hold is adopted when it arrives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rhumb_regions::Health;
use rhumb_types::{
    DomainId, Epoch, MonoTime, OriginId, RegionId,
    planted::{self, Planted},
    record::VersionVector,
};

use super::{Overseer, OverseerEffects};
use crate::{
    limits::OPENING_ALARM_AFTER,
    status::{Phase, Report},
};

/// A lease that is held, from its first grant in this process on.
#[derive(Debug)]
pub(super) struct Opening {
    epoch: Epoch,
    /// What was said after the lease was asked for.
    hearing: Hearing,
    open: Option<Open>,
    told: bool,
}

/// What regions say that they have fsynced.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// Earlier words do not count.
    since: MonoTime,
    /// What each region said first after that.
    reports: BTreeMap<RegionId, Arc<Report>>,
}

impl Hearing {
    pub(super) const fn since(since: MonoTime) -> Self {
        Self { since, reports: BTreeMap::new() }
    }
}

/// How well an owner knows what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    /// Whether a majority of the regions with data was heard, this one counted.
    pub(super) majority: bool,
}

impl Opening {
    const fn new(epoch: Epoch, asked: MonoTime) -> Self {
        Self { epoch, hearing: Hearing::since(asked), open: None, told: false }
    }
}

impl Overseer {
    /// Whether this node may begin to act under a lease that it holds; once it may, it goes on.
    pub(super) fn opened(
        &mut self,
        now: MonoTime,
        region: &RegionId,
        epoch: Epoch,
        asked: MonoTime,
    ) -> Option<Open> {
        let mut opening = match self.openings.remove(region) {
            Some(opening) if opening.epoch == epoch => opening,
            _ => Opening::new(epoch, asked),
        };
        if opening.open.is_none_or(|open| !open.majority) {
            self.look_at_opening(now, &mut opening);
        }
        let open = opening.open;
        self.openings.insert(region.clone(), opening);
        open
    }

    fn look_at_opening(&self, now: MonoTime, opening: &mut Opening) {
        self.hear(&mut opening.hearing);
        let at_once = planted::is(Planted::OpenAtOnce);
        if at_once || self.waits_for(now, &opening.hearing).is_none() {
            let majority = self.has_majority(&opening.hearing, self.data_regions());
            opening.open = Some(Open { majority });
        }
    }

    /// Takes in what was said since.
    pub(super) fn hear(&self, hearing: &mut Hearing) {
        for peer in &self.status.peers {
            let fresh = peer.report.as_ref().filter(|report| report.asked >= hearing.since);
            if let Some(report) = fresh {
                hearing.reports.entry(peer.region.clone()).or_insert_with(|| report.clone());
            }
        }
    }

    /// Whether what more than half of some regions have said is fsynced here; this one counts as heard.
    pub(super) fn has_majority<'r>(
        &self,
        hearing: &Hearing,
        among: impl IntoIterator<Item = &'r RegionId>,
    ) -> bool {
        let (mut heard, mut all) = (0_usize, 0_usize);
        for region in among {
            let report = hearing.reports.get(region);
            let holds = report.is_some_and(|report| self.holds(&report.durable));
            heard += usize::from(holds || *region == self.config.region);
            all += 1;
        }
        heard * 2 > all || all == 0
    }

    /// Whether the last status is so old that this node must have been frozen since.
    pub(super) fn has_been_frozen(&self, now: MonoTime) -> bool {
        now.saturating_since(self.status_at) > self.config.health.tick_late_max()
    }

    /// The region whose word, or whose versions, an opening waits for.
    pub(super) fn waits_for(&self, now: MonoTime, hearing: &Hearing) -> Option<RegionId> {
        let blind = self.has_been_frozen(now) || now < self.blind_until;
        if blind || self.status.phase != Phase::Running {
            return Some(self.config.region.clone());
        }
        let lacks = |region: &&RegionId| {
            let report = hearing.reports.get(*region);
            self.in_reach(now, region) && report.is_none_or(|it| !self.holds(&it.durable))
        };
        self.data_peers().into_iter().find(lacks).cloned()
    }

    /// The regions that hold data, this one among them.
    pub(super) fn data_regions(&self) -> BTreeSet<&RegionId> {
        let mut all = self.data_peers();
        all.insert(&self.config.region);
        all
    }

    /// The other regions that hold data: those that are agreed, and those that are linked and about
    /// to join.
    fn data_peers(&self) -> BTreeSet<&RegionId> {
        let agreed = self.view.regions.iter().filter(|(_, status)| !status.witness);
        let linked = self.status.peers.iter().filter(|peer| !peer.witness);
        let all = agreed.map(|(region, _)| region).chain(linked.map(|peer| &peer.region));
        all.filter(|region| **region != self.config.region).collect()
    }

    /// Whether a region is heard now, or may be in a moment: one that was just linked, or that
    /// nobody has given up yet.
    fn in_reach(&self, now: MonoTime, region: &RegionId) -> bool {
        let silent_max = self.config.health.ejection();
        let heard = self
            .peer(region)
            .is_some_and(|peer| peer.up && Duration::from_micros(peer.silent_micros) < silent_max);
        let condemned = self.view.regions.get(region).is_some_and(|it| it.verdict.is_some());
        let seen = self.board.assess(now, region);
        heard || (!condemned && seen.is_some_and(|seen| seen.health != Health::Down))
    }

    /// Whether everything of a vector that this region carries is fsynced here.
    fn holds(&self, durable: &VersionVector) -> bool {
        let carried = self.config.domains.get(&self.config.region);
        let carries = |origin: OriginId| {
            let domain = origin.domain();
            domain == DomainId::EVERYWHERE || carried.is_some_and(|all| all.contains(&domain))
        };
        let own = &self.status.durable;
        durable.iter().all(|(origin, version)| !carries(origin) || version <= own.get(origin))
    }

    /// Whether a lease is held that this node does not act under in every way yet.
    pub(super) fn is_opening(&self) -> bool {
        let holds = !self.openings.is_empty();
        holds && !self.homes.are_known()
            || self.openings.values().any(|opening| opening.open.is_none_or(|open| !open.majority))
    }

    /// Tells a person of a lease that is held and not acted under, once that lasts.
    pub(super) fn tell_of_openings(&mut self, now: MonoTime, out: &mut OverseerEffects) {
        let late = |opening: &Opening| {
            let waited = now.saturating_since(opening.hearing.since) >= OPENING_ALARM_AFTER;
            opening.open.is_none() && !opening.told && waited
        };
        let late: Vec<(RegionId, String)> = self
            .openings
            .iter()
            .filter(|(_, opening)| late(opening))
            .map(|(region, opening)| {
                let waits = self.waits_for(now, &opening.hearing);
                (region.clone(), waits.map_or_else(String::new, |it| it.to_string()))
            })
            .collect();
        for (region, waits) in late {
            if let Some(opening) = self.openings.get_mut(&region) {
                opening.told = true;
            }
            out.alarm(format!(
                "this node holds the lease of {region} and does not act under it yet: it lacks \
                 what {waits} holds"
            ));
        }
    }
}
