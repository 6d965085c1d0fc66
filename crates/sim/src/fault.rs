//! What goes wrong, and when.

use std::time::Duration;

use rhumb_ports::memory::Faults;

use crate::{random::Random, run::Kind, world::World};

/// How long a process is frozen.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one is frozen that is cut off meanwhile: so short that answers still reach it.
const STRANDED: (Duration, Duration) = (Duration::from_millis(1_000), Duration::from_millis(1_400));
/// When it is cut off: after the answers that were on their way have reached it.
pub(crate) const STRANDED_CUT: Duration = Duration::from_millis(450);
/// Wakes from here on cut that host off.
pub(crate) const CUT_OFF: u64 = 100;

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
    /// A process is frozen as it asks for its lease to be renewed, and finds itself cut off when it
    /// goes on.
    Strand,
    /// Another host leads the group, though nothing is wrong with the one that did.
    Depose,
}

impl Fault {
    /// What hits nodes and links.
    pub const DATA: [Self; 10] = [
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
    /// What hits agreement and leases besides.
    pub const CONTROL: [Self; 5] =
        [Self::Strand, Self::Strand, Self::Depose, Self::Isolate, Self::Kill];

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::DATA.into_iter().chain([Self::Strand, Self::Depose])
    }
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

/// How long a fault lasts; longer where leases must run out meanwhile.
pub(crate) fn duration(kind: Kind, fault: Fault, random: &mut Random) -> Duration {
    let (least, most) = match (kind, fault) {
        (_, Fault::Strand) => (4_000, 7_000),
        (Kind::Control, Fault::Isolate) => (1_500, 7_000),
        (Kind::Control, _) => (50, 7_000),
        (Kind::Data | Kind::Domains, _) => (50, 4_000),
    };
    random.between(Duration::from_millis(least), Duration::from_millis(most))
}

/// Begins a fault of a random kind somewhere.
pub(crate) fn begin(kind: Kind, world: &mut World) -> Begun {
    let hosts = world.hosts.len();
    let kinds: &[Fault] = match kind {
        Kind::Control if world.random.chance(700) => &Fault::CONTROL,
        _ => &Fault::DATA,
    };
    let fault = *world.random.pick(kinds).unwrap_or(&Fault::Kill);
    // Whose clock is slow holds on the longest.
    let slow = world.hosts.iter().position(|host| host.drift_ppm < 0);
    let holds_on = slow.filter(|_| fault == Fault::Isolate && world.random.chance(500));
    let host = holds_on.unwrap_or_else(|| world.random.index(hosts));
    let other = (host + 1 + world.random.index(hosts - 1)) % hosts;
    let fault = if fault == Fault::SyncLies && !may_lie(kind, world, host) {
        Fault::PowerLoss
    } else {
        fault
    };
    let begun = Begun { fault, host, other };
    match fault {
        Fault::Kill => world.crash(host, usize::MAX),
        Fault::PowerLoss => {
            let kept = world.random.index(4);
            world.crash(host, kept);
        }
        Fault::Pause => pause(world, host, PAUSE),
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
        Fault::Strand => {
            let lasting = world.random.between(STRANDED.0, STRANDED.1);
            if let Some(machine) = world.hosts.get_mut(host) {
                machine.freeze_asking = Some(lasting);
            }
        }
        Fault::Depose => world.elect(),
    }
    begun
}

/// One disk of a run lies at most: of two that lose what both have confirmed nobody can know. And
/// one that lies can lose a transaction of one domain and keep one of another that has seen it;
/// nobody is then left who has it.
fn may_lie(kind: Kind, world: &World, host: usize) -> bool {
    kind != Kind::Domains && world.checker.liar().is_none_or(|liar| liar == host)
}

/// Mends a fault.
pub(crate) fn mend(world: &mut World, begun: Begun) {
    let Begun { fault, host, other } = begun;
    match fault {
        Fault::Kill | Fault::PowerLoss => world.start(host),
        // A pause ends by itself, and a leader is as good as another.
        Fault::Pause | Fault::Depose => {}
        Fault::Isolate | Fault::Strand => {
            if let Some(machine) = world.hosts.get_mut(host) {
                machine.freeze_asking = None;
            }
            cut_off(world, host, false);
        }
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

pub(crate) fn pause(world: &mut World, host: usize, lasting: Duration) {
    let until = world.now() + u64::try_from(lasting.as_micros()).unwrap_or(u64::MAX);
    if let Some(machine) = world.hosts.get_mut(host) {
        machine.paused_until = until;
    }
}

pub(crate) fn cut_off(world: &mut World, host: usize, cut: bool) {
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
