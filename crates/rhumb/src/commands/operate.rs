//! `rhumb failover`, `drain`, `failback` and `failovers`: duties on their way, followed to their end.

mod record;

use std::{process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, bail};
use http::{HeaderName, HeaderValue, Method};
use rhumb_types::control::{FailoverRecord, FailoverState};
use serde_json::{Value, json};

use self::record::Followed;
use super::{
    note, say,
    show::{NOTHING, items, word},
};
use crate::{
    cli::{Asked, Change, FailBack, FailoversCommand, Move},
    http::{Ask, Http, HttpError},
    table::table,
};

/// Under its value asking twice starts one run.
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Time between two looks at a run.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// So many looks in a row may fail, such as while the node that is asked restarts.
const FAILED_LOOKS_MAX: u32 = 60;

/// What `rhumb failover` and `rhumb drain` have in common.
pub(crate) fn start(action: &str, args: &Move) -> Result<ExitCode> {
    let node = Http::new(&args.asked.node)?;
    let ask = Ask::new(Method::POST, &format!("/admin/{action}/{}", args.region));
    if args.dry_run {
        let answer = node.json(ask.param("dry_run", "true"))?;
        return dry_run(&answer, args.asked.json);
    }
    let mut body = json!({ "reason": args.reason });
    if let (Some(strategy), Some(body)) = (args.strategy, body.as_object_mut()) {
        body.insert("strategy".to_owned(), strategy.word().into());
    }
    let ask = with_key(ask.json(&body), args.key.as_deref())?;
    begun(&node, ask, args.no_wait, args.asked.json)
}

/// Gives a region its duties back.
pub(crate) fn failback(args: &FailBack) -> Result<ExitCode> {
    let Change { asked, reason } = &args.change;
    let node = Http::new(&asked.node)?;
    let ask = Ask::new(Method::POST, &format!("/admin/failback/{}", args.region));
    let ask = with_key(ask.json(&json!({ "reason": reason })), args.key.as_deref())?;
    begun(&node, ask, args.no_wait, asked.json)
}

fn with_key(ask: Ask, key: Option<&str>) -> Result<Ask> {
    let Some(key) = key else { return Ok(ask) };
    let value = HeaderValue::try_from(key).context("--key must be plain text")?;
    Ok(ask.header(KEY_HEADER, value))
}

/// Starts a run, and follows it unless that is not wanted.
fn begun(node: &Http, ask: Ask, no_wait: bool, as_json: bool) -> Result<ExitCode> {
    let record = read(node, ask)?;
    if no_wait {
        show(&record, as_json)?;
        return Ok(ExitCode::SUCCESS);
    }
    follow(node, record, as_json)
}

fn read(node: &Http, ask: Ask) -> Result<FailoverRecord> {
    let answer = node.json(ask)?;
    serde_json::from_value(answer).context("the node's answer is no record of a failover")
}

fn show(record: &FailoverRecord, as_json: bool) -> Result<()> {
    if as_json {
        say(&serde_json::to_string_pretty(record)?);
    } else {
        record::lines(record).iter().for_each(|line| say(line));
    }
    Ok(())
}

/// Tells what happens until the run is over, or waits for somebody.
fn follow(node: &Http, mut record: FailoverRecord, as_json: bool) -> Result<ExitCode> {
    let path = format!("/admin/failovers/{}", record.id.0);
    let mut followed = Followed::default();
    let mut failed = 0;
    note(&format!("failover {}; Ctrl-C stops following it, not the run", record.id.0));
    loop {
        if !as_json {
            followed.news(&record).iter().for_each(|line| say(line));
        }
        if record.state.is_closed() || record.state == FailoverState::AwaitingApproval {
            break;
        }
        thread::sleep(LOOK_INTERVAL);
        match node.json(Ask::get(&path)) {
            Ok(answer) => {
                record = serde_json::from_value(answer)?;
                failed = 0;
            }
            Err(HttpError::Refused(problem)) if problem.status.is_client_error() => {
                return Err(problem.into());
            }
            Err(error) if failed >= FAILED_LOOKS_MAX => return Err(error.into()),
            Err(_) => failed += 1,
        }
    }
    if as_json {
        say(&serde_json::to_string_pretty(&record)?);
    }
    if record.state == FailoverState::AwaitingApproval {
        note(&format!("it waits for: rhumb failovers approve {} --reason WHY", record.id.0));
    }
    let well = matches!(record.state, FailoverState::Succeeded | FailoverState::AwaitingApproval);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What would happen; fails when the survivors could not carry it.
fn dry_run(answer: &Value, as_json: bool) -> Result<ExitCode> {
    let carried = answer.get("carried").and_then(Value::as_bool).unwrap_or_default();
    if as_json {
        say(&serde_json::to_string_pretty(answer)?);
    } else {
        let can = if carried { "can carry it" } else { "CANNOT carry all of it" };
        let successor = word(answer, "/successor");
        say(&format!("nothing was changed; successor {successor}; the survivors {can}"));
        let row = |it: &Value| ["/duty", "/from", "/to", "/load"].map(|at| word(it, at));
        let moves: Vec<[String; 4]> = items(answer, "/moves").iter().map(row).collect();
        table(["duty", "from", "to", "load"], &moves).iter().for_each(|line| say(line));
        say("");
        let row = |it: &Value| ["/region", "/used", "/capacity"].map(|at| word(it, at));
        let after: Vec<[String; 3]> = items(answer, "/survivors").iter().map(row).collect();
        table(["survivor", "used", "capacity"], &after).iter().for_each(|line| say(line));
    }
    Ok(if carried { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `rhumb failovers`.
pub(crate) fn runs(command: &FailoversCommand) -> Result<ExitCode> {
    match command {
        FailoversCommand::List { asked } => list(asked)?,
        FailoversCommand::Show { id, asked } => {
            let path = format!("/admin/failovers/{id}");
            show(&read(&Http::new(&asked.node)?, Ask::get(&path))?, asked.json)?;
        }
        FailoversCommand::Approve { id, change } => return decide(*id, "approve", change),
        FailoversCommand::Cancel { id, change } => return decide(*id, "cancel", change),
    }
    Ok(ExitCode::SUCCESS)
}

fn decide(id: u64, decision: &str, change: &Change) -> Result<ExitCode> {
    let node = Http::new(&change.asked.node)?;
    let ask = Ask::new(Method::POST, &format!("/admin/failovers/{id}/{decision}"));
    let record = read(&node, ask.json(&json!({ "reason": change.reason })))?;
    if decision == "approve" {
        return follow(&node, record, change.asked.json);
    }
    show(&record, change.asked.json)?;
    Ok(ExitCode::SUCCESS)
}

fn list(asked: &Asked) -> Result<()> {
    let answer = Http::new(&asked.node)?.json(Ask::get("/admin/failovers"))?;
    if asked.json {
        say(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let mut rows = Vec::new();
    for record in items(&answer, "/failovers") {
        let Ok(record) = serde_json::from_value::<FailoverRecord>(record.clone()) else {
            bail!("the node's answer holds something else than records of failovers")
        };
        rows.push(record::row(&record, NOTHING));
    }
    let head = ["run", "began", "what", "region", "to", "state", "by", "reason"];
    table(head, &rows).iter().for_each(|line| say(line));
    Ok(())
}
