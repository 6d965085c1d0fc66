//! The objects that are checked most.

use crate::Model;

/// A register of one value or none, with compare-and-set; empty at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Register;

/// What a register is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterCall {
    /// Its value.
    Read,
    /// To take a value, or to have none.
    Write(Option<u64>),
    /// The same if it has what is expected.
    CompareAndSet {
        /// What it must have.
        expected: Option<u64>,
        /// What it takes.
        new: Option<u64>,
    },
}

/// What a register answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterAnswer {
    /// To a read.
    Value(Option<u64>),
    /// To a write.
    Written,
    /// To a compare-and-set: whether it took the value.
    Swapped(bool),
}

impl Model for Register {
    type State = Option<u64>;
    type Call = RegisterCall;
    type Answer = RegisterAnswer;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(
        &self,
        state: &Self::State,
        call: &RegisterCall,
        answer: Option<&RegisterAnswer>,
    ) -> Option<Self::State> {
        let (expected, next) = match *call {
            RegisterCall::Read => (RegisterAnswer::Value(*state), *state),
            RegisterCall::Write(value) => (RegisterAnswer::Written, value),
            RegisterCall::CompareAndSet { expected, new } => {
                let swaps = *state == expected;
                (RegisterAnswer::Swapped(swaps), if swaps { new } else { *state })
            }
        };
        answer.is_none_or(|answer| *answer == expected).then_some(next)
    }
}

/// A lock that gives each holder a higher fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lock;

/// What a lock is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockCall {
    /// To be held by a client.
    Acquire(u64),
    /// To be given up by a client.
    Release(u64),
}

/// What a lock answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockAnswer {
    /// To an acquire that succeeded: the token.
    Token(u64),
    /// To an acquire: somebody holds it.
    Held,
    /// To a release: whether the client held it.
    Released(bool),
}

impl Model for Lock {
    /// The holder, and the highest token that is known.
    type State = (Option<u64>, u64);
    type Call = LockCall;
    type Answer = LockAnswer;

    fn initial(&self) -> Self::State {
        (None, 0)
    }

    fn step(
        &self,
        (holder, token): &Self::State,
        call: &LockCall,
        answer: Option<&LockAnswer>,
    ) -> Option<Self::State> {
        match (call, answer) {
            (LockCall::Acquire(client), Some(LockAnswer::Token(given))) => {
                (holder.is_none() && given > token).then_some((Some(*client), *given))
            }
            (LockCall::Acquire(_), Some(LockAnswer::Held)) => {
                holder.is_some().then_some((*holder, *token))
            }
            // The token that nobody saw is above the highest known, as all later ones are.
            (LockCall::Acquire(client), None) => Some((holder.or(Some(*client)), *token)),
            (LockCall::Release(client), answer) => {
                let held = *holder == Some(*client);
                let given = answer.is_none_or(|answer| *answer == LockAnswer::Released(held));
                given.then_some((if held { None } else { *holder }, *token))
            }
            (LockCall::Acquire(_), Some(LockAnswer::Released(_))) => None,
        }
    }
}
