//! The suite of [`PeerLink`] and [`PeerCall`]: two nodes, one way between them.

use bytes::Bytes;
use rhumb_types::{OriginId, RegionId};

use crate::{
    BoxFuture,
    peer::{
        CallError, LINK_QUEUE_MESSAGES_MAX, LogBatch, PeerLink, PeerMessage, PeerService,
        SendError, Service,
    },
};

/// Messages of one burst; fewer than a queue holds.
const BURST: u64 = 512;
/// Size of a message that is meant to fill something, in bytes.
const LARGE_BYTES: usize = 64 << 10;
/// Past this many large messages on a way that stands still, a link without a bound is shown.
const LARGE_MESSAGES_MAX: usize = 16 * LINK_QUEUE_MESSAGES_MAX;

/// One of the two nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The one whose region's name sorts first.
    Left,
    /// The other.
    Right,
}

impl Side {
    /// The node at the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// What a driver hears of its one peer.
#[derive(Clone, PartialEq, Debug)]
pub enum LinkEvent {
    /// The link is open.
    Up,
    /// The link is lost.
    Down,
    /// The peer said something.
    Message(PeerMessage),
}

/// Two nodes under test. Each answers calls with an [`Echo`].
pub trait PeerPair {
    /// How a node sends.
    type Link: PeerLink;
    /// A node's own end.
    fn link(&self, side: Side) -> &Self::Link;
    /// A node's region.
    fn region(&self, side: Side) -> RegionId;
    /// Waits for a node's next event, heartbeats aside. Panics when none comes in good time.
    fn next(&mut self, side: Side) -> LinkEvent;
    /// Lets nothing pass in either direction, and loses nothing either.
    fn hold(&mut self);
    /// Ends [`PeerPair::hold`].
    fn release(&mut self);
    /// Loses the connection and all that is under way on it, once.
    fn lose(&mut self);
    /// Stops a node for good.
    fn stop(&mut self, side: Side);
    /// Asks the [`Service::Forward`] of the other node and waits for the answer.
    fn ask(&mut self, from: Side, request: &[u8]) -> Result<Bytes, CallError>;
}

/// Answers a request with itself, and refuses the request `refuse`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl PeerService for Echo {
    fn answer(
        &self,
        _: RegionId,
        _: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        let refused = request.as_ref() == b"refuse";
        Box::pin(async move { if refused { Err("as asked".to_owned()) } else { Ok(request) } })
    }
}

/// The tests of links and calls; give it an expression that makes a [`PeerPair`].
#[macro_export]
macro_rules! peer_contract {
    ($pair:expr) => {
        mod peer_contract {
            #[allow(unused_imports, reason = "the expression may need none of it")]
            use super::*;
            use $crate::contract::peer;

            #[test]
            fn delivers_in_order_both_ways() {
                peer::delivers_in_order_both_ways(&mut $pair);
            }
            #[test]
            fn a_lost_link_is_told_and_comes_back_empty() {
                peer::a_lost_link_is_told_and_comes_back_empty(&mut $pair);
            }
            #[test]
            fn a_link_has_no_gap_before_it_is_lost() {
                peer::a_link_has_no_gap_before_it_is_lost(&mut $pair);
            }
            #[test]
            fn a_full_queue_drops_the_link() {
                peer::a_full_queue_drops_the_link(&mut $pair);
            }
            #[test]
            fn what_is_held_arrives_later() {
                peer::what_is_held_arrives_later(&mut $pair);
            }
            #[test]
            fn there_is_no_link_to_a_stranger() {
                peer::there_is_no_link_to_a_stranger(&mut $pair);
            }
            #[test]
            fn calls_are_answered_refused_or_unreachable() {
                peer::calls_are_answered_refused_or_unreachable(&mut $pair);
            }
        }
    };
}

/// Everything sent on a link that lasts arrives, once and in order.
pub fn delivers_in_order_both_ways(pair: &mut impl PeerPair) {
    both_up(pair);
    for number in 1..=BURST {
        send(pair, Side::Left, small(number));
        send(pair, Side::Right, small(number));
    }
    for number in 1..=BURST {
        assert_eq!(pair.next(Side::Left), LinkEvent::Message(small(number)));
        assert_eq!(pair.next(Side::Right), LinkEvent::Message(small(number)));
    }
}

/// Both ends hear `Down`, cannot send until `Up`, and a new link carries nothing of the old.
pub fn a_lost_link_is_told_and_comes_back_empty(pair: &mut impl PeerPair) {
    both_up(pair);
    pair.hold();
    for number in 1..=BURST {
        send(pair, Side::Left, small(number));
    }
    pair.lose();
    pair.release();
    for side in [Side::Left, Side::Right] {
        until(pair, side, &LinkEvent::Down);
        let refused = pair.link(side).send(&pair.region(side.other()), small(0));
        assert_eq!(refused, Err(SendError::Down(pair.region(side.other()))), "{side:?} before Up");
    }
    both_up(pair);
    send(pair, Side::Left, small(7_000));
    send(pair, Side::Right, small(8_000));
    assert_eq!(pair.next(Side::Right), LinkEvent::Message(small(7_000)));
    assert_eq!(pair.next(Side::Left), LinkEvent::Message(small(8_000)));
}

