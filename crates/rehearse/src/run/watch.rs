//! What comes of each fault.

use std::time::Duration;

use rhumb_regions::{Health, RoutingSnapshot, load::is_saturated};
use rhumb_types::{RegionId, control::AdminState};

use super::stage::{Stage, is_routed};
use crate::{
    books::{Books, Stretch},
    outcome::FaultOutcome,
    scenario::{Fault, Planned, Subject},
    time::{Micros, micros},
};

/// A fault of the scenario, as it goes on. Times are from the start.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) planned: Planned,
    at: Micros,
    /// When it is mended; past the end when nobody does that.
    pub(super) until: Micros,
    /// Until the next fault begins, or the rehearsal ends.
    horizon: Micros,
    begun: bool,
    /// The hosts of what it strikes, from its beginning on.
    struck: Vec<usize>,
    /// Who could find out about whom.
    pairs: Vec<(usize, usize)>,
    detected: Option<Micros>,
    owned: Option<Micros>,
    gap: Micros,
    led: bool,
    lag_of_others: Duration,
    exposed: u64,
    exposed_for: Micros,
}

/// How far a host says that another is behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Behind {
    pub(super) host: usize,
    pub(super) peer: usize,
    pub(super) by: Duration,
}

/// All faults of the scenario.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) faults: Vec<Watched>,
}

impl Watch {
    pub(super) fn new(faults: &[Planned], lasting: Micros) -> Self {
        let watched = |planned: &Planned| {
            let at = micros(planned.at);
            let later = faults.iter().map(|other| micros(other.at)).filter(|other| *other > at);
            Watched {
                at,
                until: planned.lasting.map_or(Micros::MAX / 2, |lasting| at + micros(lasting)),
                horizon: later.min().unwrap_or(lasting).min(lasting),
                planned: planned.clone(),
                begun: false,
                struck: Vec::new(),
                pairs: Vec::new(),
                detected: None,
                owned: None,
                gap: 0,
                led: false,
                lag_of_others: Duration::ZERO,
                exposed: 0,
                exposed_for: 0,
            }
        };
        Self { faults: faults.iter().map(watched).collect() }
    }

    /// The faults that are broken now.
    pub(super) fn broken(&self, now: Micros) -> impl Iterator<Item = (&Fault, Micros)> {
        let broken = self.faults.iter().filter(move |it| it.begun && now < it.until);
        broken.map(|it| (&it.planned.fault, it.until))
    }

    /// A fault begins, while so much was exposed.
    pub(super) fn begin(&mut self, nth: usize, stage: &Stage, exposed: (u64, Micros)) {
        let Some(fault) = self.faults.get_mut(nth) else { return };
        fault.begun = true;
        let regions = fault.planned.fault.subject().regions();
        fault.struck = regions.filter_map(|it| stage.host(it)).collect();
        fault.led = fault.struck.iter().any(|it| stage.leads(*it));
        fault.pairs = pairs(&fault.planned.fault, stage);
        // Who routes round it already cannot find out.
        let what = &fault.planned.fault;
        fault.pairs.retain(|pair| !notices(what, stage, *pair));
        if fault.planned.fault.is_a_loss() {
            (fault.exposed, fault.exposed_for) = exposed;
        }
    }

    /// What a host routes by, or acts under, has changed.
    pub(super) fn overseen(&mut self, host: usize, stage: &Stage) {
        let now = stage.now();
        for fault in self.faults.iter_mut().filter(|fault| fault.begun) {
            if fault.detected.is_none() && now < fault.until {
                let mut seen = fault.pairs.iter().filter(|(observer, _)| *observer == host);
                if seen.any(|pair| notices(&fault.planned.fault, stage, *pair)) {
                    fault.detected = Some(now);
                }
            }
            if fault.owned.is_none() && now < fault.horizon {
                let mut others = fault.planned.fault.subject().regions();
                let owned =
                    others.any(|it| stage.host(it) != Some(host) && stage.acts_for(host, it));
                fault.owned = owned.then_some(now);
            }
        }
    }

    /// Nodes say how far others are behind them.
    pub(super) fn behind(&mut self, now: Micros, all: &[Behind]) {
        for fault in self.faults.iter_mut().filter(|fault| fault.begun && now < fault.until) {
            let struck = &fault.struck;
            let others = |it: &&Behind| !struck.contains(&it.host) && !struck.contains(&it.peer);
            let most = all.iter().filter(others).map(|it| it.by).max().unwrap_or_default();
            fault.lag_of_others = fault.lag_of_others.max(most);
        }
    }

    /// A group of clients went without an answer.
    pub(super) fn stretch(&mut self, stretch: Stretch) {
        for fault in self.faults.iter_mut().filter(|fault| fault.begun) {
            if stretch.until > fault.at && stretch.from < fault.horizon {
                let from = stretch.from.max(fault.at);
                fault.gap = fault.gap.max(stretch.until - from);
            }
        }
    }

    /// When each fault begins, and until when what comes of it is looked at.
    pub(super) fn spans(&self) -> Vec<(Micros, Micros)> {
        self.faults.iter().map(|fault| (fault.at, fault.horizon)).collect()
    }

    /// When each fault begins, is mended, and until when what comes of it is looked at.
    pub(super) fn mended(&self) -> Vec<(Micros, Micros, Micros)> {
        self.faults.iter().map(|fault| (fault.at, fault.until, fault.horizon)).collect()
    }

    pub(super) fn outcomes(&self, books: &Books) -> Vec<FaultOutcome> {
        self.faults.iter().map(|fault| fault.outcome(books)).collect()
    }
}

impl Watched {
    fn outcome(&self, books: &Books) -> FaultOutcome {
        let since = |at: Micros| Duration::from_micros(at.saturating_sub(self.at));
        let served = books.served(self.at, self.horizon);
        FaultOutcome {
            fault: self.planned.to_string(),
            at: self.planned.at,
            detected: self.detected.map(since),
            owned: self.owned.map(since),
            served: served.filter(|_| self.begun).map(since),
            gap: Duration::from_micros(self.gap),
            led: self.led,
            lag_of_others: self.lag_of_others,
            exposed: self.exposed,
            exposed_for: Duration::from_micros(self.exposed_for),
        }
    }
}

/// Who could find out about whom: everybody about a region, and each end of a link about the other.
fn pairs(fault: &Fault, stage: &Stage) -> Vec<(usize, usize)> {
    match fault.subject() {
        Subject::Link(a, b) => {
            let ends = stage.host(a).zip(stage.host(b));
            ends.map(|(a, b)| vec![(a, b), (b, a)]).unwrap_or_default()
        }
        Subject::Region(region) => {
            let pair = |subject: usize| {
                let others = (0..stage.regions.len()).filter(move |other| *other != subject);
                others.map(move |observer| (observer, subject)).collect()
            };
            stage.host(region).map(pair).unwrap_or_default()
        }
    }
}

/// Whether a host routes as one does that has found out: round a region that is gone, or round or
/// behind others where something is slow or cut.
fn notices(fault: &Fault, stage: &Stage, (observer, subject): (usize, usize)) -> bool {
    let Some(region) = stage.regions.get(subject) else { return false };
    let Some(routing) = stage.routing(observer) else { return false };
    if fault.is_a_loss() { !is_routed(Some(routing), region) } else { is_avoided(routing, region) }
}

fn is_avoided(routing: &RoutingSnapshot, region: &RegionId) -> bool {
    let facts = routing.index(region).map(|at| routing.region(at));
    facts.is_none_or(|facts| {
        facts.health != Health::Healthy
            || facts.admin != AdminState::Active
            || is_saturated(facts.utilisation)
    })
}
