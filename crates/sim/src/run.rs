//! One run: faults while clients write, then everything is mended, then all must agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use rhumb_node::{Effect, Member, NodeConfig, RequestId, Retention};
use rhumb_ports::store::{Range, ReadStore, ScoreRange, StoreError};
use rhumb_state::{CellScan, ClearedPrefixes, Namespaces, Query, Reply, answer, query::ScoreSpan};
use rhumb_types::{
    AckLevel, ClusterId, NodeId, RegionId,
    record::{Cell, Head, Space, VersionVector},
};

use crate::{
    check::{Check, Violation},
    fault::{self, Begun, Fault},
    random::Random,
    workload::Workload,
    world::{Call, World},
};

/// The wake that lets a client write.
const CLIENT: u64 = 1;
/// The wake that begins a fault.
const FAULT: u64 = 2;
/// Wakes from here on mend the fault of that number.
const MEND: u64 = 1_000;
/// How long all may take to agree once everything is mended.
const QUIET: Duration = Duration::from_secs(25);

/// After this long a node whose clock is far off must know it, in microseconds.
const CLOCK_KNOWN_MICROS: u64 = 2_000_000;

/// What a run is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Everything random follows from it.
    pub seed: u64,
    /// How many regions.
    pub regions: usize,
    /// How long clients write while things go wrong.
    pub load: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, regions: 3, load: Duration::from_secs(20) }
    }
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What did not hold; `None` for a sound run.
    pub violation: Option<Violation>,
    /// How often each fault happened.
    pub faults: BTreeMap<Fault, u64>,
    /// Events that nodes handled.
    pub events: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes refused or unconfirmed.
    pub refused: u64,
    /// Transactions checked.
    pub transactions: u64,
    /// A hash over everything that happened.
    pub trace: u64,
}

struct Run {
    world: World,
    work: Workload,
    faults: BTreeMap<Fault, u64>,
    begun: Vec<Option<Begun>>,
    lied: BTreeSet<usize>,
    /// Since when hosts could have known that their clock is far off.
    off_since: BTreeMap<usize, u64>,
    faulty: bool,
}

/// Runs one seed.
#[must_use]
pub fn run(options: Options) -> Outcome {
    let mut random = Random::new(options.seed);
    let configs = configs(options.regions, &mut random);
    let mut world = World::new(configs, random);
    for (a, b) in world.network.pairs() {
        let delay = 5_000 + world.random.below(100_000);
        for (from, to) in [(a, b), (b, a)] {
            world.network.direction(from, to).delay_micros = delay;
        }
    }
    for host in 0..options.regions {
        world.start(host);
    }
    let mut run = Run {
        world,
        work: Workload::default(),
        faults: BTreeMap::new(),
        begun: Vec::new(),
        lied: BTreeSet::new(),
        off_since: BTreeMap::new(),
        faulty: true,
    };
    run.world.wake(Duration::from_millis(500), CLIENT);
    run.world.wake(Duration::from_millis(1_000), FAULT);
    run.until(options.load);
    run.mend_all();
    run.until(options.load + QUIET);
    run.judge();
    run.outcome()
}

fn configs(regions: usize, random: &mut Random) -> Vec<NodeConfig> {
    let name = |nth: usize| match RegionId::new(&format!("r{nth}")) {
        Ok(region) => region,
        Err(error) => unreachable!("{error}"),
    };
    let member = |nth| Member { region: name(nth), witness: false, domains: Vec::new() };
    let members: Vec<Member> = (0..regions).map(member).collect();
    // Often so little is kept that a member that was away must load a snapshot.
    let retention = if random.chance(400) {
        Retention { age: Duration::from_millis(500), transactions_max: 40 }
    } else {
        Retention::default()
    };
    (0..regions)
        .map(|nth| NodeConfig {
            cluster: ClusterId(7),
            node: NodeId(nth as u64 + 1),
            region: name(nth),
            witness: false,
            domains: BTreeSet::new(),
            namespaces: Namespaces::default(),
            retention,
            heartbeat_interval: Duration::from_millis(100),
            members: members.clone(),
        })
        .collect()
}

impl Run {
    fn until(&mut self, end: Duration) {
        let end = u64::try_from(end.as_micros()).unwrap_or(u64::MAX);
        while self.world.checker.violation().is_none() {
            match self.world.run_until(end) {
                Some(Call::Wake(CLIENT)) => self.client(),
                Some(Call::Wake(FAULT)) => self.fault(),
                Some(Call::Wake(mend)) => self.mend(mend - MEND),
                Some(Call::Effect { host, effect }) => self.effect(host, effect),
                None => return,
            }
        }
    }

    fn client(&mut self) {
        if !self.faulty {
            return;
        }
        self.watch_clocks();
        let host = self.world.random.index(self.world.hosts.len());
        self.work.step(&mut self.world, host);
        let pause =
            self.world.random.between(Duration::from_micros(500), Duration::from_millis(15));
        self.world.wake(pause, CLIENT);
    }

