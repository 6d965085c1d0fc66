//! Links between hosts: delay, jitter, loss, bandwidth, cuts in one direction or both.
//!
//! A link is four connections, as in the real adapters: logs and what goes with them, heartbeats, the
//! consensus group, and calls about objects with their bytes. Each delivers its messages in order or not at all, and none waits for
//! another, so messages of different connections overtake each other. A lost packet is sent again
//! and holds up its connection meanwhile, as with TCP: for about a round trip where more follows it
//! soon, else until the sender's time-out; one that is lost too often ends the link. Logs and
//! bytes queue for the bandwidth; what is small gets its share at once. While a direction is cut its messages
//! wait; a cut that lasts longer than the time-out resets the connections, and what waited is lost.
//! They are made again as soon as both directions are open.
//!
//! How long a message takes is the delay of its way, and by chance more: see [`Spread`]. Where packets are
//! lost a connection gets less through: see [`through_losses`], which only rehearsals set.
//!
//! Simpler than real ones: the connections of a pair end and begin together.

use std::{collections::VecDeque, time::Duration};

use rhumb_ports::peer::PeerMessage;
use rhumb_regions::locations::way_excess_micros;

use crate::{group::GroupMessage, random::Random};

/// How long a connection survives silence in one direction.
pub const RESET_AFTER: Duration = Duration::from_millis(1_500);
/// How long both sides take to make a new connection once that is possible, beside the delay.
pub const RECONNECT_AFTER: Duration = Duration::from_millis(120);

/// What a sender waits beyond the round trip before it takes a packet for lost that nothing follows
/// (the least that Linux does; RFC 6298 says 1 s). A tail loss probe comes no sooner when one packet
/// is under way (RFC 8985, 7.2).
pub const RETRANSMIT_MIN: Duration = Duration::from_millis(200);
/// So many later packets that arrive leave no doubt that one is lost (RFC 8985, 6.2: DupThresh).
const LATER_PACKETS: u64 = 3;
/// How often one packet is lost at most; each time the sender waits twice as long.
pub const LOSSES_MAX: u32 = 6;

/// The bytes of a packet: what of an Ethernet frame is left for TCP's payload.
pub const PACKET_BYTES: u64 = 1_400;
/// Packets of one message whose loss is drawn one by one.
const PACKETS_DRAWN_MAX: u64 = 64;
/// What may wait for the bandwidth before the sender gives the connection up.
pub const BACKLOG_MAX: Duration = Duration::from_secs(30);

/// After a silence of less than this no health board gives a region up, in microseconds: that takes
/// some five heartbeats.
const SILENCE_MICROS: u64 = 400_000;

/// How many connections a link has.
pub(crate) const LANES: usize = 4;

/// The connections of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// Logs, snapshots, and what must be in order with them.
    Bulk,
    /// Signs of life.
    Heartbeat,
    /// The consensus group.
    Group,
    /// Questions about objects, and bytes.
    Calls,
}

/// What travels over a link.
#[derive(Debug)]
pub(crate) enum Packet {
    /// What nodes say to each other.
    Peer(PeerMessage),
    /// What the nodes of the group do.
    Group(GroupMessage),
    /// What a region's queues can take.
    Advert(rhumb_queue::Advert),
    /// What regions ask of each other about objects.
    Object(crate::world::objects::Message),
}

impl Packet {
    pub(crate) const fn lane(&self) -> Lane {
        match self {
            Self::Peer(PeerMessage::Heartbeat(_) | PeerMessage::HeartbeatReply(_)) => {
                Lane::Heartbeat
            }
            Self::Peer(_) | Self::Advert(_) => Lane::Bulk,
            Self::Group(_) => Lane::Group,
            Self::Object(_) => Lane::Calls,
        }
    }
}

/// By how much messages take longer than the delay of their way, each by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// By nothing.
    #[default]
    None,
    /// As between regions of a cloud: mostly less than a tenth of a millisecond, and of a thousand some
    /// by several ([`rhumb_regions::locations::WAY_EXCESS`]).
    Cloud,
}