/// What arrives before `Down` is a prefix of what was sent.
pub fn a_link_has_no_gap_before_it_is_lost(pair: &mut impl PeerPair) {
    both_up(pair);
    for number in 1..=BURST {
        send(pair, Side::Left, small(number));
    }
    let mut expected = 1;
    while expected <= BURST / 4 {
        assert_eq!(pair.next(Side::Right), LinkEvent::Message(small(expected)));
        expected += 1;
    }
    pair.lose();
    loop {
        match pair.next(Side::Right) {
            LinkEvent::Message(message) => assert_eq!(message, small(expected)),
            LinkEvent::Down => break,
            LinkEvent::Up => panic!("a second link before the first was down"),
        }
        expected += 1;
    }
    assert!(expected <= BURST + 1, "more arrived than was sent");
}

/// A way that stands still fills the queue; then the link is dropped rather than a message.
pub fn a_full_queue_drops_the_link(pair: &mut impl PeerPair) {
    both_up(pair);
    pair.hold();
    let to = pair.region(Side::Right);
    let refused = (1..=LARGE_MESSAGES_MAX)
        .find_map(|number| pair.link(Side::Left).send(&to, large(number as u64)).err());
    assert_eq!(refused, Some(SendError::Full(to.clone())), "the queue has no bound");
    assert_eq!(pair.link(Side::Left).send(&to, small(0)), Err(SendError::Down(to)));
    assert_eq!(pair.next(Side::Left), LinkEvent::Down);
    pair.release();
    until(pair, Side::Right, &LinkEvent::Down);
    both_up(pair);
    send(pair, Side::Left, small(1));
    assert_eq!(pair.next(Side::Right), LinkEvent::Message(small(1)));
}

/// A short standstill of the way is not a loss.
pub fn what_is_held_arrives_later(pair: &mut impl PeerPair) {
    both_up(pair);
    pair.hold();
    for number in 1..=BURST {
        send(pair, Side::Left, small(number));
        send(pair, Side::Right, small(number));
    }
    pair.release();
    for number in 1..=BURST {
        assert_eq!(pair.next(Side::Left), LinkEvent::Message(small(number)));
        assert_eq!(pair.next(Side::Right), LinkEvent::Message(small(number)));
    }
}

/// A region that is no member has no link.
pub fn there_is_no_link_to_a_stranger(pair: &mut impl PeerPair) {
    let Ok(stranger) = RegionId::new("nowhere") else { return };
    let refused = pair.link(Side::Left).send(&stranger, small(1));
    assert_eq!(refused, Err(SendError::Down(stranger)));
}

/// The three ways in which a call ends.
pub fn calls_are_answered_refused_or_unreachable(pair: &mut impl PeerPair) {
    for side in [Side::Left, Side::Right] {
        assert_eq!(pair.ask(side, b"").as_deref(), Ok(&b""[..]));
        assert_eq!(pair.ask(side, b"hello").as_deref(), Ok(&b"hello"[..]));
        let refused = pair.ask(side, b"refuse");
        assert!(
            matches!(&refused, Err(CallError::Refused { reason, .. }) if reason == "as asked"),
            "{refused:?}"
        );
    }
    pair.stop(Side::Right);
    let gone = pair.ask(Side::Left, b"hello");
    assert!(matches!(gone, Err(CallError::Unreachable { .. })), "{gone:?}");
}

fn both_up(pair: &mut impl PeerPair) {
    for side in [Side::Left, Side::Right] {
        until(pair, side, &LinkEvent::Up);
    }
}

/// Skips messages until another event, which must be this one.
fn until(pair: &mut impl PeerPair, side: Side, wanted: &LinkEvent) {
    loop {
        match pair.next(side) {
            LinkEvent::Message(_) => {}
            event => {
                assert_eq!(&event, wanted, "at {side:?}");
                return;
            }
        }
    }
}

fn send(pair: &impl PeerPair, from: Side, message: PeerMessage) {
    let sent = pair.link(from).send(&pair.region(from.other()), message);
    assert_eq!(sent, Ok(()), "from {from:?}");
}

const fn small(number: u64) -> PeerMessage {
    PeerMessage::Follow { origin: OriginId(0x1_0000), after: number }
}

/// A batch that fills a queue: its bytes count, whatever they are.
fn large(number: u64) -> PeerMessage {
    PeerMessage::Log(LogBatch {
        origin: OriginId(0x1_0000),
        first: number,
        transactions: vec![Bytes::from(vec![7; LARGE_BYTES])],
        head: number,
    })
}
