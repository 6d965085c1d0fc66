//! One run: faults while clients write, then everything is mended, then all must agree.
//!
//! A long run is a row of such rounds over the same hosts. At the end of each the books are closed:
//! what all have agreed on is no longer remembered, so that memory does not grow with time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    branch::{Branch, Branches},
    check::{Check, Violation},
    fault::{self, Begun, CUT_OFF, Fault, Planned, Schedule},
    history::History,
    setup,
    workload::{
        Workload,
        jobs::{JobCounts, WAKES},
        objects::ObjectCounts,
        owned::OwnedCounts,
        registers::CallCounts,
    },
    world::{Call, World},
};

mod answers;
mod judge;
mod options;

pub use options::{Kind, Options};

/// The wake that lets a client write.
const CLIENT: u64 = 1;
/// The wake that begins a fault.
const FAULT: u64 = 2;
/// The wake that upgrades the host of an older release.
const UPGRADE: u64 = 3;
/// The wake that lets a machine write owned rows.
const OWNER: u64 = 4;
/// Which host that is.
const OLDER: usize = 1;
/// The wake that looks at the clocks.
const CLOCKS: u64 = 5;
/// The wake that lets a client of objects act.
const OBJECTS: u64 = 6;
/// The wake that starts the host that joins late.
const JOIN: u64 = 7;
/// How often clocks are looked at.
const CLOCKS_EVERY: Duration = Duration::from_millis(10);
/// Wakes from here on mend the fault of that number.
const MEND: u64 = 1_000;
/// How long all may take to agree once everything is mended.
pub const AGREE_WITHIN: Duration = Duration::from_secs(25);
/// How often it is looked whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long they must stay so.
const STAYS_FOR: Duration = Duration::from_secs(3);
/// How long jobs may take to end once all agree: the longest lease, and what it may be held back for.
const DRAIN_WITHIN: Duration = Duration::from_secs(240);
/// How often it is looked whether they have.
const DRAIN_LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long clients write at most before everything is mended and looked at.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// Faults that a run remembers for its report, the latest.
const BEGUN_MAX: usize = 4_096;

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What did not hold; `None` for a sound run.
    pub violation: Option<Violation>,
    /// How often each fault happened.
    pub faults: BTreeMap<Fault, u64>,
    /// The latest of them, in order.
    pub begun: Vec<Begun>,
    /// How often nodes did something rare.
    pub branches: Branches,
    /// Events that nodes handled.
    pub events: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes refused or unconfirmed.
    pub refused: u64,
    /// Transactions checked.
    pub transactions: u64,
    /// How the requests for owned rows ended.
    pub owned: OwnedCounts,
    /// How the requests to queues ended.
    pub jobs: JobCounts,
    /// How the requests about objects ended.
    pub objects: ObjectCounts,
    /// How the calls to registers ended.
    pub calls: CallCounts,
    /// The longest that all took to agree once everything was mended.
    pub agreed_within: Duration,
    /// How much time passed in the run.
    pub lasted: Duration,
    /// A hash over everything that happened.
    pub trace: u64,
    /// The last things that happened, if they were asked for.
    pub history: Vec<String>,
}

struct Run {
    options: Options,
    world: World,
    work: Workload,
    schedule: Schedule,
    /// The fault that comes next.
    next: Option<Planned>,
    /// When that is.
    next_at: Duration,
    faults: BTreeMap<Fault, u64>,
    /// Faults that were not mended yet.
    open: BTreeMap<u64, Planned>,
    begun: VecDeque<Begun>,
    lied: BTreeSet<usize>,
    /// Since when hosts could have known that their clock is far off, after how many starts, and how
    /// far it is.
    off_since: BTreeMap<usize, (u64, u64, i64)>,
    faulty: bool,
    /// The longest that all took to agree.
    agreed_within: Duration,
}

/// Runs one seed.
#[must_use]
pub fn run(options: &Options) -> Outcome {
    let mut run = Run::new(options.clone());
    let mut left = options.load;
    loop {
        let load = left.min(ROUND_MAX);
        run.round(load);
        left -= load;
        if left.is_zero() || run.world.checker.violation().is_some() {
            return run.outcome();
        }
        run.settle();
    }
}

impl Run {
    fn new(options: Options) -> Self {
        let mut world = setup::world(&options);
        world.history = History::new(options.history);
        let slow = world.hosts.iter().position(|host| host.drift_ppm < 0);
        let slow = slow.filter(|_| options.kind.has_overseers());
        if let Some((_, after)) = setup::late(&options, world.hosts.len()) {
            world.wake(after, JOIN);
        }
        Self {
            schedule: Schedule::new(&options, world.hosts.len(), slow),
            next: None,
            next_at: Duration::ZERO,
            work: Workload::new(&options),
            world,
            options,
            faults: BTreeMap::new(),
            open: BTreeMap::new(),
            begun: VecDeque::new(),
            lied: BTreeSet::new(),
            off_since: BTreeMap::new(),
            faulty: true,
            agreed_within: Duration::ZERO,
        }
    }

