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
    pub(crate) down: bool,
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
            frozen_until: 0,
            disk_delay: 0,
            disk_full: false,
            disk_failing: false,
            clock: 0,
            share: 1.0,
        }
    }
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

    /// The way between two machines.
    pub(crate) fn way(&self, from: usize, to: usize) -> &Way {
        match self.ways.get(from * self.machines.len() + to) {
            Some(way) => way,
            None => unreachable!("machines are numbered"),
        }
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
            Fault::Isolated(region) => {
                for other in regions.iter().filter(|other| *other != region) {
                    self.on_link(host(region), host(other), |way| way.cut = true);
                }
            }
            Fault::Cut(a, b) => self.on_link(host(a), host(b), |way| way.cut = true),
            Fault::OneWay(from, to) => self.on_way(host(from), host(to), |way| way.cut = true),
            Fault::Loss(a, b, share) => self.on_link(host(a), host(b), |way| {
                way.loss = 1.0 - (1.0 - way.loss) * (1.0 - share.get());
            }),
            Fault::Delay(a, b, time) => {
                self.on_link(host(a), host(b), |way| way.delay += micros(*time));
            }
            Fault::Down(region)
            | Fault::Freeze(region)
            | Fault::SlowDisk(region, _)
            | Fault::FullDisk(region)
            | Fault::FailingDisk(region)
            | Fault::Clock(region, _)
            | Fault::Slow(region, _) => {
                if let Some(machine) = host(region).and_then(|host| self.machines.get_mut(host)) {
                    machine.add(fault, until);
                }
            }
        }
    }
}

impl Machine {
    fn add(&mut self, fault: &Fault, until: Micros) {
        match fault {
            Fault::Down(_) => self.down = true,
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
