//! `rhumb route`: where a key goes, and why.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{
    say,
    show::{items, millis, percent, word},
};
use crate::{
    cli::Route,
    http::{Ask, Http},
    table::table,
};

/// Prints the plan: the regions in the order in which they are tried, and the steps that led there.
pub(crate) fn run(args: &Route) -> Result<ExitCode> {
    let ask = Ask::get("/v1/route")
        .maybe("key", args.key.as_ref())
        .maybe("tenant", args.tenant.as_ref())
        .maybe("repository", args.repository.as_ref())
        .maybe("residency", args.residency.as_ref())
        .maybe("needs", args.needs.as_ref())
        .maybe("strategy", args.strategy.as_ref())
        .maybe("client_region", args.client_region.as_ref().map(|region| region.as_str()))
        .maybe("country", args.country.as_ref())
        .maybe("continent", args.continent.as_ref());
    let plan = Http::new(&args.node)?.json(ask)?;
    if args.json {
        say(&serde_json::to_string_pretty(&plan)?);
        return Ok(ExitCode::SUCCESS);
    }
    let regions: Vec<&str> = items(&plan, "/regions").iter().filter_map(Value::as_str).collect();
    say(&format!("goes to  {}", regions.join(", then ")));
    say(&format!("home     {}", word(&plan, "/home")));
    say("because");
    for reason in items(&plan, "/reasons").iter().filter_map(Value::as_str) {
        say(&format!("  {reason}"));
    }
    say("");
    let rows: Vec<[String; 7]> = items(&plan, "/scores").iter().map(row).collect();
    let head = ["region", "state", "health", "load", "priority", "weight", "round trip"];
    table(head, &rows).iter().for_each(|line| say(line));
    Ok(ExitCode::SUCCESS)
}

fn row(score: &Value) -> [String; 7] {
    [
        word(score, "/region"),
        word(score, "/admin"),
        word(score, "/health"),
        percent(score, "/utilisation"),
        word(score, "/priority"),
        word(score, "/weight"),
        millis(score, "/round_trip_ms"),
    ]
}
