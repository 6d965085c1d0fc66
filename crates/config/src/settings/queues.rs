//! Queues that a new cluster begins with.

use std::time::Duration;

use rhumb_types::{
    AckLevel,
    record::{QueueDefinition, QueueName},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// A queue of a new cluster. Afterwards the cluster keeps its settings, and clients change them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// How long a lease lasts that names no time.
    pub visibility: Period,
    /// How long a job is kept that nobody completes.
    pub retention: Period,
    /// How long a new job waits at least, unless it says so itself.
    pub delay: Period,
    /// A job that failed so often is dead. Without it: it is tried until it is too old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// The queue where dead jobs go. Without it they stay, and are not leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub dead_letters: Option<QueueName>,
    /// How long a job waits after its first failure; doubles with each.
    pub backoff: Period,
    /// Whether every job has a group, and the jobs of a group run in order.
    pub fifo: bool,
    /// Whether a job without a key has its content as its key; of a FIFO queue.
    pub content_dedup: bool,
    /// How long a key names the same job, from its enqueue.
    pub keys_kept: Period,
    /// What must be durable before a caller hears yes.
    #[schemars(schema_with = "crate::words::ack")]
    pub ack: AckLevel,
    /// The oldest job ought to wait no longer.
    pub oldest_age_target: Period,
    /// Whether the end of each of its jobs is an event.
    pub announce: bool,
    /// Jobs are taken in and leased only in regions with one of these tags of residency. For good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub residency: Vec<String>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        let usual = QueueDefinition::default();
        Self {
            visibility: Period(usual.visibility),
            retention: Period(usual.retention),
            delay: Period(usual.delay),
            attempts_max: usual.attempts_max,
            dead_letters: usual.dead_letters,
            backoff: Period(usual.backoff),
            fifo: usual.fifo,
            content_dedup: usual.content_dedup,
            keys_kept: Period(usual.keys_kept),
            ack: usual.ack,
            oldest_age_target: Period(usual.oldest_age_target),
            announce: usual.announce,
            residency: usual.residency,
        }
    }
}

impl QueueSettings {
    /// The queue as it is proposed.
    pub(crate) fn definition(&self) -> QueueDefinition {
        let Period(oldest_age_target): Period = self.oldest_age_target;
        let period = |Period(duration): Period| -> Duration { duration };
        QueueDefinition {
            visibility: period(self.visibility),
            retention: period(self.retention),
            delay: period(self.delay),
            attempts_max: self.attempts_max,
            dead_letters: self.dead_letters.clone(),
            backoff: period(self.backoff),
            fifo: self.fifo,
            content_dedup: self.content_dedup,
            keys_kept: period(self.keys_kept),
            ack: self.ack,
            oldest_age_target,
            announce: self.announce,
            residency: self.residency.clone(),
            ..QueueDefinition::default()
        }
    }
}
