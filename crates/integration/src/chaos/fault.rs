//! What is done to a region, and how it is mended.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{
    disk::{Disk, SlowFsync},
    wan::{Trouble, Wan},
};
use crate::{cluster::Cluster, process::Launch};

/// How long a frozen process stays frozen.
const FROZEN: Duration = Duration::from_secs(10);
/// What a slow disk adds to every fsync.
pub(super) const FSYNC_MORE: Duration = Duration::from_millis(300);
/// What a slow link adds to every round trip, half of it on each way.
pub(super) const LINK_MORE: Duration = Duration::from_millis(300);
/// How many packets of a thousand a slow link loses, on each way.
pub(super) const LINK_LOST_PER_MILLE: u32 = 20;
/// By how many milliseconds a wrong clock is off: four times what rule 8 of the design allows.
pub(super) const CLOCK_OFF_MILLIS: &str = "2000";

/// A kind of failure of a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Its process is killed with SIGKILL, and nothing answers at its address, as when a machine dies.
    Kill,
    /// Its process is stopped for ten seconds, and goes on where it was.
    Freeze,
    /// Nothing passes between its node and the other regions, their clients included.
    Cut,
    /// What others send arrives; nothing that its node sends to other regions does.
    CutOneWay,
    /// Each fsync takes 300 ms longer.
    SlowDisk,
    /// No byte more fits on its disk.
    FullDisk,
    /// Round trips between its node and the other regions take 300 ms longer, and a packet in fifty is
    /// lost on each way.
    SlowLink,
    /// Its node is started again with a wall clock that is two seconds ahead.
    Clock,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Freeze,
        Self::Cut,
        Self::CutOneWay,
        Self::SlowDisk,
        Self::FullDisk,
        Self::SlowLink,
        Self::Clock,
    ];

    /// How long it lasts, where trials last `usually`.
    #[must_use]
    pub fn lasts(self, usually: Duration) -> Duration {
        if self == Self::Freeze { FROZEN } else { usually }
    }

    /// Whether nothing that the node writes reaches another region until it is mended.
    pub(super) const fn holds_writes_back(self) -> bool {
        matches!(self, Self::Kill | Self::Freeze | Self::Cut | Self::CutOneWay)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
            Self::CutOneWay => "cut one way",
            Self::SlowDisk => "slow disk",
            Self::FullDisk => "full disk",
            Self::SlowLink => "slow link",
            Self::Clock => "clock",
        })
    }
}

/// What faults are done to.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) wan: Wan,
    /// One per region.
    pub(super) disks: Vec<Disk>,
    /// The region in whose namespace clients of it stand: places from here on are those of clients.
    pub(super) first_client: usize,
    /// strace, while a disk is slow.
    pub(super) slow: Option<SlowFsync>,
    /// Holds the disks; the last to go.
    pub(super) _folder: TempDir,
}

impl Stage {
    /// Starts the node of a region in its namespace.
    pub(super) fn start(&mut self, nth: usize, arguments: &[&str]) -> Result<()> {
        let namespace = Some(node_name(nth));
        self.cluster.launch(nth, &Launch { namespace, ..Launch::with(arguments) })
    }

    /// Does it; gives the time from which on it is so. A disk is full once all its room is taken, which
    /// takes a while.
    pub(super) fn inject(&mut self, kind: Kind, nth: usize) -> Result<Instant> {
        let begun = Instant::now();
        self.break_it(kind, nth)?;
        Ok(if kind == Kind::FullDisk { Instant::now() } else { begun })
    }

    fn break_it(&mut self, kind: Kind, nth: usize) -> Result<()> {
        match kind {
            Kind::Kill => {
                // First, so that no connection is seen to end.
                self.set_unreachable(nth, true);
                self.cluster.kill(nth)
            }
            Kind::Freeze => self.cluster.signal(nth, Signal::STOP),
            Kind::Cut | Kind::CutOneWay | Kind::SlowLink => {
                self.trouble(kind, nth);
                Ok(())
            }
            Kind::SlowDisk => {
                let process = self.cluster.process(nth).context("it runs")?;
                self.slow = Some(SlowFsync::attach(process, FSYNC_MORE)?);
                Ok(())
            }
            Kind::FullDisk => self.disk(nth)?.fill(),
            Kind::Clock => self.restart(nth, &["--clock-offset", CLOCK_OFF_MILLIS]),
        }
    }

    pub(super) fn mend(&mut self, kind: Kind, nth: usize) -> Result<()> {
        match kind {
            Kind::Kill => {
                self.start(nth, &[])?;
                self.set_unreachable(nth, false);
                Ok(())
            }
            Kind::Freeze => self.cluster.signal(nth, Signal::CONT),
            Kind::Cut | Kind::CutOneWay | Kind::SlowLink => {
                self.each_way(nth, |_| Trouble::default());
                Ok(())
            }
            Kind::SlowDisk => {
                self.slow = None;
                Ok(())
            }
            Kind::FullDisk => {
                // A node does not trust a disk again that has refused something.
                self.cluster.kill(nth)?;
                self.disk(nth)?.clear()?;
                self.start(nth, &[])
            }
            Kind::Clock => self.restart(nth, &[]),
        }
    }

    /// Takes every failure back and starts all nodes anew, after a trial that did not end well.
    pub(super) fn reset(&mut self) -> Result<()> {
        self.slow = None;
        for nth in 0..self.first_client {
            self.cluster.kill(nth)?;
            self.set_unreachable(nth, false);
            self.disk(nth)?.clear()?;
        }
        (0..self.first_client).try_for_each(|nth| self.start(nth, &[]))
    }

    fn restart(&mut self, nth: usize, arguments: &[&str]) -> Result<()> {
        let status = self.cluster.terminate(nth)?;
        ensure!(status.success(), "{} ended with {status}", self.cluster.region(nth));
        self.start(nth, arguments)
    }

    fn disk(&self, nth: usize) -> Result<&Disk> {
        self.disks.get(nth).context("every region has a disk")
    }

    /// Cuts a node off from everybody, its own clients too, or lets it back.
    fn set_unreachable(&self, nth: usize, cut: bool) {
        let trouble = Trouble { cut, ..Trouble::default() };
        self.each_way(nth, |_| trouble);
        let own_clients = self.first_client + nth;
        self.wan.set(nth, own_clients, trouble);
        self.wan.set(own_clients, nth, trouble);
    }

    fn trouble(&self, kind: Kind, nth: usize) {
        self.each_way(nth, |leaves| match kind {
            Kind::SlowLink => Trouble {
                more: LINK_MORE / 2,
                lost_per_mille: LINK_LOST_PER_MILLE,
                ..Trouble::default()
            },
            Kind::CutOneWay => Trouble { cut: leaves, ..Trouble::default() },
            _ => Trouble { cut: true, ..Trouble::default() },
        });
    }

    /// Sets all ways between a node and other regions; `trouble` is told whether the way leaves it.
    fn each_way(&self, nth: usize, trouble: impl Fn(bool) -> Trouble) {
        let regions = self.first_client;
        for other in (0..2 * regions).filter(|other| other % regions != nth) {
            self.wan.set(nth, other, trouble(true));
            self.wan.set(other, nth, trouble(false));
        }
    }
}

/// The namespace of a region's node.
pub(super) fn node_name(nth: usize) -> String {
    format!("node{nth}")
}

/// The namespace of the clients beside a region.
pub(super) fn clients_name(nth: usize) -> String {
    format!("clients{nth}")
}
