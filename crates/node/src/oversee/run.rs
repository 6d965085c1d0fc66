//! One run-book on its way: what it asked for is done one after the other, so that a line of its
//! record is agreed before what the line announces is begun.

use std::collections::VecDeque;

use rhumb_regions::failover::{Effect, Event, Failover, FailoverConfig, Part, Ticket};
use rhumb_types::{
    MonoTime, Timestamp,
    control::{
        AdminCommand, AdminOutcome, AdminRefusal, FailoverPlan, FailoverRecord, FailoverState,
        NODE_ACTOR, limits::COMMANDS_TOGETHER_MAX,
    },
};

use super::{Token, words::ProposalError};
use crate::limits::PROPOSAL_PAUSE;

/// A run and what it still has to do.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) failover: Failover,
    pub(super) plan: FailoverPlan,
    /// Whether a node started it, and not an operator.
    pub(super) by_node: bool,
    /// The record's sequence that the next line follows.
    pub(super) sequence: u64,
    reason: String,
    works: VecDeque<Effect>,
    /// What was asked of the leases, and is looked at with every event.
    pub(super) waits: Vec<Wait>,
    busy: Option<Token>,
    /// How many of the works the proposal under way carries.
    carried: usize,
    again: MonoTime,
    /// Whether these works may have been agreed already: their answer was lost.
    unknown: bool,
    /// Whether a group of works was refused, so that the first of them is tried by itself.
    alone: bool,
}

/// What a step waits for that this node only observes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The lease is out.
    Fenced(Ticket),
    /// The successor has it.
    Taken(Ticket),
}

impl Wait {
    pub(super) const fn ticket(self) -> Ticket {
        match self {
            Self::Fenced(ticket) | Self::Taken(ticket) => ticket,
        }
    }
}

/// What a run wants next.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing, or the answer to what it wanted.
    Idle,
    /// A proposal.
    Propose(Box<AdminCommand>, String),
    /// Something that is no proposal.
    Do(Effect),
}

/// What an answer means for a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    GoesOn,
    /// Another node wrote to the record: it is resumed from this sequence on, if at all.
    Superseded(u64),
}

impl Run {
    pub(super) fn resume(now: Timestamp, record: &FailoverRecord, config: FailoverConfig) -> Self {
        let mut effects = Vec::new();
        let failover = Failover::resume(now, record, config, &mut effects);
        Self {
            failover,
            plan: record.plan.clone(),
            by_node: record.actor.starts_with(NODE_ACTOR),
            sequence: record.sequence,
            reason: format!("failover {}: {}", record.id.0, record.reason),
            works: effects.into(),
            waits: Vec::new(),
            busy: None,
            carried: 0,
            again: now.mono,
            unknown: false,
            alone: false,
        }
    }

    pub(super) fn tell(&mut self, now: Timestamp, event: Event) {
        let mut effects = Vec::new();
        self.failover.on_event(now, event, &mut effects);
        self.works.extend(effects);
    }

