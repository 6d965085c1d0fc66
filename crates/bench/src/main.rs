//! Rhumb beside Redis, and its queues, objects and uploads beside others, in one run, at equal durability; and what Rhumb
//! alone promises: footprint, replication lag, the cost of a selection.
//!
//! Every figure comes from the binary that ships and from the tools that Debian ships. The two
//! sides take turns, each against a fresh server, so that a machine that drifts hurts both.
//! Deliberately absent: verdicts. It measures and prints; people read.
#![expect(clippy::print_stdout, reason = "a command-line tool that reports to a terminal")]

mod csv;
mod footprint;
mod lag;
mod load;
mod machine;
mod objects;
mod plan;
mod queues;
mod report;
mod selection;
mod server;
mod stats;
mod throughput;
mod uploads;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use crate::{
    plan::{Effort, Wanted},
    report::Report,
};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Side-by-side benchmarks of Rhumb and Redis")]
struct Arguments {
    /// Only the rows whose name contains one of these words: `local/50/16/set`, `memory/`,
    /// `/get`, `footprint`, `lag`, `selection`, `queues/50/10`, `objects/`,
    /// `uploads/`.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// One short round of everything: shows that it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Rounds of each side.
    #[arg(long)]
    rounds: Option<usize>,
    /// Also writes everything that was measured to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also writes the tables to this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut effort = if arguments.quick { Effort::quick() } else { Effort::full() };
    if let Some(rounds) = arguments.rounds {
        effort.rounds = rounds.max(1);
    }
    let wanted = Wanted(arguments.rows);
    let mut report = Report::new(machine::describe()?, effort);
    report.throughput = throughput::measure(&wanted, effort)?;
    report.footprint = footprint::measure(&wanted, effort)?;
    report.lag = lag::measure(&wanted, effort)?;
    report.selection = selection::measure(&wanted)?;
    report.queues = queues::measure(&wanted, effort)?;
    report.objects = objects::measure(&wanted, effort)?;
    report.uploads = uploads::measure(&wanted, effort)?;
    let markdown = report.to_markdown();
    println!("{markdown}");
    if let Some(path) = arguments.markdown {
        fs::write(&path, &markdown).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = arguments.json {
        let json = serde_json::to_string_pretty(&report)?;
        fs::write(&path, json).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Tells a person what happens now; what is measured goes to standard output.
fn progress(words: &str) {
    eprintln!("{words}");
}
