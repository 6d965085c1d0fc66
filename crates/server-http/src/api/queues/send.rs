//! Jobs on their way in.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::StatusCode;
use rhumb_engine::queue::{NewJob, Refused, limits::JOBS_PER_REQUEST_MAX};
use rhumb_engine::{EnqueueRequest, HomeChoice, OsEntropy, Taken, random_id};
use rhumb_types::{
    RegionId,
    record::{JobAttribute, Progress},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::not_ours;
use crate::{
    encode,
    problem::Problem,
    request::{Call, Outcome},
    span::Span,
};

/// The header that names the job of a request, so that sending it twice makes one job.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// The kind of an attribute that does not say its own, in the words of SQS.
const TEXT: &str = "String";
/// The kind of one that is given as base64.
const BINARY: &str = "Binary";

/// A job as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    /// A text as it is, or another JSON value as its JSON.
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    body_base64: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, Attribute>,
    #[serde(default)]
    priority: u8,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    workflow: Option<String>,
    #[serde(default)]
    delay: Option<Span>,
}

/// An attribute as it is sent and shown: a text, or a value with its kind.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Attribute {
    Text(String),
    Kind {
        kind: String,
        value: String,
    },
    Bytes {
        #[serde(default)]
        kind: Option<String>,
        base64: String,
    },
}

impl Attribute {
    fn read(self, name: String) -> Result<JobAttribute, Problem> {
        let (kind, value) = match self {
            Self::Text(value) => (TEXT.to_owned(), value.into()),
            Self::Kind { kind, value } => (kind, value.into()),
            Self::Bytes { kind, base64 } => {
                let value = decode(&format!("attributes.{name}"), &base64)?;
                (kind.unwrap_or_else(|| BINARY.to_owned()), value)
            }
        };
        Ok(JobAttribute { name, kind, value })
    }

    /// How an attribute is shown.
    pub(super) fn shown(attribute: &JobAttribute) -> Self {
        let JobAttribute { kind, value, .. } = attribute;
        match std::str::from_utf8(value) {
            Ok(value) if kind == TEXT => Self::Text(value.to_owned()),
            Ok(value) => Self::Kind { kind: kind.clone(), value: value.to_owned() },
            Err(_) => Self::Bytes { kind: Some(kind.clone()), base64: STANDARD.encode(value) },
        }
    }
}

fn decode(what: &str, text: &str) -> Result<Bytes, Problem> {
    let bytes = STANDARD.decode(text).map(Bytes::from);
    bytes.map_err(|_| Problem::invalid(format!("`{what}` is not base64 (RFC 4648 section 4)")))
}

impl Sent {
    fn body(&mut self) -> Result<Bytes, Problem> {
        match (self.body.take(), self.body_base64.take()) {
            (Some(Value::String(text)), None) => Ok(text.into()),
            (Some(value), None) => Ok(value.to_string().into()),
            (None, Some(text)) => decode("body_base64", &text),
            _ => Err(Problem::invalid("a job has either `body` or `body_base64`")),
        }
    }

    fn read(mut self) -> Result<NewJob, Problem> {
        let body = self.body()?;
        let attributes = self.attributes.into_iter().map(|(name, value)| value.read(name));
        let attributes = attributes.collect::<Result<Vec<_>, _>>()?;
        let mut job = NewJob::new(random_id(&OsEntropy), body, attributes);
        job.priority = self.priority;
        job.group = self.group;
        job.key = self.key;
        job.tenant = self.tenant;
        job.workflow = self.workflow;
        job.delay = self.delay.map(|Span(delay)| delay);
        Ok(job)
    }
}

/// The jobs of a request, and whether they came as a list.
fn jobs(body: Value) -> Result<(Vec<NewJob>, bool), Problem> {
    let (list, many) = match body {
        Value::Object(mut object) if object.contains_key("jobs") => {
            let jobs = object.remove("jobs").unwrap_or_default();
            if let Some(name) = object.keys().next() {
                let name = name.escape_default();
                return Err(Problem::invalid(format!("`{name}` does not belong beside `jobs`")));
            }
            (serde_json::from_value::<Vec<Sent>>(jobs), true)
        }
        one => (serde_json::from_value::<Sent>(one).map(|one| vec![one]), false),
    };
    let list =
        list.map_err(|error| Problem::invalid(format!("the body is not as expected: {error}")))?;
    if !(1..=JOBS_PER_REQUEST_MAX).contains(&list.len()) {
        let detail = format!("one request takes 1 to {JOBS_PER_REQUEST_MAX} jobs");
        return Err(Problem::invalid(detail));
    }
    Ok((list.into_iter().map(Sent::read).collect::<Result<_, _>>()?, many))
}

