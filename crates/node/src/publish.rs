//! Pub/sub messages from other regions, delivered after what they follow is applied (rule 14).

use std::collections::VecDeque;

use bytes::Bytes;
use rhumb_ports::peer::{PeerMessage, Published};
use rhumb_types::{
    DomainId, MonoTime,
    planted::{self, Planted},
    record::{Dot, VersionVector},
};

use crate::{
    event::{Effect, Effects},
    limits::{PUBLISHED_WAIT_MAX, PUBLISHED_WAITING_MAX},
    node::Node,
};

impl Node {
    /// A client publishes: to this node's subscribers at once, to other regions after what this
    /// node has written so far.
    pub(crate) fn publish(&mut self, channel: Bytes, payload: Bytes, out: &mut Effects) {
        let origin = self.own_origin(DomainId::EVERYWHERE);
        let version = self.applied.get(origin);
        let after = (version > 0).then_some(Dot { origin, version });
        let message = Published { after, channel, payload };
        for to in self.peers.up() {
            let message = PeerMessage::Publish(message.clone());
            out.push(Effect::Send { to: to.clone(), message });
        }
        out.push(Effect::Deliver(message));
    }
}

/// Messages that came before the transaction that they follow.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queue: VecDeque<(MonoTime, Published)>,
    dropped: u64,
}

impl Waiting {
    /// Delivers a message, or keeps it until its dot is committed here, so that a subscriber who
    /// reads sees what the message follows. The oldest is dropped past the bound: pub/sub is at
    /// most once.
    pub(crate) fn receive(
        &mut self,
        now: MonoTime,
        message: Published,
        applied: &VersionVector,
        out: &mut Effects,
    ) {
        if self.queue.is_empty() && is_due(&message, applied) {
            out.push(Effect::Deliver(message));
            return;
        }
        if self.queue.len() >= PUBLISHED_WAITING_MAX {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back((now, message));
    }

    /// Delivers what has become due, and drops what has waited too long.
    pub(crate) fn settle(&mut self, now: MonoTime, applied: &VersionVector, out: &mut Effects) {
        let dropped = &mut self.dropped;
        self.queue.retain(|(since, message)| {
            if is_due(message, applied) {
                out.push(Effect::Deliver(message.clone()));
                return false;
            }
            let keep = now.saturating_since(*since) < PUBLISHED_WAIT_MAX;
            *dropped += u64::from(!keep);
            keep
        });
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn is_due(message: &Published, applied: &VersionVector) -> bool {
    message.after.is_none_or(|dot| applied.covers(dot)) || planted::is(Planted::DeliverEarly)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rhumb_types::{OriginId, record::Dot};

    use super::*;

    #[test]
    fn a_message_waits_for_the_write_that_it_follows() {
        let mut waiting = Waiting::default();
        let mut out = Effects::new();
        let origin = OriginId(0x20_0000);
        let message = Published {
            after: Some(Dot { origin, version: 3 }),
            channel: Bytes::from_static(b"c"),
            payload: Bytes::from_static(b"p"),
        };
        let mut applied = VersionVector::new();
        waiting.receive(MonoTime(0), message.clone(), &applied, &mut out);
        assert!(out.is_empty());
        applied.raise(origin, 3);
        waiting.settle(MonoTime(1), &applied, &mut out);
        assert!(matches!(out.pop(), Some(Effect::Deliver(delivered)) if delivered == message));
        waiting.settle(MonoTime(1), &applied, &mut out);
        assert!(out.is_empty());
    }
}