    /// Faults and load for a while, then the end that all must reach.
    fn round(&mut self, load: Duration) {
        self.faulty = true;
        self.world.mended(false);
        let began = Duration::from_micros(self.world.now());
        if self.options.kind == Kind::Domains {
            // One that carries every domain runs the older release at first (rule 16).
            self.world.downgrade(OLDER);
            self.world.wake(load / 2, UPGRADE);
        }
        if self.options.kind == Kind::Control {
            self.world.wake(Duration::from_millis(300), OWNER);
        }
        if let Some(jobs) = &mut self.work.jobs {
            jobs.begin(&mut self.world);
        }
        if self.work.objects.is_some() {
            self.world.wake(Duration::from_millis(500), OBJECTS);
        }
        self.world.wake(Duration::from_millis(500), CLIENT);
        self.world.wake(CLOCKS_EVERY, CLOCKS);
        self.plan_fault();
        self.until(began + load);
        self.work.finale(&mut self.world);
        if let Some(jobs) = &mut self.work.jobs {
            jobs.calm();
        }
        self.mend_all();
        self.world.mended(true);
        self.liveness(began + load);
    }

    /// Everything is mended: all must agree within the bound, and stay so. How long it takes is
    /// measured.
    fn liveness(&mut self, mended: Duration) {
        let mut at = mended;
        let mut end = mended + AGREE_WITHIN;
        let mut waits = true;
        while at < end && self.world.checker.violation().is_none() {
            at += LOOK_EVERY;
            self.until(at);
            if waits && self.has_agreed() {
                waits = false;
                self.agreed_within = self.agreed_within.max(at - mended);
                // Duties could still go back and forth where there are any.
                if !self.options.kind.has_overseers() {
                    end = end.min(at + STAYS_FOR);
                }
            }
        }
        self.drain();
        self.judge();
    }

    /// What was taken in runs to its end: after a takeover that is only once all leases that may be in
    /// somebody's hands have run out.
    fn drain(&mut self) {
        let mut at = Duration::from_micros(self.world.now());
        let end = at + DRAIN_WITHIN;
        while at < end && self.world.checker.violation().is_none() && !self.is_over() {
            at += DRAIN_LOOK_EVERY;
            self.until(at);
        }
        // Frontiers go on being written; what was written last may be on its way.
        let end = at + DRAIN_LOOK_EVERY;
        while at < end && !self.is_near() {
            at += Duration::from_millis(20);
            self.until(at);
        }
    }

    /// Whether nothing is left that jobs and objects wait for.
    fn is_over(&mut self) -> bool {
        self.jobs_are_over() && self.objects_are_over()
    }

    /// Whether all agree now; the history says what they do not yet agree on.
    fn has_agreed(&mut self) -> bool {
        if self.is_stuck() {
            return true;
        }
        if !self.is_near() {
            self.world.note(0, format_args!("NOT YET: not all have the same logs"));
            return false;
        }
        let differs = self.agreed().err();
        if let Some(violation) = &differs {
            self.world.note(0, format_args!("NOT YET: {violation}"));
        }
        differs.is_none()
    }

    fn until(&mut self, end: Duration) {
        let end = u64::try_from(end.as_micros()).unwrap_or(u64::MAX);
        while self.world.checker.violation().is_none() {
            match self.world.run_until(end) {
                Some(Call::Wake(CLIENT)) => self.client(),
                Some(Call::Wake(OWNER)) => self.owner(),
                Some(Call::Wake(CLOCKS)) => self.clocks(),
                Some(Call::Wake(OBJECTS)) => self.objects(),
                Some(Call::Wake(FAULT)) => self.fault(),
                Some(Call::Wake(JOIN)) => self.join(),
                Some(Call::Wake(UPGRADE)) => self.world.upgrade(),
                Some(Call::Wake(token)) if token >= WAKES => {
                    if let Some(jobs) = &mut self.work.jobs {
                        jobs.wake(&mut self.world, token);
                    }
                }
                Some(Call::Wake(mend)) if mend >= MEND => self.mend(mend - MEND),
                Some(Call::Wake(cut)) => self.cut_off(cut - CUT_OFF),
                Some(Call::Effect { host, effect }) => self.effect(host, effect),
                Some(Call::Queue { host, request, result }) => {
                    if let Some(jobs) = &mut self.work.jobs {
                        jobs.answered(&mut self.world, host, request, result);
                    }
                }
                Some(Call::Object { request, answer, .. }) => {
                    if let Some(objects) = &mut self.work.objects {
                        objects.answered(&mut self.world, request, *answer);
                    }
                }
                Some(Call::Alarm { .. } | Call::Overseen { .. }) => {}
                None => return,
            }
        }
    }

