//! What a run is told, and what it asks for.

use std::time::Duration;

use rhumb_types::{
    Ratio, RegionId,
    control::{AdminCommand, FailoverState, FailoverStep, StepRecord},
};

/// Names a try of a step, so that an answer to an earlier try is not taken for this one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The step.
    pub step: FailoverStep,
    /// The try, from 1.
    pub attempt: u8,
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The commands to be agreed.
    Agreement,
    /// An operator's command.
    Hook,
    /// The lease to be free, released, or taken.
    Lease,
    /// A duty to be drained.
    Duty(String),
}

/// What a run is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An operator approved it.
    Approved,
    /// An operator calls it off.
    Cancelled,
    /// The region whose duties were to move is back.
    Recovered,
    /// A part of a try is done.
    Finished {
        /// Of which try.
        ticket: Ticket,
        /// Which part.
        part: Part,
    },
    /// A part of a try failed.
    Failed {
        /// Of which try.
        ticket: Ticket,
        /// Which part.
        part: Part,
        /// What went wrong.
        error: String,
    },
    /// How full a survivor is.
    Load {
        /// Which survivor.
        region: RegionId,
        /// How full.
        utilisation: Ratio,
    },
    /// How far the returned region is behind.
    Lag(Duration),
    /// The returned region is not healthy after all.
    Unhealthy,
    /// Whoever was to take the lease may not any more, and this region may.
    Successor(RegionId),
    /// Time has passed.
    Tick,
}

/// What a run asks for, to be done in this order. The line that begins a step comes before what
/// the step does, and the line that closes the record comes last: a run that is left half-way is
/// always found open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write to the agreed record.
    Record {
        /// Where the run stands.
        state: FailoverState,
        /// The line.
        step: Option<StepRecord>,
    },
    /// Write to the agreed record who takes the lease.
    NameSuccessor(RegionId),
    /// Have these commands agreed; answers [`Part::Agreement`].
    Agree {
        /// The commands, in order.
        commands: Vec<AdminCommand>,
        /// The try.
        ticket: Ticket,
    },
    /// Finish what is in hand of a duty; answers [`Part::Duty`].
    Drain {
        /// The duty.
        duty: String,
        /// The try.
        ticket: Ticket,
    },
    /// Have the lease released by its holder if that answers, else wait it out; answers
    /// [`Part::Lease`].
    Fence {
        /// Whose lease.
        region: RegionId,
        /// The try.
        ticket: Ticket,
    },
    /// Have a region take the lease that was fenced; answers [`Part::Lease`].
    TakeOver {
        /// Whose lease.
        region: RegionId,
        /// Who takes it.
        successor: RegionId,
        /// The try.
        ticket: Ticket,
    },
    /// Run an operator's command; answers [`Part::Hook`].
    Hook {
        /// Its name.
        name: String,
        /// The try.
        ticket: Ticket,
    },
    /// Tell a person.
    Alert {
        /// What.
        text: String,
    },
}
