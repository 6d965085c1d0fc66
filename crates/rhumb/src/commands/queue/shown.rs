//! What nodes answer about queues, for people.

use anyhow::Result;
use rhumb_types::record::QueueName;
use serde_json::Value;

use super::super::{
    say,
    show::{NOTHING, items, millis, word},
};
use crate::{cli::Asked, table::table, when};

/// Prints an answer: as it is, or in lines.
pub(in super::super) fn print(
    asked: &Asked,
    answer: &Value,
    lines: impl FnOnce(&Value) -> Vec<String>,
) -> Result<()> {
    if asked.json {
        say(&serde_json::to_string_pretty(answer)?);
    } else {
        lines(answer).iter().for_each(|line| say(line));
    }
    Ok(())
}

pub(super) fn list(answer: &Value) -> Vec<String> {
    let row = |queue: &Value| -> [String; 6] {
        [
            word(queue, "/queue"),
            word(queue, "/settings/visibility"),
            word(queue, "/settings/attempts_max"),
            word(queue, "/settings/dead_letters"),
            word(queue, "/settings/fifo"),
            word(queue, "/settings/ack"),
        ]
    };
    let rows: Vec<_> = items(answer, "/queues").iter().map(row).collect();
    table(["queue", "visibility", "attempts", "dead letters", "fifo", "ack"], &rows)
}

/// A line per setting.
pub(super) fn settings(answer: &Value) -> Vec<String> {
    let mut rows = vec![["queue".to_owned(), word(answer, "/queue")]];
    let settings = answer.get("settings").and_then(Value::as_object);
    for (name, value) in settings.into_iter().flatten() {
        let value = match value {
            Value::Array(topics) if name == "subscriptions" => {
                let topics = topics.iter().map(subscription).collect::<Vec<_>>();
                if topics.is_empty() { NOTHING.to_owned() } else { topics.join(", ") }
            }
            _ => word(value, ""),
        };
        rows.push([name.clone(), value]);
    }
    rows.push(["version".to_owned(), word(answer, "/version")]);
    table(["setting", "value"], &rows)
}

fn subscription(subscription: &Value) -> String {
    let each = subscription.get("each_region") == Some(&Value::Bool(true));
    format!("{}{}", word(subscription, "/topics"), if each { " (each region)" } else { "" })
}

/// The name of a job that was sent, and where it is when that is not where it belongs.
pub(super) fn sent(queue: &QueueName, answer: &Value) -> Vec<String> {
    let mut lines = vec![format!("{queue}/{}", word(answer, "/id"))];
    if answer.get("duplicate").is_some_and(|it| !it.is_null()) {
        super::super::note(&format!("it was there already: {}", word(answer, "/duplicate")));
    }
    if let Some(why) = answer.get("why").and_then(Value::as_str) {
        super::super::note(&format!("it runs in {}: {why}", word(answer, "/home")));
    }
    lines.truncate(1);
    lines
}

pub(super) fn jobs(answer: &Value) -> Vec<String> {
    let row = |job: &Value| -> [String; 7] {
        [
            word(job, "/id"),
            word(job, "/place"),
            word(job, "/home"),
            word(job, "/attempts"),
            time(job, "/enqueued_unix_ms"),
            word(job, "/worker/name"),
            word(job, "/last_failure"),
        ]
    };
    let rows: Vec<_> = items(answer, "/jobs").iter().map(row).collect();
    table(["job", "place", "home", "failures", "since", "worker", "last failure"], &rows)
}

fn time(value: &Value, pointer: &str) -> String {
    let at = value.pointer(pointer).and_then(Value::as_u64);
    at.map_or_else(|| NOTHING.to_owned(), |at| when::minute(when::from_unix_millis(at)))
}

pub(super) fn stats(answer: &Value) -> Vec<String> {
    let mut rows = vec![figures("all", answer.get("total").unwrap_or(&Value::Null))];
    let regions = answer.get("regions").and_then(Value::as_object);
    rows.extend(regions.into_iter().flatten().map(|(home, stats)| figures(home, stats)));
    table(["home", "ready", "delayed", "behind", "leased", "held", "dead", "oldest"], &rows)
}

