//! The answers that are remembered.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rhumb_types::{UnixMillis, record::Record};
use serde::{Deserialize, Serialize};

use super::{
    RequestId, STRONG_ANSWER_BYTES_MAX, STRONG_REQUESTS_MAX, StrongCommand, StrongOutcome,
    StrongRefusal,
};

/// A remembered answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Remembered {
    request: RequestId,
    /// The command's own time.
    now: UnixMillis,
    outcome: Bytes,
}

/// The answers of the last commands, oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests {
    order: VecDeque<Remembered>,
    /// The place of each in `order`, counted from the first command ever.
    places: BTreeMap<RequestId, u64>,
    /// How many were forgotten: the place of the first in `order`.
    forgotten: u64,
    /// The latest time of a command that was forgotten. What is not after it may have been
    /// applied already.
    floor: Option<UnixMillis>,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// What to answer without applying a command, if it was applied before or may have been.
    pub(super) fn find(&self, command: &StrongCommand) -> Option<StrongOutcome> {
        if let Some(place) = self.places.get(&command.request) {
            let at = usize::try_from(place - self.forgotten).ok()?;
            return StrongOutcome::decode(&self.order.get(at)?.outcome).ok();
        }
        (Some(command.now) <= self.floor).then_some(StrongOutcome::Refused(StrongRefusal::TooOld))
    }

    pub(super) fn remember(&mut self, command: &StrongCommand, outcome: &StrongOutcome) {
        let mut outcome = outcome.encode();
        if outcome.len() > STRONG_ANSWER_BYTES_MAX {
            outcome = StrongOutcome::Refused(StrongRefusal::AppliedBefore).encode();
        }
        self.push(Remembered { request: command.request, now: command.now, outcome });
        while self.order.len() > STRONG_REQUESTS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.places.remove(&oldest.request);
            self.forgotten += 1;
            self.floor = self.floor.max(Some(oldest.now));
        }
    }

    fn push(&mut self, remembered: Remembered) {
        self.places.insert(remembered.request, self.forgotten + self.order.len() as u64);
        self.order.push_back(remembered);
    }

    /// What a snapshot holds: the floor, and the answers in order.
    pub(super) fn parts(&self) -> (Option<UnixMillis>, Vec<Remembered>) {
        (self.floor, self.order.iter().cloned().collect())
    }

    pub(super) fn from_parts(floor: Option<UnixMillis>, order: Vec<Remembered>) -> Self {
        let mut requests = Self { floor, ..Self::default() };
        for remembered in order {
            requests.push(remembered);
        }
        requests
    }
}
