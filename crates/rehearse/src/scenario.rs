//! What goes wrong, when, and for how long.

use std::time::Duration;

use rhumb_types::{Ratio, RegionId};

/// Everything that goes wrong in a rehearsal.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Scenario {
    /// In order of their times.
    pub faults: Vec<Planned>,
}

/// One thing that goes wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct Planned {
    /// From the start of the rehearsal.
    pub at: Duration,
    /// Until it is mended; `None` for never.
    pub lasting: Option<Duration>,
    /// What it is.
    pub fault: Fault,
}

/// What can go wrong.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// The node of a region is killed, and starts again on its disk when that is mended.
    Down(RegionId),
    /// Its process is frozen, and goes on where it was.
    Freeze(RegionId),
    /// Nothing reaches it from other regions, and nothing leaves it; its own clients still do.
    Isolated(RegionId),
    /// Nothing passes between two regions.
    Cut(RegionId, RegionId),
    /// Nothing passes from the first region to the second.
    OneWay(RegionId, RegionId),
    /// So many packets are lost between two regions, in both directions.
    Loss(RegionId, RegionId, Ratio),
    /// So much is added to every message between two regions, one way.
    Delay(RegionId, RegionId, Duration),
    /// So much is added to every fsync of a region.
    SlowDisk(RegionId, Duration),
    /// No write of a region reaches its disk.
    FullDisk(RegionId),
    /// Every fsync of a region fails.
    FailingDisk(RegionId),
    /// The wall clock of a region is off by so many milliseconds.
    Clock(RegionId, i64),
    /// A region serves only so much of what it is made for.
    Slow(RegionId, Ratio),
}