impl Spread {
    /// That of one message, in microseconds. Where there is none, nothing is drawn.
    pub fn drawn(self, random: &mut Random) -> u64 {
        match self {
            Self::None => 0,
            Self::Cloud => {
                let quicker = u32::try_from(random.below(1_000_000)).unwrap_or(u32::MAX);
                u64::from(way_excess_micros(quicker))
            }
        }
    }
}

/// One direction between two hosts.
#[derive(Debug, Default)]
pub struct Direction {
    /// One-way delay in microseconds.
    pub delay_micros: u64,
    /// The most that is added to a message's delay, in microseconds.
    pub jitter_micros: u64,
    /// What that is when nothing is wrong.
    pub usual_jitter_micros: u64,
    /// What is added besides.
    pub spread: Spread,
    /// How many of a million packets are lost; each costs a retransmission, and holds up what
    /// follows it.
    pub loss_ppm: u32,
    /// Bytes of logs that were sent.
    pub log_bytes: u64,
    /// Bytes of everything else that was sent.
    pub other_bytes: u64,
    /// Of these, what was said of objects, with their bytes.
    pub object_bytes: u64,
    /// Whether nothing passes now.
    pub cut: bool,
    /// Since when it is cut, in microseconds of the run.
    pub cut_since: u64,
    /// Bytes in a second; 0 for as many as one likes.
    pub bytes_per_second: u64,
    /// The most of them that one connection gets through; 0 for as many as one likes.
    pub connection_bytes_per_second: u64,
    /// Whether logs and bytes of objects share that evenly, as two connections of TCP do; else they wait
    /// for each other.
    pub shared: bool,
    /// When everything that queues for the bandwidth will have left: logs, and bytes of objects.
    pub(crate) free_at: [u64; 2],
    /// The earliest arrival of the next message of each connection, so that order is kept.
    pub(crate) not_before: [u64; LANES],
    /// When something was sent last over each connection.
    sent_at: [Option<u64>; LANES],
    /// The shortest delay since the connections were made.
    delay_min: Option<u64>,
    /// What waits for the end of the cut.
    pub(crate) waiting: VecDeque<Packet>,
    /// When a sign of life arrived last.
    heard_at: u64,
    /// When the last silence ended after which a region may be given up.
    silent_until: u64,
}

/// What tells a sender early that a packet is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Followed {
    /// How long after it the next packet of its connection is sent, in microseconds.
    pub after: u64,
    /// The shortest round trip that the connection has seen, in microseconds.
    pub round_trip_min: u64,
}

/// How much later a packet arrives that is lost so often on a way with a one-way delay, in
/// microseconds. `followed` is what is known of the packets after it, if there are any.
///
/// - The acknowledgement of a later packet says that it is lost, a round trip after that one was sent; but
///   for a quarter of the shortest round trip it may only be late. Three later packets leave no doubt
///   (RACK; RFC 8985, 6.2). So it is also for what was sent again.
/// - When nothing follows in time the sender waits for a round trip and the least time, and twice as
///   long after each further loss (RFC 6298, 5.5).
#[must_use]
pub fn retransmission_micros(delay_micros: u64, losses: u32, followed: Option<Followed>) -> u64 {
    let round_trip = 2 * delay_micros;
    let least = u64::try_from(RETRANSMIT_MIN.as_micros()).unwrap_or(u64::MAX);
    let losses = losses.min(LOSSES_MAX);
    let told = followed.map(|Followed { after, round_trip_min }| {
        let doubt = after.max(round_trip_min / 4).min(after.saturating_mul(LATER_PACKETS));
        doubt.saturating_add(round_trip)
    });
    match told.filter(|told| *told < round_trip + least) {
        Some(told) => told * u64::from(losses),
        None => (round_trip + least) * ((1 << losses) - 1),
    }
}

/// Bytes in a second that a connection of TCP gets through where a share of packets is lost, over a round trip
/// in microseconds; 0, for as many as one likes, where none is. A segment each round trip, times the root of
/// three halves over the loss (Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion
/// avoidance algorithm", 1997): senders that halve their window after a loss and widen it by a segment per round
/// trip, as all but BBR do at such distances.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from floating point saturates"
)]
pub fn through_losses(round_trip_micros: u64, loss: f64) -> u64 {
    if loss <= 0.0 {
        return 0;
    }
    let segments = (1.5 / loss).sqrt();
    let each = PACKET_BYTES as f64 * 1e6 / round_trip_micros.max(1) as f64;
    ((segments * each) as u64).max(1)
}

