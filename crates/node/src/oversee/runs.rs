//! The run-books: opening them after a verdict, and running those that are open.

use std::{collections::BTreeSet, time::Duration};

use rhumb_regions::{
    Health,
    failover::{DryRun, Effect, Event, Part, Ticket, on_verdict},
};
use rhumb_types::{
    Ratio, RegionId, Timestamp,
    control::{
        AdminCommand, ControlView, FailoverId, FailoverKind, FailoverMode, FailoverState,
        FailoverStep, RegionStatus, Verdict,
    },
    planted::{self, Planted},
};

use super::{
    Overseer, OverseerEffect, OverseerEffects,
    leases::successor_of,
    plan,
    proposals::Purpose,
    run::{Fate, Next, Run, Wait},
};
use crate::limits::RUN_WORKS_PER_EVENT_MAX;

/// The agreed protocol version from which on a failover may name another successor (rule 16).
const SUCCESSORS_SINCE: u16 = 2;

impl Overseer {
    /// Opens a failover of every region whose owner is under a verdict. The leader alone does, and
    /// the key is made of the verdict, so that one is opened.
    pub(super) fn start_failovers(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        if !self.leads() || self.config.failover.mode == FailoverMode::Manual {
            return;
        }
        let view = self.view.clone();
        self.started.retain(|region, _| verdict_on_owner(&view, region).is_some());
        for region in view.leases.keys() {
            let open = view.open_failovers.iter().any(|record| record.plan.region == *region);
            let Some(verdict) = verdict_on_owner(&view, region).filter(|_| !open) else { continue };
            let duties = self.duties.get(region).map_or(&[][..], Vec::as_slice);
            let ceiling = self.config.failover.ceiling;
            let dry_run = plan::dry_run(region, &self.facts, &view, duties, ceiling);
            let Some(plan) = on_verdict(region, verdict, dry_run, &self.config.failover) else {
                continue;
            };
            if self.started.get(region) == Some(&plan.idempotency_key) {
                continue;
            }
            let key = plan.idempotency_key.clone();
            let command = AdminCommand::StartFailover { plan };
            let purpose = Purpose::StartFailover(region.clone());
            if self.propose(now, purpose, "the other regions hold that it is down", command, out) {
                self.started.insert(region.clone(), key);
            }
        }
    }

    /// Gives a region its duties back that nodes moved by themselves, once it has been well for as
    /// long as is configured. The leader alone does, and the key is made of the failover, so that
    /// one is opened; what an operator asked for stays as he left it.
    pub(super) fn start_failbacks(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        let Some(after) = self.config.failover.failback_after.filter(|_| self.leads()) else {
            return;
        };
        let view = self.view.clone();
        let well = |overseer: &Self, region: &RegionId| {
            let status = view.regions.get(region);
            let seen = overseer.board.assess(now.mono, region);
            let own = *region == overseer.config.region;
            status.is_some_and(|status| status.verdict.is_none())
                && (own || seen.is_some_and(|seen| seen.health == Health::Healthy))
        };
        let regions: Vec<(RegionId, FailoverId)> =
            view.displaced.iter().map(|(region, id)| (region.clone(), *id)).collect();
        let fit: BTreeSet<RegionId> =
            regions.iter().map(|(region, _)| region).filter(|it| well(self, it)).cloned().collect();
        self.well_since.retain(|region, _| fit.contains(region));
        for (region, id) in regions.into_iter().filter(|(region, _)| fit.contains(region)) {
            let since = *self.well_since.entry(region.clone()).or_insert(now.mono);
            let waited = now.mono.saturating_since(since) >= after;
            if !waited && !planted::is(Planted::ReturnAtOnce) {
                continue;
            }
            let dry_run = DryRun::default();
            let key = format!("return:{region}:{}", id.0);
            let config = &self.config.failover;
            let plan = plan::plan(&region, FailoverKind::FailBack, &key, &dry_run, config);
            let command = AdminCommand::StartFailover { plan };
            let purpose = Purpose::StartFailover(region);
            self.propose(now, purpose, "it has been well for long enough", command, out);
        }
    }

