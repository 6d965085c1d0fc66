//! The overseer: health, votes, leases, failovers and routing of one node, as a machine.
//!
//! It composes the machines of `rhumb-regions` and decides what this node wants agreed. The fast
//! side (a peer that is ejected here) shows in the routing snapshot at once and asks nobody; the
//! slow side (votes, leases, failovers) is proposed to the administrative group and followed as it
//! comes back in the agreed view (DESIGN mechanism 2).
//!
//! Nodes coordinate through the agreed state alone. The node that leads the administrative group
//! runs the open run-books; a holder that reads in them that it must give a lease up does so, and a
//! successor that reads that it is its turn takes it, each on its own clock (rule 7).
//!
//! Deliberately absent: IO, a clock, and how proposals reach the group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rhumb_regions::{
    Facts, Health, HealthBoard, LeaseHolder, LeaseWatch, RegionFacts, RoutingSnapshot,
    audit::Anchor,
    failover::Duty,
    health::{Check, Checks, Sign},
};
use rhumb_types::{
    MonoTime, NodeId, Ratio, RegionId, Timestamp,
    control::{ControlView, FailoverId, limits::DUTIES_MAX},
};

use crate::status::{NodeStatus, Phase};

mod answers;
mod homes;
mod leases;
mod members;
mod opening;
mod peers;
mod plan;
mod proposals;
mod run;
mod runs;
mod seats;
mod words;

#[cfg(test)]
mod tests;

pub use plan::{dry_run, plan};
pub use proposals::Token;
pub use seats::{SeatChange, seat_changes};
pub use words::{
    Leases, OverseerConfig, OverseerEffect, OverseerEffects, OverseerEvent, ProposalError, Tenure,
};

use homes::HomesWatch;
use opening::Opening;
use peers::Heard;
use proposals::{Proposals, Purpose};
use run::Run;

/// The overseer of one node. See the module's documentation.
#[derive(Debug)]
pub struct Overseer {
    config: OverseerConfig,
    /// What was agreed last, as far as this node knows; from its disk until the group shows more.
    view: Arc<ControlView>,
    /// Whether the view is the group's, and not only remembered.
    live: bool,
    leader: Option<NodeId>,
    /// Since when somebody leads, and no cluster is formed.
    unformed_since: Option<MonoTime>,
    status: Arc<NodeStatus>,
    /// When that came.
    status_at: MonoTime,
    /// What this node sees of its peers is not to be trusted before this: it was frozen.
    blind_until: MonoTime,
    facts: Facts,
    board: HealthBoard,
    heard: BTreeMap<RegionId, Heard>,
    watch: LeaseWatch,
    holders: BTreeMap<RegionId, LeaseHolder>,
    leases: Arc<Leases>,
    openings: BTreeMap<RegionId, Opening>,
    homes: HomesWatch,
    /// No lease is asked for before this, after a refusal.
    lease_after: BTreeMap<RegionId, MonoTime>,
    proposals: Proposals,
    runs: BTreeMap<FailoverId, Run>,
    /// Records that are only resumed from this sequence on.
    resume_from: BTreeMap<FailoverId, u64>,
    /// The keys of the failovers that this node asked for, by region.
    started: BTreeMap<RegionId, String>,
    /// Whose leases were given up because the disk here failed: what is agreed may never be heard of
    /// again, because the log of it is on the same disk.
    given_up: BTreeSet<RegionId>,
    /// Since when displaced regions have been well, seen from here.
    well_since: BTreeMap<RegionId, MonoTime>,
    duties: BTreeMap<RegionId, Vec<Duty>>,
    audit: Option<Anchor>,
    audit_published: u64,
    utilisation: Ratio,
    /// What the checks of this region came to, run here.
    checks: Checks,
    /// Regions that were agreed on at some time; one that is configured and was not may still come.
    agreed: BTreeSet<RegionId>,
}

