//! Clients, and how they find a node.
//!
//! Near each region that holds data lives a *population*. It is made of a bounded number of
//! *seats*: a process with a list of nodes, which remembers the one that works, or a resolver, which
//! keeps an answer for the clients behind it. How long clients go without an answer is looked at seat
//! by seat, because those behind one resolver wait by themselves.
//!
//! A seat has one connection, to the node that it uses. Making one takes a round trip, and one on which
//! an answer was waited for in vain is given up.

use std::time::Duration;

use rhumb_regions::{Client, Key, Request, RoutingSnapshot, select};
use rhumb_sim::random::Random;
use rhumb_types::{AckLevel, RegionId};

use crate::{
    chance::unit,
    rehearsal::Finding,
    time::{Micros, micros, place},
};

/// Client processes with a list of their own, or resolvers, near each region, unless told otherwise. When
/// a node fails each of them finds out by itself.
pub const SEATS: usize = 48;
/// Most of them.
pub const SEATS_MAX: u64 = 1_000;
/// How long a client with a list stays with a node that is not the nearest before it tries that
/// one again.
pub const STAY: Duration = Duration::from_secs(30);
/// How long a client waits before it asks a node again that has refused.
pub const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A place among the clients of a population.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SeatId {
    pub(crate) population: usize,
    pub(crate) seat: usize,
}

/// Clients, or the resolver that they ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seat {
    /// Uses the nth nearest node until a time.
    List { nth: usize, until: Micros },
    /// Has an answer until a time.
    Resolver { ignores: bool, answer: Option<usize>, until: Micros },
}

/// The connection of a seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Connection {
    node: usize,
    /// When it is made.
    from: Micros,
}

/// The clients near a region that write at one level.
#[derive(Debug)]
pub(crate) struct Population {
    /// The host of their region.
    pub(crate) home: usize,
    /// How their writes are acknowledged.
    pub(crate) ack: AckLevel,
    region: RegionId,
    /// Hosts that hold data, the nearest first.
    pub(crate) nearest: Vec<usize>,
    seats: Vec<Seat>,
    /// One per seat.
    connections: Vec<Option<Connection>>,
    finding: Finding,
    turns: u64,
}

impl Population {
    pub(crate) fn new(
        (home, region): (usize, RegionId),
        ack: AckLevel,
        nearest: Vec<usize>,
        finding: &Finding,
        seats: usize,
    ) -> Self {
        let seat = |nth| match finding {
            Finding::List => Seat::List { nth: 0, until: 0 },
            Finding::Dns { ignoring, .. } => {
                let ignores = ((nth as f64) + 0.5) / (seats as f64) < ignoring.get();
                Seat::Resolver { ignores, answer: None, until: 0 }
            }
        };
        let connections = vec![None; seats];
        let seats = (0..seats).map(seat).collect();
        Self { home, ack, region, nearest, seats, connections, finding: finding.clone(), turns: 0 }
    }

    /// When a seat's connection to a node is made, or was; `None` when it has none to that node.
    pub(crate) fn connection(&self, seat: usize, node: usize) -> Option<Micros> {
        let connection = self.connections.get(seat).copied().flatten();
        connection.filter(|it| it.node == node).map(|it| it.from)
    }

    /// A seat has a connection to a node from a time on, and no longer the one before.
    pub(crate) fn connect(&mut self, seat: usize, node: usize, from: Micros) {
        if let Some(connection) = self.connections.get_mut(seat) {
            *connection = Some(Connection { node, from });
        }
    }

    /// A seat gives its connection to a node up, if it still has that one.
    pub(crate) fn disconnect(&mut self, seat: usize, node: usize) {
        if let Some(connection) = self.connections.get_mut(seat) {
            *connection = connection.filter(|it| it.node != node);
        }
    }

    /// The node that a seat would ask now; `None` when it has to look it up.
    pub(crate) fn node(&self, seat: usize, now: Micros) -> Option<usize> {
        match self.seats.get(seat)? {
            Seat::List { nth, until } => {
                self.nearest.get(if now < *until { *nth } else { 0 }).copied()
            }
            Seat::Resolver { answer, until, .. } => answer.filter(|_| now < *until),
        }
    }

    /// Looks a seat's node up by the routing of a node. It is placed as a client of this region
    /// whose key is the resolver, so that a strategy that goes by keys keeps it where it is.
    pub(crate) fn look_up(
        &mut self,
        seat: usize,
        now: Micros,
        routing: Option<&RoutingSnapshot>,
        host: impl Fn(&RegionId) -> Option<usize>,
    ) -> Option<usize> {
        self.turns += 1;
        let name = format!("{}/{seat}", self.region);
        let client = Client { region: Some(&self.region), ..Client::default() };
        let key = Key::new(name.as_bytes());
        let request = Request { key, client, turn: self.turns, ..Request::default() };
        let found = routing.and_then(|routing| {
            select(routing, &request, routing.policy()).ok().and_then(|plan| host(plan.first()))
        });
        let (Some(seat), Finding::Dns { ttl, kept, .. }) =
            (self.seats.get_mut(seat), &self.finding)
        else {
            return found;
        };
        if let Seat::Resolver { ignores, answer, until } = seat {
            // Who gets no answer keeps none; it asks again with the next request.
            let keeps = if *ignores { *kept } else { *ttl };
            (*answer, *until) = (found, now + micros(keeps));
        }
        found
    }

