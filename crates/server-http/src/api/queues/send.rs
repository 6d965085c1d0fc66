//! Jobs on their way in.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::StatusCode;
use rhumb_engine::queue::{NewJob, limits::JOBS_PER_REQUEST_MAX};
use rhumb_engine::{EnqueueRequest, HomeChoice, Taken, random_ids};
use rhumb_types::{
    RegionId,
    record::{JobAttribute, JobId, Progress},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use super::not_ours;
use crate::{
    encode,
    problem::Problem,
    request::{Call, Outcome, unexpected},
    span::Span,
};

/// The header that names the job of a request, so that sending it twice makes one job.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// The kind of an attribute that does not say its own, in the words of SQS.
const TEXT: &str = "String";
/// The kind of one that is given as base64.
const BINARY: &str = "Binary";

/// Several jobs as they are sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Many<'t> {
    #[serde(borrow)]
    jobs: Vec<Sent<'t>>,
}

/// A job as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent<'t> {
    /// A text as it is, or another JSON value as its JSON.
    #[serde(borrow, default)]
    body: Option<&'t RawValue>,
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

impl Sent<'_> {
    fn body(&self) -> Result<Bytes, Problem> {
        match (self.body, &self.body_base64) {
            (Some(raw), None) => plain(raw.get()).map_err(|error| unexpected(&error)),
            (None, Some(text)) => decode("body_base64", text),
            _ => Err(Problem::invalid("a job has either `body` or `body_base64`")),
        }
    }

    fn read(self, id: JobId) -> Result<NewJob, Problem> {
        let body = self.body()?;
        let attributes = self.attributes.into_iter().map(|(name, value)| value.read(name));
        let attributes = attributes.collect::<Result<Vec<_>, _>>()?;
        let mut job = NewJob::new(id, body, attributes);
        job.drawn = true;
        job.priority = self.priority;
        job.group = self.group;
        job.key = self.key;
        job.tenant = self.tenant;
        job.workflow = self.workflow;
        job.delay = self.delay.map(|Span(delay)| delay);
        Ok(job)
    }
}

/// The text that a JSON string stands for, or another value as its JSON, in one way of writing it: the
/// same job sent again is the same job.
fn plain(json: &str) -> serde_json::Result<Bytes> {
    if json.starts_with('"') {
        return serde_json::from_str::<String>(json).map(Bytes::from);
    }
    serde_json::from_str::<Value>(json).map(|value| value.to_string().into())
}

/// The jobs of a request, and whether they came as a list.
fn jobs(body: &[u8]) -> Result<(Vec<NewJob>, bool), Problem> {
    let (list, many) = match serde_json::from_slice::<Many<'_>>(body) {
        Ok(many) => (many.jobs, true),
        // A single job is no list from its first member on.
        Err(of_many) => match serde_json::from_slice::<Sent<'_>>(body) {
            Ok(one) => (vec![one], false),
            Err(of_one) => return Err(unreadable(body, &of_many, &of_one)),
        },
    };
    if !(1..=JOBS_PER_REQUEST_MAX).contains(&list.len()) {
        let detail = format!("one request takes 1 to {JOBS_PER_REQUEST_MAX} jobs");
        return Err(Problem::invalid(detail));
    }
    let ids = random_ids(list.len());
    let jobs = list.into_iter().zip(ids).map(|(sent, id)| sent.read(id));
    Ok((jobs.collect::<Result<_, _>>()?, many))
}

