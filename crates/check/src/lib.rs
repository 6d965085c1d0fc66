//! Checks recorded histories for linearizability.
//!
//! A history is linearizable when every call can be given one instant between its start and its
//! end such that the calls, in the order of these instants, give the answers that a single copy
//! would give (Herlihy and Wing, 1990). [`check`] searches for such an order as Wing and Gong
//! (1993) did, and remembers states it has failed from as Lowe (2017) does.
//!
//! A call without an answer may have taken effect at any time after its start, or never. A call
//! that surely had no effect does not belong into a history.
//!
//! The problem is NP-complete, so the search has limits, and reaching one is an answer of its own.
//! Check each key by itself: linearizability is local, a history is linearizable when each of its
//! objects is.
//!
//! Deliberately absent: recording across threads, clocks, and generators of load.

mod history;
mod models;
mod search;

pub use history::{Call, CallId, History};
pub use models::{Lock, LockAnswer, LockCall, Register, RegisterAnswer, RegisterCall};
pub use search::{Limits, Verdict, check};

/// What a single copy does.
pub trait Model {
    /// All that the copy remembers.
    type State: Clone + Ord;
    /// What is asked of it.
    type Call;
    /// What it answers.
    type Answer;

    /// The state before the first call.
    fn initial(&self) -> Self::State;

    /// The state after a call, when the copy can give this answer in this state, or any answer
    /// when it is not known. `None` when it cannot.
    fn step(
        &self,
        state: &Self::State,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}
