//! Many seeds on all cores. Results are combined in the order of the seeds, so that the summary of
//! a campaign is the same whatever ran first.

use std::{
    collections::BTreeMap,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rhumb_sim::{
    Kind, Options, Outcome,
    branch::{Branch, Branches},
    fault::Fault,
    run::{AGREE_WITHIN, run as run_one},
    workload::{jobs::JobCounts, objects::ObjectCounts, owned::OwnedCounts, registers::CallCounts},
};

use super::{arguments::Arguments, say};

/// From so many seeds on, every fault and every rare branch must have happened.
const CAMPAIGN_SEEDS: u64 = 100;
/// One seed in so many is run twice.
const TWICE_EVERY: u64 = 100;

/// How a run ended.
enum Ended {
    Panicked,
    /// It ran, and whether a second run was the same.
    Ran(Box<Outcome>, bool),
}

/// What a campaign comes to.
#[derive(Default)]
struct Summary {
    failed: u64,
    events: u64,
    acknowledged: u64,
    transactions: u64,
    lasted: Duration,
    agreed_within: BTreeMap<Kind, Duration>,
    owned: OwnedCounts,
    calls: CallCounts,
    jobs: JobCounts,
    objects: ObjectCounts,
    faults: BTreeMap<Fault, u64>,
    branches: Branches,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the speed is told in real time, and decides nothing"
)]
pub(crate) fn run(arguments: &Arguments) -> bool {
    let first = arguments.options.seed;
    let seeds = first..first.saturating_add(arguments.seeds);
    let of = |(seed, kind)| Options { seed, kind, ..arguments.options.clone() };
    let runs: Vec<Options> = seeds
        .flat_map(|seed| arguments.kinds.iter().map(move |kind| (seed, *kind)))
        .filter(|(seed, kind)| arguments.kinds.len() == 1 || kind.is_due(*seed))
        .map(of)
        .collect();
    let began = Instant::now();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = arguments.threads.unwrap_or(cores).min(runs.len().max(1));
    let mut summary = Summary::default();
    in_order(&runs, threads, |options, ended| summary.add(options, ended));
    let took = began.elapsed().max(Duration::from_millis(1));
    summary.tell(arguments, took, threads);
    summary.failed == 0 && summary.is_complete(arguments)
}

/// Runs all, some at a time, and hands the results on in order.
fn in_order(runs: &[Options], threads: usize, mut each: impl FnMut(&Options, Ended)) {
    let next = AtomicUsize::new(0);
    let (send, results) = mpsc::sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some((at, options)) = claim(runs, next) {
                    // Nobody receives only when the whole program ends.
                    let _ended = send.send((at, once(options)));
                }
            });
        }
        drop(send);
        let mut early = BTreeMap::new();
        for (at, options) in runs.iter().enumerate() {
            while !early.contains_key(&at) {
                let Ok((at, ended)) = results.recv() else { return };
                early.insert(at, ended);
            }
            if let Some(ended) = early.remove(&at) {
                each(options, ended);
            }
        }
    });
}

fn claim<'r>(runs: &'r [Options], next: &AtomicUsize) -> Option<(usize, &'r Options)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    runs.get(at).map(|options| (at, options))
}

fn once(options: &Options) -> Ended {
    once_with(options, run_one)
}

fn once_with(options: &Options, run: impl Fn(&Options) -> Outcome) -> Ended {
    // The panic itself is told by its hook, with its backtrace.
    let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| run(options))) else {
        return Ended::Panicked;
    };
    let twice = options.seed.is_multiple_of(TWICE_EVERY);
    let same = !twice || run(options).trace == outcome.trace;
    Ended::Ran(Box::new(outcome), same)
}

impl Summary {
    fn add(&mut self, options: &Options, ended: Ended) {
        let outcome = match ended {
            Ended::Panicked => return self.fail(options, &"panicked"),
            Ended::Ran(outcome, same) => {
                if !same {
                    self.fail(options, &"is not the same run twice");
                }
                outcome
            }
        };
        if let Some(violation) = &outcome.violation {
            self.fail(options, violation);
        }
        for (fault, count) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.branches.add(&outcome.branches);
        self.events += outcome.events;
        self.acknowledged += outcome.acknowledged;
        self.transactions += outcome.transactions;
        self.lasted += outcome.lasted;
        let slowest = self.agreed_within.entry(options.kind).or_default();
        *slowest = outcome.agreed_within.max(*slowest);
        self.owned.add(outcome.owned);
        self.calls.add(outcome.calls);
        self.jobs.add(outcome.jobs);
        self.objects.add(outcome.objects);
    }

    fn fail(&mut self, options: &Options, why: &dyn std::fmt::Display) {
        self.failed += 1;
        let (seed, kind) = (options.seed, options.kind.name());
        let command = options.command();
        say(format_args!(
            "seed {seed} ({kind}): {why}\n  again: {command}\n  smaller: {command} --shrink"
        ));
    }

