//! `rhumb rehearse`: an outage on the user's own configuration, in simulation.
//!
//! Everything that is wrong with the input is said at once, and then nothing is run. Runs are spread
//! over all cores; what they say together does not depend on how.

mod cluster;
mod compare;
mod inputs;
mod interrupt;
mod objects;
mod progress;
mod runs;
mod search;
mod text;

use std::{fs, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use rhumb_rehearse::{
    RunError,
    objectives::judge,
    outcome::Outcome,
    report::{Findings, Report, shown},
};

use self::inputs::{Inputs, Refused};
use super::{complain, note, say};
use crate::cli::Rehearse;

/// Something in the input is wrong.
const BAD_INPUT: u8 = 2;
/// Stopped by Ctrl-C, as shells say it.
const STOPPED: u8 = 130;
/// How many runs a rehearsal has unless told otherwise.
const SEEDS: u64 = 10;

/// Rehearses.
pub(crate) fn run(args: &Rehearse) -> Result<ExitCode> {
    let rehearsed = match (&args.diff, args.search) {
        (Some(files), _) => compare::run(args, files),
        (None, true) => search::run(args),
        (None, false) => rehearse(args),
    };
    match rehearsed {
        Err(error) => refuse(error),
        code => code,
    }
}

/// Tells what is wrong with the input, if that is what went wrong.
fn refuse(error: anyhow::Error) -> Result<ExitCode> {
    let Refused(mistakes) = match error.downcast_ref::<RunError>() {
        Some(RunError::NoRegions | RunError::Regions(_)) => Refused(vec![error.to_string()]),
        _ => error.downcast::<Refused>()?,
    };
    mistakes.iter().for_each(|mistake| complain(mistake));
    Ok(ExitCode::from(BAD_INPUT))
}

fn rehearse(args: &Rehearse) -> Result<ExitCode> {
    let Inputs { rehearsal, objectives, mut notes } = inputs::read(args, &cluster::config(args)?)?;
    let seeds = args.seeds.unwrap_or(SEEDS);
    let jobs: Vec<_> = seeds_of(args, SEEDS).map(|seed| (rehearsal.clone(), seed)).collect();
    let done = runs::all(jobs)?;
    let report = Report::new(done.outcomes.into_iter().flatten().collect());
    notes.extend(weight(&report.runs));
    if done.stopped {
        notes.push(format!("stopped after {} of {seeds} runs", report.runs.len()));
    }
    let findings = Findings {
        rehearsal: &rehearsal,
        verdicts: judge(&objectives, &rehearsal, &report),
        report: &report,
        command: command(),
        seeds,
        notes,
    };
    if let Some(file) = &args.html {
        let page = rhumb_rehearse::html::page(&findings);
        fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))?;
        note(&format!("the page is {}", file.display()));
    }
    if args.json {
        say(&findings.document().to_string());
    } else {
        text::lines(&findings).iter().for_each(|line| say(line));
    }
    Ok(code(findings.passed(), done.stopped))
}

/// How a rehearsal ends. What was missed before it was stopped is missed.
fn code(passed: bool, stopped: bool) -> ExitCode {
    match (passed, stopped) {
        (false, false) => ExitCode::FAILURE,
        (_, true) => ExitCode::from(STOPPED),
        (true, false) => ExitCode::SUCCESS,
    }
}

fn seeds_of(args: &Rehearse, usual: u64) -> impl Iterator<Item = u64> + Clone + use<> {
    let first = args.seed;
    (0..args.seeds.unwrap_or(usual)).map(move |nth| first.saturating_add(nth))
}

/// A word about requests that were not simulated one by one.
fn weight(runs: &[Outcome]) -> Option<String> {
    let most = runs.iter().map(|run| run.weight).max().filter(|most| *most > 1)?;
    Some(format!("each request that was simulated stands for up to {}", shown::count(most)))
}

/// The command line, as it can be typed again.
fn command() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted = |word: String| {
        let bare = !word.is_empty() && word.chars().all(plain);
        if bare { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("rhumb".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// What is run: many share one.
type Shared = Arc<rhumb_rehearse::rehearsal::Rehearsal>;