    /// Makes the answers that resolvers have at the start of any age.
    pub(crate) fn age(&mut self, random: &mut Random, now: Micros) {
        for seat in &mut self.seats {
            if let Seat::Resolver { until, .. } = seat {
                let left = until.saturating_sub(now) as f64 * unit(random);
                *until = now + crate::time::whole(left);
            }
        }
    }

    /// A node did not answer, or refused: who has a list goes on to the next one, unless another
    /// request of the same client has done so meanwhile.
    pub(crate) fn failed(&mut self, seat: usize, node: usize, now: Micros) {
        if self.node(seat, now) != Some(node) {
            return;
        }
        let nodes = self.nearest.len().max(1);
        if let Some(Seat::List { nth, until }) = self.seats.get_mut(seat) {
            let at = if now < *until { *nth } else { 0 };
            *nth = (at + 1) % nodes;
            *until = now + micros(STAY);
        }
    }

    /// A seat by chance.
    pub(crate) fn any_seat(&self, random: &mut Random) -> usize {
        place(random.below(self.seats.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use rhumb_types::Ratio;

    use super::*;
    use crate::time::SECOND;

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    #[test]
    fn a_client_with_a_list_goes_on_stays_a_while_and_comes_back() {
        let (near, ack) = ((0, region("a")), AckLevel::Local);
        let mut clients = Population::new(near, ack, vec![0, 2, 1], &Finding::List, SEATS);
        assert_eq!(clients.node(5, 7), Some(0));
        clients.failed(5, 0, 7);
        clients.failed(5, 0, 8);
        assert_eq!(clients.node(5, 9), Some(2), "two requests failed at one node");
        clients.failed(5, 2, 9);
        assert_eq!(clients.node(5, 10), Some(1));
        assert_eq!(clients.node(6, 10), Some(0), "others find out by themselves");
        assert_eq!(clients.node(5, 31 * SECOND), Some(0));
    }

    #[test]
    fn a_seat_has_one_connection() {
        let (near, ack) = ((0, region("a")), AckLevel::Local);
        let mut clients = Population::new(near, ack, vec![0, 1], &Finding::List, SEATS);
        clients.connect(5, 0, 7);
        assert_eq!([0, 1].map(|node| clients.connection(5, node)), [Some(7), None]);
        assert_eq!(clients.connection(6, 0), None, "others have their own");
        clients.disconnect(5, 1);
        assert_eq!(clients.connection(5, 0), Some(7), "that one was given up before");
        clients.connect(5, 1, 9);
        assert_eq!([0, 1].map(|node| clients.connection(5, node)), [None, Some(9)]);
        clients.disconnect(5, 1);
        assert_eq!(clients.connection(5, 1), None);
    }

    #[test]
    fn a_resolver_keeps_its_answer_and_some_for_longer() {
        let (ttl, kept) = (Duration::from_secs(10), Duration::from_secs(100));
        let finding = Finding::Dns { ttl, ignoring: Ratio::clamped(0.25), kept };
        let (near, ack) = ((0, region("a")), AckLevel::Local);
        let mut clients = Population::new(near, ack, vec![0, 1], &finding, SEATS);
        let ignores = |seat: &&Seat| matches!(seat, Seat::Resolver { ignores: true, .. });
        assert_eq!(clients.seats.iter().filter(ignores).count(), SEATS / 4);
        let facts = rhumb_regions::Facts {
            version: 1,
            here: region("a"),
            regions: ["a", "b"]
                .map(|name| {
                    let region = rhumb_regions::Region::new(region(name), "host:1");
                    rhumb_regions::RegionFacts::new(region)
                })
                .into(),
            links: Vec::new(),
            rules: Vec::new(),
            policy: rhumb_regions::Policy::new(rhumb_regions::Strategy::Latency),
        };
        let routing = RoutingSnapshot::build(facts).unwrap();
        for seat in [0, SEATS - 1] {
            assert_eq!(clients.node(seat, 0), None);
            let host = |name: &RegionId| ["a", "b"].iter().position(|it| *it == name.as_str());
            assert_eq!(clients.look_up(seat, 0, Some(&routing), host), Some(0));
            clients.failed(seat, 0, 1);
            assert_eq!(clients.node(seat, 9 * SECOND), Some(0), "a resolver learns nothing");
        }
        assert_eq!(clients.node(0, 50 * SECOND), Some(0));
        assert_eq!(clients.node(SEATS - 1, 50 * SECOND), None);
    }
}
