//! What goes wrong, when, and for how long.
//!
//! One fault per line, `#` begins a comment:
//!
//! ```text
//! at 10m region us-east-1 down for 30m
//! at 10m region eu-west-1 frozen for 20s      # or isolated, or slow 40%: serves that much
//! at 20m region us-east-1 killed for 1m       # its process only: who asks is refused
//! at 5m link us-east-1 - eu-west-1 loss 20% for 10m
//! at 5m link us-east-1 - eu-west-1 delay 300ms for 5m
//! at 5m link us-east-1 -> eu-west-1 cut for 2m
//! at 3m disk eu-west-1 slow 200ms             # or full, or failing
//! at 4m clock ap-southeast-1 +2s for 10m
//! ```
//!
//! Without `for`, nobody mends it.

mod overlap;
mod parse;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use rhumb_types::{Ratio, RegionId};

pub use self::{
    overlap::possible,
    parse::{Stage, parse},
};

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
    /// A region is gone without a word: nobody's connection is reset, and who asks it hears nothing.
    /// Its node starts again on its disk when that is mended.
    Down(RegionId),
    /// The process of a region's node is killed and its machine stays: connections are reset, and who
    /// asks is refused. It starts again on its disk when that is mended.
    Killed(RegionId),
    /// Its process is frozen, and goes on where it was.
    Freeze(RegionId),
    /// Nothing reaches its node from other regions, their clients included, and nothing leaves it; its
    /// own clients still reach it, and other regions.
    Isolated(RegionId),
    /// Nothing that its node sends to other regions or their clients arrives; it hears them.
    Mute(RegionId),
    /// So many packets are lost between its node and other regions, their clients included, in both
    /// directions.
    UplinkLoss(RegionId, Ratio),
    /// So much is added to every message between its node and other regions, their clients included,
    /// one way.
    UplinkDelay(RegionId, Duration),
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

/// What a fault is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject<'f> {
    /// A region, or a part of it.
    Region(&'f RegionId),
    /// The link between two regions.
    Link(&'f RegionId, &'f RegionId),
}

impl<'f> Subject<'f> {
    /// The region, or both ends of the link.
    pub(crate) fn regions(self) -> impl Iterator<Item = &'f RegionId> {
        let (one, other) = match self {
            Self::Region(region) => (region, None),
            Self::Link(a, b) => (a, Some(b)),
        };
        std::iter::once(one).chain(other)
    }
}

impl Fault {
    pub(crate) const fn subject(&self) -> Subject<'_> {
        match self {
            Self::Down(region)
            | Self::Killed(region)
            | Self::Freeze(region)
            | Self::Isolated(region)
            | Self::Mute(region)
            | Self::UplinkLoss(region, _)
            | Self::UplinkDelay(region, _)
            | Self::SlowDisk(region, _)
            | Self::FullDisk(region)
            | Self::FailingDisk(region)
            | Self::Clock(region, _)
            | Self::Slow(region, _) => Subject::Region(region),
            Self::Cut(a, b) | Self::OneWay(a, b) | Self::Loss(a, b, _) | Self::Delay(a, b, _) => {
                Subject::Link(a, b)
            }
        }
    }

    /// The region that it hits; `None` for what hits a link.
    pub(crate) const fn region(&self) -> Option<&RegionId> {
        match self.subject() {
            Subject::Region(region) => Some(region),
            Subject::Link(..) => None,
        }
    }

    /// Whether a region is lost, so that others must know of it, and take its duties over.
    pub(crate) const fn is_a_loss(&self) -> bool {
        matches!(
            self,
            Self::Down(_) | Self::Killed(_) | Self::Freeze(_) | Self::Isolated(_) | Self::Mute(_)
        )
    }
}