    fn fault(&mut self) {
        if !self.faulty {
            return;
        }
        let begun = fault::begin(&mut self.world);
        *self.faults.entry(begun.fault).or_default() += 1;
        if begun.fault == Fault::SyncLies {
            self.lied.insert(begun.host);
        }
        let lasting = fault::duration(&mut self.world.random);
        self.world.wake(lasting, MEND + self.begun.len() as u64);
        self.begun.push(Some(begun));
        let pause =
            self.world.random.between(Duration::from_millis(200), Duration::from_millis(3_000));
        self.world.wake(pause, FAULT);
    }

    fn mend(&mut self, nth: u64) {
        let place = usize::try_from(nth).unwrap_or(usize::MAX);
        let begun = self.begun.get_mut(place).and_then(Option::take);
        if let Some(begun) = begun {
            fault::mend(&mut self.world, begun);
        }
    }

    /// The safety phase ends: what is broken is mended, and stays so.
    fn mend_all(&mut self) {
        self.faulty = false;
        for begun in std::mem::take(&mut self.begun).into_iter().flatten() {
            fault::mend(&mut self.world, begun);
        }
        for (a, b) in self.world.network.pairs() {
            self.world.set_cut(a, b, false);
            self.world.set_cut(b, a, false);
        }
        for host in 0..self.world.hosts.len() {
            // A node whose disk failed serves reads until it is started again.
            let failed = self.world.hosts.get(host).is_some_and(|machine| {
                machine.process.as_ref().is_some_and(|process| process.node.has_failed())
            });
            if failed {
                self.world.crash(host, usize::MAX);
            }
            self.world.start(host);
        }
    }

