//! The serving side of replication: who follows which log, and what was sent.
//!
//! Only what is durable is ever sent (rule 1). Recent transactions come from memory, older ones
//! from the store. Each follower has a window of unacknowledged bytes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rhumb_ports::peer::{FOLLOW_WINDOW_BYTES, LOG_BATCH_BYTES_MAX, LogBatch, PeerMessage};
use rhumb_types::{OriginId, RegionId, record::VersionVector};

use crate::{
    event::{Effect, Effects},
    limits::TAIL_BYTES_MAX,
};

/// Recent durable transactions of every origin, oldest dropped first.
#[derive(Debug, Default)]
struct Tail {
    logs: BTreeMap<OriginId, VecDeque<(u64, Bytes)>>,
    order: VecDeque<OriginId>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, origin: OriginId, version: u64, transaction: Bytes) {
        self.bytes += transaction.len();
        let log = self.logs.entry(origin).or_default();
        if log.back().is_some_and(|(last, _)| last + 1 != version) {
            // A snapshot has jumped over what lies between: only a log without gaps can be served
            // from its places.
            self.bytes -= log.drain(..).map(|(_, dropped)| dropped.len()).sum::<usize>();
        }
        log.push_back((version, transaction));
        self.order.push_back(origin);
        while self.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((_, dropped)) = self.logs.get_mut(&oldest).and_then(VecDeque::pop_front) {
                self.bytes -= dropped.len();
            }
        }
    }

    /// Transactions from a version on; `None` when the first of them is no longer here.
    fn from(&self, origin: OriginId, version: u64) -> Option<impl Iterator<Item = &(u64, Bytes)>> {
        let log = self.logs.get(&origin)?;
        let (first, _) = log.front()?;
        let skip = usize::try_from(version.checked_sub(*first)?).ok()?;
        (skip < log.len()).then(|| log.iter().skip(skip))
    }
}

#[derive(Debug)]
struct Follower {
    next: u64,
    unacked: VecDeque<(u64, usize)>,
    unacked_bytes: usize,
    reading: bool,
}

impl Follower {
    fn sent(&mut self, version: u64, bytes: usize) {
        self.next = version + 1;
        self.unacked.push_back((version, bytes));
        self.unacked_bytes += bytes;
    }

    fn acknowledged(&mut self, version: u64) {
        while let Some((sent, bytes)) = self.unacked.front().copied() {
            if sent > version {
                break;
            }
            self.unacked.pop_front();
            self.unacked_bytes -= bytes;
        }
    }
}

/// Every follower of this node's logs.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    tail: Tail,
    followers: BTreeMap<(RegionId, OriginId), Follower>,
}

impl Outgoing {
    /// A transaction has become durable here.
    pub(crate) fn durable(&mut self, origin: OriginId, version: u64, transaction: Bytes) {
        self.tail.push(origin, version, transaction);
    }

    pub(crate) fn follow(&mut self, to: RegionId, origin: OriginId, after: u64) {
        let follower = Follower {
            next: after + 1,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            reading: false,
        };
        self.followers.insert((to, origin), follower);
    }

    pub(crate) fn unfollow(&mut self, to: &RegionId, origin: OriginId) {
        self.followers.remove(&(to.clone(), origin));
    }

    pub(crate) fn peer_gone(&mut self, region: &RegionId) {
        self.followers.retain(|(to, _), _| to != region);
    }

    /// A follower has fsynced up to a vector.
    pub(crate) fn acknowledged(&mut self, from: &RegionId, durable: &VersionVector) {
        for ((to, origin), follower) in &mut self.followers {
            if to == from {
                follower.acknowledged(durable.get(*origin));
            }
        }
    }

    /// Sends what windows allow.
    pub(crate) fn pump(&mut self, durable: &VersionVector, out: &mut Effects) {
        for ((to, origin), follower) in &mut self.followers {
            let head = durable.get(*origin);
            while follower.next <= head
                && follower.unacked_bytes < FOLLOW_WINDOW_BYTES
                && !follower.reading
            {
                let Some(recent) = self.tail.from(*origin, follower.next) else {
                    follower.reading = true;
                    out.push(Effect::ReadLog {
                        to: to.clone(),
                        origin: *origin,
                        after: follower.next - 1,
                        bytes_max: LOG_BATCH_BYTES_MAX,
                    });
                    break;
                };
                send(to, *origin, head, follower, recent.cloned(), out);
            }
        }
    }

