//! What goes wrong, and when.
//!
//! The faults of a run are drawn from a stream of their own, so that they are the same whatever
//! else happens, and a run can be had again with some of them left out ([`Schedule`]).

use std::time::Duration;

use crate::{
    random::Random,
    run::{Kind, Options},
};

mod begin;

pub(crate) use begin::{begin, cut_off, mend, pause};

/// How long a process is frozen.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one is frozen that is cut off meanwhile: so short that answers still reach it.
const STRANDED: (Duration, Duration) = (Duration::from_millis(1_000), Duration::from_millis(1_400));
/// When it is cut off: after the answers that were on their way have reached it.
pub(crate) const STRANDED_CUT: Duration = Duration::from_millis(450);
/// Wakes from here on cut that host off.
pub(crate) const CUT_OFF: u64 = 100;
/// The time between the beginnings of two faults.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(3_000));
/// Runs from this load on are calmer: faults are so many times further apart. Restarts that nobody
/// can vouch for leave an origin behind each, and those of a day would be thousands.
const LONG: Duration = Duration::from_secs(600);
const CALMER: u32 = 20;
/// How many faults of a thousand hit objects, in a run that has any.
const OBJECTS_PER_MILLE: u64 = 250;
/// How many faults of a thousand begin together with another one on the same link.
const TWIN_PER_MILLE: u64 = 150;
/// Separates the stream of faults from the run's others.
const STREAM: u64 = 0x6661_756c_7473;

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
    /// A link loses many packets.
    Lossy,
    /// A link has little bandwidth.
    Narrow,
    /// A wall clock jumps: ten minutes ahead or behind, or near the bound.
    Clock,
    /// A machine is suspended: nothing runs, and nothing reaches it.
    Suspend,
    /// A process is slow: every event takes long.
    SlowNode,
    /// A disk's fsync fails.
    SyncFails,
    /// A disk's fsync does nothing, and then the power fails.
    SyncLies,
    /// A disk is slow.
    SlowDisk,
    /// Nothing reaches a disk for seconds.
    DiskStalls,
    /// A disk is full.
    DiskFull,
    /// The power fails while a batch is written: it is whole on the disk, or cut off.
    Torn,
    /// A disk is taken back to how it was a while ago, as by the restore of a backup.
    Restore,
    /// A process is frozen as it asks for its lease to be renewed, and finds itself cut off when it
    /// goes on.
    Strand,
    /// Another host leads the group, though nothing is wrong with the one that did.
    Depose,
    /// Blobs on a disk are no longer what they were.
    Rot,
}

impl Fault {
    /// What hits nodes and links.
    pub const DATA: [Self; 18] = [
        Self::Kill,
        Self::PowerLoss,
        Self::Pause,
        Self::Isolate,
        Self::OneWay,
        Self::Slow,
        Self::Lossy,
        Self::Narrow,
        Self::Clock,
        Self::Suspend,
        Self::SlowNode,
        Self::SyncFails,
        Self::SyncLies,
        Self::SlowDisk,
        Self::DiskStalls,
        Self::DiskFull,
        Self::Torn,
        Self::Restore,
    ];
    /// What hits agreement and leases besides.
    pub const CONTROL: [Self; 6] =
        [Self::Strand, Self::Strand, Self::Depose, Self::Isolate, Self::Kill, Self::Suspend];

    /// What hits objects besides.
    pub const OBJECTS: [Self; 3] = [Self::Rot, Self::DiskFull, Self::PowerLoss];

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::DATA.into_iter().chain([Self::Strand, Self::Depose, Self::Rot])
    }

    /// Whether a disk loses what it said that it has.
    #[must_use]
    pub const fn forgets(self) -> bool {
        matches!(self, Self::SyncLies | Self::Restore)
    }

    /// Its name on the command line, such as `power-loss`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// The kind of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|fault| fault.name() == name)
    }
}

/// A fault of a run, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Its place in the schedule, from 1.
    pub number: u64,
    /// How long after the one before it.
    pub after: Duration,
    /// How long it lasts.
    pub lasting: Duration,
    /// What.
    pub fault: Fault,
    /// Where.
    pub host: usize,
    /// The other end of a link.
    pub other: usize,
    /// What is left to chance in how it hits.
    pub dice: u64,
}

/// A fault that has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// What, and where.
    pub planned: Planned,
    /// When, in microseconds of the run.
    pub at: u64,
}

impl Planned {
    /// A fault for a script: what, where, how long after the one before it and for how long, in
    /// milliseconds.
    #[must_use]
    pub const fn scripted(fault: Fault, host: usize, (after, lasting): (u64, u64)) -> Self {
        let (after, lasting) = (Duration::from_millis(after), Duration::from_millis(lasting));
        Self { number: 0, after, lasting, fault, host, other: host, dice: 0 }
    }
}

impl std::fmt::Display for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Planned { number, fault, host, other, lasting, .. } = self.planned;
        let at = Duration::from_micros(self.at);
        write!(f, "{number}: {} at host {host}", fault.name())?;
        if matches!(fault, Fault::OneWay | Fault::Slow | Fault::Lossy | Fault::Narrow) {
            write!(f, " towards {other}")?;
        }
        write!(f, ", {:.3} s, for {:.3} s", at.as_secs_f64(), lasting.as_secs_f64())
    }
}