impl Direction {
    /// A sign of life arrives.
    pub(crate) fn note_heard(&mut self, now: u64) {
        if now - self.heard_at > SILENCE_MICROS {
            self.silent_until = now;
        }
        self.heard_at = now;
    }

    /// Whether signs of life have arrived all along since a time, so that nobody gives the sender up.
    pub(crate) const fn is_heard_since(&self, since: u64, now: u64) -> bool {
        self.silent_until <= since && now - self.heard_at <= SILENCE_MICROS
    }

    /// How often the packet of a message is lost that is lost most often.
    pub(crate) fn losses(&self, bytes: u64, random: &mut Random) -> u32 {
        if self.loss_ppm == 0 {
            return 0;
        }
        let packets = (bytes / PACKET_BYTES + 1).min(PACKETS_DRAWN_MAX);
        let one = |random: &mut Random| {
            let lost = |_: &u32| random.below(1_000_000) < u64::from(self.loss_ppm);
            (0..LOSSES_MAX).take_while(lost).count()
        };
        let most = (0..packets).map(|_| one(random)).max().unwrap_or(0);
        u32::try_from(most).unwrap_or(LOSSES_MAX)
    }

    /// When a message has left that is sent now; logs wait for those before them.
    pub(crate) fn leaves(&mut self, now: u64, lane: Lane, bytes: u64) -> u64 {
        let at = |rate: u64| bytes.saturating_mul(1_000_000).checked_div(rate).unwrap_or(0);
        let (takes, alone) = (at(self.bytes_per_second), at(self.connection_bytes_per_second));
        if takes == 0 && alone == 0 {
            return now;
        }
        let [logs, objects] = &mut self.free_at;
        let (mine, other) = match lane {
            Lane::Bulk => (logs, objects),
            Lane::Calls if self.shared => (objects, logs),
            Lane::Calls => (logs, objects),
            Lane::Heartbeat | Lane::Group => return now + takes,
        };
        let begins = (*mine).max(now);
        // While both have something to send each gets half.
        let both = other.saturating_sub(begins);
        if both > 0 {
            *other += takes;
        }
        *mine = begins + (takes + takes.min(both / 2)).max(alone);
        *mine
    }

    /// A message is sent over a connection; gives what is known of how soon the next one follows: as soon
    /// as this one has followed the one before it.
    pub(crate) fn note_sent(&mut self, lane: Lane, now: u64) -> Option<Followed> {
        let delay = self.delay_min.map_or(self.delay_micros, |least| least.min(self.delay_micros));
        self.delay_min = Some(delay);
        let before = of(&mut self.sent_at, lane).replace(now)?;
        Some(Followed { after: now.saturating_sub(before), round_trip_min: 2 * delay })
    }

    /// When a message of a connection arrives that would at a time: after the one before it.
    pub(crate) fn in_order(&mut self, lane: Lane, at: u64) -> u64 {
        let not_before = of(&mut self.not_before, lane);
        let at = at.max(*not_before);
        *not_before = at + 1;
        at
    }

    /// Whether a message of a connection that arrives then overtakes one that was sent before it over another.
    pub(crate) fn overtakes(&self, lane: Lane, at: u64) -> bool {
        let mut own = self.not_before;
        *of(&mut own, lane) = 0;
        own.iter().any(|not_before| *not_before > at + 1)
    }
}

/// What is kept for each connection.
const fn of<T>(kept: &mut [T; LANES], lane: Lane) -> &mut T {
    let [bulk, heartbeat, group, calls] = kept;
    match lane {
        Lane::Bulk => bulk,
        Lane::Heartbeat => heartbeat,
        Lane::Group => group,
        Lane::Calls => calls,
    }
}