    /// The store has answered a read of an older part of a log.
    pub(crate) fn log_read(
        &mut self,
        to: &RegionId,
        origin: OriginId,
        after: u64,
        rows: Vec<(u64, Bytes)>,
        durable: &VersionVector,
        out: &mut Effects,
    ) {
        let Some(follower) = self.followers.get_mut(&(to.clone(), origin)) else { return };
        if !follower.reading || follower.next != after + 1 {
            // An answer to a follower that has since asked anew.
            return;
        }
        follower.reading = false;
        let head = durable.get(origin);
        match rows.first().map(|(version, _)| *version) {
            Some(first) if first == follower.next => {
                send(to, origin, head, follower, rows.into_iter(), out);
                self.pump(durable, out);
            }
            first => {
                // The log starts later, or is gone: the follower must load a snapshot.
                self.followers.remove(&(to.clone(), origin));
                let first = first.unwrap_or(head + 1);
                out.push(Effect::Send {
                    to: to.clone(),
                    message: PeerMessage::Trimmed { origin, first },
                });
            }
        }
    }
}

/// Sends one batch from an iterator that starts at the follower's next version.
fn send(
    to: &RegionId,
    origin: OriginId,
    head: u64,
    follower: &mut Follower,
    rows: impl Iterator<Item = (u64, Bytes)>,
    out: &mut Effects,
) {
    let first = follower.next;
    let mut transactions = Vec::new();
    let mut bytes = 0;
    for (version, transaction) in rows {
        let full = !transactions.is_empty() && bytes + transaction.len() > LOG_BATCH_BYTES_MAX;
        if full || version > head {
            break;
        }
        bytes += transaction.len();
        follower.sent(version, transaction.len());
        transactions.push(transaction);
    }
    if transactions.is_empty() {
        return;
    }
    out.push(Effect::Send {
        to: to.clone(),
        message: PeerMessage::Log(LogBatch { origin, first, transactions, head }),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: OriginId = OriginId(0x10_0000);

    fn region() -> RegionId {
        RegionId::new("b").unwrap()
    }

    fn sent(out: &mut Effects) -> Vec<(u64, usize)> {
        let mut batches = Vec::new();
        while let Some(effect) = out.pop() {
            if let Effect::Send { message: PeerMessage::Log(batch), .. } = effect {
                batches.push((batch.first, batch.transactions.len()));
            }
        }
        batches
    }

    #[test]
    fn sends_only_what_is_durable_and_stops_at_the_window() {
        let mut outgoing = Outgoing::default();
        let mut out = Effects::new();
        let mut durable = VersionVector::new();
        outgoing.follow(region(), ORIGIN, 0);
        outgoing.pump(&durable, &mut out);
        assert!(out.is_empty());
        let big = Bytes::from(vec![0; LOG_BATCH_BYTES_MAX]);
        let in_window = FOLLOW_WINDOW_BYTES / LOG_BATCH_BYTES_MAX;
        for version in 1..=10 {
            outgoing.durable(ORIGIN, version, big.clone());
        }
        durable.raise(ORIGIN, 4);
        outgoing.pump(&durable, &mut out);
        assert_eq!(sent(&mut out), [(1, 1), (2, 1), (3, 1), (4, 1)]);
        assert!(in_window > 4);
    }

    #[test]
    fn never_serves_a_version_from_the_place_of_another() {
        let mut outgoing = Outgoing::default();
        let mut out = Effects::new();
        let durable: VersionVector = [(ORIGIN, 6)].into_iter().collect();
        for version in [1, 2, 5, 6] {
            outgoing.durable(ORIGIN, version, Bytes::from(vec![u8::try_from(version).unwrap()]));
        }
        outgoing.follow(region(), ORIGIN, 2);
        outgoing.pump(&durable, &mut out);
        assert!(matches!(out.pop(), Some(Effect::ReadLog { after: 2, .. })));
        outgoing.follow(region(), ORIGIN, 4);
        outgoing.pump(&durable, &mut out);
        assert_eq!(sent(&mut out), [(5, 2)]);
    }

    #[test]
    fn reads_the_store_when_memory_starts_later_and_reports_a_trimmed_log() {
        let mut outgoing = Outgoing::default();
        let mut out = Effects::new();
        let durable: VersionVector = [(ORIGIN, 9)].into_iter().collect();
        outgoing.durable(ORIGIN, 9, Bytes::from_static(b"x"));
        outgoing.follow(region(), ORIGIN, 5);
        outgoing.pump(&durable, &mut out);
        assert!(matches!(out.pop(), Some(Effect::ReadLog { after: 5, .. })));
        let rows = vec![(8, Bytes::from_static(b"y"))];
        outgoing.log_read(&region(), ORIGIN, 5, rows, &durable, &mut out);
        let trimmed = out.pop();
        assert!(
            matches!(
                trimmed,
                Some(Effect::Send { message: PeerMessage::Trimmed { first: 8, .. }, .. })
            ),
            "{trimmed:?}"
        );
    }
}
