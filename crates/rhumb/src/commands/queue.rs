//! `rhumb queue`: queues and their jobs.

use std::{io::Read, process::ExitCode};

use anyhow::{Context, Result};
use http::Method;
use rhumb_types::record::QueueName;
use serde_json::{Map, Value, json};

use super::{
    say,
    settings::Thing,
    show::{items, word},
};
use crate::{
    cli::{Change, NodeArgs, Queue, QueueCommand, QueueSettings, SendJob},
    http::{Ask, Http},
};

pub(super) mod shown;

/// What queues are under.
const PATH: &str = "/v1/queues";
/// The largest body that is read from standard input, in bytes; a queue takes no larger one.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// Jobs of one page.
const PAGE: usize = 1_000;

/// Does what was asked.
pub(crate) fn run(args: &Queue) -> Result<ExitCode> {
    use QueueCommand as C;
    match &args.command {
        C::List { asked } => {
            shown::print(asked, &Http::new(&asked.node)?.json(Ask::get(PATH))?, shown::list)?;
        }
        C::Show { queue, asked } => {
            shown::print(asked, &Http::new(&asked.node)?.json(of(queue))?, shown::settings)?;
        }
        C::Create { queue, settings, change } => thing(queue).create(said(settings), change)?,
        C::Change { queue, settings, unset, change } => {
            thing(queue).alter(said(settings), unset, change)?;
        }
        C::Delete { queue, change } => thing(queue).delete(change)?,
        C::Send(job) => send(job)?,
        C::Receive { queue, node, max, visibility, wait } => {
            let mut wish = json!({ "max": max, "wait": wait });
            if let Some(visibility) = visibility {
                put(&mut wish, "visibility", visibility.as_str());
            }
            let answer = Http::new(node)?.json(under(queue, "receive").json(&wish))?;
            items(&answer, "/jobs").iter().for_each(|job| say(&job.to_string()));
        }
        C::Complete { receipts, node } => return complete(receipts, node),
        C::Why { job, asked } => {
            let (queue, id) = named(job)?;
            let ask = of(&queue).part(b"jobs").part(id.as_bytes());
            shown::print(asked, &Http::new(&asked.node)?.json(ask)?, shown::why)?;
        }
        C::Jobs { queue, asked, place, limit } => {
            let jobs = jobs(queue, &asked.node, place.as_deref(), *limit)?;
            shown::print(asked, &jobs, shown::jobs)?;
        }
        C::Purge { queue, change: Change { asked, reason } } => {
            let ask = under(queue, "purge").param("reason", reason);
            shown::print(asked, &Http::new(&asked.node)?.json(ask)?, |answer| {
                vec![format!("{} jobs dropped", word(answer, "/purged"))]
            })?;
        }
        C::Redrive { queue, to, max, change: Change { asked, reason } } => {
            let ask = under(queue, "redrive").param("reason", reason);
            let ask = ask.maybe("to", to.as_ref().map(QueueName::as_str));
            let ask = ask.maybe("max", max.map(|max| max.to_string()));
            shown::print(asked, &Http::new(&asked.node)?.json(ask)?, |answer| {
                vec![format!("{} jobs taken back", word(answer, "/redriven"))]
            })?;
        }
        C::Stats { queue, asked } => {
            let ask = of(queue).part(b"stats");
            shown::print(asked, &Http::new(&asked.node)?.json(ask)?, shown::stats)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn of(queue: &QueueName) -> Ask {
    Ask::get(PATH).part(queue.as_str().as_bytes())
}

fn under(queue: &QueueName, what: &str) -> Ask {
    Ask::new(Method::POST, PATH).part(queue.as_str().as_bytes()).part(what.as_bytes())
}

fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

fn thing(queue: &QueueName) -> Thing<'_> {
    Thing { path: PATH, name: queue.as_str(), lines: shown::settings }
}

/// The settings that were given, by their names.
fn said(settings: &QueueSettings) -> Map<String, Value> {
    let mut said = Map::new();
    let texts = [
        ("visibility", &settings.visibility),
        ("retention", &settings.retention),
        ("delay", &settings.delay),
        ("backoff", &settings.backoff),
        ("keys_kept", &settings.keys_kept),
        ("ack", &settings.ack),
        ("oldest_age_target", &settings.oldest_age_target),
    ];
    for (name, text) in texts {
        said.extend(text.as_deref().map(|text| (name.to_owned(), text.into())));
    }
    let most = settings.attempts_max.map(|most| ("attempts_max".to_owned(), most.into()));
    let dead = settings.dead_letters.as_ref();
    let dead = dead.map(|queue| ("dead_letters".to_owned(), queue.as_str().into()));
    said.extend(most.into_iter().chain(dead));
    let flags = [
        ("fifo", settings.fifo),
        ("content_dedup", settings.content_dedup),
        ("announce", settings.announce),
    ];
    let flags = flags.iter().filter(|(_, set)| *set);
    said.extend(flags.map(|(name, set)| ((*name).to_owned(), (*set).into())));
    let one = settings.subscribe.iter().map(|topics| (topics, false));
    let each = settings.subscribe_each_region.iter().map(|topics| (topics, true));
    let topics = one.chain(each);
    let topics: Vec<Value> = topics
        .map(|(topics, each_region)| json!({ "topics": topics, "each_region": each_region }))
        .collect();
    if !settings.residency.is_empty() {
        said.insert("residency".to_owned(), settings.residency.clone().into());
    }
    if !topics.is_empty() {
        said.insert("subscriptions".to_owned(), topics.into());
    }
    said
}

fn send(job: &SendJob) -> Result<()> {
    let mut body = json!({ "priority": job.priority });
    let content = content(&job.body)?;
    match String::from_utf8(content) {
        Ok(text) => put(&mut body, "body", text),
        Err(bytes) => put(&mut body, "body_base64", base64(bytes.as_bytes())),
    }
    let named = [
        ("key", &job.key),
        ("group", &job.group),
        ("tenant", &job.tenant),
        ("workflow", &job.workflow),
        ("delay", &job.delay),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            put(&mut body, name, value.as_str());
        }
    }
    if !job.attribute.is_empty() {
        let attributes = job.attribute.iter();
        let attributes: Map<String, Value> =
            attributes.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        put(&mut body, "attributes", attributes);
    }
    let home = job.home.as_ref().map(|home| home.as_str());
    let ask = under(&job.queue, "jobs").maybe("home", home).json(&body);
    let answer = Http::new(&job.asked.node)?.json(ask)?;
    shown::print(&job.asked, &answer, |answer| shown::sent(&job.queue, answer))
}

fn content(argument: &str) -> Result<Vec<u8>> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut read = Vec::new();
    std::io::stdin().take(BODY_BYTES_MAX + 1).read_to_end(&mut read).context("read the body")?;
    anyhow::ensure!(read.len() as u64 <= BODY_BYTES_MAX, "the body has more than 1 MiB");
    Ok(read)
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// Ends with 1 when one of the receipts does not count any more.
fn complete(receipts: &[String], node: &NodeArgs) -> Result<ExitCode> {
    let first = receipts.first().context("there is no receipt")?;
    let (queue, _) = named(first)?;
    let ask = under(&queue, "complete").json(&json!({ "receipts": receipts }));
    let answer = Http::new(node)?.json(ask)?;
    let mut code = ExitCode::SUCCESS;
    for (receipt, result) in receipts.iter().zip(items(&answer, "/results")) {
        if result.get("settled") != Some(&true.into()) {
            super::complain(&format!("{receipt}: {}", word(result, "/problem/detail")));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// The queue and the id of a job: QUEUE/ID, or a receipt, which begins so.
fn named(job: &str) -> Result<(QueueName, String)> {
    let mut parts = job.split('/');
    let (queue, id) = (parts.next().unwrap_or_default(), parts.next());
    let id = id.with_context(|| format!("`{job}` is not a job: write QUEUE/ID"))?;
    Ok((QueueName::new(queue)?, id.to_owned()))
}

/// Jobs, page by page.
fn jobs(queue: &QueueName, node: &NodeArgs, place: Option<&str>, limit: usize) -> Result<Value> {
    let node = Http::new(node)?;
    let mut jobs: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    while jobs.len() < limit {
        let page = (limit - jobs.len()).min(PAGE).to_string();
        let ask = of(queue).part(b"jobs").param("limit", page).maybe("place", place);
        let answer = node.json(ask.maybe("cursor", cursor.as_ref()))?;
        jobs.extend(items(&answer, "/jobs").iter().cloned());
        cursor = answer.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(json!({ "jobs": jobs }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_by_what_the_other_commands_print() {
        let id = "0123456789abcdef0123456789abcdef";
        for name in [format!("jobs.fifo/{id}"), format!("jobs.fifo/{id}/1/2f")] {
            let (queue, found) = named(&name).unwrap();
            assert_eq!((queue.as_str(), found.as_str()), ("jobs.fifo", id));
        }
        assert!(named(id).is_err() && named("a b/c").is_err());
    }
}