/// What is wrong with a body that is neither a list of jobs nor a job.
fn unreadable(body: &[u8], of_many: &serde_json::Error, of_one: &serde_json::Error) -> Problem {
    let members = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body).unwrap_or_default();
    if !members.contains_key("jobs") {
        return unexpected(of_one);
    }
    match members.keys().find(|name| *name != "jobs") {
        Some(name) => {
            let name = name.escape_default();
            Problem::invalid(format!("`{name}` does not belong beside `jobs`"))
        }
        None => unexpected(of_many),
    }
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
    let (mut jobs, many) = jobs(call.json_text()?)?;
    take_key(&call, &mut jobs)?;
    let home = home.map_or(HomeChoice::Auto, HomeChoice::Region);
    let mut results = call.queues()?.enqueue(EnqueueRequest { queue, home, jobs }).await?;
    if !many {
        let taken = results.pop().ok_or_else(|| Problem::invalid("there is no job"))??;
        let new = taken.duplicate.is_none();
        let status = if new { StatusCode::CREATED } else { StatusCode::OK };
        return Ok(encode::json_as(status, &shown(&taken)));
    }
    let results = results.iter().map(|result| match result {
        Ok(taken) => Became::Taken(shown(taken)),
        Err(refused) => Became::Refused { problem: Problem::from(refused.clone()).body() },
    });
    Ok(encode::json(&Results { results: results.collect() }))
}

#[derive(Debug, Serialize)]
struct Results<'t> {
    results: Vec<Became<'t>>,
}

/// What became of a job of a list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Became<'t> {
    Taken(Shown<'t>),
    Refused { problem: Value },
}

/// A job that was taken in.
#[derive(Debug, Serialize)]
struct Shown<'t> {
    #[serde(serialize_with = "encode::text")]
    id: JobId,
    home: &'t RegionId,
    order: u64,
    pinned: bool,
    duplicate: Option<&'static str>,
    why: Option<&'t str>,
}

fn shown(taken: &Taken) -> Shown<'_> {
    Shown {
        id: taken.id,
        home: &taken.home,
        order: taken.order,
        pinned: taken.pinned,
        duplicate: taken.duplicate.as_ref().map(progress),
        why: taken.why.as_deref(),
    }
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
    use serde_json::json;

    use super::*;

    fn read(sent: &Value) -> Result<(Vec<NewJob>, bool), Problem> {
        jobs(sent.to_string().as_bytes())
    }

    #[test]
    fn a_body_is_text_json_or_base64() {
        for (sent, body) in [
            (json!({ "body": "text" }), &b"text"[..]),
            (json!({ "body": { "b": 1, "a": [true] } }), br#"{"a":[true],"b":1}"#),
            (json!({ "body_base64": "/wA=" }), b"\xff\0"),
        ] {
            let (jobs, many) = read(&sent).unwrap();
            assert_eq!((&jobs[0].body[..], many), (body, false));
        }
        let spaced = br#"{"jobs": [{"body": {"b" : 1, "a": []}}, {"body": "\u00e9\n"}]}"#;
        let (jobs, many) = super::jobs(spaced).unwrap();
        let bodies: Vec<&[u8]> = jobs.iter().map(|job| &job.body[..]).collect();
        assert_eq!((bodies, many), (vec![br#"{"a":[],"b":1}"#, "é\n".as_bytes()], true));
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
            json!({ "body": null }),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said_of_the_list() {
        for (bad, words) in [
            (json!({ "jobs": [{ "body": "a" }], "home": "us" }), "`home` does not belong beside"),
            (json!({ "jobs": [{ "body": "a", "prio": 1 }] }), "unknown field `prio`"),
            (json!({ "body": "a", "prio": 1 }), "unknown field `prio`"),
        ] {
            let detail = read(&bad).unwrap_err().body()["detail"].to_string();
            assert!(detail.contains(words), "{bad}: {detail}");
        }
    }

    #[test]
    fn attributes_are_shown_as_they_are_sent() {
        let attributes = json!({
            "color": "red",
            "count": { "kind": "Number", "value": "5" },
            "seal": { "kind": "Binary", "base64": "/w==" },
        });
        let (jobs, _) = read(&json!({ "body": "", "attributes": attributes })).unwrap();
        let shown = jobs[0].attributes.iter().map(|it| (it.name.clone(), Attribute::shown(it)));
        let shown: BTreeMap<_, _> = shown.collect();
        assert_eq!(serde_json::to_value(shown).unwrap(), attributes);
    }
}
