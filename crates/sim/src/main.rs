//! Runs seeds, and says which did not hold and how to run them again.

use std::{
    collections::BTreeMap,
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use rhumb_sim::{Kind, Options, Outcome, fault::Fault, run, workload::owned::OwnedCounts};

/// From so many seeds on, every fault must have happened.
const CAMPAIGN_SEEDS: u64 = 100;
/// One seed in so many is run twice.
const TWICE_EVERY: u64 = 100;

#[expect(
    clippy::disallowed_methods,
    reason = "the speed is told in real time, and decides nothing"
)]
fn main() -> ExitCode {
    let (seeds, first) = match arguments() {
        Ok(found) => found,
        Err(why) => {
            say(&format!("rhumb-sim: {why}; use --seeds N and --seed FIRST"));
            return ExitCode::FAILURE;
        }
    };
    let began = Instant::now();
    let mut faults: BTreeMap<Fault, u64> = BTreeMap::new();
    let (mut events, mut acknowledged, mut transactions, mut failed) = (0, 0, 0, 0_u64);
    let (mut takeovers, mut parked, mut owned) = (0, 0, OwnedCounts::default());
    let runs = (first..first + seeds).flat_map(|seed| Kind::ALL.map(|kind| (seed, kind)));
    for (seed, kind) in runs {
        let options = Options { seed, kind, ..Options::default() };
        // The panic itself is told by its hook, with its backtrace.
        let Ok(outcome) = std::panic::catch_unwind(|| run(options)) else {
            failed += 1;
            say(&format!("seed {seed} ({kind:?}) panicked"));
            continue;
        };
        if seed % TWICE_EVERY == 0 && run(options).trace != outcome.trace {
            say(&format!("seed {seed} ({kind:?}) is not the same run twice"));
            failed += 1;
        }
        let Outcome { violation, faults: happened, .. } = &outcome;
        if let Some(violation) = violation {
            failed += 1;
            say(&format!(
                "seed {seed} ({kind:?}): {violation}\n  again: cargo xtask sim --seeds 1 --seed {seed}"
            ));
        }
        for (fault, count) in happened {
            *faults.entry(*fault).or_default() += count;
        }
        events += outcome.events;
        acknowledged += outcome.acknowledged;
        transactions += outcome.transactions;
        takeovers += outcome.takeovers;
        parked += outcome.parked;
        owned.add(outcome.owned);
    }
    let took = began.elapsed().max(Duration::from_millis(1));
    say(&format!(
        "{seeds} seeds of each kind, {failed} failed; {events} events ({:.0} per second), {acknowledged} writes \
         acknowledged, {transactions} transactions checked, {takeovers} leases taken over, {owned:?}, {parked} logs parked; faults: {faults:?}",
        count(events) / took.as_secs_f64()
    ));
    let missing: Vec<_> = Fault::all().filter(|fault| !faults.contains_key(fault)).collect();
    if seeds >= CAMPAIGN_SEEDS && !missing.is_empty() {
        say(&format!("these faults never happened: {missing:?}"));
        return ExitCode::FAILURE;
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
const fn count(events: u64) -> f64 {
    events as f64
}

fn arguments() -> Result<(u64, u64), String> {
    let (mut seeds, mut first) = (100, 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--seeds" => &mut seeds,
            "--seed" => &mut first,
            other => return Err(format!("`{other}` is not an option")),
        };
        let number = words.next().ok_or_else(|| format!("`{word}` wants a number"))?;
        *place = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    }
    Ok((seeds, first))
}

fn say(line: &str) {
    // Nothing is left to be done when standard output is closed.
    let _closed = writeln!(std::io::stdout(), "{line}");
}
