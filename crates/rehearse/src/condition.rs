//! What is broken at one moment, from the faults that have begun and are not mended.
//!
//! The whole condition is worked out anew whenever a fault begins or ends, so faults that overlap
//! end right in any order: a link stays cut until the last fault that cuts it is over.

use rhumb_types::RegionId;

use crate::{
    scenario::Fault,
    time::{Micros, micros},
};

/// One machine.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Machine {
    /// It is gone without a word.
    pub(crate) down: bool,
    /// Its process is gone, and the machine says so.
    pub(crate) killed: bool,
    /// Only what is in its own region reaches it.
    pub(crate) isolated: bool,
    /// Nothing that it sends leaves its own region.
    pub(crate) mute: bool,
    /// What is between its node and everybody in other regions.
    uplink: Uplink,
    /// Until when it is frozen, in the time of the simulator.
    pub(crate) frozen_until: Micros,
    pub(crate) disk_delay: Micros,
    pub(crate) disk_full: bool,
    pub(crate) disk_failing: bool,
    /// How far its wall clock is off, in milliseconds.
    pub(crate) clock: i64,
    /// How much it serves of what it is made for.
    pub(crate) share: f64,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            down: false,
            killed: false,
            isolated: false,
            mute: false,
            uplink: Uplink::default(),
            frozen_until: 0,
            disk_delay: 0,
            disk_full: false,
            disk_failing: false,
            clock: 0,
            share: 1.0,
        }
    }
}

/// What is between a region's node and other regions, in both directions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Uplink {
    delay: Micros,
    loss: f64,
}

/// The way from one region to another.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Way {
    pub(crate) cut: bool,
    /// What is added to every message.
    pub(crate) delay: Micros,
    /// The share of packets that is lost.
    pub(crate) loss: f64,
}

/// Everything that is broken.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Condition {
    pub(crate) machines: Vec<Machine>,
    ways: Vec<Way>,
}

impl Condition {
    /// Nothing is broken.
    pub(crate) fn sound(hosts: usize) -> Self {
        let way = Way { cut: false, delay: 0, loss: 0.0 };
        Self { machines: vec![Machine::default(); hosts], ways: vec![way; hosts * hosts] }
    }

    /// What faults make of regions, with the end of each.
    pub(crate) fn of<'f>(
        regions: &[RegionId],
        faults: impl Iterator<Item = (&'f Fault, Micros)>,
    ) -> Self {
        let mut condition = Self::sound(regions.len());
        for (fault, until) in faults {
            condition.add(regions, fault, until);
        }
        condition
    }

    /// The way between two regions, without what is wrong at its ends.
    fn between(&self, from: usize, to: usize) -> &Way {
        match self.ways.get(from * self.machines.len() + to) {
            Some(way) => way,
            None => unreachable!("machines are numbered"),
        }
    }

    /// The way between two nodes.
    pub(crate) fn way(&self, from: usize, to: usize) -> Way {
        self.through(from, to, &[from, to])
    }

    /// The way between the clients near a region and a node. Clients have uplinks of their own.
    pub(crate) fn way_of_clients(&self, near: usize, node: usize, asks: bool) -> Way {
        let (from, to) = if asks { (near, node) } else { (node, near) };
        if near == node { self.between(from, to).clone() } else { self.through(from, to, &[node]) }
    }

    fn through(&self, from: usize, to: usize, ends: &[usize]) -> Way {
        let mut way = self.between(from, to).clone();
        for end in ends.iter().filter_map(|end| self.machines.get(*end)) {
            way.delay += end.uplink.delay;
            way.loss = either(way.loss, end.uplink.loss);
        }
        way
    }

    /// Whether nothing passes from one node to another.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        let alone = |host: usize| self.machines.get(host).is_some_and(|it| it.down || it.isolated);
        let mute = self.machines.get(from).is_some_and(|it| it.mute);
        from != to && (self.between(from, to).cut || alone(from) || alone(to) || mute)
    }

    /// Whether nothing passes between the clients near a region and a node, in one direction. Who is
    /// near a region that is isolated or gone has a way to the others all the same.
    pub(crate) fn is_cut_for_clients(&self, near: usize, node: usize, asks: bool) -> bool {
        let (from, to) = if asks { (near, node) } else { (node, near) };
        let silent = |it: &Machine| it.isolated || (it.mute && !asks);
        let silent = self.machines.get(node).is_some_and(silent);
        near != node && (self.between(from, to).cut || silent)
    }

    fn on_way(&mut self, from: Option<usize>, to: Option<usize>, change: impl Fn(&mut Way)) {
        let (Some(from), Some(to)) = (from, to) else { return };
        if let Some(way) = self.ways.get_mut(from * self.machines.len() + to) {
            change(way);
        }
    }

    fn on_link(&mut self, a: Option<usize>, b: Option<usize>, change: impl Fn(&mut Way)) {
        self.on_way(a, b, &change);
        self.on_way(b, a, &change);
    }

    fn add(&mut self, regions: &[RegionId], fault: &Fault, until: Micros) {
        let host = |wanted: &RegionId| regions.iter().position(|region| region == wanted);
        match fault {
            Fault::Cut(a, b) => self.on_link(host(a), host(b), |way| way.cut = true),
            Fault::OneWay(from, to) => self.on_way(host(from), host(to), |way| way.cut = true),
            Fault::Loss(a, b, share) => self.on_link(host(a), host(b), |way| {
                way.loss = either(way.loss, share.get());
            }),
            Fault::Delay(a, b, time) => {
                self.on_link(host(a), host(b), |way| way.delay += micros(*time));
            }
            _ => {
                let host = fault.region().and_then(host);
                if let Some(machine) = host.and_then(|host| self.machines.get_mut(host)) {
                    machine.add(fault, until);
                }
            }
        }
    }
}

