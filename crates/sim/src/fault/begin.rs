//! How faults begin and end.

use std::time::Duration;

use rhumb_ports::memory::Faults;
use rhumb_types::planted::{self, Planted as Mutant};

use super::{Fault, PAUSE, Planned, STRANDED};
use crate::{host::Host, random::Random, world::World};

/// How many of a million packets a lossy link loses.
const LOSSES_PPM: [u32; 3] = [10_000, 50_000, 300_000];
/// The bandwidth of a narrow link: less than, and a few times, what the clients write.
const BYTES_PER_SECOND: [u64; 3] = [8_000, 32_000, 128_000];
/// How far a clock jumps: out of all bounds, back and forth, and around the bound of rule 8.
const JUMPS_MILLIS: [i64; 5] = [600_000, -600_000, 700, -450, 300];
/// How long a slow process takes for an event.
const HANDLING_MICROS: [u64; 3] = [200, 1_000, 4_000];

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
        Fault::Slow => world.network.direction(host, other).jitter_micros = 300_000,
        Fault::Lossy => {
            let loss = *dice.pick(&LOSSES_PPM).unwrap_or(&0);
            world.network.direction(host, other).loss_ppm = loss;
        }
        Fault::Narrow => {
            let rate = *dice.pick(&BYTES_PER_SECOND).unwrap_or(&0);
            world.network.direction(host, other).bytes_per_second = rate;
        }
        Fault::Clock => {
            let millis = *dice.pick(&JUMPS_MILLIS).unwrap_or(&0);
            with(world, host, |machine| machine.wall_offset = millis);
        }
        Fault::Suspend => suspend(world, host, planned.lasting),
        Fault::SlowNode => {
            let micros = *dice.pick(&HANDLING_MICROS).unwrap_or(&0);
            with(world, host, |machine| machine.handling_micros = micros);
        }
        Fault::SyncFails => {
            set_faults(world, host, Faults { sync_fails: true, ..Faults::default() })
        }
        Fault::SyncLies => {
            world.checker.lies(host);
            set_faults(world, host, Faults { sync_lies: true, ..Faults::default() });
        }
        Fault::SlowDisk => with(world, host, |machine| machine.disk_delay_micros = 150_000),
        Fault::DiskStalls => {
            let until = after(world, planned.lasting);
            with(world, host, |machine| machine.disk_stalled_until = until);
        }
        Fault::DiskFull => set_faults(world, host, Faults { full: true, ..Faults::default() }),
        Fault::Torn => world.tear(host, dice.chance(500)),
        Fault::Restore => {
            world.checker.lies(host);
            with(world, host, |machine| {
                machine.backup = Some((machine.disk.durable_image(), machine.blobs.image()));
            });
        }
        Fault::Strand => {
            let lasting = dice.between(STRANDED.0, STRANDED.1);
            with(world, host, |machine| machine.freeze_asking = Some(lasting));
        }
        Fault::Depose => world.elect(None),
        Fault::Rot => world.rot(host, &mut dice),
    }
}

/// Mends a fault.
pub(crate) fn mend(world: &mut World, planned: Planned) {
    let Planned { fault, host, other, .. } = planned;
    match fault {
        Fault::Kill | Fault::PowerLoss | Fault::Torn => world.start(host),
        // These end by themselves, and a leader is as good as another.
        Fault::Pause | Fault::DiskStalls | Fault::Depose | Fault::Rot => {}
        Fault::Isolate | Fault::Strand | Fault::Suspend => {
            with(world, host, |machine| machine.freeze_asking = None);
            cut_off(world, host, false);
        }
        Fault::OneWay => world.set_cut(host, other, false),
        Fault::Slow => {
            let direction = world.network.direction(host, other);
            direction.jitter_micros = direction.usual_jitter_micros;
        }
        Fault::Lossy => world.network.direction(host, other).loss_ppm = 0,
        Fault::Narrow => world.network.direction(host, other).bytes_per_second = 0,
        Fault::Clock => with(world, host, |machine| machine.wall_offset = 0),
        Fault::SlowNode => with(world, host, |machine| machine.handling_micros = 0),
        Fault::Restore => restore(world, host),
        Fault::SyncFails | Fault::SyncLies | Fault::DiskFull => {
            // A node does not trust its disk again before it starts anew; what the disk said it
            // had fsynced is lost with the power.
            world.crash(host, 0);
            set_faults(world, host, Faults::default());
            world.start(host);
        }
        Fault::SlowDisk => with(world, host, |machine| machine.disk_delay_micros = 0),
    }
}

fn after(world: &World, lasting: Duration) -> u64 {
    world.now() + u64::try_from(lasting.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn pause(world: &mut World, host: usize, lasting: Duration) {
    let until = after(world, lasting);
    with(world, host, |machine| machine.paused_until = until);
}

/// Nothing runs and nothing is heard. The clock that leases are counted on goes on (rule 7).
fn suspend(world: &mut World, host: usize, lasting: Duration) {
    pause(world, host, lasting);
    cut_off(world, host, true);
    if planted::is(Mutant::ClockStopsInSuspend) {
        let micros = u64::try_from(lasting.as_micros()).unwrap_or(u64::MAX);
        with(world, host, |machine| machine.uncounted_micros += micros);
    }
}

/// The machine is stopped, its disk is what it was when the fault began, and it starts again.
fn restore(world: &mut World, host: usize) {
    let backup = world.hosts.get_mut(host).and_then(|machine| machine.backup.take());
    world.crash(host, usize::MAX);
    if let Some((disk, blobs)) = backup {
        let mut gone = Vec::new();
        with(world, host, |machine| {
            machine.disk.rewind(&disk);
            let had = machine.blobs.all();
            machine.blobs.rewind(&blobs);
            gone.extend(
                had.into_iter().map(|it| it.0).filter(|it| machine.blobs.get(it).is_none()),
            );
        });
        // As damage: nobody had a way to know.
        world.rotten.extend(gone);
    }
    world.start(host);
}

pub(crate) fn cut_off(world: &mut World, host: usize, cut: bool) {
    for other in 0..world.hosts.len() {
        if other != host {
            world.set_cut(host, other, cut);
            world.set_cut(other, host, cut);
        }
    }
}

fn with(world: &mut World, host: usize, set: impl FnOnce(&mut Host)) {
    if let Some(machine) = world.hosts.get_mut(host) {
        set(machine);
    }
}

fn set_faults(world: &mut World, host: usize, faults: Faults) {
    with(world, host, |machine| machine.disk.set_faults(faults));
}