    /// Lets the runs go on: those of the agreed records that this node, as the leader, carries out.
    pub(super) fn drive_runs(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        // Without a leader nothing is agreed, and this node may lead again in a moment.
        if self.leader.is_some_and(|leader| leader != self.config.node) {
            self.runs.clear();
            return;
        }
        if !self.live {
            return;
        }
        let view = self.view.clone();
        self.resume_runs(now, &view);
        let ids: Vec<FailoverId> = self.runs.keys().copied().collect();
        for id in ids {
            if let Some(record) = view.open_failovers.iter().find(|record| record.id == id)
                && let Some(run) = self.runs.get_mut(&id)
            {
                run.follow(now, record);
            }
            self.tell_run(now, id);
            self.pump(now, id, out);
        }
    }

    fn resume_runs(&mut self, now: Timestamp, view: &ControlView) {
        let open = |id: &FailoverId| view.open_failovers.iter().any(|record| record.id == *id);
        // An operator closed it.
        self.runs.retain(|id, run| open(id) || run.failover.state().is_closed());
        self.resume_from.retain(|id, _| open(id));
        if !self.leads() {
            return;
        }
        for record in &view.open_failovers {
            let from = self.resume_from.get(&record.id).copied().unwrap_or_default();
            if record.sequence >= from && !self.runs.contains_key(&record.id) {
                let run = Run::resume(now, record, self.config.failover.clone());
                self.runs.insert(record.id, run);
            }
        }
    }

    /// Tells a run what this node observes.
    fn tell_run(&mut self, now: Timestamp, id: FailoverId) {
        let Some(run) = self.runs.get(&id) else { return };
        let mut events = self.observed(now, run);
        events.extend(self.next_successor(run).map(Event::Successor));
        let Some(run) = self.runs.get_mut(&id) else { return };
        for event in events {
            if let Event::Finished { ticket, part: Part::Lease } = event {
                run.waits.retain(|wait| wait.ticket() != ticket);
            }
            run.tell(now, event);
        }
    }

    /// Who takes over instead of a successor that may have no duties any more, because it is itself
    /// under a verdict or taken out of service.
    fn next_successor(&self, run: &Run) -> Option<RegionId> {
        let chosen = run.failover.awaits()?;
        let status = self.view.regions.get(chosen);
        if status.is_some_and(RegionStatus::is_eligible) || self.view.protocol < SUCCESSORS_SINCE {
            return None;
        }
        let region = &run.plan.region;
        let duties = self.duties.get(region).map_or(&[][..], Vec::as_slice);
        let ceiling = self.config.failover.ceiling;
        plan::dry_run(region, &self.facts, &self.view, duties, ceiling).successor
    }

    fn observed(&self, now: Timestamp, run: &Run) -> Vec<Event> {
        let region = &run.plan.region;
        let mut events = vec![Event::Tick];
        let waits = run.failover.state() == FailoverState::AwaitingApproval;
        if waits && run.by_node && verdict_on_owner(&self.view, region).is_none() {
            events.push(Event::Recovered);
        }
        for wait in &run.waits {
            let over = match wait {
                Wait::Fenced(_) => self.is_fenced(now, run),
                Wait::Taken(_) => self.is_taken(run),
            };
            if over {
                events.push(Event::Finished { ticket: wait.ticket(), part: Part::Lease });
            }
        }
        match run.failover.ticket().step {
            FailoverStep::Watch => {
                let peers = self.status.peers.iter().filter(|peer| peer.up);
                events.extend(peers.map(|peer| Event::Load {
                    region: peer.region.clone(),
                    utilisation: Ratio::clamped(peer.load),
                }));
            }
            _ if run.plan.kind == FailoverKind::FailBack => {
                events.extend(self.lag_of(region).map(Event::Lag));
                let down = self.board.assess(now.mono, region);
                let down = down.is_some_and(|seen| seen.health == Health::Down);
                if down && run.failover.ticket().step == FailoverStep::FailBack {
                    events.push(Event::Unhealthy);
                }
            }
            _ => {}
        }
        events
    }