impl Machine {
    /// Whether a process may run on it.
    pub(crate) const fn runs(&self) -> bool {
        !self.down && !self.killed
    }

    fn add(&mut self, fault: &Fault, until: Micros) {
        match fault {
            Fault::Down(_) => self.down = true,
            Fault::Killed(_) => self.killed = true,
            Fault::Isolated(_) => self.isolated = true,
            Fault::Mute(_) => self.mute = true,
            Fault::UplinkLoss(_, share) => {
                self.uplink.loss = either(self.uplink.loss, share.get());
            }
            Fault::UplinkDelay(_, time) => self.uplink.delay += micros(*time),
            Fault::Freeze(_) => self.frozen_until = self.frozen_until.max(until),
            Fault::SlowDisk(_, time) => self.disk_delay += micros(*time),
            Fault::FullDisk(_) => self.disk_full = true,
            Fault::FailingDisk(_) => self.disk_failing = true,
            Fault::Clock(_, millis) => self.clock += millis,
            Fault::Slow(_, share) => self.share *= share.get(),
            _ => {}
        }
    }
}

/// How many packets are lost of those that have to pass both.
fn either(one: f64, other: f64) -> f64 {
    1.0 - (1.0 - one) * (1.0 - other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rhumb_types::Ratio;

    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn region(nth: usize) -> RegionId {
        RegionId::new(NAMES[nth % 3]).unwrap()
    }

    fn fault() -> impl Strategy<Value = Fault> {
        let link = (0_usize..3, 1_usize..3).prop_map(|(a, by)| (region(a), region(a + by)));
        let one = (0_usize..3).prop_map(region);
        (0_u8..14, link, one).prop_map(|(kind, (a, b), one)| match kind {
            0 => Fault::Down(one),
            1 => Fault::Freeze(one),
            2 => Fault::Isolated(one),
            3 => Fault::Cut(a, b),
            4 => Fault::OneWay(a, b),
            5 => Fault::Loss(a, b, Ratio::clamped(0.25)),
            6 => Fault::Delay(a, b, Duration::from_millis(3)),
            7 => Fault::SlowDisk(one, Duration::from_millis(5)),
            9 => Fault::Killed(one),
            10 => Fault::Mute(one),
            11 => Fault::UplinkLoss(one, Ratio::clamped(0.25)),
            12 => Fault::UplinkDelay(one, Duration::from_millis(7)),
            8 => Fault::Slow(one, Ratio::clamped(0.5)),
            _ => Fault::Clock(one, 100),
        })
    }

    proptest! {
        #[test]
        fn the_order_of_faults_does_not_matter(
            faults in prop::collection::vec((fault(), 1_u64..100), 0..8).prop_shuffle(),
            turn in 0_usize..8,
        ) {
            let regions: Vec<_> = (0..3).map(region).collect();
            let of = |faults: &[(Fault, Micros)]| {
                Condition::of(&regions, faults.iter().map(|(fault, until)| (fault, *until)))
            };
            let mut turned = faults.clone();
            turned.rotate_left(turn.min(faults.len()));
            prop_assert_eq!(of(&faults), of(&turned));
        }

        #[test]
        fn more_faults_break_more(
            faults in prop::collection::vec((fault(), 1_u64..100), 1..8),
        ) {
            let regions: Vec<_> = (0..3).map(region).collect();
            let of = |faults: &[(Fault, Micros)]| {
                Condition::of(&regions, faults.iter().map(|(fault, until)| (fault, *until)))
            };
            let (some, all) = (of(&faults[1..]), of(&faults));
            for (one, more) in some.ways.iter().zip(&all.ways) {
                prop_assert!(more.cut >= one.cut && more.delay >= one.delay);
                prop_assert!(more.loss >= one.loss && more.loss < 1.0);
            }
            for (one, more) in some.machines.iter().zip(&all.machines) {
                prop_assert!(more.runs() <= one.runs() && more.isolated >= one.isolated);
                prop_assert!(more.frozen_until >= one.frozen_until);
                prop_assert!(more.uplink.delay >= one.uplink.delay);
                prop_assert!(more.uplink.loss >= one.uplink.loss && more.mute >= one.mute);
                prop_assert!(more.share <= one.share && more.disk_delay >= one.disk_delay);
            }
            prop_assert_ne!(of(&faults), Condition::sound(3));
        }
    }
}