    /// The record as agreed: an operator may have approved it.
    pub(super) fn follow(&mut self, now: Timestamp, record: &FailoverRecord) {
        let foreign = self.busy.is_none() && self.works.is_empty();
        if !foreign || record.sequence <= self.sequence {
            return;
        }
        self.sequence = record.sequence;
        let waits = self.failover.state() == FailoverState::AwaitingApproval;
        if waits && record.state == FailoverState::Running {
            self.tell(now, Event::Approved);
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.failover.state().is_closed() && self.works.is_empty() && self.busy.is_none()
    }

    pub(super) fn next(&mut self, now: Timestamp) -> Next {
        if self.busy.is_some() || now.mono < self.again {
            return Next::Idle;
        }
        let (present, open) = (self.failover.ticket(), !self.failover.state().is_closed());
        self.waits.retain(|wait| open && wait.ticket() == present);
        loop {
            match self.works.front() {
                None => return Next::Idle,
                // What an earlier try wanted is of no use any more.
                Some(work) if open && ticket(work).is_some_and(|ticket| ticket != present) => {
                    self.works.pop_front();
                }
                Some(Effect::Record { .. } | Effect::NameSuccessor(_) | Effect::Agree { .. }) => {
                    match self.gather() {
                        Some(command) => {
                            return Next::Propose(Box::new(command), self.reason.clone());
                        }
                        None => self.agreed(now),
                    }
                }
                Some(Effect::Fence { ticket, .. }) => {
                    self.waits.push(Wait::Fenced(*ticket));
                    self.works.pop_front();
                }
                Some(Effect::TakeOver { ticket, .. }) => {
                    self.waits.push(Wait::Taken(*ticket));
                    self.works.pop_front();
                }
                Some(Effect::Drain { .. } | Effect::Hook { .. } | Effect::Alert { .. }) => {
                    return self.works.pop_front().map_or(Next::Idle, Next::Do);
                }
            }
        }
    }

    /// As many of the next works as are proposals, in one: distance is paid once. They are agreed in
    /// their order or not at all, so what a line announces is never agreed without the line.
    fn gather(&mut self) -> Option<AdminCommand> {
        let most = match (self.unknown, self.alone) {
            // The same again, so that its fate can be told from the refusal.
            (true, _) => self.carried,
            (false, true) => 1,
            (false, false) => COMMANDS_TOGETHER_MAX,
        };
        let (present, open) = (self.failover.ticket(), !self.failover.state().is_closed());
        let mut commands = Vec::new();
        let (mut carried, mut sequence) = (0, self.sequence);
        for work in self.works.iter().take(most) {
            let stale = open && ticket(work).is_some_and(|ticket| ticket != present);
            let more: Vec<AdminCommand> = match work {
                Effect::Record { state, step } => {
                    let (id, step) = (self.failover.id(), step.clone());
                    vec![AdminCommand::AdvanceFailover { id, sequence, state: *state, step }]
                }
                Effect::NameSuccessor(successor) => {
                    let (id, successor) = (self.failover.id(), successor.clone());
                    vec![AdminCommand::NameSuccessor { id, sequence, successor }]
                }
                Effect::Agree { commands, .. } if !stale => commands.clone(),
                _ => break,
            };
            if !commands.is_empty() && commands.len() + more.len() > COMMANDS_TOGETHER_MAX {
                break;
            }
            sequence += u64::from(is_line(work));
            commands.extend(more);
            carried += 1;
        }
        self.carried = carried;
        match commands.len() {
            0 => None,
            1 => commands.pop(),
            _ => Some(AdminCommand::Together { commands }),
        }
    }

    pub(super) const fn proposed(&mut self, token: Token) {
        self.busy = Some(token);
    }

    /// Takes the answer to its proposal. One to an earlier life of the run is no answer.
    pub(super) fn answered(
        &mut self,
        now: Timestamp,
        token: Token,
        answer: Result<AdminOutcome, ProposalError>,
    ) -> Fate {
        if self.busy != Some(token) {
            return Fate::GoesOn;
        }
        self.busy = None;
        let refusal = match answer {
            Ok(_) => {
                self.agreed(now);
                return Fate::GoesOn;
            }
            Err(ProposalError::Refused(refusal)) => refusal,
            Err(error) => {
                self.unknown |= error == ProposalError::Unknown;
                self.again = now.mono + PROPOSAL_PAUSE;
                return Fate::GoesOn;
            }
        };
        let carried = self.works.iter().take(self.carried);
        let lines = carried.filter(|work| is_line(work)).count();
        let after = u64::try_from(lines).map_or(u64::MAX, |lines| self.sequence + lines);
        // Its own lines, whose answer was lost.
        if self.unknown && lines > 0 && found(&refusal) == Some(after) {
            self.agreed(now);
            return Fate::GoesOn;
        }
        self.unknown = false;
        match self.works.front() {
            // One of several was refused, and so none was agreed: which one shows by itself.
            _ if self.carried > 1 => {
                self.alone = true;
                Fate::GoesOn
            }
            Some(Effect::Agree { ticket, .. }) => {
                let (ticket, part, error) = (*ticket, Part::Agreement, refusal.to_string());
                self.works.pop_front();
                self.tell(now, Event::Failed { ticket, part, error });
                Fate::GoesOn
            }
            // The one before may still come, and another may be named.
            Some(Effect::NameSuccessor(_)) if found(&refusal).is_none() => {
                self.works.pop_front();
                Fate::GoesOn
            }
            // A record that takes no line at all is left alone until it is gone.
            _ => Fate::Superseded(found(&refusal).unwrap_or(u64::MAX)),
        }
    }

    /// What the proposal carried is done.
    fn agreed(&mut self, now: Timestamp) {
        (self.unknown, self.alone) = (false, false);
        for _ in 0..std::mem::take(&mut self.carried) {
            match self.works.pop_front() {
                Some(Effect::Record { .. }) => self.sequence += 1,
                Some(Effect::NameSuccessor(successor)) => {
                    self.sequence += 1;
                    self.plan.successor = Some(successor);
                }
                Some(Effect::Agree { ticket, .. }) => {
                    self.tell(now, Event::Finished { ticket, part: Part::Agreement });
                }
                _ => {}
            }
        }
    }
}

const fn ticket(work: &Effect) -> Option<Ticket> {
    match work {
        Effect::Agree { ticket, .. }
        | Effect::Drain { ticket, .. }
        | Effect::Fence { ticket, .. }
        | Effect::TakeOver { ticket, .. }
        | Effect::Hook { ticket, .. } => Some(*ticket),
        Effect::Record { .. } | Effect::NameSuccessor(_) | Effect::Alert { .. } => None,
    }
}

/// Whether a work writes to the record.
const fn is_line(work: &Effect) -> bool {
    matches!(work, Effect::Record { .. } | Effect::NameSuccessor(_))
}

const fn found(refusal: &AdminRefusal) -> Option<u64> {
    match refusal {
        AdminRefusal::VersionChanged { found } => Some(*found),
        _ => None,
    }
}
