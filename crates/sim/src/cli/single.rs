//! One run: what happened in it, or the smallest one that fails as it does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rhumb_sim::{
    Options,
    check::Check,
    run,
    shrink::{self, Shrunk},
};

use super::{arguments::Arguments, say};

fn options(arguments: &Arguments) -> Options {
    let kind = arguments.kinds.first().copied().unwrap_or_default();
    Options { kind, ..arguments.options.clone() }
}

/// Writes the last events of a run.
pub(crate) fn trace(arguments: &Arguments) -> bool {
    let outcome = run::run(&options(arguments));
    for entry in &outcome.history {
        say(entry);
    }
    for begun in &outcome.begun {
        say(format_args!("fault {begun}"));
    }
    match &outcome.violation {
        Some(violation) => say(violation),
        None => say("nothing failed"),
    }
    outcome.violation.is_none()
}

/// Which check a run fails; a panic counts as one.
fn fails(options: &Options) -> Option<Check> {
    let outcome = catch_unwind(AssertUnwindSafe(|| run::run(options)));
    outcome.map_or(Some(Check::Panics), |outcome| outcome.violation.map(|found| found.check))
}

/// Finds and tells the smallest run that fails as this one does.
pub(crate) fn shrink(arguments: &Arguments) -> bool {
    let options = options(arguments);
    let Some(check) = fails(&options) else {
        say("nothing failed, so there is nothing to shrink");
        return true;
    };
    let begun = match catch_unwind(AssertUnwindSafe(|| run::run(&options))) {
        Ok(outcome) => outcome.begun.iter().map(|begun| begun.planned.number).collect(),
        // Nobody knows which faults had begun; so all of the first are tried.
        Err(_) => (1..=FAULTS_OF_A_PANIC).collect(),
    };
    let Shrunk { options, tries } = shrink::shrink(&options, check, &begun, fails);
    say(format_args!("{check:?} still fails, after {tries} runs:\n  {}", options.command()));
    if check != Check::Panics {
        let outcome = run::run(&options);
        for begun in outcome.begun {
            say(format_args!("  fault {begun}"));
        }
        if let Some(violation) = outcome.violation {
            say(format_args!("  {violation}"));
        }
    }
    false
}

/// Faults that a run may have had that ended in a panic.
const FAULTS_OF_A_PANIC: u64 = 256;