/// Gives the job of a request the key of its header.
fn take_key(call: &Call, jobs: &mut [NewJob]) -> Result<(), Problem> {
    let Some(key) = call.header(IDEMPOTENCY_HEADER)? else { return Ok(()) };
    let [job] = jobs else {
        let detail = "`idempotency-key` names one job, and there are several";
        return Err(Problem::invalid(detail).help("Give each job its own `key`."));
    };
    if job.key.as_ref().is_some_and(|own| own != key) {
        return Err(Problem::invalid("`idempotency-key` and the job's `key` differ"));
    }
    job.key = Some(key.to_owned());
    Ok(())
}

pub(crate) async fn enqueue(call: Call) -> Outcome {
    let queue = call.queue()?;
    not_ours(&queue)?;
    let mut params = call.params()?;
    let home = params.read("home", "a region", |text| RegionId::new(text).ok())?;
    params.done()?;
    let (mut jobs, many) = jobs(call.json()?)?;
    take_key(&call, &mut jobs)?;
    let home = home.map_or(HomeChoice::Auto, HomeChoice::Region);
    let mut results = call.queues()?.enqueue(EnqueueRequest { queue, home, jobs }).await?;
    if !many {
        let taken = results.pop().ok_or_else(|| Problem::invalid("there is no job"))??;
        let new = taken.duplicate.is_none();
        let status = if new { StatusCode::CREATED } else { StatusCode::OK };
        return Ok(encode::json_as(status, &shown(&taken)));
    }
    let results: Vec<Value> = results.into_iter().map(result).collect();
    Ok(encode::json(&json!({ "results": results })))
}

fn result(result: Result<Taken, Refused>) -> Value {
    match result {
        Ok(taken) => shown(&taken),
        Err(refused) => json!({ "problem": Problem::from(refused).body() }),
    }
}

fn shown(taken: &Taken) -> Value {
    json!({
        "id": taken.id.to_string(),
        "home": taken.home,
        "order": taken.order,
        "pinned": taken.pinned,
        "duplicate": taken.duplicate.as_ref().map(progress),
        "why": taken.why,
    })
}

/// How far a job has come, in a word.
pub(super) const fn progress(progress: &Progress) -> &'static str {
    match progress {
        Progress::Waiting => "waiting",
        Progress::Ended { .. } => "ended",
        Progress::Dead { .. } => "dead",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_text_json_or_base64() {
        for (sent, body) in [
            (json!({ "body": "text" }), &b"text"[..]),
            (json!({ "body": { "b": 1, "a": [true] } }), br#"{"a":[true],"b":1}"#),
            (json!({ "body_base64": "/wA=" }), b"\xff\0"),
        ] {
            let (jobs, many) = jobs(sent).unwrap();
            assert_eq!((&jobs[0].body[..], many), (body, false));
        }
        for bad in [
            json!({}),
            json!({ "body": "a", "body_base64": "" }),
            json!({ "body_base64": "a" }),
            json!({ "body": "a", "prio": 1 }),
            json!({ "body": "a", "delay": "soon" }),
            json!({ "jobs": [] }),
            json!({ "jobs": [{ "body": "a" }], "home": "us" }),
            json!({ "body": "a", "attributes": { "x": 1 } }),
            json!([]),
        ] {
            assert!(jobs(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn attributes_are_shown_as_they_are_sent() {
        let attributes = json!({
            "color": "red",
            "count": { "kind": "Number", "value": "5" },
            "seal": { "kind": "Binary", "base64": "/w==" },
        });
        let (jobs, _) = jobs(json!({ "body": "", "attributes": attributes })).unwrap();
        let shown = jobs[0].attributes.iter().map(|it| (it.name.clone(), Attribute::shown(it)));
        let shown: BTreeMap<_, _> = shown.collect();
        assert_eq!(serde_json::to_value(shown).unwrap(), attributes);
    }
}
