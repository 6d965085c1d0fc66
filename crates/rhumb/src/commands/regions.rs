//! `rhumb regions`: the regions as routing sees them, and what is agreed about each.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{
    say,
    show::{NOTHING, items, millis, percent, word},
};
use crate::{
    cli::Regions,
    http::{Ask, Http},
    table::table,
};

/// Prints a line per region.
pub(crate) fn run(args: &Regions) -> Result<ExitCode> {
    let answer = Http::new(&args.node)?.json(Ask::get("/v1/regions"))?;
    if args.json {
        say(&serde_json::to_string_pretty(&answer)?);
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("seen from {}; strategy {}", word(&answer, "/here"), word(&answer, "/strategy")));
    let head = ["region", "state", "health", "load", "share", "round trip", "duties at", "reason"];
    let rows: Vec<[String; 8]> = items(&answer, "/regions").iter().map(row).collect();
    table(head, &rows).iter().for_each(|line| say(line));
    Ok(ExitCode::SUCCESS)
}

fn row(region: &Value) -> [String; 8] {
    let witness = word(region, "/witness") == "yes";
    let state = if witness { "witness".to_owned() } else { word(region, "/agreed/state") };
    let verdict = region.pointer("/agreed/verdict").is_some_and(|verdict| !verdict.is_null());
    let state = if verdict { format!("{state}, held down") } else { state };
    let lost: Vec<&str> = items(region, "/lost").iter().filter_map(Value::as_str).collect();
    let health = match lost.as_slice() {
        [] => word(region, "/health"),
        lost => format!("{}, without {}", word(region, "/health"), lost.join(" and ")),
    };
    let duties = match word(region, "/lease/holder/region").as_str() {
        NOTHING => NOTHING.to_owned(),
        holder => format!("{holder} (epoch {})", word(region, "/lease/epoch")),
    };
    [
        word(region, "/region"),
        state,
        health,
        percent(region, "/utilisation"),
        percent(region, "/ramp"),
        millis(region, "/round_trip_ms"),
        duties,
        word(region, "/agreed/reason"),
    ]
}
