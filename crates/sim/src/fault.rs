//! What goes wrong, and when.

use std::time::Duration;

use rhumb_ports::memory::Faults;

use crate::{random::Random, world::World};

/// The kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A process is killed; its disk keeps everything.
    Kill,
    /// The power fails: some of what was not fsynced is lost.
    PowerLoss,
    /// A process is frozen.
    Pause,
    /// A host can reach nobody.
    Isolate,
    /// One direction of a link is cut.
    OneWay,
    /// A link is slow and uneven.
    Slow,
    /// A wall clock is ten minutes off.
    Clock,
    /// A disk's fsync fails.
    SyncFails,
    /// A disk's fsync does nothing, and then the power fails.
    SyncLies,
    /// A disk is slow.
    SlowDisk,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Kill,
        Self::PowerLoss,
        Self::Pause,
        Self::Isolate,
        Self::OneWay,
        Self::Slow,
        Self::Clock,
        Self::SyncFails,
        Self::SyncLies,
        Self::SlowDisk,
    ];
}

/// A fault that has begun and will be mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// What.
    pub fault: Fault,
    /// Where.
    pub host: usize,
    /// The other end of a link.
    pub other: usize,
}

/// How long a fault lasts.
pub(crate) fn duration(random: &mut Random) -> Duration {
    random.between(Duration::from_millis(50), Duration::from_millis(4_000))
}

/// Begins a fault of a random kind somewhere.
pub(crate) fn begin(world: &mut World) -> Begun {
    let hosts = world.hosts.len();
    let fault = *world.random.pick(&Fault::ALL).unwrap_or(&Fault::Kill);
    let host = world.random.index(hosts);
    let other = (host + 1 + world.random.index(hosts - 1)) % hosts;
    let begun = Begun { fault, host, other };
    match fault {
        Fault::Kill => world.crash(host, usize::MAX),
        Fault::PowerLoss => {
            let kept = world.random.index(4);
            world.crash(host, kept);
        }
        Fault::Pause => {
            let until = world.now() + 2_000_000;
            if let Some(machine) = world.hosts.get_mut(host) {
                machine.paused_until = until;
            }
        }
        Fault::Isolate => cut_off(world, host, true),
        Fault::OneWay => world.set_cut(host, other, true),
        Fault::Slow => {
            let direction = world.network.direction(host, other);
            direction.jitter_micros = 300_000;
        }
        Fault::Clock => set_clock(world, host, 600_000),
        Fault::SyncFails => {
            set_faults(world, host, Faults { sync_fails: true, ..Faults::default() })
        }
        Fault::SyncLies => {
            world.checker.lies(host);
            set_faults(world, host, Faults { sync_lies: true, ..Faults::default() });
        }
        Fault::SlowDisk => set_disk_delay(world, host, 150_000),
    }
    begun
}

/// Mends a fault.
pub(crate) fn mend(world: &mut World, begun: Begun) {
    let Begun { fault, host, other } = begun;
    match fault {
        Fault::Kill | Fault::PowerLoss => world.start(host),
        // A pause ends by itself.
        Fault::Pause => {}
        Fault::Isolate => cut_off(world, host, false),
        Fault::OneWay => world.set_cut(host, other, false),
        Fault::Slow => world.network.direction(host, other).jitter_micros = 0,
        Fault::Clock => set_clock(world, host, 0),
        Fault::SyncFails | Fault::SyncLies => {
            // A node does not trust its disk again before it starts anew; what the disk said it
            // had fsynced is lost with the power.
            world.crash(host, 0);
            set_faults(world, host, Faults::default());
            world.start(host);
        }
        Fault::SlowDisk => set_disk_delay(world, host, 0),
    }
}

fn cut_off(world: &mut World, host: usize, cut: bool) {
    for other in 0..world.hosts.len() {
        if other != host {
            world.set_cut(host, other, cut);
            world.set_cut(other, host, cut);
        }
    }
}

fn set_clock(world: &mut World, host: usize, millis: i64) {
    if let Some(machine) = world.hosts.get_mut(host) {
        machine.wall_offset = millis;
    }
}

fn set_faults(world: &mut World, host: usize, faults: Faults) {
    if let Some(machine) = world.hosts.get_mut(host) {
        machine.disk.set_faults(faults);
    }
}

fn set_disk_delay(world: &mut World, host: usize, micros: u64) {
    if let Some(machine) = world.hosts.get_mut(host) {
        machine.disk_delay_micros = micros;
    }
}
