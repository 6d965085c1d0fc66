//! What each step of a run asks for, how long it may take, and the line that it leaves in the record.

use std::time::Duration;

use rhumb_types::{
    Timestamp,
    control::{
        AdminCommand, AdminState, FailoverKind, FailoverPlan, FailoverState, FailoverStep,
        FailoverStrategy, StepRecord, StepState, limits::REASON_BYTES_MAX,
    },
};

use super::Failover;
use crate::failover::{Effect, Part};

impl Failover {
    pub(super) fn hook(&mut self, out: &mut Vec<Effect>) {
        if let Some(hook) = self.config.hooks.get(&self.ticket.step) {
            self.waits.insert(Part::Hook);
            out.push(Effect::Hook { name: hook.0.clone(), ticket: self.ticket });
        }
    }

    pub(super) fn time_for(&self, step: FailoverStep) -> Duration {
        match step {
            FailoverStep::Detect if self.plan.kind == FailoverKind::FailBack => {
                self.config.catch_up_timeout
            }
            FailoverStep::Drain => self.config.drain_timeout,
            FailoverStep::Fence => self.config.fence_timeout,
            FailoverStep::Watch => self.config.watch_for,
            FailoverStep::FailBack => self.config.catch_up_timeout,
            FailoverStep::Detect | FailoverStep::StopRouting | FailoverStep::TakeOver => {
                self.config.timeout
            }
        }
    }

    /// What a step asks for.
    pub(super) fn act(&mut self, out: &mut Vec<Effect>) {
        let (ticket, region) = (self.ticket, self.plan.region.clone());
        match ticket.step {
            FailoverStep::Detect => self.announce(out),
            FailoverStep::StopRouting => {
                let state = match self.plan.strategy {
                    FailoverStrategy::Graceful => AdminState::Draining,
                    FailoverStrategy::Immediate => AdminState::Disabled,
                };
                self.agree(vec![self.set_state(state), self.set_ramp(0)], out);
            }
            FailoverStep::Drain => {
                for duty in self.plan.moves.iter().map(|step| step.duty.clone()) {
                    self.waits.insert(Part::Duty(duty.clone()));
                    out.push(Effect::Drain { duty, ticket });
                }
            }
            FailoverStep::Fence => {
                let commands = if self.plan.kind == FailoverKind::FailBack {
                    vec![self.set_ramp(0), self.set_state(AdminState::Active)]
                } else {
                    vec![self.set_state(AdminState::Disabled)]
                };
                self.agree(commands, out);
                self.waits.insert(Part::Lease);
                out.push(Effect::Fence { region, ticket });
            }
            FailoverStep::TakeOver => {
                self.waits.insert(Part::Lease);
                if let Some(successor) = self.successor().cloned() {
                    out.push(Effect::TakeOver { region, successor, ticket });
                }
            }
            FailoverStep::Watch | FailoverStep::FailBack => {}
        }
    }

    fn announce(&self, out: &mut Vec<Effect>) {
        let stranded = self.plan.moves.iter().filter(|step| step.to.is_none()).count();
        let FailoverPlan { region, kind, moves, .. } = &self.plan;
        if self.state == FailoverState::AwaitingApproval {
            let text = format!(
                "{kind:?} of {region}: {} duties to move, {stranded} with nobody to carry them; \
                 approve failover {}",
                moves.len(),
                self.id.0
            );
            out.push(Effect::Alert { text });
        }
    }

    fn agree(&mut self, commands: Vec<AdminCommand>, out: &mut Vec<Effect>) {
        self.waits.insert(Part::Agreement);
        out.push(Effect::Agree { commands, ticket: self.ticket });
    }

    pub(super) fn set_state(&self, state: AdminState) -> AdminCommand {
        AdminCommand::SetRegionState { region: self.plan.region.clone(), state, expected: None }
    }

    pub(super) fn set_ramp(&self, percent: u8) -> AdminCommand {
        AdminCommand::SetRamp { region: self.plan.region.clone(), percent }
    }

    pub(super) fn line(&self, now: Timestamp, state: StepState, note: &str) -> Effect {
        let mut note = note.to_owned();
        for trouble in &self.trouble {
            if !note.is_empty() {
                note.push_str("; ");
            }
            note.push_str(trouble);
        }
        note.truncate(note.floor_char_boundary(REASON_BYTES_MAX));
        let step = StepRecord {
            step: self.ticket.step,
            state,
            started: self.started.wall,
            finished: (state != StepState::Running).then_some(now.wall),
            attempt: self.ticket.attempt,
            note,
        };
        Effect::Record { state: self.state, step: Some(step) }
    }
}
