//! What comes after a step, as a table.

use rhumb_types::control::{FailoverKind, FailoverState, FailoverStep, FailoverStrategy};

/// How a step ended, its retries included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It did what it should.
    Done,
    /// Its last try failed or timed out.
    GaveUp,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another step.
    Step(FailoverStep),
    /// The end.
    Close(FailoverState),
}

/// The first step of every run.
pub const FIRST: FailoverStep = FailoverStep::Detect;

/// What comes after a step that ended.
///
/// A drain that was given up goes on to the fence: what is not drained is taken over. No other
/// step is passed over when it fails.
#[must_use]
pub const fn next(
    kind: FailoverKind,
    strategy: FailoverStrategy,
    step: FailoverStep,
    ending: Ending,
) -> Next {
    use FailoverKind::FailBack as Back;
    use FailoverStep as S;
    match (kind, step, ending) {
        (_, S::Drain, Ending::GaveUp) => Next::Step(S::Fence),
        (_, _, Ending::GaveUp) => Next::Close(FailoverState::Failed),
        (Back, S::Detect, _) => Next::Step(S::Fence),
        (Back, S::TakeOver, _) => Next::Step(S::FailBack),
        (_, S::Detect, _) => Next::Step(S::StopRouting),
        (_, S::StopRouting, _) => match strategy {
            FailoverStrategy::Graceful => Next::Step(S::Drain),
            FailoverStrategy::Immediate => Next::Step(S::Fence),
        },
        (_, S::Drain, _) => Next::Step(S::Fence),
        (_, S::Fence, _) => Next::Step(S::TakeOver),
        (_, S::TakeOver, _) => Next::Step(S::Watch),
        (_, S::Watch | S::FailBack, _) => Next::Close(FailoverState::Succeeded),
    }
}

/// Whether a run may still be called off: nothing has been taken over.
#[must_use]
pub const fn may_cancel(step: FailoverStep) -> bool {
    use FailoverStep as S;
    matches!(step, S::Detect | S::StopRouting | S::Drain | S::Fence)
}
