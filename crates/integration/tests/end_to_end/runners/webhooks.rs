//! Webhooks that come twice, that fail at first, that are large, or that nothing follows from: what a node
//! answers over HTTP, and what is in the queue afterwards.

#![expect(clippy::indexing_slicing, reason = "JSON values give null for what is not there")]

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use rhumb_runners::{Action, Secrets, limits::WEBHOOK_BYTES_MAX, local::What};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{LOOK_INTERVAL, SECRET, SERVED_MAX, Stage};
use crate::{rhumb, works};

/// A payload that GitHub sent.
const QUEUED: &str = include_str!("../../../../runners/fixtures/workflow_job.queued.json");
/// How long GitHub waits for an answer.
const GITHUB_WAITS: Duration = Duration::from_secs(10);

/// What GitHub sends of a job of `acme/web`. It does not say when it was queued, and so is not stale.
fn payload(job: u64, attempt: u64) -> Value {
    let mut body: Value = serde_json::from_str(QUEUED).unwrap();
    let of = body["workflow_job"].as_object_mut().unwrap();
    of.remove("created_at");
    of.insert("id".to_owned(), json!(job));
    of.insert("run_attempt".to_owned(), json!(attempt));
    of.insert("labels".to_owned(), json!(["self-hosted", "linux"]));
    body["repository"]["full_name"] = json!("acme/web");
    body["repository"]["owner"]["login"] = json!("acme");
    body
}

