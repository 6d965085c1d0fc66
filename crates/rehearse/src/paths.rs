//! How long clients and nodes take to reach each other.
//!
//! A client is as far from a node as the two regions are, plus the last kilometres to its own
//! region. What is broken between two regions is broken for the clients of one on their way to the
//! other, too: there is no other way round. Of a region that is isolated its own clients still reach
//! the node, and they reach other regions, as users do who live near it and not in it.

use std::time::Duration;

use rhumb_regions::{RoutingSnapshot, SnapshotError};
use rhumb_sim::{
    network::{LOSSES_MAX, Spread, retransmission_micros},
    random::Random,
};
use rhumb_types::RegionId;

use crate::{
    chance::unit,
    condition::Condition,
    rehearsal::Rehearsal,
    time::{Micros, SECOND, micros},
};

/// The round trip between a client and the region that it is near to.
pub const CLIENT_ROUND_TRIP: Duration = Duration::from_millis(2);
/// The round trip between regions of which nobody says where they are.
pub const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(80);
/// What a client waits before it takes the packets that make a connection for lost: nobody has measured
/// the round trip yet (RFC 6298, 2.1). Each time it waits twice as long.
const CONNECT_AGAIN: Micros = SECOND;

/// A message between clients and a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trip {
    /// The region that the clients are near to.
    pub(crate) near: usize,
    pub(crate) node: usize,
    /// Whether it is the request, and not the answer.
    pub(crate) asks: bool,
}

/// One-way delays of sound links, in microseconds.
#[derive(Debug)]
pub(crate) struct Paths {
    hosts: usize,
    delays: Vec<Micros>,
    /// What each message takes besides.
    spread: Spread,
}

impl Paths {
    /// As the facts of the first node say, else as is known of the regions' places.
    pub(crate) fn new(rehearsal: &Rehearsal) -> Result<Self, SnapshotError> {
        let regions: Vec<&RegionId> =
            rehearsal.nodes.iter().map(|setup| &setup.node.region).collect();
        let mut delays = Vec::new();
        for from in &rehearsal.nodes {
            let snapshot = RoutingSnapshot::build(from.oversight.facts.clone())?;
            let delay = |to: &&RegionId| half_round_trip(&snapshot, &from.node.region, to);
            delays.extend(regions.iter().map(delay));
        }
        Ok(Self { hosts: regions.len(), delays, spread: rehearsal.spread })
    }

    /// The one-way delay between two nodes.
    pub(crate) fn delay(&self, from: usize, to: usize) -> Micros {
        self.delays.get(from * self.hosts + to).copied().unwrap_or(0)
    }

    /// How long a request takes from clients near a region to a node, or its answer back; `None`
    /// when it is lost for good.
    pub(crate) fn travel(
        &self,
        condition: &Condition,
        trip: Trip,
        random: &mut Random,
    ) -> Option<Micros> {
        let Trip { near, node, asks } = trip;
        if condition.is_cut_for_clients(near, node, asks) {
            return None;
        }
        let (from, to) = if asks { (near, node) } else { (node, near) };
        let way = condition.way_of_clients(near, node, asks);
        let delay_micros = self.delay(from, to) + way.delay + micros(CLIENT_ROUND_TRIP) / 2;
        let mut losses = 0;
        while losses < LOSSES_MAX && way.loss > 0.0 && unit(random) < way.loss {
            losses += 1;
        }
        let late = retransmission_micros(delay_micros, losses, None);
        Some(delay_micros + late + self.spread.drawn(random))
    }

    /// How long clients near a region take to connect to a node: a round trip, when nothing is lost. `None`
    /// when nobody answers.
    pub(crate) fn connect(
        &self,
        condition: &Condition,
        near: usize,
        node: usize,
        random: &mut Random,
    ) -> Option<Micros> {
        let mut takes = 0;
        for asks in [true, false] {
            if condition.is_cut_for_clients(near, node, asks) {
                return None;
            }
            let (from, to) = if asks { (near, node) } else { (node, near) };
            let way = condition.way_of_clients(near, node, asks);
            let mut again = CONNECT_AGAIN;
            while again < CONNECT_AGAIN << LOSSES_MAX && way.loss > 0.0 && unit(random) < way.loss {
                takes += again;
                again *= 2;
            }
            takes += self.delay(from, to) + way.delay + micros(CLIENT_ROUND_TRIP) / 2;
            takes += self.spread.drawn(random);
        }
        Some(takes)
    }
}

fn half_round_trip(snapshot: &RoutingSnapshot, from: &RegionId, to: &RegionId) -> Micros {
    let known = snapshot.index(from).zip(snapshot.index(to));
    let known = known.map(|(from, to)| snapshot.rtt(from, to));
    // A snapshot says the longest there is when it does not know.
    let unknown = Duration::from_micros(u64::from(u32::MAX));
    let round_trip = known.filter(|rtt| *rtt < unknown).unwrap_or(UNKNOWN_ROUND_TRIP);
    micros(round_trip) / 2
}

#[cfg(test)]
mod tests {
    use rhumb_types::Ratio;

    use super::*;
    use crate::scenario::Fault;

