//! Links between hosts: delay, jitter, cuts in one direction or both.
//!
//! A link behaves as a connection does: messages arrive in order or not at all. While a direction
//! is cut its messages wait; a cut that lasts longer than the time-out resets the connection, and
//! what waited is lost. Connections are made again as soon as both directions are open.

use std::{collections::VecDeque, time::Duration};

use rhumb_ports::peer::PeerMessage;

use crate::group::GroupMessage;

/// How long a connection survives silence in one direction.
pub const RESET_AFTER: Duration = Duration::from_millis(1_500);
/// How long both sides take to make a new connection once that is possible, beside the delay.
pub const RECONNECT_AFTER: Duration = Duration::from_millis(120);

/// The least time after which a sender takes a packet for lost (what Linux does; RFC 6298 says 1 s).
pub const RETRANSMIT_MIN: Duration = Duration::from_millis(200);
/// How often one packet is lost at most; each time the sender waits twice as long.
pub const LOSSES_MAX: u32 = 6;

/// What travels over a link.
#[derive(Debug)]
pub(crate) enum Packet {
    /// What nodes say to each other.
    Peer(PeerMessage),
    /// What the nodes of the group do.
    Group(GroupMessage),
}

/// One direction between two hosts.
#[derive(Debug, Default)]
pub struct Direction {
    /// One-way delay in microseconds.
    pub delay_micros: u64,
    /// The most that is added to a message's delay, in microseconds.
    pub jitter_micros: u64,
    /// How many of a million packets are lost; each costs a retransmission, and holds up what
    /// follows it.
    pub loss_ppm: u32,
    /// Bytes of logs that were sent.
    pub log_bytes: u64,
    /// Bytes of everything else that was sent.
    pub other_bytes: u64,
    /// Whether nothing passes now.
    pub cut: bool,
    /// Since when it is cut, in microseconds of the run.
    pub cut_since: u64,
    /// The earliest arrival of the next message, so that order is kept.
    pub not_before: u64,
    /// What waits for the end of the cut.
    pub(crate) waiting: VecDeque<Packet>,
}

/// How much later a packet arrives that is lost so often on a way with a one-way delay, in
/// microseconds: the sender waits for a round trip and the least time, and twice as long after each
/// further loss.
#[must_use]
pub fn retransmission_micros(delay_micros: u64, losses: u32) -> u64 {
    let least = u64::try_from(RETRANSMIT_MIN.as_micros()).unwrap_or(u64::MAX);
    (2 * delay_micros + least) * ((1 << losses.min(LOSSES_MAX)) - 1)
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
            direction.not_before = 0;
        }
    }
}
