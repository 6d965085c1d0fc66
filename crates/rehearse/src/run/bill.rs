//! Bytes between regions, and what they and the nodes cost.
//!
//! Counted are the messages of nodes and of their group, as they are encoded; see the simulator for
//! what frames them. Where a write stands for several, its transactions count as often. Not counted:
//! traffic of clients, and what is sent again where packets are lost.

use std::{collections::BTreeMap, time::Duration};

use rhumb_sim::network::Network;
use rhumb_types::RegionId;

use crate::{
    prices::{MicroDollars, Prices},
    time::whole,
};

/// Bytes in a gigabyte.
const GB: f64 = 1e9;
/// Seconds in an hour.
const HOUR: f64 = 3_600.0;

/// What was sent in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// What the simulator had counted when it was looked at last.
    log: u64,
    other: u64,
    /// With the weight of each write.
    bytes: u64,
}

/// The bill so far.
#[derive(Debug)]
pub(super) struct Bill {
    sent: BTreeMap<(usize, usize), Sent>,
}

impl Bill {
    /// A bill that begins now.
    pub(super) fn new(network: &mut Network) -> Self {
        let mut bill = Self { sent: BTreeMap::new() };
        bill.look(network, 1);
        bill.sent.values_mut().for_each(|sent| sent.bytes = 0);
        bill
    }

    /// Adds what was sent since the last look, while each write stood for so many.
    pub(super) fn look(&mut self, network: &mut Network, weight: u64) {
        for (a, b) in network.pairs() {
            for (from, to) in [(a, b), (b, a)] {
                let direction = network.direction(from, to);
                let sent = self.sent.entry((from, to)).or_default();
                sent.bytes += (direction.log_bytes - sent.log) * weight;
                sent.bytes += direction.other_bytes - sent.other;
                (sent.log, sent.other) = (direction.log_bytes, direction.other_bytes);
            }
        }
    }

    pub(super) fn egress(&self, regions: &[RegionId]) -> BTreeMap<String, u64> {
        let named = |((from, to), sent): (&(usize, usize), &Sent)| {
            Some((format!("{}>{}", regions.get(*from)?, regions.get(*to)?), sent.bytes))
        };
        self.sent.iter().filter_map(named).collect()
    }

    /// The bytes, and the nodes for a time.
    pub(super) fn cost(
        &self,
        regions: &[RegionId],
        prices: &Prices,
        lasting: Duration,
    ) -> MicroDollars {
        let bytes = self.sent.iter().map(|((from, to), sent)| {
            let pair = regions.get(*from).zip(regions.get(*to));
            let price = pair.and_then(|(from, to)| prices.per_gb(from, to));
            price.map_or(0, |price| price.0) as f64 * sent.bytes as f64 / GB
        });
        let hours = lasting.as_secs_f64() / HOUR;
        let nodes = regions
            .iter()
            .map(|region| prices.node_hour.get(region).map_or(0.0, |price| price.0 as f64 * hours));
        MicroDollars(whole(bytes.sum::<f64>() + nodes.sum::<f64>()))
    }
}

#[cfg(test)]
mod tests {
    use rhumb_regions::snapshot::MicroDollarsPerGb;

    use super::*;

    #[test]
    fn a_bill_is_of_what_was_sent_since_its_beginning_and_of_nodes() {
        let regions = ["a", "b"].map(|name| RegionId::new(name).unwrap());
        let mut network = Network::new(2);
        network.direction(0, 1).log_bytes = 1_000_000;
        let mut bill = Bill::new(&mut network);
        network.direction(0, 1).log_bytes += 2_000_000_000;
        network.direction(0, 1).other_bytes += 500_000_000;
        network.direction(1, 0).other_bytes += 7;
        bill.look(&mut network, 3);
        bill.look(&mut network, 9);
        let sent = bill.egress(&regions);
        assert_eq!(sent, [("a>b".to_owned(), 6_500_000_000), ("b>a".to_owned(), 7)].into());
        let [a, b] = &regions;
        let prices = Prices {
            between: [((a.clone(), b.clone()), MicroDollarsPerGb(20_000))].into(),
            egress: BTreeMap::new(),
            node_hour: [(b.clone(), MicroDollars(50_000))].into(),
        };
        let cost = bill.cost(&regions, &prices, Duration::from_secs(7_200));
        assert_eq!(cost, MicroDollars(130_000 + 100_000));
    }
}