    fn effect(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Reply { request, result, written } => {
                if result.is_ok() {
                    self.acknowledged(host, request, &written);
                }
                self.work.answered(request, result.as_deref().map_err(|_| ()));
            }
            Effect::Deliver(message) => {
                let publisher = self.work.published.get(&message.payload).copied();
                let publisher = publisher.unwrap_or(usize::MAX);
                self.world.checker.delivered(host, publisher, &message);
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, host: usize, request: RequestId, written: &VersionVector) {
        let Some(ack) = self.work.level(request) else { return };
        self.world.checker.acknowledged(host, ack, written);
        if let Some(missing) = self.work.unseen(request, &self.world) {
            self.world.checker.violated(Check::OwnWrites, missing);
        }
        let since = self.off_since.get(&host).copied();
        let now = self.world.now();
        if ack <= AckLevel::Local && since.is_some_and(|at| now - at > CLOCK_KNOWN_MICROS) {
            let what = format!("host {host} answers while its clock is far off");
            self.world.checker.violated(Check::Clocks, what);
        }
    }

    /// Notes which hosts have a clock that is far off, and can know it: all links stand, and the
    /// clocks of the others are right.
    fn watch_clocks(&mut self) {
        let now = self.world.now();
        let hosts = self.world.hosts.len();
        for host in 0..hosts {
            let knows = self.world.can_know_its_clock(host);
            if knows {
                self.off_since.entry(host).or_insert(now);
            } else {
                self.off_since.remove(&host);
            }
        }
    }

    /// The liveness phase has ended: all hold the same, and nothing acknowledged is missing.
    fn judge(&mut self) {
        if self.world.checker.violation().is_some() {
            return;
        }
        if let Err(Violation { check, what }) = self.agreed() {
            self.world.checker.violated(check, what);
        }
    }

    fn agreed(&self) -> Result<(), Violation> {
        let differs = |what| Violation { check: Check::Converged, what };
        let view = self.same().map_err(differs)?;
        let lost = |what| Violation { check: Check::Lost, what };
        self.nothing_lost(&view).map_err(lost)
    }

    /// What all hosts hold.
    fn same(&self) -> Result<BTreeMap<Bytes, String>, String> {
        let views: Vec<BTreeMap<Bytes, String>> =
            (0..self.world.hosts.len()).map(|host| self.view(host)).collect::<Result<_, _>>()?;
        let Some((first, others)) = views.split_first() else { return Ok(BTreeMap::new()) };
        for (nth, other) in (1..).zip(others) {
            let differs = first.iter().find(|(key, value)| other.get(*key) != Some(value));
            let more = other.keys().find(|key| !first.contains_key(*key));
            if let Some((key, value)) = differs {
                let theirs = other.get(key);
                return Err(format!("hosts 0 and {nth} differ on {key:?}: {value} and {theirs:?}"));
            }
            if let Some(key) = more {
                return Err(format!("host {nth} has {key:?}, and host 0 has not"));
            }
        }
        Ok(first.clone())
    }

    fn nothing_lost(&self, view: &BTreeMap<Bytes, String>) -> Result<(), String> {
        let nothing = String::new();
        for ((key, member), (host, ack)) in &self.work.members {
            // A disk that lies loses what it alone had.
            if self.lied.contains(host) && *ack < rhumb_types::AckLevel::OneRemote {
                continue;
            }
            let wanted = format!("[{}]", String::from_utf8_lossy(member));
            if !view.get(key).unwrap_or(&nothing).contains(&wanted) {
                return Err(format!(
                    "{key:?} {member:?}, acknowledged at {ack:?} by host {host}, is lost"
                ));
            }
        }
        for key in self.work.unknown.keys() {
            let value = view.get(key).and_then(|value| value.parse().ok()).unwrap_or(0_u64);
            let counted = |lying: bool| -> u64 {
                let of_key = self.work.counted.iter().filter(|((known, _), _)| known == key);
                of_key
                    .filter(|((_, host), _)| lying || !self.lied.contains(host))
                    .map(|(_, n)| n)
                    .sum()
            };
            let most = counted(true) + self.work.unknown.get(key).copied().unwrap_or(0);
            if value < counted(false) || value > most {
                let least = counted(false);
                return Err(format!("{key:?} counts {value}, and must be from {least} to {most}"));
            }
        }
        Ok(())
    }

    /// What a reader of a host sees: every key with its value as text.
    fn view(&self, host: usize) -> Result<BTreeMap<Bytes, String>, String> {
        let machine = self.world.hosts.get(host).ok_or("no such host")?;
        let process = machine.process.as_ref().ok_or_else(|| format!("host {host} is down"))?;
        let scan = Scan { store: &process.store, prefixes: ClearedPrefixes::default() };
        let now = machine.clock(self.world.now()).wall;
        let ask = |query: &Query| {
            answer(query, now, &scan)
                .map_err(|error| format!("host {host} cannot answer: {error:?}"))
        };
        let mut view = BTreeMap::new();
        let pattern = Bytes::from_static(b"*");
        let Reply::Array(keys) = ask(&Query::Keys { pattern })? else { return Ok(view) };
        for key in keys {
            let Reply::Bytes(key) = key else { continue };
            let text = match ask(&Query::Get { key: key.clone() }) {
                Ok(Reply::Bytes(value)) => String::from_utf8_lossy(&value).into_owned(),
                _ => match ask(&Query::SMembers { key: key.clone() }) {
                    Ok(Reply::Set(members)) => members
                        .iter()
                        .map(|member| format!("[{}]", String::from_utf8_lossy(member)))
                        .collect(),
                    _ => format!("{:?}", ask(&Query::HGetAll { key: key.clone() })),
                },
            };
            view.insert(key, text);
        }
        Ok(view)
    }

    fn outcome(self) -> Outcome {
        Outcome {
            violation: self.world.checker.violation().cloned(),
            faults: self.faults,
            events: self.world.events(),
            acknowledged: self.work.acknowledged,
            refused: self.work.refused,
            transactions: self.world.checker.transactions,
            trace: self.world.trace(),
        }
    }
}

struct Scan<'s, S> {
    store: &'s S,
    prefixes: ClearedPrefixes,
}

impl<S: ReadStore> CellScan for Scan<'_, S> {
    type Error = StoreError;

    fn head(&self, key: &[u8]) -> Result<Option<Head>, StoreError> {
        self.store.head(Space::USER, key)
    }
    fn member(&self, key: &[u8], member: &[u8]) -> Result<Option<Cell>, StoreError> {
        self.store.member(Space::USER, key, member)
    }
    fn members(
        &self,
        key: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Cell)>, StoreError> {
        self.store.members(Space::USER, key, Range { after: after.cloned(), limit })
    }
    fn scores(&self, key: &[u8], span: &ScoreSpan) -> Result<Vec<(f64, Bytes)>, StoreError> {
        let ScoreSpan { min, max, after, reverse, limit } = span.clone();
        self.store.scores(Space::USER, key, ScoreRange { min, max, after, reverse, limit })
    }
    fn keys(
        &self,
        prefix: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Head)>, StoreError> {
        self.store.keys(Space::USER, prefix, Range { after: after.cloned(), limit })
    }
    fn prefixes(&self) -> &ClearedPrefixes {
        &self.prefixes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_run() {
        let options = Options { seed: 11, load: Duration::from_secs(4), ..Options::default() };
        assert_eq!(run(options), run(options));
    }

    #[test]
    fn a_few_seeds_hold() {
        for seed in 1..=6 {
            let outcome = run(Options { seed, load: Duration::from_secs(8), ..Options::default() });
            assert_eq!(outcome.violation, None, "seed {seed}");
            assert!(outcome.acknowledged > 100, "seed {seed}");
        }
    }
}