    /// How far a region is behind, as far as it can be seen from here.
    fn lag_of(&self, region: &RegionId) -> Option<Duration> {
        if *region == self.config.region {
            let behind: u64 = self.status.peers.iter().map(|peer| peer.ahead_transactions).sum();
            let heard = self.status.peers.iter().any(|peer| peer.up);
            return (behind == 0 && heard && self.serves()).then_some(Duration::ZERO);
        }
        let peer = self.peer(region).filter(|peer| peer.up && peer.serving)?;
        Some(Duration::from_millis(peer.behind_millis))
    }

    /// Whether nobody can act any more under the lease that is to move.
    fn is_fenced(&self, now: Timestamp, run: &Run) -> bool {
        let region = &run.plan.region;
        let Some(lease) = self.view.leases.get(region) else { return true };
        lease.holder.is_none()
            || self.is_taken(run)
            || self.watch.may_take_over(now.mono, region, lease)
    }

    fn is_taken(&self, run: &Run) -> bool {
        if !self.view.leases.contains_key(&run.plan.region) {
            return true;
        }
        let holder = self.view.acting_for(&run.plan.region);
        holder.is_some() && holder == successor_of(&run.plan)
    }

    fn pump(&mut self, now: Timestamp, id: FailoverId, out: &mut OverseerEffects) {
        for _ in 0..RUN_WORKS_PER_EVENT_MAX {
            let Some(run) = self.runs.get_mut(&id) else { return };
            match run.next(now) {
                Next::Idle => break,
                Next::Propose(command, reason) => {
                    let sent = self.propose(now, Purpose::Run(id), &reason, *command, out);
                    let token = self.last_token();
                    if let Some(run) = self.runs.get_mut(&id).filter(|_| sent) {
                        run.proposed(token);
                    }
                    break;
                }
                Next::Do(Effect::Drain { duty, ticket }) => {
                    let region = run.plan.region.clone();
                    out.push(OverseerEffect::Drain { id, ticket, region, duty });
                }
                Next::Do(Effect::Hook { name, ticket }) => {
                    let plan = Box::new(run.plan.clone());
                    out.push(OverseerEffect::RunHook { id, ticket, name, plan });
                }
                Next::Do(Effect::Alert { text }) => out.alarm(text),
                Next::Do(_) => {}
            }
        }
        if let Some(run) = self.runs.get(&id).filter(|run| run.is_over()) {
            // The view may still show it open for a moment.
            self.resume_from.insert(id, run.sequence);
            self.runs.remove(&id);
        }
    }

    /// A run's proposal was answered.
    pub(super) fn run_answered(&mut self, now: Timestamp, id: FailoverId, fate: &Fate) {
        if let Fate::Superseded(sequence) = fate {
            self.runs.remove(&id);
            self.resume_from.insert(id, *sequence);
        }
        self.tell_run(now, id);
    }

    pub(super) fn part_ended(
        &mut self,
        now: Timestamp,
        id: FailoverId,
        ticket: Ticket,
        part: Part,
        result: Result<(), String>,
        out: &mut OverseerEffects,
    ) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.tell(
                now,
                match result {
                    Ok(()) => Event::Finished { ticket, part },
                    Err(error) => Event::Failed { ticket, part, error },
                },
            );
        }
        self.pump(now, id, out);
    }
}

/// The verdict on whoever acts for a region: the holder of its lease, or the region itself while
/// nobody holds it.
fn verdict_on_owner<'v>(view: &'v ControlView, region: &RegionId) -> Option<&'v Verdict> {
    let owner = view.acting_for(region).unwrap_or(region);
    view.regions.get(owner)?.verdict.as_ref()
}
