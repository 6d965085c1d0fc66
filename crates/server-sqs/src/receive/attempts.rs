//! Attempts to receive that clients may make again, because they never saw the answer.

use bytes::Bytes;
use rhumb_queue::Receipt;
use rhumb_types::{MonoTime, record::QueueName};

use crate::{
    limits::{ATTEMPT_BYTES_MAX, ATTEMPT_KEPT},
    recent::Recent,
};

/// The outcomes of attempts, for as long as their messages are hidden, and five minutes at most.
#[derive(Debug)]
pub(crate) struct Attempts(Recent<(QueueName, String), Outcome>);

#[derive(Debug)]
struct Outcome {
    receipts: Vec<Receipt>,
    body: Bytes,
    ends: MonoTime,
}

impl Attempts {
    /// None yet; at most so many.
    pub(crate) const fn new(most: usize) -> Self {
        Self(Recent::new(most))
    }

    /// Keeps the outcome of an attempt. One that found nothing is not kept: the next may find something.
    pub(crate) fn remember(
        &mut self,
        queue: QueueName,
        attempt: String,
        receipts: Vec<Receipt>,
        body: Bytes,
        hidden_until: MonoTime,
        now: MonoTime,
    ) {
        if !receipts.is_empty() && body.len() <= ATTEMPT_BYTES_MAX {
            let ends = hidden_until.min(now + ATTEMPT_KEPT);
            self.0.put((queue, attempt), Outcome { receipts, body, ends });
        }
    }

    /// The receipts and the answer of an attempt that was made before.
    pub(crate) fn find(
        &self,
        queue: &QueueName,
        attempt: &str,
        now: MonoTime,
    ) -> Option<(Vec<Receipt>, Bytes)> {
        let found = self.0.get(&(queue.clone(), attempt.to_owned()))?;
        (now < found.ends).then(|| (found.receipts.clone(), found.body.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rhumb_types::{
        Epoch,
        record::{JobId, JobKey},
    };

    use super::*;

    #[test]
    fn an_attempt_is_the_same_while_its_messages_are_hidden() {
        let queue = QueueName::new("jobs.fifo").unwrap();
        let key = JobKey { queue: queue.clone(), id: JobId([1; 16]) };
        let receipt = Receipt { key, epoch: Epoch(1), number: 1 };
        let (mut attempts, start) = (Attempts::new(4), MonoTime(0));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut remember = |attempt: &str, receipts: &[Receipt], hidden| {
            let (queue, attempt) = (queue.clone(), attempt.to_owned());
            attempts.remember(queue, attempt, receipts.to_vec(), Bytes::new(), at(hidden), start);
        };
        remember("one", std::slice::from_ref(&receipt), 30);
        remember("long", std::slice::from_ref(&receipt), 600);
        remember("nothing", &[], 30);
        let found = |attempt: &str, now| attempts.find(&queue, attempt, at(now)).is_some();
        assert!(found("one", 29) && !found("one", 30));
        assert!(found("long", 299) && !found("long", 300));
        assert!(!found("nothing", 0) && !found("other", 0));
    }
}
