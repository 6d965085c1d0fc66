//! `rhumb status`: a node, as it sees itself and its peers.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{
    say,
    show::{items, millis, word},
};
use crate::{
    cli::Status,
    http::{Ask, Http},
    table::table,
    when,
};

/// Prints the status; fails when the node should get no traffic, so that scripts can ask.
pub(crate) fn run(args: &Status) -> Result<ExitCode> {
    let node = Http::new(&args.node)?;
    let status = node.json(Ask::get("/v1/status"))?;
    if args.json {
        say(&serde_json::to_string_pretty(&status)?);
    } else {
        lines(&status).iter().for_each(|line| say(line));
    }
    let ready = status.get("ready").and_then(Value::as_bool).unwrap_or_default();
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lines(status: &Value) -> Vec<String> {
    let at = |pointer: &str| word(status, pointer);
    let not_ready: Vec<&str> =
        items(status, "/not_ready").iter().filter_map(Value::as_str).collect();
    let ready = match not_ready.as_slice() {
        [] => "ready".to_owned(),
        reasons => format!("not ready: {}", reasons.join(", ")),
    };
    let mut lines = vec![
        format!(
            "{}  {}  version {}  {}, {ready}",
            at("/region"),
            at("/node"),
            at("/version"),
            at("/phase")
        ),
        control(status),
        format!("duties   {}", duties(status)),
        format!(
            "waiting  {} acknowledgements, {} received",
            at("/waiting/acks"),
            at("/waiting/received")
        ),
        String::new(),
    ];
    let head = ["peer", "link", "serving", "round trip", "behind us", "we are behind", "clock"];
    let rows: Vec<[String; 7]> = items(status, "/peers").iter().map(peer).collect();
    lines.extend(table(head, &rows));
    let alarms = items(status, "/alarms");
    if !alarms.is_empty() {
        lines.push(String::new());
        lines.push("alarms, the newest first".to_owned());
        let said = |alarm: &Value| {
            let at = alarm.get("unix_ms").and_then(Value::as_u64).unwrap_or_default();
            format!("  {}  {}", when::minute(when::from_unix_millis(at)), word(alarm, "/detail"))
        };
        lines.extend(alarms.iter().map(said));
    }
    lines
}

fn control(status: &Value) -> String {
    let leader = word(status, "/control/leader");
    let members = items(status, "/control/members");
    let leads = members.iter().find(|member| word(member, "/node") == leader);
    let leader = leads
        .map_or_else(|| "no leader".to_owned(), |it| format!("led by {}", word(it, "/region")));
    let voters = members.iter().filter(|member| word(member, "/voter") == "yes").count();
    let cluster = word(status, "/control/cluster");
    match word(status, "/control/trouble").as_str() {
        "-" => format!("cluster  {cluster}  {leader}, {voters} voters"),
        trouble => format!("cluster  {cluster}  {leader}, {voters} voters: {trouble}"),
    }
}

fn duties(status: &Value) -> String {
    let leases = items(status, "/leases");
    if leases.is_empty() {
        return "none".to_owned();
    }
    let duty =
        |lease: &Value| format!("{} (epoch {})", word(lease, "/region"), word(lease, "/epoch"));
    leases.iter().map(duty).collect::<Vec<_>>().join(", ")
}

fn peer(peer: &Value) -> [String; 7] {
    let behind = |millis: String, count: String| match count.as_str() {
        "0" => "0".to_owned(),
        _ => format!("{millis}, {count} writes"),
    };
    [
        word(peer, "/region"),
        if word(peer, "/up") == "yes" {
            "up".to_owned()
        } else {
            format!("down {}", millis(peer, "/silent_ms"))
        },
        word(peer, "/serving"),
        millis(peer, "/round_trip_ms"),
        behind(
            millis(peer, "/lag/it_behind_here_ms"),
            word(peer, "/lag/it_behind_here_transactions"),
        ),
        match word(peer, "/lag/here_behind_it_transactions").as_str() {
            "0" => "0".to_owned(),
            count => format!("{count} writes"),
        },
        format!("{} ms", word(peer, "/clock_offset_ms")),
    ]
}
