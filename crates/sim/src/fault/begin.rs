//! How faults begin and end.

use std::time::Duration;

use rhumb_ports::memory::Faults;

use super::{Fault, PAUSE, Planned, STRANDED};
use crate::{random::Random, world::World};

/// Begins a fault.
pub(crate) fn begin(world: &mut World, planned: Planned) {
    let Planned { fault, host, other, dice, .. } = planned;
    let mut dice = Random::new(dice);
    match fault {
        Fault::Kill => world.crash(host, usize::MAX),
        Fault::PowerLoss => world.crash(host, dice.index(4)),
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
            let lasting = dice.between(STRANDED.0, STRANDED.1);
            if let Some(machine) = world.hosts.get_mut(host) {
                machine.freeze_asking = Some(lasting);
            }
        }
        Fault::Depose => world.elect(),
    }
}

/// Mends a fault.
pub(crate) fn mend(world: &mut World, planned: Planned) {
    let Planned { fault, host, other, .. } = planned;
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