/// The faults of a run in order, without an end.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: Random,
    kind: Kind,
    /// What hits nodes and links, of what is wanted.
    data: Vec<Fault>,
    /// What hits agreement and leases.
    control: Vec<Fault>,
    /// What hits objects, in a run that has any.
    objects: Vec<Fault>,
    hosts: usize,
    /// The host whose clock is slow: it holds on the longest.
    slow: Option<usize>,
    /// Whose disk lies or is taken back.
    liar: Option<usize>,
    number: u64,
    calmer: u32,
    /// Faults in place of those that are drawn.
    script: Option<std::vec::IntoIter<Planned>>,
    /// Where the next one begins at once.
    twin: Option<(usize, usize)>,
}

impl Schedule {
    /// The faults of a seed, of the kinds that are wanted.
    pub(crate) fn new(options: &Options, hosts: usize, slow: Option<usize>) -> Self {
        let wanted = |fault: &Fault| options.faults.as_ref().is_none_or(|it| it.contains(fault));
        let of = |kinds: &[Fault]| kinds.iter().copied().filter(wanted).collect();
        Self {
            random: Random::new(options.seed ^ STREAM),
            kind: options.kind,
            data: of(&Fault::DATA),
            control: of(&Fault::CONTROL),
            objects: if options.kind == Kind::Objects { of(&Fault::OBJECTS) } else { Vec::new() },
            hosts,
            slow,
            liar: None,
            number: 0,
            calmer: if options.load >= LONG { CALMER } else { 1 },
            script: options.script.clone().map(Vec::into_iter),
            twin: None,
        }
    }

    fn kind_of_next(&mut self) -> Option<Fault> {
        if self.kind == Kind::Objects && self.random.chance(OBJECTS_PER_MILLE) {
            let picked = self.random.pick(&self.objects).copied();
            if picked.is_some() {
                return picked;
            }
        }
        let control = self.kind.has_overseers() && self.random.chance(700);
        let (first, second) =
            if control { (&self.control, &self.data) } else { (&self.data, &self.control) };
        let from = if first.is_empty() { second } else { first };
        self.random.pick(from).copied()
    }

    /// One disk of a run lies, or is taken back, at most: of two that lose what both have confirmed nobody can know.
    fn may_lie(&self, host: usize) -> bool {
        self.liar.is_none_or(|liar| liar == host)
    }

    fn place(&mut self, fault: Fault) -> (usize, usize) {
        if let Some(twin) = self.twin.take() {
            return twin;
        }
        let holds_on = self.slow.filter(|_| fault == Fault::Isolate && self.random.chance(500));
        let host = holds_on.unwrap_or_else(|| self.random.index(self.hosts));
        (host, (host + 1 + self.random.index(self.hosts - 1)) % self.hosts)
    }
}

impl Iterator for Schedule {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        self.number += 1;
        if let Some(script) = &mut self.script {
            return script.next().map(|planned| Planned { number: self.number, ..planned });
        }
        let (low, high) = BETWEEN;
        let pause = self.random.between(low, high);
        let pause = pause * self.calmer;
        let after = if self.twin.is_some() { Duration::ZERO } else { pause };
        let mut fault = self.kind_of_next()?;
        let (host, other) = self.place(fault);
        if fault.forgets() && !self.may_lie(host) {
            fault = Fault::PowerLoss;
        }
        if fault.forgets() {
            self.liar = Some(host);
        }
        let lasting = lasting(self.kind, fault, &mut self.random);
        // At the same end of the same link, or at the other.
        let turned = self.random.chance(500);
        let place = if turned { (other, host) } else { (host, other) };
        self.twin = self.random.chance(TWIN_PER_MILLE).then_some(place);
        let (number, dice) = (self.number, self.random.bits());
        Some(Planned { number, after, lasting, fault, host, other, dice })
    }
}

/// How long a fault lasts; longer where leases must run out meanwhile.
fn lasting(kind: Kind, fault: Fault, random: &mut Random) -> Duration {
    let (least, most) = match (kind, fault) {
        (_, Fault::Strand) => (4_000, 7_000),
        (Kind::Control | Kind::Queues | Kind::Objects, Fault::Isolate | Fault::Suspend) => {
            (1_500, 7_000)
        }
        (_, Fault::DiskStalls) => (500, 3_000),
        (Kind::Control | Kind::Queues | Kind::Objects, _) => (50, 7_000),
        (Kind::Data | Kind::Domains, _) => (50, 4_000),
    };
    random.between(Duration::from_millis(least), Duration::from_millis(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for fault in Fault::all() {
            assert_eq!(Fault::named(&fault.name()), Some(fault));
        }
        assert_eq!(Fault::named("flood"), None);
        assert_eq!(Fault::PowerLoss.name(), "power-loss");
    }

    #[test]
    fn one_disk_of_a_run_forgets_at_most() {
        for seed in 0..50 {
            let options = Options { seed, ..Options::default() };
            let faults = Schedule::new(&options, 5, None).take(200);
            let lies = faults.filter(|planned| planned.fault.forgets());
            let liars: std::collections::BTreeSet<_> = lies.map(|planned| planned.host).collect();
            assert!(liars.len() <= 1, "seed {seed}: {liars:?}");
        }
    }
}
