//! The receiving side of replication: transactions that wait for their dependencies or their rows.
//!
//! Per origin a queue of decoded transactions in version order. The front one is applied once
//! this node has applied everything in its `deps`, for the domains that it carries (rule 3).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rhumb_types::{
    OriginId, RegionId,
    planted::{self, Planted},
    record::{CodecError, Record, Transaction, VersionVector},
};

use crate::{event::Ticket, limits::RECEIVED_BYTES_MAX};

/// A transaction as it came, and decoded.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) transaction: Transaction,
    pub(crate) encoded: Bytes,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Incoming>,
    fetching: Option<Ticket>,
    parked: bool,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// Queued, or already known.
    Queued,
    /// It starts past what is queued, or there is no room: ask again from the version given.
    AskAgain {
        /// The highest version that is applied or queued.
        after: u64,
    },
    /// This binary cannot read it (rule 16).
    Parked(CodecError),
}

/// Everything received and not yet applied.
#[derive(Debug, Default)]
pub(crate) struct Received {
    queues: BTreeMap<OriginId, Queue>,
    bytes: usize,
}

impl Received {
    /// The highest version of an origin that is applied or queued.
    pub(crate) fn cursor(&self, origin: OriginId, applied: &VersionVector) -> u64 {
        let queued = self.queues.get(&origin).and_then(|queue| queue.waiting.back());
        queued.map_or(0, |last| last.transaction.version).max(applied.get(origin))
    }

