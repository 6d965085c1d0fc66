//! Requests per second, side by side.

use anyhow::Result;
use serde::Serialize;

use crate::{
    load::{self, Measured},
    machine,
    plan::{COMMANDS, Effort, Setting, Wanted},
    progress,
    server::{Server, Side},
    stats::Spread,
};

/// One row: a command in a setting, on both sides.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) setting: Setting,
    pub(crate) command: &'static str,
    pub(crate) rhumb: Figures,
    pub(crate) redis: Figures,
}

impl Row {
    /// Rhumb's median over Redis'.
    pub(crate) fn ratio(&self) -> f64 {
        self.rhumb.requests_per_second.median / self.redis.requests_per_second.median
    }
}

/// What the rounds of one side gave.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests_per_second: Spread,
    pub(crate) latency_p99_millis: Spread,
    /// Processor time of the server for one request.
    pub(crate) processor_micros: Spread,
}

/// What a server holds after all commands of a setting.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Resident {
    pub(crate) setting: Setting,
    pub(crate) rhumb_mebibytes: Spread,
    pub(crate) redis_mebibytes: Spread,
}

/// All that was measured side by side.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Throughput {
    pub(crate) rows: Vec<Row>,
    pub(crate) resident: Vec<Resident>,
    /// The share of the processors that others took, seen before each server was started.
    pub(crate) busy_by_others: Option<Spread>,
}

/// One side's rounds of a setting: a list per command, in their order.
#[derive(Debug, Default)]
struct Rounds {
    runs: Vec<Vec<Measured>>,
    resident: Vec<f64>,
}

/// Measures the wanted rows.
pub(crate) fn measure(wanted: &Wanted, effort: Effort) -> Result<Throughput> {
    let mut all = Throughput::default();
    let mut busy = Vec::new();
    for setting in Setting::all() {
        let commands: Vec<&'static str> =
            COMMANDS.into_iter().filter(|command| wanted.includes(&setting.row(command))).collect();
        if !commands.is_empty() {
            measure_setting(setting, &commands, effort, &mut busy, &mut all)?;
        }
    }
    all.busy_by_others = Spread::of(&busy);
    Ok(all)
}

fn measure_setting(
    setting: Setting,
    commands: &[&'static str],
    effort: Effort,
    busy: &mut Vec<f64>,
    all: &mut Throughput,
) -> Result<()> {
    let mut rhumb = Rounds::default();
    let mut redis = Rounds::default();
    for round in 1..=effort.rounds {
        for (side, rounds) in [(Side::Rhumb, &mut rhumb), (Side::Redis, &mut redis)] {
            busy.push(machine::busy()?);
            progress(&format!("{setting}: {side}, round {round} of {}", effort.rounds));
            one_round(side, setting, commands, effort, rounds)?;
        }
    }
    for (nth, command) in commands.iter().copied().enumerate() {
        let (Some(rhumb), Some(redis)) = (rhumb.figures(nth), redis.figures(nth)) else { continue };
        all.rows.push(Row { setting, command, rhumb, redis });
    }
    if let (Some(rhumb_mebibytes), Some(redis_mebibytes)) =
        (Spread::of(&rhumb.resident), Spread::of(&redis.resident))
    {
        all.resident.push(Resident { setting, rhumb_mebibytes, redis_mebibytes });
    }
    Ok(())
}

fn one_round(
    side: Side,
    setting: Setting,
    commands: &[&'static str],
    effort: Effort,
    rounds: &mut Rounds,
) -> Result<()> {
    let server = Server::start(side, setting.durability)?;
    if !commands.contains(&"set") {
        // What GET reads.
        load::run(&server, setting, "set", effort.run)?;
    }
    let mut runs = Vec::with_capacity(commands.len());
    for command in commands {
        let run = load::run(&server, setting, command, effort.run)?;
        progress(&format!(
            "    {command} {:.0}/s, {:.2} us of processor time each",
            run.run.requests_per_second, run.processor_micros
        ));
        runs.push(run);
    }
    rounds.runs.push(runs);
    rounds.resident.push(server.resident_mebibytes()?);
    Ok(())
}

impl Rounds {
    fn figures(&self, nth: usize) -> Option<Figures> {
        let runs: Vec<_> = self.runs.iter().filter_map(|runs| runs.get(nth)).collect();
        let spread = |figure: fn(&Measured) -> f64| {
            Spread::of(&runs.iter().map(|run| figure(run)).collect::<Vec<_>>())
        };
        Some(Figures {
            requests_per_second: spread(|run| run.run.requests_per_second)?,
            latency_p99_millis: spread(|run| run.run.latency_p99_millis)?,
            processor_micros: spread(|run| run.processor_micros)?,
        })
    }
}