/// A pair of hosts.
#[derive(Debug, Default)]
pub struct Link {
    /// Both directions: from the lower-numbered host, and back.
    pub directions: [Direction; 2],
    /// Counts connections; messages of an earlier one are lost.
    pub connection: u64,
    /// Whether the connection stands.
    pub up: bool,
    /// Since when, in microseconds of the run.
    pub up_since: u64,
    /// When the connection before it ended.
    pub(crate) down_at: u64,
}

/// The links of all pairs of hosts.
#[derive(Debug)]
pub struct Network {
    hosts: usize,
    links: Vec<Link>,
}

impl Network {
    /// Links between so many hosts, all down.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        Self { hosts, links: (0..hosts * hosts).map(|_| Link::default()).collect() }
    }

    fn place(&self, a: usize, b: usize) -> usize {
        a.min(b) * self.hosts + a.max(b)
    }

    /// The link of a pair.
    pub fn link(&mut self, a: usize, b: usize) -> &mut Link {
        let place = self.place(a, b);
        match self.links.get_mut(place) {
            Some(link) => link,
            None => unreachable!("hosts are numbered below {}", self.hosts),
        }
    }

    /// Whether a pair is linked, and what is said over it arrives soon.
    #[must_use]
    pub fn is_clear(&self, a: usize, b: usize) -> bool {
        let link = self.links.get(self.place(a, b));
        let clear = |way: &Direction| way.loss_ppm == 0 && way.bytes_per_second == 0;
        self.is_up(a, b) && link.is_some_and(|link| link.directions.iter().all(clear))
    }

    /// Whether a pair is linked, and neither direction is cut.
    #[must_use]
    pub fn is_up(&self, a: usize, b: usize) -> bool {
        let link = self.links.get(self.place(a, b));
        link.is_some_and(|link| link.up && link.directions.iter().all(|way| !way.cut))
    }

    /// One direction of a pair.
    pub fn direction(&mut self, from: usize, to: usize) -> &mut Direction {
        let [up, down] = &mut self.link(from, to).directions;
        if from < to { up } else { down }
    }

    /// Every pair, the lower number first.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let hosts = self.hosts;
        (0..hosts).flat_map(move |a| (a + 1..hosts).map(move |b| (a, b)))
    }
}

