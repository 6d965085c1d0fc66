//! From any node to the leader, wherever it is.

use rhumb_ports::{
    control::ControlError,
    peer::{CallError, Service},
};
use rhumb_types::NodeId;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Inner;
use crate::wire::{self, Answer, Ask, Request};

/// How an attempt ended.
pub(super) enum Attempt {
    /// The answer.
    Done(bytes::Bytes),
    /// It failed for good.
    Failed(ControlError),
    /// Nothing was done, for this reason.
    Again(String),
}

impl From<ControlError> for Attempt {
    fn from(error: ControlError) -> Self {
        Self::Failed(error)
    }
}

impl Ask {
    /// Whether doing it twice is the same as doing it once.
    fn repeats(&self) -> bool {
        !matches!(self, Self::Propose(_))
    }
}

impl Inner {
    /// Tries until the deadline. Attempts are a pause apart, so their number is bounded too.
    pub(super) async fn route(&self, ask: Ask) -> Result<bytes::Bytes, ControlError> {
        if let Ask::Propose(command) = &ask {
            self.admission.check_size(command)?;
        }
        let deadline = self.deadline();
        loop {
            let reason = match self.attempt(&ask, deadline).await {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Failed(error) => return Err(error),
                Attempt::Again(reason) => reason,
            };
            if Instant::now() + self.config.timing.pause >= deadline {
                return Err(ControlError::NoLeader { reason });
            }
            self.pause(deadline).await;
        }
    }

    async fn attempt(&self, ask: &Ask, deadline: Instant) -> Attempt {
        match self.leader() {
            Some(leader) if leader == self.config.node => self.lead(ask.clone(), deadline).await,
            Some(leader) => self.forward(leader, ask, deadline).await,
            None => match self.fault() {
                Some(fault) => Attempt::Failed(ControlError::Storage(fault)),
                None => Attempt::Again(self.why_no_leader()),
            },
        }
    }

    fn why_no_leader(&self) -> String {
        let waits = self.formation.waits_for();
        waits.unwrap_or_else(|| "no leader is known here".to_owned())
    }

    async fn forward(&self, leader: NodeId, ask: &Ask, deadline: Instant) -> Attempt {
        let region = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let seat = metrics.membership_config.membership().get_node(&leader);
            seat.and_then(|seat| seat.region.clone())
        };
        let Some(region) = region else {
            return Attempt::Again(format!("the region of the leader {leader} is not known"));
        };
        let patience = deadline.saturating_duration_since(Instant::now());
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Lead { ask: ask.clone(), patience_ms };
        let envelope = match self.network.envelope(Some(leader), request) {
            Ok(envelope) => envelope,
            Err(what) => return Attempt::Failed(ControlError::Invalid(what)),
        };
        let call = self.network.call.call(region.clone(), Service::Control, envelope);
        let lost = |reason: String| {
            if ask.repeats() { Attempt::Again(reason) } else { ControlError::Unknown.into() }
        };
        let answered = tokio::select! {
            answered = timeout_at(deadline, call) => answered,
            () = self.deposed(leader) => return lost(format!("{region} no longer leads")),
        };
        match answered {
            Ok(Ok(answer)) => match wire::decode(&answer) {
                Ok(answer) => Self::forwarded(answer),
                Err(what) => lost(what),
            },
            Ok(Err(CallError::Unreachable { sent: true, reason, .. })) => lost(reason),
            Ok(Err(fault)) => Attempt::Again(fault.to_string()),
            Err(_) => lost(format!("{region} did not answer in time")),
        }
    }

    /// Resolves once another node leads, and whatever the one before it has said must have come. A leader
    /// that is silently gone would be waited for until the deadline otherwise.
    async fn deposed(&self, leader: NodeId) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let present = metrics.borrow_and_update().current_leader;
            if present.is_some_and(|present| present != leader) {
                break;
            }
            if metrics.changed().await.is_err() {
                // The group has ended here; the deadline decides.
                return std::future::pending().await;
            }
        }
        // Longer than a round trip between any two.
        sleep(self.config.timing.heartbeat).await;
    }

    fn forwarded(answer: Answer) -> Attempt {
        match answer {
            Answer::Done(answer) => Attempt::Done(answer),
            Answer::Again(reason) => Attempt::Again(reason),
            Answer::Failed(failure) => Attempt::Failed(failure.into()),
            _ => ControlError::Unknown.into(),
        }
    }

    /// Waits for a moment, or less when something changes in the group.
    async fn pause(&self, deadline: Instant) {
        let mut leaders = self.raft.server_metrics();
        let until = (Instant::now() + self.config.timing.pause).min(deadline);
        leaders.mark_unchanged();
        tokio::select! {
            biased;
            () = sleep_until(until) => {}
            // Once the loop of the group has ended, nothing changes any more, at once.
            Ok(()) = leaders.changed() => {}
        }
    }
}