/// A webhook with its headers, of which one may be another, or missing.
fn webhook(
    guid: &str,
    body: &Bytes,
    other: Option<(&'static str, Option<&str>)>,
) -> Request<Bytes> {
    let signature = Secrets::new(&[SECRET]).unwrap().sign(body);
    let usual = [
        ("content-type", "application/json"),
        ("x-github-event", "workflow_job"),
        ("x-github-delivery", guid),
        ("x-hub-signature-256", signature.as_str()),
    ];
    let mut request = Request::post("/webhooks/github");
    for (name, value) in usual {
        let value = match other {
            Some((changed, value)) if changed == name => value,
            _ => Some(value),
        };
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    request.body(body.clone()).unwrap()
}

impl Stage {
    fn post(&self, nth: usize, request: Request<Bytes>) -> (u16, Value) {
        let answer = self.runtime.block_on(self.place(nth).ask(request)).unwrap();
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        (answer.status().as_u16(), body)
    }

    /// How a webhook is answered: the status, and the outcome where that is good.
    fn told(&self, nth: usize, guid: &str, body: &Value) -> (u16, String) {
        let (status, said) = self.post(nth, webhook(guid, &body.to_string().into(), None));
        (status, said["outcome"].as_str().unwrap_or_default().to_owned())
    }

    /// How the webhook of a job was answered when it was last sent, and how long that took.
    fn last_sent(&self) -> (Option<u16>, Duration) {
        let sent = self.github.happenings(0).into_iter().rev().find_map(|it| match it.what {
            What::Sent { action: Action::Queued, status, millis, .. } => {
                Some((status, Duration::from_millis(millis)))
            }
            _ => None,
        });
        sent.unwrap()
    }

    fn send_again(&self, job: u64) {
        assert!(self.runtime.block_on(self.github.send_again(job, Action::Queued)));
    }
}

/// A stage whose jobs wait for good.
fn waiting(regions: usize) -> Stage {
    Stage::set_with(regions, |runners, _| runners.sets.get_mut("linux").unwrap().max = 0)
}

fn outcome(status: u16, outcome: &str) -> (u16, String) {
    (status, outcome.to_owned())
}

#[test]
fn a_job_is_known_by_its_key_whichever_delivery_tells_of_it() {
    let stage = waiting(2);
    let first = payload(7_001, 1);
    assert_eq!(stage.told(0, "guid-1", &first), outcome(202, "queued"));
    assert_eq!(stage.told(0, "guid-1", &first), outcome(202, "repeated"));
    // Another node does not remember the delivery, and the key decides there.
    assert_eq!(stage.told(1, "guid-1", &first), outcome(202, "queued_before"));
    assert_eq!(stage.told(0, "guid-2", &first), outcome(202, "queued_before"));
    // The same job in other words.
    let mut words = first.clone();
    words["workflow_job"]["name"] = json!("in other words");
    assert_eq!(stage.told(0, "guid-3", &words), outcome(202, "queued_before"));
    stage.until("one job waits", SERVED_MAX, |stage| stage.held(0) == 1);
    assert_eq!(stage.told(0, "guid-4", &payload(7_001, 2)), outcome(202, "queued"));
    stage.until("another attempt is another job", SERVED_MAX, |stage| stage.held(0) == 2);
    assert_eq!(stage.happened(0, "delivery_repeated"), 1);
    assert_eq!((stage.happened(0, "queued_again"), stage.happened(1, "queued_again")), (2, 1));
    // One without an attempt is of the first.
    let mut old = first.clone();
    old["workflow_job"].as_object_mut().unwrap().remove("run_attempt");
    assert_eq!(stage.told(0, "guid-5", &old), outcome(202, "queued_before"));
    // A replay of a delivery that was caught long ago, under a new id: its signature is good.
    let mut replay = first;
    replay["workflow_job"]["created_at"] = json!("2021-09-13T02:21:21Z");
    assert_eq!(stage.told(0, "guid-6", &replay), outcome(202, "stale"));
    assert_eq!(stage.held(0), 2);
    stage.end();
}

#[test]
fn what_is_no_delivery_is_refused_and_queues_nothing() {
    let stage = waiting(1);
    let body: Bytes = payload(7_001, 1).to_string().into();
    let signed = Secrets::new(&[SECRET]).unwrap().sign(&body);
    let digest = signed.strip_prefix("sha256=").unwrap();
    let forged = Secrets::new(&["another secret of the same length"]).unwrap().sign(&body);
    let signature = "x-hub-signature-256";
    let sha1 = format!("sha1={}", &digest[..40]);
    let short = format!("sha256={}", &digest[..40]);
    for (case, other, status) in [
        ("another secret", (signature, Some(forged.as_str())), 401),
        ("SHA-1 alone", (signature, None), 401),
        ("SHA-1 in its place", (signature, Some(sha1.as_str())), 401),
        ("40 digits", (signature, Some(short.as_str())), 401),
        ("no name of the hash", (signature, Some(digest)), 401),
        ("a form", ("content-type", Some("application/x-www-form-urlencoded")), 415),
        ("no id", ("x-github-delivery", None), 400),
        ("no event", ("x-github-event", None), 400),
    ] {
        let mut request = webhook("guid", &body, Some(other));
        if other.1.is_none() {
            let old = "sha1=0123456789abcdef0123456789abcdef01234567".parse().unwrap();
            request.headers_mut().insert("x-hub-signature", old);
        }
        assert_eq!(stage.post(0, request).0, status, "{case}");
    }
    for (at, name) in [
        ("", "action"),
        ("", "workflow_job"),
        ("", "repository"),
        ("/workflow_job", "id"),
        ("/workflow_job", "run_id"),
        ("/workflow_job", "labels"),
        ("/repository", "id"),
        ("/repository", "full_name"),
    ] {
        let mut body = payload(7_001, 1);
        body.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        let (status, said) = stage.post(0, webhook("guid", &body.to_string().into(), None));
        let error = said["error"].as_str().unwrap();
        assert!(status == 400 && error.contains(name), "{at}/{name}: {status} {error}");
    }
    let mut approval = payload(7_001, 1);
    approval["workflow_job"]["status"] = json!("waiting");
    assert_eq!(stage.told(0, "guid-7", &approval), outcome(202, "waiting"));
    assert_eq!(stage.held(0), 0);
    // None of these was remembered as carried out.
    assert_eq!(stage.told(0, "guid", &payload(7_001, 1)), outcome(202, "queued"));
    stage.until("the job waits", SERVED_MAX, |stage| stage.held(0) == 1);
    stage.end();
}

#[test]
fn a_webhook_of_25_mib_is_taken_and_a_larger_one_is_refused() {
    let stage = waiting(1);
    let padded = |bytes: usize| -> Bytes {
        let mut body = payload(7_001, 1);
        body["padding"] = json!("");
        let least = body.to_string().len();
        body["padding"] = json!("x".repeat(bytes - least));
        let body = Bytes::from(body.to_string());
        assert_eq!(body.len(), bytes);
        body
    };
    // It is refused by its head, while the body is on its way.
    let mut stream = TcpStream::connect(stage.cluster.http(0)).unwrap();
    stream.set_read_timeout(Some(GITHUB_WAITS)).unwrap();
    let large = WEBHOOK_BYTES_MAX + 1;
    write!(
        stream,
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: {large}\r\n\r\n{{"
    )
    .unwrap();
    let mut said = String::new();
    BufReader::new(stream).read_line(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    assert_eq!(stage.held(0), 0);
    let largest = webhook("guid", &padded(WEBHOOK_BYTES_MAX), None);
    let (status, said) = stage.post(0, largest);
    assert_eq!((status, &said["outcome"]), (202, &json!("queued")));
    stage.until("the job waits", SERVED_MAX, |stage| stage.held(0) == 1);
    stage.end();
}

#[test]
fn a_delivery_that_a_node_could_not_take_is_taken_when_it_comes_again() {
    let mut stage = Stage::made(2, false, |_, _| {});
    // One of two regions agrees on nothing, so there is no queue yet.
    stage.cluster.start(0).unwrap();
    stage.until("the node listens", SERVED_MAX, |stage| {
        let request = Request::get("/healthz").body(Bytes::new()).unwrap();
        stage.runtime.block_on(stage.place(0).ask(request)).is_ok()
    });
    stage.github.deliver_to(vec![stage.place(0)]);
    let job = stage.queue("acme/web");
    let (status, took) = stage.last_sent();
    assert_eq!(status, Some(503), "{:#?}", stage.github.happenings(0));
    assert!(took < GITHUB_WAITS, "{took:?}");
    stage.send_again(job);
    assert_eq!(stage.last_sent().0, Some(503), "it is not taken for done");
    stage.cluster.start(1).unwrap();
    stage.wait();
    assert_eq!((stage.held(0), stage.happened(0, "delivery_failed")), (0, 2));
    stage.send_again(job);
    assert_eq!(stage.last_sent().0, Some(202));
    stage.until("the job is done", SERVED_MAX, |stage| stage.is_done(job));
    assert_eq!((stage.happened(0, "queued"), stage.starts()), (1, 1));
    // Now it is done.
    stage.send_again(job);
    assert_eq!((stage.last_sent().0, stage.happened(0, "delivery_repeated")), (Some(202), 1));
    stage.end();
}

#[test]
fn a_webhook_whose_home_does_not_answer_is_answered_in_time_and_its_job_runs_once() {
    let mut stage = Stage::set();
    stage.github.deliver_to(vec![stage.place(0)]);
    stage.cluster.signal(1, Signal::STOP).unwrap();
    let job = stage.queue("acme/web");
    stage.cluster.signal(1, Signal::CONT).unwrap();
    // It is durable in the region that was asked once the home counts as lost, or it is refused.
    let (status, took) = stage.last_sent();
    assert!(matches!(status, Some(202 | 503)), "{:#?}", stage.github.happenings(0));
    assert!(took < GITHUB_WAITS, "GitHub would have given up: {took:?}");
    println!("{status:?} after {took:?}");
    stage.until("it is taken", SERVED_MAX, |stage| {
        stage.send_again(job);
        stage.last_sent().0 == Some(202)
    });
    stage.until("the job is done", SERVED_MAX, |stage| stage.is_done(job));
    stage.until("nothing is left", SERVED_MAX * 4, |stage| {
        stage.held(0) == 0 && stage.github.registered() == 0
    });
    assert_eq!(stage.starts(), 1);
    stage.end();
}

#[test]
fn the_status_says_of_each_region_what_waits_and_what_runs() {
    let stage = Stage::set_with(3, |runners, folder| super::by_script(runners, folder, "20s"));
    stage.github.deliver_to(vec![stage.place(0)]);
    stage.queue("acme/web");
    let wanted = json!({
        "waiting": 0, "running": 1, "starting": 0, "idle": 0, "busy": 1, "stopping": 0,
    });
    let runs = |region: &&Value| {
        let pool = &region["pools"][0];
        wanted.as_object().unwrap().iter().all(|(name, count)| pool[name] == *count)
    };
    let began = Instant::now();
    let (status, own) = loop {
        let status = works(rhumb(&stage.cluster, 0, &["runners", "status", "--json"]));
        let status: Value = serde_json::from_str(&status).unwrap();
        let own = status["regions"].as_array().unwrap().iter().find(runs).cloned();
        if let Some(own) = own {
            break (status, own);
        }
        assert!(began.elapsed() < SERVED_MAX, "{status:#}");
        std::thread::sleep(LOOK_INTERVAL);
    };
    assert_eq!(own["pools"][0]["pool"]["set"], "linux", "{own}");
    let own = own["region"].as_str().unwrap();
    let regions = status["regions"].as_array().unwrap();
    let mut names: Vec<&str> = regions.iter().filter_map(|it| it["region"].as_str()).collect();
    names.sort_unstable();
    let mut all: Vec<&str> = (0..3).map(|nth| stage.cluster.region(nth)).collect();
    all.sort_unstable();
    assert_eq!(names, all);
    for other in regions.iter().filter(|it| it["region"] != own) {
        assert_eq!(other["pools"], json!([]), "{other}");
    }
    let queued: u64 = regions.iter().filter_map(|it| it["counts"]["queued"].as_u64()).sum();
    assert_eq!(queued, 1, "{status:#}");
    // The same for people, with a line for each region.
    let text = works(rhumb(&stage.cluster, 0, &["runners", "status"]));
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    let line = |name: &str| lines.iter().find(|line| line.first() == Some(&name)).unwrap();
    assert_eq!(line(own)[1..], ["acme", "linux", "0", "1", "0", "0", "1", "0"], "{text}");
    for other in all.iter().filter(|name| **name != own) {
        assert_eq!(line(other)[1..], ["-"; 8], "{text}");
    }
    stage.end();
}