impl Overseer {
    /// An overseer that routes on its configuration and on what it remembers of the agreed state
    /// (static stability).
    ///
    /// The configuration was validated: its facts make a snapshot.
    #[must_use]
    pub fn new(
        config: OverseerConfig,
        remembered: Option<ControlView>,
        now: Timestamp,
        out: &mut OverseerEffects,
    ) -> Self {
        let mut overseer = Self {
            view: Arc::default(),
            live: false,
            leader: None,
            unformed_since: None,
            status: Arc::default(),
            status_at: now.mono,
            blind_until: now.mono,
            facts: config.facts.clone(),
            board: HealthBoard::new(config.region.clone(), config.health.clone()),
            heard: BTreeMap::new(),
            watch: LeaseWatch::new(config.health.drift),
            holders: BTreeMap::new(),
            leases: Arc::default(),
            openings: BTreeMap::new(),
            homes: HomesWatch::default(),
            lease_after: BTreeMap::new(),
            proposals: Proposals::default(),
            runs: BTreeMap::new(),
            resume_from: BTreeMap::new(),
            started: BTreeMap::new(),
            given_up: BTreeSet::new(),
            well_since: BTreeMap::new(),
            duties: BTreeMap::new(),
            audit: None,
            audit_published: 0,
            utilisation: Ratio::ZERO,
            checks: Checks::default(),
            agreed: BTreeSet::new(),
            config,
        };
        if let Some(view) = remembered {
            overseer.view = Arc::new(view);
            overseer.follow_homes(now);
            overseer.follow_members(now, out);
        } else {
            overseer.watch_configured(now);
        }
        overseer.refresh(now, out);
        overseer.publish(out);
        overseer
    }