fn figures(home: &str, stats: &Value) -> [String; 8] {
    let [ready, delayed, behind, leased, held, dead] =
        ["ready", "delayed", "behind", "leased", "held", "dead"]
            .map(|name| word(stats, &format!("/{name}")));
    [home.to_owned(), ready, delayed, behind, leased, held, dead, millis(stats, "/oldest_age_ms")]
}

/// A job's story: where it is, and every decision that brought it there.
pub(super) fn why(answer: &Value) -> Vec<String> {
    items(answer, "/jobs").iter().flat_map(story).collect()
}

fn story(job: &Value) -> Vec<String> {
    let name = format!("{}/{}", word(job, "/queue"), word(job, "/id"));
    let mut lines = vec![format!("{name} is {}", state(job))];
    lines.push(format!("  taken in at {}", time(job, "/enqueued_unix_ms")));
    for decision in items(job, "/decisions") {
        lines.push(format!("  {}", told(decision)));
    }
    if word(job, "/attempts") != "0" {
        let (failures, last) = (word(job, "/attempts"), word(job, "/last_failure"));
        lines.push(format!("  failed {failures} times, last: {last}"));
    }
    lines
}

fn state(job: &Value) -> String {
    let (progress, place, home) = (word(job, "/progress"), word(job, "/place"), word(job, "/home"));
    let worker = word(job, "/worker/name");
    match progress.as_str() {
        "waiting" if worker != NOTHING => {
            let left = millis(job, "/worker/lease_ms");
            format!("in {home}, leased to {worker} for {left} more")
        }
        "waiting" => format!("in {home}, {place}"),
        progress => format!("{progress}, of {home}"),
    }
}

fn told(decision: &Value) -> String {
    let at = match decision.get("at_unix_ms") {
        Some(_) => format!(" at {}", time(decision, "/at_unix_ms")),
        None => String::new(),
    };
    let why = match word(decision, "/why") {
        why if why == NOTHING => String::new(),
        why => format!(": {why}"),
    };
    let (from, to) = (word(decision, "/from"), word(decision, "/to"));
    match word(decision, "/decision").as_str() {
        "spilled" => format!("spilled from {from} to {to}{why}"),
        "came" => {
            let job = format!("{}/{}", word(decision, "/from_queue"), word(decision, "/from_id"));
            format!("was {job} before{why}")
        }
        "moved" => {
            let job = format!("{}/{}", word(decision, "/to_queue"), word(decision, "/to_id"));
            let region = if to == NOTHING { String::new() } else { format!(" in {to}") };
            format!("went on as {job}{region}{at}{why}")
        }
        "pinned" => format!("pinned to {to}{why}"),
        "stayed" => format!("stayed in {to}{why}"),
        other => format!("{other}{at}{why}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_story_names_every_decision() {
        let answer = json!({ "jobs": [
            {
                "queue": "jobs", "id": "aa", "home": "us", "progress": "ended", "attempts": 2,
                "last_failure": "exit code 1", "enqueued_unix_ms": 1_795_236_042_900_u64,
                "decisions": [
                    { "decision": "stayed", "to": "eu", "why": "its order matters" },
                    { "decision": "spilled", "from": "eu", "to": "us", "why": "depth 180 > 100" },
                    { "decision": "moved", "at_unix_ms": 1_795_236_042_900_u64, "to_queue": "dead",
                      "to_id": "bb", "to": null, "why": "failed 2 times" },
                ],
            },
            {
                "queue": "dead", "id": "bb", "home": "us", "progress": "waiting", "place": "leased",
                "worker": { "name": "w", "lease_ms": 9_000 }, "attempts": 0, "decisions": [],
            },
        ]});
        assert_eq!(
            why(&answer),
            [
                "jobs/aa is ended, of us",
                "  taken in at 2026-11-21 04:40 UTC",
                "  stayed in eu: its order matters",
                "  spilled from eu to us: depth 180 > 100",
                "  went on as dead/bb at 2026-11-21 04:40 UTC: failed 2 times",
                "  failed 2 times, last: exit code 1",
                "dead/bb is in us, leased to w for 9000 ms more",
                "  taken in at -",
            ]
        );
    }
}
