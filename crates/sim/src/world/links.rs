//! Messages on their way, and the connections that carry them.

use rhumb_node::Event;
use rhumb_ports::peer::PeerMessage;
use rhumb_types::RegionId;

use super::{What, World, micros};
use crate::{
    branch::Branch,
    network::{
        BACKLOG_MAX, Direction, LANES, LOSSES_MAX, Lane, Packet, RECONNECT_AFTER, RESET_AFTER,
        retransmission_micros,
    },
    size,
};

impl World {
    /// Cuts or opens one direction.
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        let now = self.now;
        let direction = self.network.direction(from, to);
        if direction.cut == cut {
            return;
        }
        direction.cut = cut;
        direction.cut_since = now;
        if !cut {
            let waiting: Vec<Packet> = direction.waiting.drain(..).collect();
            for packet in waiting {
                self.transmit(from, to, packet);
            }
        }
    }

    pub(super) fn send(&mut self, from: usize, to: &RegionId, message: PeerMessage) {
        let Some(to) = self.host_of(to) else { return };
        if !self.network.link(from, to).up {
            return;
        }
        self.checker.sent(from, to, &message);
        self.watch_message(from, to, &message);
        self.transmit(from, to, Packet::Peer(message));
    }

    pub(super) fn transmit(&mut self, from: usize, to: usize, packet: Packet) {
        let now = self.now;
        let connection = self.network.link(from, to).connection;
        let direction = self.network.direction(from, to);
        if direction.cut {
            direction.waiting.push_back(packet);
            return;
        }
        let (log, other) = match &packet {
            Packet::Peer(message) => size::of(message),
            Packet::Group(_) | Packet::Advert(_) => (0, size::GROUP),
            Packet::Object(message) => (0, message.bytes()),
        };
        direction.log_bytes += log;
        direction.other_bytes += other;
        if matches!(packet, Packet::Object(_)) {
            direction.object_bytes += other;
        }
        let lane = packet.lane();
        let jitter = self.random.below(direction.jitter_micros + 1)
            + direction.spread.drawn(&mut self.random);
        let losses = direction.losses(log + other, &mut self.random);
        let left = direction.leaves(now, lane, log + other);
        if losses >= LOSSES_MAX || is_hopeless(lane, direction, left - now) {
            return self.drop_link(from, to);
        }
        let followed = direction.note_sent(lane, now);
        let late = retransmission_micros(direction.delay_micros, losses, followed);
        let at = direction.in_order(lane, left + direction.delay_micros + jitter + late);
        let overtakes = direction.overtakes(lane, at);
        if losses > 0 {
            self.branches.note(Branch::Retransmitted);
        }
        if overtakes {
            self.branches.note(Branch::Overtaken);
        }
        self.trace.mix(log + other);
        self.plan(at - now, to, What::Arrival { from, connection, packet });
    }

    pub(crate) fn is_up(&self, host: usize) -> bool {
        self.hosts.get(host).is_some_and(|host| host.process.is_some())
    }

    pub(super) fn look_at_links(&mut self) {
        for (a, b) in self.network.pairs() {
            let both = self.is_up(a) && self.is_up(b);
            let now = self.now;
            let link = self.network.link(a, b);
            let reset = micros(RESET_AFTER);
            let dead = link.directions.iter().any(|d| d.cut && now - d.cut_since > reset);
            match (link.up, both && link.is_open()) {
                (true, _) if dead => self.drop_link(a, b),
                (false, true) => self.make_link(a, b),
                _ => {}
            }
        }
    }

    fn make_link(&mut self, a: usize, b: usize) {
        let now = self.now;
        let link = self.network.link(a, b);
        link.connection += 1;
        link.up = true;
        link.up_since = now;
        let setup = micros(RECONNECT_AFTER);
        for (host, peer) in [(a, b), (b, a)] {
            let region = self.region(peer);
            let delay = self.network.direction(peer, host).delay_micros;
            self.network.direction(peer, host).not_before = [self.now + setup + 2 * delay; LANES];
            self.plan(setup + delay, host, What::Node(Event::PeerUp { region }));
        }
    }

    pub(super) fn drop_link(&mut self, a: usize, b: usize) {
        let link = self.network.link(a, b);
        if !link.up {
            return;
        }
        link.reset();
        link.down_at = self.now;
        self.branches.note(Branch::LinkReset);
        for (host, peer) in [(a, b), (b, a)] {
            let region = self.region(peer);
            let delay = self.network.direction(peer, host).delay_micros;
            self.plan(delay, host, What::Node(Event::PeerDown { region }));
        }
    }
}

/// Whether a sender gives its connection up for what waits. Where bytes have a connection of their own,
/// whoever asked for them gives them up.
fn is_hopeless(lane: Lane, direction: &Direction, waits: u64) -> bool {
    waits > micros(BACKLOG_MAX) && !(direction.shared && lane == Lane::Calls)
}