    fn join(&mut self) {
        if let Some((host, _)) = setup::late(&self.options, self.world.hosts.len()) {
            self.world.start(host);
        }
    }

    fn client(&mut self) {
        if !self.faulty {
            return;
        }
        // The witness is the last, and takes no writes.
        let hosts = self.world.hosts.iter().filter(|host| !host.config.witness).count();
        let host = self.world.random.index(hosts);
        self.work.step(&mut self.world, host);
        let pause = self.work.pause(&self.world);
        self.world.wake(pause, CLIENT);
    }

    fn objects(&mut self) {
        let Some(objects) = self.work.objects.as_mut().filter(|_| self.faulty) else { return };
        let hosts = self.world.hosts.len();
        let host = self.world.random.index(hosts);
        objects.step(&mut self.world, host);
        let pause = objects.pause(&self.world);
        self.world.wake(pause, OBJECTS);
    }

    fn clocks(&mut self) {
        if self.faulty {
            self.watch_clocks();
            self.world.wake(CLOCKS_EVERY, CLOCKS);
        }
    }

    fn owner(&mut self) {
        if self.faulty {
            let pause = self.work.owned.step(&mut self.world);
            self.world.wake(pause, OWNER);
        }
    }

    /// Waits for the next fault of the seed. One that is left out is waited for too, so that those
    /// after it begin when they would.
    fn plan_fault(&mut self) {
        if self.next.is_none() {
            self.next = self.schedule.next();
        }
        if let Some(planned) = &self.next {
            self.next_at = Duration::from_micros(self.world.now()) + planned.after;
            self.world.wake(planned.after, FAULT);
        }
    }

    fn fault(&mut self) {
        // A wake of the round before comes too early for this one.
        let due = self.faulty && Duration::from_micros(self.world.now()) == self.next_at;
        let Some(planned) = self.next.take_if(|_| due) else { return };
        if self.options.wants(&planned) {
            self.begin(planned);
        }
        self.plan_fault();
    }

    fn begin(&mut self, planned: Planned) {
        let begun = Begun { planned, at: self.world.now() };
        self.world.note(planned.host, format_args!("FAULT {begun}"));
        fault::begin(&mut self.world, planned);
        *self.faults.entry(planned.fault).or_default() += 1;
        if planned.after.is_zero() {
            self.world.branches.note(Branch::TwoAtOnce);
        }
        if planned.fault.forgets() {
            self.lied.insert(planned.host);
        }
        self.world.wake(planned.lasting, MEND + planned.number);
        self.open.insert(planned.number, planned);
        if self.begun.len() == BEGUN_MAX {
            self.begun.pop_front();
        }
        self.begun.push_back(begun);
    }

    fn cut_off(&mut self, host: u64) {
        if self.faulty {
            fault::cut_off(&mut self.world, usize::try_from(host).unwrap_or(usize::MAX), true);
        }
    }

    fn mend(&mut self, number: u64) {
        if let Some(planned) = self.open.remove(&number) {
            self.world.note(planned.host, format_args!("MENDED {number}"));
            fault::mend(&mut self.world, planned);
            if planned.fault.forgets() {
                self.world.checker.forgot(planned.host);
                if let Some(objects) = &mut self.work.objects {
                    objects.forgot();
                }
            }
        }
    }

