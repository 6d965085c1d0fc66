//! The command line, where there are network namespaces.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Error, Result};
use clap::{Parser, ValueEnum};
use rhumb_config::settings::Profile;
use rhumb_integration::{
    chaos::{self, Kind, Machine, Outcome, Plan, Report},
    programs,
};

use crate::SKIPPED;

/// How often each kind is tried, unless told otherwise.
const PER_KIND: usize = 9;
/// How long a failure lasts.
const LASTING: Duration = Duration::from_secs(15);
/// How long one lasts in the standard profile, whose verdict alone takes 15 s.
const LASTING_STANDARD: Duration = Duration::from_secs(45);
/// How long one lasts in the short run.
const LASTING_SHORT: Duration = Duration::from_secs(12);
/// The kinds of the short run.
const SHORT: [Kind; 4] = [Kind::Kill, Kind::Freeze, Kind::Cut, Kind::FullDisk];
/// What is promised: the longest gap of a client through a node that survives.
const GAP_MAX: Duration = Duration::from_secs(1);
/// The short run is of a debug build on a machine that does other things too: it finds clients that hang,
/// and does not measure.
const GAP_MAX_SHORT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Speed {
    Fast,
    Standard,
}

impl Speed {
    /// The nodes' profile, and how long a failure lasts.
    const fn timing(self) -> (Profile, Duration) {
        match self {
            Self::Fast => (Profile::Fast, LASTING),
            Self::Standard => (Profile::Standard, LASTING_STANDARD),
        }
    }
}

#[derive(Debug, Parser)]
#[command(name = "cargo xtask chaos", about = "Failures of a region on real processes")]
struct Arguments {
    /// One of each of four kinds.
    #[arg(long)]
    short: bool,
    /// How often each kind is tried.
    #[arg(long, default_value_t = PER_KIND)]
    per_kind: usize,
    /// Only the kinds whose name contains one of these words.
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// How quickly regions are called down.
    #[arg(long, value_enum, default_value = "fast")]
    profile: Speed,
    /// Decides the order, the regions and the packets lost.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also writes every trial to this file, as JSON, after each of them.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also leaves the logs of the nodes in this folder.
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
    /// Rehearses the failures of an earlier run anew, from its `--json`, and holds them against what was
    /// measured then; nothing is started.
    #[arg(long, value_name = "FILE")]
    again: Option<PathBuf>,
    /// Whether namespaces of its own are there already.
    #[arg(long, hide = true)]
    inside: bool,
}

pub(crate) fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(file) = &arguments.again {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let report = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        return again(report);
    }
    if arguments.inside {
        return run(arguments);
    }
    let mut again: Vec<String> = std::env::args().skip(1).collect();
    again.push("--inside".to_owned());
    let refusal = chaos::isolate(&again)?;
    println!("skipped, because {refusal}");
    Ok(ExitCode::from(SKIPPED))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let plan = plan(arguments);
    let count = plan.trials.len();
    eprintln!("{count} failures, seed {}; the cluster starts", plan.seed);
    let mut report = Report {
        machine: Machine::look(),
        planned: count,
        gap_max: if arguments.short { GAP_MAX_SHORT } else { GAP_MAX },
        profile: format!("{:?}", arguments.profile).to_lowercase(),
        seed: arguments.seed,
        trials: Vec::with_capacity(count),
    };
    chaos::run(&plan, |outcome| {
        tell(report.trials.len(), count, &outcome);
        report.trials.push(outcome);
        report.machine.look_again();
        // After each, so that a run that is ended from outside leaves what it has.
        arguments.json.as_deref().map_or(Ok(()), |path| keep(&report, path))
    })?;
    Ok(conclude(&report))
}

fn again(mut report: Report) -> Result<ExitCode> {
    let speed = Speed::from_str(&report.profile, true).map_err(Error::msg)?;
    let (profile, lasting) = speed.timing();
    chaos::predict_again(&mut report.trials, profile, lasting)?;
    println!("predicted by commit {}", Machine::look().commit);
    Ok(conclude(&report))
}

fn conclude(report: &Report) -> ExitCode {
    println!("{}\n", report.machine);
    println!("median / maximum, in milliseconds\n\n{}", report.to_markdown());
    if let Some(predictions) = report.predictions() {
        println!(
            "predicted by `rhumb rehearse`, and measured: milliseconds, and writes\n\n{predictions}"
        );
    }
    let complaints = report.complaints();
    for complaint in &complaints {
        println!("NOT AS PROMISED: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes a report whole: who reads it meanwhile sees the one before.
fn keep(report: &Report, path: &Path) -> Result<()> {
    let beside = path.with_extension("json.new");
    let json = serde_json::to_string_pretty(report)?;
    fs::write(&beside, json).with_context(|| beside.display().to_string())?;
    fs::rename(&beside, path).with_context(|| path.display().to_string())
}

fn plan(arguments: &Arguments) -> Plan {
    let all: &[Kind] = if arguments.short { &SHORT } else { &Kind::ALL };
    let wanted = |kind: &&Kind| {
        let words = &arguments.kinds;
        words.is_empty() || words.iter().any(|word| kind.to_string().contains(word.as_str()))
    };
    let mut kinds: Vec<Kind> = all.iter().filter(wanted).copied().collect();
    if !programs::answers("strace", &["-f", "-qq", "-e", "trace=none", "true"]) {
        println!("without slow disks, because strace is not installed or not allowed");
        kinds.retain(|kind| *kind != Kind::SlowDisk);
    }
    let per_kind = if arguments.short { 1 } else { arguments.per_kind };
    let (profile, lasting) = match arguments.profile {
        Speed::Fast if arguments.short => (Profile::Fast, LASTING_SHORT),
        speed => speed.timing(),
    };
    // The short run is of a debug build, whose rehearsals take too long.
    let predict = !arguments.short;
    let logs = arguments.logs.clone();
    Plan { profile, lasting, predict, logs, ..Plan::new(&kinds, per_kind, arguments.seed) }
}

/// One line per trial.
fn tell(nth: usize, count: usize, outcome: &Outcome) {
    let shown = |time: Option<Duration>| {
        time.map_or_else(|| "-".to_owned(), |time| format!("{} ms", time.as_millis()))
    };
    eprintln!(
        "{}/{count} {} of {}: not routed to {}, verdict {}, lease elsewhere {}, as before {}",
        nth + 1,
        outcome.kind,
        outcome.region,
        shown(outcome.ejected),
        shown(outcome.condemned),
        shown(outcome.moved),
        shown(Some(outcome.well)),
    );
    if let Some(trouble) = &outcome.trouble {
        eprintln!("  FAILED: {trouble}");
    }
    for (level, clients) in &outcome.clients {
        eprintln!(
            "  {level}: gap {}, then {}, served {}, {} acknowledged, {} lost, {:?}",
            shown(Some(clients.gap)),
            shown(Some(clients.gap_mending)),
            shown(Some(clients.served)),
            clients.acknowledged,
            clients.lost,
            clients.failures,
        );
    }
}
