//! One run of the run-book.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use rhumb_types::{
    MonoTime, Ratio, RegionId, Timestamp,
    control::{
        AdminState, FailoverId, FailoverKind, FailoverPlan, FailoverRecord, FailoverState,
        FailoverStep, StepState,
    },
};

use super::{
    Effect, Event, FailoverConfig, Part, Ticket,
    table::{self, Ending, Next},
};

mod steps;

/// Most steps that one event can end; more than there are.
const STEPS_PER_EVENT_MAX: usize = 8;
/// How often a run names another successor.
const SUCCESSORS_MAX: u8 = 4;

/// A run, from its record to its end.
#[derive(Debug, Clone)]
pub struct Failover {
    id: FailoverId,
    plan: FailoverPlan,
    config: FailoverConfig,
    state: FailoverState,
    ticket: Ticket,
    started: Timestamp,
    deadline: MonoTime,
    waits: BTreeSet<Part>,
    trouble: Vec<String>,
    lag: Option<Duration>,
    stage: usize,
    stage_since: MonoTime,
    overloaded: BTreeMap<RegionId, Ratio>,
    successors: u8,
}

impl Failover {
    /// Starts a run whose record was just opened, or goes on with one that another node left: from
    /// the last line of its record, and a step that was running is tried again. A ramp starts anew.
    #[must_use]
    pub fn resume(
        now: Timestamp,
        record: &FailoverRecord,
        config: FailoverConfig,
        out: &mut Vec<Effect>,
    ) -> Self {
        let ticket = Ticket { step: table::FIRST, attempt: 1 };
        let mut run = Self {
            id: record.id,
            plan: record.plan.clone(),
            config,
            state: record.state,
            ticket,
            started: now,
            deadline: now.mono,
            waits: BTreeSet::new(),
            trouble: Vec::new(),
            lag: None,
            stage: 0,
            stage_since: now.mono,
            overloaded: BTreeMap::new(),
            successors: 0,
        };
        match record.steps.last().filter(|_| !run.state.is_closed()) {
            _ if run.state.is_closed() => {}
            None => run.begin(now, ticket, out),
            Some(line) => {
                run.ticket = Ticket { step: line.step, attempt: line.attempt };
                match line.state {
                    // Nothing was tried while it waited for a person.
                    StepState::Running if run.state == FailoverState::AwaitingApproval => {
                        run.begin(now, run.ticket, out);
                    }
                    StepState::Running => run.try_again(now, out),
                    StepState::Done | StepState::Skipped => run.advance(now, Ending::Done, out),
                    StepState::Failed => run.retry_or_give_up(now, out),
                }
            }
        }
        run.settle(now, out);
        run
    }

