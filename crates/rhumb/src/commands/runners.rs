//! `rhumb runners`: how runners do, and a demonstration.

mod demo;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use rhumb_runners::local::run_as_runner;
use serde_json::Value;

use super::{
    say,
    show::{NOTHING, items, word},
};
use crate::{
    cli::{NodeArgs, RunnersCommand},
    http::{Ask, Http},
    table::table,
};

/// Does what is asked for.
pub(crate) fn run(command: &RunnersCommand) -> Result<ExitCode> {
    match command {
        RunnersCommand::Status { node, json } => status(node, *json),
        RunnersCommand::Demo(args) => demo::run(args),
        RunnersCommand::Act { jitconfig, work } => act(jitconfig, *work),
    }
}

fn status(node: &NodeArgs, json: bool) -> Result<ExitCode> {
    let status = Http::new(node)?.json(Ask::get("/v1/runners"))?;
    let limited = items(&status, "/regions").iter().any(is_limited);
    let code = if limited { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if json {
        say(&serde_json::to_string_pretty(&status)?);
    } else {
        lines(&status).iter().for_each(|line| say(line));
    }
    Ok(code)
}

fn is_limited(region: &Value) -> bool {
    region.pointer("/limited_seconds").and_then(Value::as_u64).unwrap_or(0) > 0
}

/// The regions and their pools, for people.
fn lines(status: &Value) -> Vec<String> {
    const COUNTS: [&str; 6] = ["/waiting", "/running", "/starting", "/idle", "/busy", "/stopping"];
    let mut rows = Vec::new();
    let regions = items(status, "/regions");
    for region in regions {
        let name = word(region, "/region");
        let pools = items(region, "/pools");
        for pool in pools {
            let account = pool.pointer("/pool/scope").and_then(Value::as_object);
            let account = account.and_then(|it| it.values().next()?.as_str());
            let [waiting, running, starting, idle, busy, stopping] =
                COUNTS.map(|count| word(pool, count));
            let account = account.unwrap_or(NOTHING).to_owned();
            let set = word(pool, "/pool/set");
            rows.push([
                name.clone(),
                account,
                set,
                waiting,
                running,
                starting,
                idle,
                busy,
                stopping,
            ]);
        }
        if pools.is_empty() {
            let mut row = [(); 9].map(|()| NOTHING.to_owned());
            name.clone_into(&mut row[0]);
            rows.push(row);
        }
    }
    let head = [
        "region",
        "account",
        "set",
        "jobs waiting",
        "running",
        "runners starting",
        "idle",
        "busy",
        "stopping",
    ];
    let mut lines = table(head, &rows);
    for region in regions.iter().filter(|region| is_limited(region)) {
        let (name, seconds) = (word(region, "/region"), word(region, "/limited_seconds"));
        lines.push(format!("{name}: GitHub limits requests for {seconds} s more"));
    }
    if regions.is_empty() {
        lines.push("no region has said how its runners do: are nodes starting?".to_owned());
    }
    lines
}

fn act(jit_config: &str, work: Duration) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let job = runtime.block_on(run_as_runner(jit_config, work))?;
    say(&format!("job {job} is done"));
    Ok(ExitCode::SUCCESS)
}
