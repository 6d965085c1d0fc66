//! `rhumb residency`: where data lies and may lie.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{
    say,
    show::{NOTHING, items, word},
};
use crate::{
    cli::Residency,
    http::{Ask, Http},
    table::table,
};

/// Prints the jurisdictions, what lies where, and what deserves an alert.
pub(crate) fn run(args: &Residency) -> Result<ExitCode> {
    let report = Http::new(&args.node)?.json(Ask::get("/v1/residency"))?;
    let alerts: Vec<&str> = items(&report, "/alerts").iter().filter_map(Value::as_str).collect();
    let code = if alerts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        say(&serde_json::to_string_pretty(&report)?);
        return Ok(code);
    }
    let jurisdictions = items(&report, "/jurisdictions").iter();
    let rows: Vec<[String; 3]> = jurisdictions
        .map(|it| [word(it, "/tag"), names(it, "/regions"), names(it, "/serving")])
        .collect();
    table(["jurisdiction", "regions", "serving"], &rows).iter().for_each(|line| say(line));
    say("");
    let holdings = |pointer: &str| -> Vec<[String; 3]> {
        let of = |it| [word(it, "/name"), names(it, "/residency"), names(it, "/regions")];
        items(&report, pointer).iter().map(of).collect()
    };
    let keys = holdings("/holdings");
    table(["keys", "must stay in", "lie in"], &keys).iter().for_each(|line| say(line));
    let queues = holdings("/queues");
    if !queues.is_empty() {
        say("");
        table(["jobs", "must stay in", "run in"], &queues).iter().for_each(|line| say(line));
    }
    if !alerts.is_empty() {
        say("");
        alerts.iter().for_each(|alert| say(alert));
    }
    Ok(code)
}

fn names(value: &Value, pointer: &str) -> String {
    let names: Vec<&str> = items(value, pointer).iter().filter_map(Value::as_str).collect();
    if names.is_empty() { NOTHING.to_owned() } else { names.join(", ") }
}