    /// Which record it follows.
    #[must_use]
    pub const fn id(&self) -> FailoverId {
        self.id
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> FailoverState {
        self.state
    }

    /// The step it is at, or ended at.
    #[must_use]
    pub const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Who is to take the lease, while another could still be named.
    #[must_use]
    pub fn awaits(&self) -> Option<&RegionId> {
        let open = self.state == FailoverState::Running
            && self.plan.kind != FailoverKind::FailBack
            && self.ticket.step != FailoverStep::Watch
            && self.successors < SUCCESSORS_MAX;
        self.plan.successor.as_ref().filter(|_| open)
    }

    /// Takes in an event. After the end nothing happens any more.
    pub fn on_event(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        if self.state.is_closed() {
            return;
        }
        match event {
            Event::Approved => self.approve(now, out),
            Event::Cancelled => self.cancel(now, "called off", out),
            Event::Recovered if self.state == FailoverState::AwaitingApproval => {
                self.cancel(now, "the region came back", out);
            }
            Event::Finished { ticket, part } if ticket == self.ticket => {
                self.waits.remove(&part);
            }
            Event::Failed { ticket, part, error } if ticket == self.ticket => {
                self.part_failed(now, part, error, out);
            }
            Event::Load { region, utilisation } => self.watch(region, utilisation, out),
            Event::Lag(lag) => self.lag = Some(lag),
            Event::Unhealthy if self.plan.kind == FailoverKind::FailBack => {
                self.stop_fail_back(now, out);
            }
            Event::Successor(region) => self.name_successor(now, region, out),
            Event::Recovered
            | Event::Unhealthy
            | Event::Finished { .. }
            | Event::Failed { .. }
            | Event::Tick => {}
        }
        self.settle(now, out);
    }

    fn approve(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.state == FailoverState::AwaitingApproval {
            self.state = FailoverState::Running;
            self.deadline = now.mono + self.config.timeout;
        }
        out.push(Effect::Record { state: self.state, step: None });
    }

    fn cancel(&mut self, now: Timestamp, why: &str, out: &mut Vec<Effect>) {
        if !table::may_cancel(self.ticket.step) || self.plan.kind == FailoverKind::FailBack {
            let text = format!("failover {} is past the point of return: fail back", self.id.0);
            out.push(Effect::Alert { text });
            return;
        }
        if self.ticket.step != FailoverStep::Detect {
            let commands = vec![self.set_state(AdminState::Active), self.set_ramp(100)];
            out.push(Effect::Agree { commands, ticket: self.ticket });
        }
        self.state = FailoverState::Cancelled;
        out.push(self.line(now, StepState::Skipped, why));
    }

    /// A duty that does not drain is taken over as it is; any other failure fails the try.
    fn part_failed(&mut self, now: Timestamp, part: Part, error: String, out: &mut Vec<Effect>) {
        if let Part::Duty(duty) = &part {
            self.trouble.push(format!("{duty}: {error}"));
            self.waits.remove(&part);
            return;
        }
        self.trouble.push(error);
        self.fail_try(now, out);
    }

    fn watch(&mut self, region: RegionId, utilisation: Ratio, out: &mut Vec<Effect>) {
        let full = utilisation.get() > self.config.ceiling.get();
        let watching = self.ticket.step == FailoverStep::Watch;
        if watching && full && self.overloaded.insert(region.clone(), utilisation).is_none() {
            let text =
                format!("{region} is at {utilisation} while it carries {}", self.plan.region);
            out.push(Effect::Alert { text });
        }
    }

    /// The next one has as much time as the one before had.
    fn name_successor(&mut self, now: Timestamp, region: RegionId, out: &mut Vec<Effect>) {
        if self.awaits().is_none_or(|present| *present == region) || region == self.plan.region {
            return;
        }
        self.successors += 1;
        if self.ticket.step == FailoverStep::TakeOver {
            self.deadline = now.mono + self.time_for(FailoverStep::TakeOver);
        }
        let text = format!("{region} takes over from {}", self.plan.region);
        self.plan.successor = Some(region.clone());
        out.push(Effect::NameSuccessor(region));
        out.push(Effect::Alert { text });
    }

    fn stop_fail_back(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let commands = vec![self.set_ramp(0)];
        out.push(Effect::Agree { commands, ticket: self.ticket });
        self.trouble.push("the region is not healthy".to_owned());
        self.state = FailoverState::Failed;
        out.push(self.line(now, StepState::Failed, ""));
    }

    /// Ends the step if it is done or out of time.
    fn settle(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for _ in 0..STEPS_PER_EVENT_MAX {
            if self.state != FailoverState::Running {
                return;
            }
            let before = self.ticket;
            let overdue = now.mono >= self.deadline;
            match self.ticket.step {
                FailoverStep::Watch if self.waits.is_empty() && overdue => self.done(now, out),
                FailoverStep::Watch if self.waits.is_empty() => {}
                FailoverStep::FailBack if self.waits.is_empty() => self.ramp(now, out),
                FailoverStep::FailBack => {
                    let waited = now.mono.saturating_since(self.stage_since);
                    if waited >= self.config.timeout {
                        self.time_out(now, out);
                    }
                }
                FailoverStep::Detect if self.is_catching_up() && !overdue => {}
                FailoverStep::Detect if self.is_catching_up() => {
                    self.trouble.push("it did not catch up".to_owned());
                    self.fail_try(now, out);
                }
                FailoverStep::Detect if self.successor().is_none() => self.no_successor(now, out),
                _ if self.waits.is_empty() => self.done(now, out),
                _ if overdue => self.time_out(now, out),
                _ => {}
            }
            if self.ticket == before {
                return;
            }
        }
    }

    /// Whether a fail-back still waits for the region to have what it missed.
    fn is_catching_up(&self) -> bool {
        self.plan.kind == FailoverKind::FailBack
            && self.lag.is_none_or(|lag| lag > self.config.lag_max)
    }

    fn successor(&self) -> Option<&RegionId> {
        match self.plan.kind {
            FailoverKind::FailBack => Some(&self.plan.region),
            FailoverKind::Failover | FailoverKind::Drain => self.plan.successor.as_ref(),
        }
    }

    /// Nothing was touched yet, and trying again would find nobody either.
    fn no_successor(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.trouble.push("no survivor can take the lease".to_owned());
        self.state = FailoverState::Failed;
        self.give_up(out);
        out.push(self.line(now, StepState::Failed, ""));
    }

    fn ramp(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let held = now.mono.saturating_since(self.stage_since) >= self.config.ramp_hold;
        let last = self.stage + 1 >= self.config.ramp.len();
        if !held {
            return;
        }
        if self.is_catching_up() {
            if now.mono >= self.deadline {
                self.trouble.push("it fell behind again".to_owned());
                self.fail_try(now, out);
            }
        } else if last {
            self.done(now, out);
        } else {
            self.stage += 1;
            self.enter_stage(now, out);
        }
    }

    fn enter_stage(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let percent = self.config.ramp.get(self.stage).copied().unwrap_or(100);
        self.stage_since = now.mono;
        self.deadline = now.mono + self.config.catch_up_timeout;
        self.waits.insert(Part::Agreement);
        out.push(self.line(now, StepState::Running, &format!("at {percent} %")));
        let commands = vec![self.set_ramp(percent)];
        out.push(Effect::Agree { commands, ticket: self.ticket });
    }

    fn time_out(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let late = mem::take(&mut self.waits).into_iter().map(|part| match part {
            Part::Agreement => "the agreement timed out".to_owned(),
            Part::Hook => "the hook timed out".to_owned(),
            Part::Lease => "the lease timed out".to_owned(),
            Part::Duty(duty) => format!("{duty}: timed out"),
        });
        self.trouble.extend(late);
        if self.ticket.step == FailoverStep::Drain {
            self.done(now, out);
        } else {
            self.fail_try(now, out);
        }
    }

    fn done(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let gave_up = self.ticket.step == FailoverStep::Drain && !self.trouble.is_empty();
        let (state, ending) = if gave_up {
            (StepState::Failed, Ending::GaveUp)
        } else {
            (StepState::Done, Ending::Done)
        };
        let note = self.closing_note();
        match table::next(self.plan.kind, self.plan.strategy, self.ticket.step, ending) {
            Next::Close(end) => {
                self.state = end;
                out.push(self.line(now, state, &note));
            }
            Next::Step(step) => {
                out.push(self.line(now, state, &note));
                self.begin(now, Ticket { step, attempt: 1 }, out);
            }
        }
    }

    fn closing_note(&self) -> String {
        let full = self.overloaded.iter().map(|(region, load)| format!("{region} was at {load}"));
        full.collect::<Vec<_>>().join("; ")
    }

    fn fail_try(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let last = self.ticket.attempt > self.config.retries;
        if last {
            self.state = FailoverState::Failed;
        }
        out.push(self.line(now, StepState::Failed, ""));
        if last {
            self.give_up(out);
        } else {
            self.begin(now, Ticket { attempt: self.ticket.attempt + 1, ..self.ticket }, out);
        }
    }

    fn give_up(&self, out: &mut Vec<Effect>) {
        let (id, step) = (self.id.0, self.ticket.step);
        let text = format!("failover {id} of {} failed at {step:?}", self.plan.region);
        out.push(Effect::Alert { text });
    }

    /// On resumption: the line says that a try failed, and what followed is not known.
    fn retry_or_give_up(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.ticket.step == FailoverStep::Drain {
            self.advance(now, Ending::GaveUp, out);
        } else {
            self.try_again(now, out);
        }
    }

    /// A resumed step counts as a try, so that a step that kills its nodes ends.
    fn try_again(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.ticket.attempt > self.config.retries {
            self.trouble.push("its node was lost".to_owned());
            self.fail_try(now, out);
        } else {
            self.begin(now, Ticket { attempt: self.ticket.attempt + 1, ..self.ticket }, out);
        }
    }

    fn advance(&mut self, now: Timestamp, ending: Ending, out: &mut Vec<Effect>) {
        match table::next(self.plan.kind, self.plan.strategy, self.ticket.step, ending) {
            Next::Step(step) => self.begin(now, Ticket { step, attempt: 1 }, out),
            Next::Close(end) => {
                self.state = end;
                out.push(Effect::Record { state: end, step: None });
            }
        }
    }

    fn begin(&mut self, now: Timestamp, ticket: Ticket, out: &mut Vec<Effect>) {
        self.ticket = ticket;
        self.started = now;
        self.deadline = now.mono + self.time_for(ticket.step);
        self.waits.clear();
        self.trouble.clear();
        if ticket.step == FailoverStep::FailBack {
            self.stage = 0;
            self.hook(out);
            self.enter_stage(now, out);
            return;
        }
        out.push(self.line(now, StepState::Running, ""));
        self.hook(out);
        self.act(out);
    }
}
