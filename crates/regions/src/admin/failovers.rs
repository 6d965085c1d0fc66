//! Failover records: opened once per idempotency key, one open per region, each followed to its
//! end.

use std::collections::BTreeMap;

use rhumb_types::{
    RegionId,
    control::{
        AdminOutcome, AdminRefusal, AdminRequest, AdminState, FailoverId, FailoverKind,
        FailoverMode, FailoverPlan, FailoverRecord, FailoverState, NODE_ACTOR, StepRecord,
        StepState,
        limits::{FAILOVER_STEPS_MAX, FAILOVERS_MAX},
    },
};

use super::{
    agreed::{Agreed, Answer},
    validate::{invalid, limit},
};

impl Agreed {
    pub(super) fn start_failover(&mut self, request: &AdminRequest, plan: &FailoverPlan) -> Answer {
        let same_key =
            |record: &&FailoverRecord| record.plan.idempotency_key == plan.idempotency_key;
        if let Some(record) = self.failovers.values().find(same_key) {
            return if is_same_request(&record.plan, plan) {
                Ok(AdminOutcome::Failover { id: record.id, sequence: record.sequence })
            } else {
                Err(AdminRefusal::KeyReused(record.id))
            };
        }
        self.region(&plan.region)?;
        for region in plan.moves.iter().filter_map(|step| step.to.as_ref()).chain(&plan.successor) {
            self.region(region)?;
        }
        let open = |r: &&FailoverRecord| r.plan.region == plan.region && !r.state.is_closed();
        if let Some(record) = self.failovers.values().find(open) {
            return Err(AdminRefusal::FailoverOpen(record.id));
        }
        if plan.kind != FailoverKind::FailBack {
            self.keep_one_without(&plan.region)?;
        }
        self.make_room_for_failover()?;
        self.failover_last += 1;
        let id = FailoverId(self.failover_last);
        let waits = plan.mode == FailoverMode::Assisted && plan.kind == FailoverKind::Failover;
        let record = FailoverRecord {
            id,
            plan: plan.clone(),
            reason: request.reason.clone(),
            actor: request.actor.clone(),
            started: request.at,
            state: if waits { FailoverState::AwaitingApproval } else { FailoverState::Running },
            sequence: 0,
            steps: Vec::new(),
        };
        self.failovers.insert(id, record);
        Ok(AdminOutcome::Failover { id, sequence: 0 })
    }

    /// The regions that a failover disabled which no person asked for, and that are still as it
    /// left them.
    pub(super) fn displaced(&self) -> BTreeMap<RegionId, FailoverId> {
        let mut displaced = BTreeMap::new();
        for (region, status) in &self.regions {
            let newest = self.failovers.values().rev().find(|it| it.plan.region == *region);
            let by_nodes = newest.filter(|record| {
                record.plan.kind == FailoverKind::Failover
                    && record.state == FailoverState::Succeeded
                    && record.actor.starts_with(NODE_ACTOR)
            });
            if status.state == AdminState::Disabled
                && status.actor.starts_with(NODE_ACTOR)
                && let Some(record) = by_nodes
            {
                displaced.insert(region.clone(), record.id);
            }
        }
        displaced
    }

    pub(super) fn advance_failover(
        &mut self,
        id: FailoverId,
        sequence: u64,
        state: FailoverState,
        step: Option<&StepRecord>,
    ) -> Answer {
        let unknown = || AdminRefusal::NotFound(format!("failover {}", id.0));
        let record = self.failovers.get_mut(&id).ok_or_else(unknown)?;
        if record.sequence != sequence {
            return Err(AdminRefusal::VersionChanged { found: record.sequence });
        }
        if !may_become(record.state, state) {
            let problem = format!("it is {:?} and cannot become {state:?}", record.state);
            return Err(invalid("the failover's state", problem));
        }
        if let Some(step) = step {
            record_step(&mut record.steps, step)?;
        }
        record.state = state;
        record.sequence += 1;
        Ok(AdminOutcome::Failover { id, sequence: record.sequence })
    }

    /// Another region takes over instead of the one that was to, with the duties that were to go there.
    pub(super) fn name_successor(
        &mut self,
        id: FailoverId,
        sequence: u64,
        successor: &RegionId,
    ) -> Answer {
        self.region(successor)?;
        let unknown = || AdminRefusal::NotFound(format!("failover {}", id.0));
        let record = self.failovers.get_mut(&id).ok_or_else(unknown)?;
        if record.sequence != sequence {
            return Err(AdminRefusal::VersionChanged { found: record.sequence });
        }
        let plan = &mut record.plan;
        if record.state != FailoverState::Running || plan.kind == FailoverKind::FailBack {
            let problem = format!("it is {:?}: its successor stays", record.state);
            return Err(invalid("the failover's state", problem));
        }
        if plan.region == *successor {
            return Err(invalid("the successor", "it is the region whose duties move"));
        }
        let gone = plan.successor.replace(successor.clone());
        for step in plan.moves.iter_mut().filter(|step| step.to == gone) {
            step.to = Some(successor.clone());
        }
        record.sequence += 1;
        Ok(AdminOutcome::Failover { id, sequence: record.sequence })
    }

    /// Drops the oldest closed record when there is no room.
    fn make_room_for_failover(&mut self) -> Result<(), AdminRefusal> {
        if self.failovers.len() < FAILOVERS_MAX {
            return Ok(());
        }
        let closed = self.failovers.iter().find(|(_, record)| record.state.is_closed());
        let oldest = closed.map(|(id, _)| *id).ok_or_else(|| limit("failovers", FAILOVERS_MAX))?;
        self.failovers.remove(&oldest);
        Ok(())
    }
}

/// Two requests are one when they ask for the same; what was planned from the state of the moment
/// may differ.
fn is_same_request(one: &FailoverPlan, other: &FailoverPlan) -> bool {
    (&one.region, one.kind, one.mode, one.strategy)
        == (&other.region, other.kind, other.mode, other.strategy)
}

const fn may_become(from: FailoverState, to: FailoverState) -> bool {
    use FailoverState::{AwaitingApproval, Cancelled, Failed, Running, Succeeded};
    match from {
        AwaitingApproval => matches!(to, AwaitingApproval | Running | Failed | Cancelled),
        Running => matches!(to, Running | Succeeded | Failed | Cancelled),
        Succeeded | Failed | Cancelled => false,
    }
}

fn record_step(steps: &mut Vec<StepRecord>, step: &StepRecord) -> Result<(), AdminRefusal> {
    let running = steps.iter().position(|line| {
        (line.step, line.attempt) == (step.step, step.attempt) && line.state == StepState::Running
    });
    match running.and_then(|at| steps.get_mut(at)) {
        Some(line) => *line = step.clone(),
        None => {
            if steps.len() >= FAILOVER_STEPS_MAX {
                return Err(limit("steps of a failover", FAILOVER_STEPS_MAX));
            }
            steps.push(step.clone());
        }
    }
    Ok(())
}
