//! `rhumb rehearse --search`: the worst single and double fault.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Result;
use rhumb_rehearse::{
    rehearsal::Rehearsal,
    report::{Report, shown},
    scenario::Scenario,
    search::{self, Badness, PAIRED, When},
};
use rhumb_types::RegionId;
use serde_json::json;

use super::{Shared, cluster, code, inputs, runs::Runs, seeds_of};
use crate::{cli::Rehearse, commands::say, table::columns};

/// How long a run takes unless told otherwise.
pub(super) const LASTING: Duration = Duration::from_secs(20 * 60);
/// How many runs each scenario has unless told otherwise.
const SEEDS: u64 = 3;
/// The part of the time after which things go wrong, and for which they do.
const PART: u32 = 4;
/// How many of the worst are shown to people.
const SHOWN_MAX: usize = 20;

/// A scenario that was tried.
struct Tried {
    scenario: Scenario,
    badness: Badness,
}

/// What is tried, and with which seeds.
struct Search {
    base: Shared,
    seeds: Vec<u64>,
    runs: Runs,
    stopped: bool,
    count: usize,
}

/// Searches.
pub(super) fn run(args: &Rehearse) -> Result<ExitCode> {
    let inputs = inputs::read(args, &cluster::config(args)?)?;
    let base = inputs.rehearsal;
    let regions: Vec<RegionId> = base.nodes.iter().map(|setup| setup.node.region.clone()).collect();
    let when = When { at: base.lasting / PART, lasting: base.lasting / PART };
    let seeds: Vec<u64> = seeds_of(args, SEEDS).collect();
    let mut search = Search { base, seeds, runs: Runs::new()?, stopped: false, count: 0 };
    let singles = search::singles(&regions, when);
    let of_singles = search.try_all(singles.scenarios)?;
    let worst: Vec<Scenario> = of_singles.iter().map(|tried| tried.scenario.clone()).collect();
    let of_pairs = search.try_all(search::pairs(&search::paired(&worst)))?;
    let tried = format!(
        "{} single faults, and {} pairs of the worst ones of {PAIRED} regions and links, with {} \
         seeds each: {} runs{}",
        of_singles.len(),
        of_pairs.len(),
        search.seeds.len(),
        search.count,
        if search.stopped { ", stopped before the end" } else { "" },
    );
    if args.json {
        let shown = |tried: &[Tried]| tried.iter().map(Tried::document).collect::<Vec<_>>();
        let document = json!({
            "version": 1,
            "tried": tried,
            "left_out_singles": singles.left_out,
            "notes": inputs.notes,
            "singles": shown(&of_singles),
            "pairs": shown(&of_pairs),
        });
        say(&document.to_string());
        return Ok(code(true, search.stopped));
    }
    inputs.notes.iter().for_each(|note| say(&format!("note: {note}")));
    say(&format!("tried {tried}"));
    if singles.left_out > 0 {
        say(&format!("{} more single faults, all of links, were not tried", singles.left_out));
    }
    let (at, lasting) = (shown::time(when.at), shown::time(when.lasting));
    say(&format!(
        "each begins at {at} and lasts for {lasting} of {}",
        shown::time(search.base.lasting)
    ));
    for (title, tried) in [("the worst single faults", of_singles), ("the worst pairs", of_pairs)] {
        say(&format!("\n{title}"));
        let tried: Vec<Tried> = tried.into_iter().take(SHOWN_MAX).collect();
        lines_of(&tried).iter().for_each(|line| say(line));
    }
    if let Some(worst) = worst.first().and_then(|scenario| scenario.faults.first()) {
        say(&format!("\nto look at the worst one, rehearse with --fault \"{worst}\""));
    }
    Ok(code(true, search.stopped))
}

impl Search {
    /// Runs scenarios that were not stopped, the worst first.
    fn try_all(&mut self, scenarios: Vec<Scenario>) -> Result<Vec<Tried>> {
        if self.stopped {
            return Ok(Vec::new());
        }
        let of = |scenario: &Scenario| -> Shared {
            Arc::new(Rehearsal { scenario: scenario.clone(), ..(*self.base).clone() })
        };
        let per_scenario = |scenario: &Scenario| {
            let rehearsal = of(scenario);
            self.seeds.iter().map(move |seed| (rehearsal.clone(), *seed)).collect::<Vec<_>>()
        };
        let jobs: Vec<_> = scenarios.iter().flat_map(per_scenario).collect();
        let done = self.runs.all(jobs)?;
        self.stopped |= done.stopped;
        let mut outcomes = done.outcomes.into_iter();
        let mut tried = Vec::new();
        for scenario in scenarios {
            // A scenario of which a run was stopped cannot be ranked among the others.
            let of_one: Vec<_> = outcomes.by_ref().take(self.seeds.len()).flatten().collect();
            if of_one.len() < self.seeds.len() {
                continue;
            }
            let runs = of_one;
            self.count += runs.len();
            tried.push(Tried { scenario, badness: Badness::of(&Report::new(runs)) });
        }
        tried.sort_by(|one, other| one.badness.worse_first(&other.badness));
        Ok(tried)
    }
}

impl Tried {
    fn faults(&self) -> Vec<String> {
        self.scenario.faults.iter().map(|planned| planned.fault.to_string()).collect()
    }

    fn row(&self, rank: usize) -> Vec<String> {
        let figures = self.badness.shown().into_iter().map(|(_, figure)| figure);
        let rank = std::iter::once(rank.to_string());
        rank.chain(figures).chain([self.faults().join(" and ")]).collect()
    }

    fn document(&self) -> serde_json::Value {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let planned: Vec<String> = self.scenario.faults.iter().map(ToString::to_string).collect();
        json!({
            "faults": planned,
            "failed_share": self.badness.failed,
            "gap_max_ms": millis(self.badness.gap),
            "served_max_ms": self.badness.served.map(millis),
            "exposed_writes_max_count": self.badness.exposed,
            "jobs": self.badness.jobs.map(|jobs| json!({
                "lost_count": jobs.lost,
                "oldest_max_ms": millis(jobs.oldest),
                "drained_max_ms": jobs.drained.map(millis),
                "repeated_count": jobs.repeated,
            })),
            "objects": self.badness.objects.map(|objects| json!({
                "lost_count": objects.lost,
                "uploads_failed_share": objects.failed,
                "at_risk_max_count": objects.at_risk,
                "converged_max_ms": objects.converged.map(millis),
                "backlog_max_bytes": objects.backlog,
            })),
        })
    }
}

/// A table, with columns of jobs and of objects where there were any.
fn lines_of(tried: &[Tried]) -> Vec<String> {
    let figures = tried.first().map(|tried| tried.badness.shown()).unwrap_or_default();
    let figures = figures.into_iter().map(|(head, _)| head);
    let head: Vec<&str> = std::iter::once("").chain(figures).chain(["fault"]).collect();
    let rows: Vec<Vec<String>> =
        tried.iter().zip(1..).map(|(tried, rank)| tried.row(rank)).collect();
    columns(&head, &rows)
}