    const MS: Micros = 1_000;

    fn paths() -> Paths {
        Paths { hosts: 2, delays: vec![0, 35 * MS, 35 * MS, 0], spread: Spread::None }
    }

    fn regions() -> [RegionId; 2] {
        ["us-east-1", "eu-west-1"].map(|name| RegionId::new(name).unwrap())
    }

    fn travels(fault: Option<Fault>, near: usize, node: usize) -> [Option<Micros>; 2] {
        let condition = Condition::of(&regions(), fault.iter().map(|fault| (fault, Micros::MAX)));
        let mut random = Random::new(1);
        [true, false].map(|asks| paths().travel(&condition, Trip { near, node, asks }, &mut random))
    }

    #[test]
    fn a_client_is_as_far_as_its_region_and_the_last_kilometres() {
        assert_eq!(travels(None, 0, 0).map(|way| way.unwrap() / MS), [1, 1]);
        assert_eq!(travels(None, 0, 1).map(|way| way.unwrap() / MS), [36, 36]);
    }

    #[test]
    fn what_is_broken_between_regions_is_broken_for_clients() {
        let [us, eu] = regions();
        let one_way = travels(Some(Fault::OneWay(us.clone(), eu.clone())), 0, 1);
        assert!(one_way[0].is_none() && one_way[1].is_some());
        let back = travels(Some(Fault::OneWay(us.clone(), eu.clone())), 1, 0);
        assert!(back[0].is_some() && back[1].is_none(), "the answer is lost");
        let delay = Fault::Delay(us.clone(), eu.clone(), Duration::from_millis(100));
        assert_eq!(travels(Some(delay), 1, 0).map(|way| way.unwrap() / MS / 10), [13, 13]);
        let isolated = Fault::Isolated(us.clone());
        assert_eq!(travels(Some(isolated.clone()), 1, 0), [None, None]);
        assert!(travels(Some(isolated.clone()), 0, 0).iter().all(Option::is_some));
        assert!(travels(Some(isolated), 0, 1).iter().all(Option::is_some));
        let mute = travels(Some(Fault::Mute(us.clone())), 1, 0);
        assert!(mute[0].is_some() && mute[1].is_none(), "it hears, and is not heard");
        let slow = Fault::UplinkDelay(us.clone(), Duration::from_millis(100));
        assert_eq!(travels(Some(slow.clone()), 1, 0).map(|way| way.unwrap() / MS / 10), [13, 13]);
        assert_eq!(travels(Some(slow), 0, 1).map(|way| way.unwrap() / MS / 10), [3, 3]);
        let down = travels(Some(Fault::Down(us)), 0, 1);
        assert!(down.iter().all(Option::is_some), "its clients reach the others");
    }

    #[test]
    fn connecting_takes_a_round_trip_and_a_second_more_when_that_is_lost() {
        let [us, eu] = regions();
        let connects = |fault: Option<Fault>, near: usize, node: usize, seed: u64| {
            let condition =
                Condition::of(&regions(), fault.iter().map(|fault| (fault, Micros::MAX)));
            paths().connect(&condition, near, node, &mut Random::new(seed))
        };
        assert_eq!(connects(None, 0, 1, 1), Some(72 * MS));
        assert_eq!(connects(None, 0, 0, 1), Some(2 * MS));
        assert_eq!(connects(Some(Fault::Mute(us.clone())), 1, 0, 1), None, "no answer comes");
        assert_eq!(connects(Some(Fault::Isolated(us.clone())), 0, 0, 1), Some(2 * MS));
        let loss = Fault::Loss(us, eu, Ratio::clamped(0.5));
        let condition = Condition::of(&regions(), [(&loss, Micros::MAX)].into_iter());
        let mut random = Random::new(1);
        let mut took = || paths().connect(&condition, 0, 1, &mut random).unwrap() / MS;
        let took: Vec<Micros> = (0..1_000).map(|_| took()).collect();
        // Each way is lost half of the time; a lost one takes a second, the next time two.
        for (wanted, share) in [(72, 200..300), (1_072, 200..300), (2_072, 40..90)] {
            let count = took.iter().filter(|took| **took == wanted).count();
            assert!(share.contains(&count), "{count} took {wanted} ms");
        }
    }

    #[test]
    fn a_lost_packet_costs_a_retransmission() {
        let [us, eu] = regions();
        let fault = Fault::Loss(us, eu, Ratio::clamped(0.5));
        let condition = Condition::of(&regions(), [(&fault, Micros::MAX)].into_iter());
        let mut random = Random::new(1);
        let trip = Trip { near: 0, node: 1, asks: true };
        let ways: Vec<Micros> = (0..1_000)
            .map(|_| paths().travel(&condition, trip, &mut random).unwrap() / MS)
            .collect();
        let soon = ways.iter().filter(|way| **way < 40).count();
        assert!((430..570).contains(&soon), "{soon}");
        // A round trip of 72 ms and 200 ms, and then twice as much.
        let once = ways.iter().filter(|way| (305..315).contains(*way)).count();
        assert!((190..310).contains(&once), "{once}");
    }
}