    fn tell(&self, arguments: &Arguments, took: Duration, threads: usize) {
        let kinds: Vec<&str> = arguments.kinds.iter().map(|kind| kind.name()).collect();
        let hours = self.lasted.as_secs_f64() / 3_600.0;
        say(format_args!(
            "{} seeds of {}: {} runs failed; {hours:.1} simulated hours, {} events, {} writes \
             acknowledged, {} transactions checked, {} versions of owned rows accepted",
            arguments.seeds,
            kinds.join(", "),
            self.failed,
            self.events,
            self.acknowledged,
            self.transactions,
            self.owned.accepted,
        ));
        let slowest = self.agreed_within.iter();
        let slowest = slowest.map(|(kind, took)| format!("{} {took:?}", kind.name()));
        say(format_args!(
            "all agree again at the latest after: {} (the bound is {AGREE_WITHIN:?})",
            slowest.collect::<Vec<_>>().join(", ")
        ));
        let CallCounts { calls, unknown, ordered, undecided } = self.calls;
        say(format_args!(
            "{calls} calls to registers, {unknown} without an outcome: {ordered} histories have an \
             order, {undecided} were too long to tell"
        ));
        let JobCounts { accepted, leased, completed } = self.jobs;
        say(format_args!("{accepted} jobs taken in, {leased} leases, {completed} completed"));
        let ObjectCounts { changed, read, missed, failed, ordered } = self.objects;
        say(format_args!(
            "{changed} changes of objects, {read} read, {missed} not there, {failed} refused or \
             unknown; {ordered} histories of linearizable ones have an order"
        ));
        let faults = self.faults.iter().map(|(fault, count)| format!("{} {count}", fault.name()));
        say(format_args!("faults: {}", faults.collect::<Vec<_>>().join(", ")));
        let rare = self.branches.iter().map(|(branch, count)| format!("{branch:?} {count}"));
        say(format_args!("rare branches: {}", rare.collect::<Vec<_>>().join(", ")));
        let rate = as_float(self.events) / took.as_secs_f64();
        say(format_args!(
            "{rate:.0} events per second on {threads} threads, {:.1} s",
            took.as_secs_f64()
        ));
    }

    /// Whether everything that a campaign must have seen was seen.
    fn is_complete(&self, arguments: &Arguments) -> bool {
        let options = &arguments.options;
        let restricted = options.faults.is_some() || options.only.is_some();
        if arguments.seeds < CAMPAIGN_SEEDS || restricted || arguments.kinds != Kind::ALL {
            return true;
        }
        let faults: Vec<_> = Fault::all().filter(|it| !self.faults.contains_key(it)).collect();
        let branches: Vec<_> =
            Branch::ALL.into_iter().filter(|it| self.branches.count(*it) == 0).collect();
        if !faults.is_empty() || !branches.is_empty() {
            say(format_args!("never happened: faults {faults:?}, rare branches {branches:?}"));
        }
        faults.is_empty() && branches.is_empty()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
const fn as_float(events: u64) -> f64 {
    events as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(seeds: u64) -> Arguments {
        let words = ["--seeds".to_owned(), seeds.to_string()];
        Arguments::parse(&words).unwrap()
    }

    /// One in which every fault and every rare branch happened once.
    fn complete() -> Summary {
        let mut summary = Summary::default();
        summary.faults.extend(Fault::all().map(|fault| (fault, 1)));
        Branch::ALL.into_iter().for_each(|branch| summary.branches.note(branch));
        summary
    }

    #[test]
    fn a_campaign_in_which_everything_happened_is_complete() {
        assert!(complete().is_complete(&campaign(CAMPAIGN_SEEDS)));
    }

    #[test]
    fn a_campaign_in_which_one_fault_never_happened_fails() {
        for missing in Fault::all() {
            let mut summary = complete();
            summary.faults.remove(&missing);
            assert!(!summary.is_complete(&campaign(CAMPAIGN_SEEDS)), "{missing:?}");
            assert!(summary.is_complete(&campaign(CAMPAIGN_SEEDS - 1)), "a few seeds may miss it");
        }
    }

    #[test]
    fn a_campaign_in_which_one_rare_branch_never_happened_fails() {
        for missing in Branch::ALL {
            let mut summary = Summary { branches: Branches::default(), ..complete() };
            let others = Branch::ALL.into_iter().filter(|branch| *branch != missing);
            others.for_each(|branch| summary.branches.note(branch));
            assert!(!summary.is_complete(&campaign(CAMPAIGN_SEEDS)), "{missing:?}");
        }
    }

    #[test]
    fn a_campaign_of_some_kinds_or_faults_need_not_see_everything() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in ["--seeds 100 --kind data", "--seeds 100 --faults kill"] {
            assert!(Summary::default().is_complete(&Arguments::parse(&words(line)).unwrap()));
        }
        assert!(!Summary::default().is_complete(&campaign(CAMPAIGN_SEEDS)));
    }

    #[test]
    fn a_second_run_that_differs_is_a_failure() {
        let load = Duration::from_millis(300);
        let of = |seed| Options { seed, load, ..Options::default() };
        let runs = std::cell::Cell::new(0);
        let drifting = |options: &Options| {
            runs.set(runs.get() + 1);
            Outcome { trace: runs.get(), ..run_one(options) }
        };
        let failed = |seed, ended| {
            let mut summary = Summary::default();
            summary.add(&of(seed), ended);
            summary.failed
        };
        assert_eq!(failed(TWICE_EVERY, once_with(&of(TWICE_EVERY), drifting)), 1);
        assert_eq!(runs.get(), 2);
        assert_eq!(failed(1, once_with(&of(1), drifting)), 0, "others are run once");
        assert_eq!(runs.get(), 3);
        assert_eq!(failed(TWICE_EVERY, once(&of(TWICE_EVERY))), 0, "a run is the same twice");
    }

    #[test]
    fn results_come_in_order_whatever_ends_first() {
        let runs: Vec<Options> = (1..=7)
            .map(|seed| {
                // The first take the longest.
                let load = Duration::from_millis(2_200 - 300 * seed);
                Options { seed, load, ..Options::default() }
            })
            .collect();
        let mut seen = Vec::new();
        in_order(&runs, 3, |options, ended| {
            assert!(matches!(ended, Ended::Ran(_, true)));
            seen.push(options.seed);
        });
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    }
}