    /// Handles one event.
    pub fn on_event(&mut self, now: Timestamp, event: OverseerEvent, out: &mut OverseerEffects) {
        match event {
            OverseerEvent::Tick => self.tick(now, out),
            OverseerEvent::Status(status) => self.on_status(now, status, out),
            OverseerEvent::View(view) => self.on_view(now, view, out),
            OverseerEvent::Leader(leader) => {
                self.leader = leader;
                self.drive_runs(now, out);
            }
            OverseerEvent::Outcome { region, ok } => {
                self.sign(now, &region, Sign::Outcome { ok }, out);
            }
            OverseerEvent::Checked { region, check, passed } => {
                if region == self.config.region {
                    self.own_checked(now, check, passed, out);
                } else {
                    self.sign(now, &region, Sign::Checked { check, passed }, out);
                }
            }
            OverseerEvent::Utilised(utilisation) => {
                self.utilisation = utilisation;
                self.show_own(now, out);
            }
            OverseerEvent::Duties { region, mut duties } => {
                duties.truncate(DUTIES_MAX);
                self.duties.insert(region, duties);
            }
            OverseerEvent::Answered { token, answer } => self.answered(now, token, answer, out),
            OverseerEvent::PartEnded { id, ticket, part, result } => {
                self.part_ended(now, id, ticket, part, result, out);
            }
            OverseerEvent::Audited(head) => self.audit = Some(head),
            OverseerEvent::Renewed(fingerprint) => self.on_renewed(fingerprint),
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        let mut changes = Vec::new();
        // Signs of life come with the statuses: while those are late, silence says nothing. A full node
        // judges as before, for those who are left after a loss are the fullest.
        let late = self.has_been_frozen(now.mono);
        self.board.on_tick(now.mono, late, &mut changes);
        out.health(changes);
        if self.live {
            self.keep_membership(now, out);
            self.cast_votes(now, out);
            self.keep_leases(now, out);
            self.settle_homes(now, out);
            self.start_failovers(now, out);
            self.start_failbacks(now, out);
            self.publish_head(now, out);
        }
        self.drive_runs(now, out);
        self.refresh(now, out);
    }

    fn on_view(&mut self, now: Timestamp, view: Arc<ControlView>, out: &mut OverseerEffects) {
        // A group that has not replayed its log yet knows less than what is remembered.
        let behind = view.applied < self.view.applied && view.cluster == self.view.cluster;
        if behind || (view.cluster.is_none() && self.view.cluster.is_some()) {
            return;
        }
        let remember = is_worth_remembering(&self.view, &view);
        let members = self.view.members != view.members || !self.live;
        (self.view, self.live) = (view, true);
        self.watch.observe(now.mono, &self.view.leases);
        self.follow_homes(now);
        if members {
            self.follow_members(now, out);
        }
        if remember {
            out.push(OverseerEffect::Remember(self.view.clone()));
        }
        self.keep_leases(now, out);
        self.drive_runs(now, out);
        self.refresh(now, out);
    }

    /// Brings the facts in line, and publishes them when they changed.
    fn refresh(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        let serves = self.serves();
        let configured = &self.config.facts.regions;
        let mut changed = self.facts.refresh(now.mono, configured, &self.view, &self.board);
        let condemned = self.view.regions.get(&self.config.region);
        let condemned = condemned.is_some_and(|status| status.verdict.is_some());
        let health = if serves && !condemned { Health::Healthy } else { Health::Down };
        let seen = (health, self.utilisation, self.checks.lost());
        if let Some(own) = self.own_facts()
            && (own.health, own.utilisation, own.lost.clone()) != seen
        {
            (own.health, own.utilisation, own.lost) = seen;
            changed = true;
            self.facts.version += 1;
        }
        if changed {
            self.publish(out);
        }
    }

    fn publish(&self, out: &mut OverseerEffects) {
        match RoutingSnapshot::build(self.facts.clone()) {
            Ok(snapshot) => out.push(OverseerEffect::Publish(Arc::new(snapshot))),
            // What is agreed is checked when it is agreed, so this is a newer release's state.
            Err(error) => out.alarm(format!("the agreed state cannot be routed on: {error}")),
        }
    }

    fn own_facts(&mut self) -> Option<&mut RegionFacts> {
        let here = &self.config.region;
        self.facts.regions.iter_mut().find(|facts| facts.region.id == *here)
    }

    /// Whether this node can do its work: what its heartbeats tell the others too.
    fn serves(&self) -> bool {
        // Before the first status nothing is known against it.
        let started = !self.status.peers.is_empty() || self.status.clock_ok;
        let runs = !started || (self.status.phase == Phase::Running && self.status.clock_ok);
        runs && !self.checks.is_out()
    }

    /// A check of this region ended.
    fn own_checked(
        &mut self,
        now: Timestamp,
        check: Check,
        passed: bool,
        out: &mut OverseerEffects,
    ) {
        let before = (self.checks.lost(), self.checks.is_out());
        self.checks.record(check, passed, self.board.config());
        if before != (self.checks.lost(), self.checks.is_out()) {
            self.show_own(now, out);
        }
    }

    /// Routes by what this node knows of itself, and tells the peers.
    fn show_own(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        let (utilisation, lost) = (self.utilisation, self.checks.lost());
        let well = !self.checks.is_out();
        out.push(OverseerEffect::Observed { utilisation, lost, well });
        self.refresh(now, out);
    }

    fn leads(&self) -> bool {
        self.leader == Some(self.config.node)
    }

    /// What was agreed last, as far as this node knows.
    #[must_use]
    pub const fn view(&self) -> &Arc<ControlView> {
        &self.view
    }

    /// The leases under which this node may act.
    #[must_use]
    pub const fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// The health of the peers, as this node sees it.
    #[must_use]
    pub const fn board(&self) -> &HealthBoard {
        &self.board
    }

    fn cast_votes(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        if !self.view.regions.contains_key(&self.config.region) {
            return;
        }
        for command in self.board.votes(now, &self.view) {
            let rhumb_types::control::AdminCommand::Vote { subject, ballot, .. } = &command else {
                continue;
            };
            let reason = if ballot.down { "it does not work, seen from here" } else { "it works" };
            let purpose = Purpose::Vote(subject.clone());
            if !self.propose(now, purpose.clone(), reason, command, out) {
                self.revote(&purpose);
            }
        }
    }

    /// A vote did not get through: it is cast again at the next tick.
    fn revote(&mut self, purpose: &Purpose) {
        if let Purpose::Vote(subject) = purpose {
            self.board.forget_vote(subject);
        }
    }

    /// A region's word on the audit chain, when the chain has grown (rule 18).
    fn publish_head(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        let (Some(key), Some(head)) = (&self.config.audit, self.audit) else { return };
        if head.index <= self.audit_published || !self.is_member() {
            return;
        }
        let head = key.sign(head, self.config.region.clone());
        let purpose = Purpose::Head(head.index);
        let command = rhumb_types::control::AdminCommand::PublishHead { head };
        self.propose(now, purpose, "the audit chain grew", command, out);
    }
}

/// Whether a view differs in what routing needs after a restart; renewals alone do not.
fn is_worth_remembering(old: &ControlView, new: &ControlView) -> bool {
    let epochs = |view: &ControlView| -> Vec<_> {
        let lease = |(region, lease): (&RegionId, &rhumb_types::control::RegionLease)| {
            (region.clone(), lease.epoch, lease.holder.clone())
        };
        view.leases.iter().map(lease).collect()
    };
    new.cluster.is_some()
        && (old.cluster != new.cluster
            || old.protocol != new.protocol
            || old.members != new.members
            || old.regions != new.regions
            || old.rules_version != new.rules_version
            || old.config_version != new.config_version
            || old.homes != new.homes
            || epochs(old) != epochs(new))
}
