//! The queues of a run.

use std::time::Duration;

use rhumb_queue::Definitions;
use rhumb_types::{
    AckLevel,
    record::{QueueDefinition, QueueName},
};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Queue {
    /// Jobs with and without keys, safe from the loss of a minority.
    Plain,
    /// Jobs of groups.
    Fifo,
    /// Jobs that are safe in one region, and that may die.
    Fast,
}

impl Queue {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Fifo, Self::Fast];

    pub(super) fn name(self) -> QueueName {
        named(match self {
            Self::Plain => "plain",
            Self::Fifo => "fifo",
            Self::Fast => "fast",
        })
    }
}

fn named(name: &str) -> QueueName {
    match QueueName::new(name) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

/// The queues that there are in a run.
pub(crate) fn definitions() -> Definitions {
    let visibility = Duration::from_secs(20);
    let plain = QueueDefinition { visibility, ack: AckLevel::Quorum, ..QueueDefinition::default() };
    let fifo = QueueDefinition { fifo: true, ..plain.clone() };
    let fast = QueueDefinition {
        visibility,
        attempts_max: Some(2),
        dead_letters: Some(named("dead")),
        ..QueueDefinition::default()
    };
    let of = |queue: Queue, definition| (queue.name(), definition);
    let dead = (named("dead"), QueueDefinition::default());
    [of(Queue::Plain, plain), of(Queue::Fifo, fifo), of(Queue::Fast, fast), dead].into()
}