    /// The safety phase ends: what is broken is mended, and stays so.
    fn mend_all(&mut self) {
        self.faulty = false;
        for number in self.open.keys().copied().collect::<Vec<_>>() {
            self.mend(number);
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

    /// The liveness phase has ended: all hold the same, and nothing acknowledged is missing.
    fn judge(&mut self) {
        if self.world.checker.violation().is_some() {
            return;
        }
        if self.is_stuck() {
            return self.world.branches.note(Branch::NobodyHas);
        }
        if let Err(Violation { check, what }) = self.agreed() {
            return self.world.checker.violated(check, what);
        }
        if let Err(Violation { check, what }) = self.judge_jobs() {
            return self.world.checker.violated(check, what);
        }
        if let Err(Violation { check, what }) = self.judge_objects() {
            return self.world.checker.violated(check, what);
        }
        let forgot = |host| self.lied.contains(&host);
        if let Err(what) = self.work.registers.judge(&self.world, forgot) {
            self.world.checker.violated(Check::Ordered, what);
        }
    }

    /// Closes the books of a round, and begins the next on new keys.
    fn settle(&mut self) {
        self.world.settle();
        self.work.settle(&mut self.world);
        self.off_since.clear();
        // Every disk is mended, and what it lost is known.
        self.lied.clear();
    }

    fn outcome(self) -> Outcome {
        Outcome {
            violation: self.world.checker.violation().cloned(),
            faults: self.faults,
            begun: self.begun.into(),
            branches: self.world.branches.clone(),
            events: self.world.events(),
            acknowledged: self.work.acknowledged,
            refused: self.work.refused,
            transactions: self.world.checker.transactions,
            owned: self.work.owned.counts,
            jobs: self.work.jobs.as_ref().map_or_else(JobCounts::default, |jobs| jobs.counts),
            objects: self.work.objects.as_ref().map_or_else(ObjectCounts::default, |it| it.counts),
            calls: self.work.registers.counts,
            agreed_within: self.agreed_within,
            lasted: Duration::from_micros(self.world.now()),
            trace: self.world.trace(),
            history: self.world.history.into_entries(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(seed: u64, kind: Kind, seconds: u64) -> Options {
        Options { seed, kind, load: Duration::from_secs(seconds), ..Options::default() }
    }

    #[test]
    fn a_seed_is_a_run() {
        for kind in Kind::ALL {
            let options = options(11, kind, 4);
            assert_eq!(run(&options), run(&options));
        }
    }

    #[test]
    fn a_few_seeds_hold() {
        for (seed, kind) in (1..=6).flat_map(|seed| Kind::ALL.map(|kind| (seed, kind))) {
            let outcome = run(&options(seed, kind, 8));
            assert_eq!(outcome.violation, None, "seed {seed} ({kind:?})");
            // Where objects are written, some of the load is their reads.
            let least = if kind == Kind::Objects { 25 } else { 50 };
            assert!(outcome.acknowledged > least, "seed {seed} ({kind:?})");
            let owned = outcome.owned.accepted > 50 && outcome.owned.pinned > 0;
            assert!(owned || kind != Kind::Control, "seed {seed}: {:?}", outcome.owned);
        }
    }

    /// Its third region joined while the first decided, and a key had two homes (ADR 0012).
    #[test]
    fn seed_167_of_objects_holds() {
        let outcome = run(&options(167, Kind::Objects, 20));
        assert_eq!(outcome.violation, None);
    }

    /// An old copy, which nothing referred to and an upload counted on, went before the upload was written.
    #[test]
    fn seeds_476_and_489_of_objects_hold() {
        for seed in [476, 489] {
            let outcome = run(&options(seed, Kind::Objects, 20));
            assert_eq!(outcome.violation, None, "seed {seed}");
        }
    }

    /// What only an entry refers to that lost to another was said to be where it ought not to be, and it
    /// was the last copy.
    #[test]
    fn seed_1008_of_objects_holds() {
        let outcome = run(&options(1_008, Kind::Objects, 20));
        assert_eq!(outcome.violation, None);
    }

    #[test]
    fn the_bound_covers_all_that_a_region_may_have_to_wait_for() {
        use crate::{group, network};
        use rhumb_node::limits;
        use rhumb_regions::{DriftBound, HealthConfig};
        let lease = DriftBound(100_000).stretch(HealthConfig::fast().lease);
        // The watch, the wait before a fail-back, and its two steps, as `setup` has them.
        let duties = Duration::from_millis(1_000 + 1_000 + 2 * 500);
        let waits = [
            network::RESET_AFTER,
            network::RECONNECT_AFTER,
            limits::PROVE_WAIT_MAX,
            limits::CLOCK_SAMPLE_AGE_MAX,
            group::LEADER_SILENT_MAX,
            group::ELECTION.1,
            lease,
            duties,
        ];
        assert!(waits.iter().sum::<Duration>() < AGREE_WITHIN);
    }

    #[test]
    fn a_run_has_only_the_faults_that_it_is_to_have() {
        let all = run(&options(3, Kind::Data, 8));
        let kept: BTreeSet<u64> = all.begun.iter().map(|it| it.planned.number).step_by(2).collect();
        let some = run(&Options { only: Some(kept.clone()), ..options(3, Kind::Data, 8) });
        let of = |outcome: &Outcome| -> BTreeMap<u64, Planned> {
            outcome.begun.iter().map(|it| (it.planned.number, it.planned)).collect()
        };
        let mut wanted = of(&all);
        wanted.retain(|number, _| kept.contains(number));
        assert_eq!(of(&some), wanted);
        let kills = Options { faults: Some([Fault::Kill].into()), ..options(3, Kind::Data, 8) };
        assert!(run(&kills).faults.keys().eq([&Fault::Kill]));
    }

    #[test]
    fn a_long_run_is_a_row_of_rounds() {
        let outcome = run(&options(5, Kind::Data, 130));
        assert_eq!(outcome.violation, None);
        assert!(outcome.lasted >= 3 * STAYS_FOR + Duration::from_secs(130));
    }
}