impl Link {
    /// Whether both directions pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.directions.iter().all(|direction| !direction.cut)
    }

    /// Ends the connection: what waits is lost, and what is on its way will not be delivered.
    pub fn reset(&mut self) {
        self.up = false;
        self.connection += 1;
        for direction in &mut self.directions {
            direction.waiting.clear();
            direction.not_before = [0; LANES];
            direction.sent_at = [None; LANES];
            direction.delay_min = None;
            direction.free_at = [0; 2];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_queue_for_the_bandwidth_and_heartbeats_do_not() {
        let mut way = Direction { bytes_per_second: 1_000_000, ..Direction::default() };
        assert_eq!(way.leaves(0, Lane::Bulk, 500_000), 500_000);
        assert_eq!(way.leaves(0, Lane::Bulk, 500_000), 1_000_000);
        assert_eq!(way.leaves(0, Lane::Heartbeat, 100), 100);
        assert_eq!(way.leaves(2_000_000, Lane::Bulk, 1), 2_000_001);
        let mut wide = Direction::default();
        assert_eq!(wide.leaves(7, Lane::Bulk, u64::MAX), 7);
    }

    #[test]
    fn logs_and_bytes_share_a_link_evenly() {
        let mut way =
            Direction { bytes_per_second: 1_000_000, shared: true, ..Direction::default() };
        assert_eq!(way.leaves(0, Lane::Calls, 8_000_000), 8_000_000);
        // Half of the link is the logs', and what bytes come then wait for these, too.
        assert_eq!(way.leaves(0, Lane::Bulk, 1_000_000), 2_000_000);
        assert_eq!(way.leaves(2_000_000, Lane::Calls, 1_000_000), 10_000_000);
        assert_eq!(way.leaves(20_000_000, Lane::Bulk, 1_000_000), 21_000_000);
    }

    #[test]
    fn a_connection_gets_less_through_where_packets_are_lost() {
        assert_eq!(through_losses(100_000, 0.0), 0);
        // Some nine segments in flight at two in a hundred, five at six.
        assert_eq!(through_losses(100_000, 0.02), 121_243);
        assert_eq!(through_losses(200_000, 0.06), 35_000);
        let mut way = Direction { connection_bytes_per_second: 1_000, ..Direction::default() };
        assert_eq!(way.leaves(0, Lane::Bulk, 500), 500_000);
        assert_eq!(way.leaves(0, Lane::Bulk, 500), 1_000_000);
        assert_eq!(way.leaves(0, Lane::Heartbeat, 500), 0);
        way.bytes_per_second = 100;
        assert_eq!(way.leaves(5_000_000, Lane::Bulk, 500), 10_000_000, "the link is narrower");
    }

    #[test]
    fn each_connection_keeps_its_own_order() {
        let mut way = Direction::default();
        assert_eq!(way.in_order(Lane::Bulk, 900), 900);
        assert_eq!(way.in_order(Lane::Bulk, 100), 901);
        assert_eq!(way.in_order(Lane::Heartbeat, 100), 100);
    }

    #[test]
    fn what_is_followed_soon_is_sent_again_after_a_round_trip() {
        let takes = |losses, after: Option<u64>, round_trip_min| {
            let followed = after.map(|after| Followed { after, round_trip_min });
            retransmission_micros(100_000, losses, followed) / 1_000
        };
        let alone = [0, 1, 2, 3].map(|losses| takes(losses, None, 0));
        assert_eq!(alone, [0, 400, 1_200, 2_800]);
        let soon = [0, 1, 2, 3].map(|losses| takes(losses, Some(10_000), 200_000));
        assert_eq!(soon, [0, 230, 460, 690], "three more packets leave no doubt");
        assert_eq!(
            takes(1, Some(20_000), 200_000),
            250,
            "a quarter of a round trip does not, either"
        );
        assert_eq!(takes(1, Some(20_000), 80_000), 220);
        assert_eq!(takes(1, Some(100_000), 200_000), 300);
        assert_eq!(takes(2, Some(10_000_000), 200_000), 1_200, "by then the time-out was first");
    }

    #[test]
    fn the_shortest_round_trip_is_remembered_as_long_as_the_connection() {
        let mut link = Link::default();
        let [way, _] = &mut link.directions;
        way.delay_micros = 10_000;
        assert_eq!(way.note_sent(Lane::Bulk, 5), None);
        way.delay_micros = 90_000;
        let followed = Followed { after: 3, round_trip_min: 20_000 };
        assert_eq!(way.note_sent(Lane::Bulk, 8), Some(followed));
        link.reset();
        let [way, _] = &mut link.directions;
        assert_eq!(way.note_sent(Lane::Bulk, 9), None);
        let followed = Followed { after: 1, round_trip_min: 180_000 };
        assert_eq!(way.note_sent(Lane::Bulk, 10), Some(followed));
    }

    #[test]
    fn without_a_spread_nothing_is_drawn_and_a_cloud_has_a_tail() {
        let mut random = Random::new(1);
        assert_eq!(Spread::None.drawn(&mut random), 0);
        assert_eq!(random.bits(), Random::new(1).bits());
        let mut drawn: Vec<u64> = (0..100_000).map(|_| Spread::Cloud.drawn(&mut random)).collect();
        drawn.sort_unstable();
        assert!((45..55).contains(&drawn[50_000]), "{}", drawn[50_000]);
        assert!((1_000..2_500).contains(&drawn[99_500]), "{}", drawn[99_500]);
        assert!((10_000..=23_500).contains(&drawn[99_999]), "{}", drawn[99_999]);
    }

    #[test]
    fn large_messages_lose_packets_more_often() {
        let way = Direction { loss_ppm: 100_000, ..Direction::default() };
        let mut random = Random::new(1);
        let lost = |bytes: u64, random: &mut Random| {
            (0..1_000).filter(|_| way.losses(bytes, random) > 0).count()
        };
        let (small, large) = (lost(100, &mut random), lost(20 * PACKET_BYTES, &mut random));
        assert!((70..130).contains(&small), "{small}");
        assert!(large > 800, "{large}");
    }
}