    /// The origins of what waits.
    pub(crate) fn origins(&self) -> impl Iterator<Item = OriginId> + '_ {
        self.queues.keys().copied()
    }

    /// Takes a batch whose first transaction has version `first`.
    pub(crate) fn take(
        &mut self,
        origin: OriginId,
        first: u64,
        transactions: Vec<Bytes>,
        applied: &VersionVector,
    ) -> Took {
        let mut cursor = self.cursor(origin, applied);
        if first > cursor + 1 {
            return Took::AskAgain { after: cursor };
        }
        let queue = self.queues.entry(origin).or_default();
        if queue.parked {
            return Took::Queued;
        }
        for (version, encoded) in (first..).zip(transactions) {
            if version <= cursor {
                continue;
            }
            if self.bytes + encoded.len() > RECEIVED_BYTES_MAX {
                return Took::AskAgain { after: cursor };
            }
            let transaction = match decode(origin, version, &encoded) {
                Ok(transaction) => transaction,
                Err(_) if planted::is(Planted::SkipUnknown) => nothing(origin, version),
                Err(error) => {
                    queue.parked = true;
                    return Took::Parked(error);
                }
            };
            self.bytes += encoded.len();
            queue.waiting.push_back(Incoming { transaction, encoded });
            cursor = version;
        }
        Took::Queued
    }

    /// Origins whose next transaction may be applied now, or has rows to be fetched.
    pub(crate) fn ready(
        &self,
        applied: &VersionVector,
        carries: impl Fn(OriginId) -> bool,
    ) -> Option<OriginId> {
        let next = |queue: &Queue| {
            let front = queue.waiting.front()?;
            let ready = queue.fetching.is_none() && is_ready(&front.transaction, applied, &carries);
            ready.then_some(front.transaction.id())
        };
        // The oldest first, so that a busy origin does not hold back a quiet one.
        self.queues
            .iter()
            .filter_map(|(origin, queue)| Some((next(queue)?, *origin)))
            .min()
            .map(|(_, origin)| origin)
    }

    pub(crate) fn front(&self, origin: OriginId) -> Option<&Incoming> {
        self.queues.get(&origin)?.waiting.front()
    }

    /// The next transactions of an origin, for fetching their rows together.
    pub(crate) fn ahead(
        &self,
        origin: OriginId,
        most: usize,
    ) -> impl Iterator<Item = &Transaction> {
        let waiting = self.queues.get(&origin).map(|queue| queue.waiting.iter());
        waiting.into_iter().flatten().take(most).map(|incoming| &incoming.transaction)
    }

    pub(crate) fn pop(&mut self, origin: OriginId) -> Option<Incoming> {
        let incoming = self.queues.get_mut(&origin)?.waiting.pop_front()?;
        self.bytes -= incoming.encoded.len();
        Some(incoming)
    }

    pub(crate) fn fetching(&mut self, origin: OriginId, ticket: Ticket) {
        if let Some(queue) = self.queues.get_mut(&origin) {
            queue.fetching = Some(ticket);
        }
    }

    /// Ends a fetch; says whether it was one of these.
    pub(crate) fn fetched(&mut self, ticket: Ticket) -> bool {
        for queue in self.queues.values_mut() {
            if queue.fetching == Some(ticket) {
                queue.fetching = None;
                return true;
            }
        }
        false
    }

    /// Forgets what a loaded snapshot has made superfluous.
    pub(crate) fn forget_applied(&mut self, applied: &VersionVector) {
        for (origin, queue) in &mut self.queues {
            while queue
                .waiting
                .front()
                .is_some_and(|front| front.transaction.version <= applied.get(*origin))
            {
                if let Some(incoming) = queue.waiting.pop_front() {
                    self.bytes -= incoming.encoded.len();
                }
            }
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Transactions that wait, over all origins.
    pub(crate) fn len(&self) -> usize {
        self.queues.values().map(|queue| queue.waiting.len()).sum()
    }
}

/// What takes the place of a transaction that was passed over; only where that is planted.
fn nothing(origin: OriginId, version: u64) -> Transaction {
    let region = RegionId::new("nowhere");
    Transaction {
        origin,
        version,
        timestamp: rhumb_types::Hlc::default(),
        region: region.unwrap_or_else(|error| unreachable!("{error}")),
        deps: VersionVector::new(),
        changes: Vec::new(),
    }
}

fn decode(origin: OriginId, version: u64, encoded: &Bytes) -> Result<Transaction, CodecError> {
    let transaction = Transaction::decode(encoded)?;
    if transaction.origin == origin && transaction.version == version {
        Ok(transaction)
    } else {
        let (o, v) = (transaction.origin, transaction.version);
        Err(CodecError::Damaged(format!(
            "it says {o} version {v} in the place of {origin} {version}"
        )))
    }
}

fn is_ready(
    transaction: &Transaction,
    applied: &VersionVector,
    carries: impl Fn(OriginId) -> bool,
) -> bool {
    transaction.version == applied.get(transaction.origin) + 1
        && transaction.deps.iter().all(|(origin, version)| {
            (!carries(origin) && !planted::is(Planted::WaitForUncarried))
                || version <= applied.get(origin)
                || planted::is(Planted::ApplyBeforeDeps)
        })
}

#[cfg(test)]
mod tests {
    use rhumb_types::{DomainId, Hlc, RegionId};

    use super::*;

    const A: OriginId = OriginId(0x10_0000);
    const B: OriginId = OriginId(0x20_0000);

    fn transaction(origin: OriginId, version: u64, deps: &[(OriginId, u64)]) -> Bytes {
        Transaction {
            origin,
            version,
            timestamp: Hlc(version),
            region: RegionId::new("r").unwrap(),
            deps: deps.iter().copied().collect(),
            changes: vec![],
        }
        .encode()
    }

    #[test]
    fn a_transaction_waits_for_its_deps_but_not_for_those_of_other_domains() {
        let foreign = OriginId::new(0x30_0000, DomainId(9));
        let mut received = Received::default();
        let mut applied = VersionVector::new();
        let carries = |origin: OriginId| origin.domain() == DomainId::EVERYWHERE;
        let deps = [(A, 2), (foreign, 7)];
        assert_eq!(received.take(B, 1, vec![transaction(B, 1, &deps)], &applied), Took::Queued);
        assert_eq!(received.ready(&applied, carries), None);
        applied.raise(A, 2);
        assert_eq!(received.ready(&applied, carries), Some(B));
    }

    #[test]
    fn asks_again_at_a_gap_and_ignores_what_it_has() {
        let mut received = Received::default();
        let applied: VersionVector = [(A, 3)].into_iter().collect();
        let gap = received.take(A, 5, vec![transaction(A, 5, &[])], &applied);
        assert_eq!(gap, Took::AskAgain { after: 3 });
        let overlap = vec![transaction(A, 3, &[]), transaction(A, 4, &[])];
        assert_eq!(received.take(A, 3, overlap, &applied), Took::Queued);
        assert_eq!(received.cursor(A, &applied), 4);
        assert_eq!(received.len(), 1);
    }

    #[test]
    fn parks_what_it_cannot_read() {
        let mut received = Received::default();
        let mut newer = transaction(A, 1, &[]).to_vec();
        newer[0] = 99;
        let took = received.take(A, 1, vec![newer.into()], &VersionVector::new());
        assert!(matches!(took, Took::Parked(CodecError::Newer { found: 99, .. })));
    }
}
