//! Queues and events over HTTP, as the documentation has them, and events in several regions.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::ensure;
use rhumb_integration::{Cluster, Http, Layout, eventually, programs::has_curl};
use serde_json::{Value, json};

use crate::{rhumb, run, skipped, works};

/// The documentation whose examples are run.
const DOCUMENT: &str = include_str!("../../../../docs/queues.md");
/// How long something may take until it is known in every region.
const SPREAD_MAX: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// The examples, in their order, as one script.
fn examples(node: &str) -> String {
    let blocks = DOCUMENT.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let script: String = ["set -eu\n"].into_iter().chain(blocks).collect();
    assert!(script.matches("curl").count() > 15, "the examples are not found");
    script.replace("R=http://127.0.0.1:7400", &format!("R=http://{node}"))
}

fn agreed(regions: usize) -> Cluster {
    let cluster = Layout::regions(regions).start().unwrap();
    cluster.wait_until_agreed(0..regions).unwrap();
    let probe = ["queue", "create", "probe", "--reason", "test"];
    eventually(SPREAD_MAX, || {
        let made = rhumb(&cluster, 0, &probe);
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    })
    .unwrap();
    cluster
}

#[test]
fn the_documented_examples_work() {
    if !has_curl() {
        return skipped("curl is not installed");
    }
    let cluster = agreed(1);
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("examples.sh");
    fs::write(&script, examples(&cluster.http(0).to_string())).unwrap();
    let output = Command::new("sh").arg("-x").arg(&script).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
}

/// Makes a queue, and waits until every region knows it.
fn make(cluster: &Cluster, queue: &str, settings: &[&str]) {
    let words = [&["queue", "create", queue, "--reason", "test"][..], settings].concat();
    works(rhumb(cluster, 0, &words));
    for nth in 0..cluster.len() {
        eventually(SPREAD_MAX, || {
            let shown = rhumb(cluster, nth, &["queue", "show", queue]);
            ensure!(shown.status.success(), "{queue} is not known in region {nth}");
            Ok(())
        })
        .unwrap();
    }
}

/// How many jobs of a queue wait, by the region that they belong to, once there are so many.
fn ready(cluster: &Cluster, queue: &str, count: usize) -> Vec<(String, u64)> {
    eventually(SPREAD_MAX, || {
        let printed = works(rhumb(cluster, 0, &["queue", "stats", queue, "--json"]));
        let stats: Value = serde_json::from_str(&printed)?;
        let of = |stats: &Value| stats.get("ready").and_then(Value::as_u64).unwrap_or_default();
        let regions = stats.get("regions").and_then(Value::as_object).into_iter().flatten();
        let regions: Vec<_> = regions.map(|(region, it)| (region.clone(), of(it))).collect();
        let regions: Vec<_> = regions.into_iter().filter(|(_, ready)| *ready > 0).collect();
        let total: u64 = regions.iter().map(|(_, ready)| ready).sum();
        ensure!(total >= u64::try_from(count)?, "{queue} has {regions:?}");
        Ok(regions)
    })
    .unwrap()
}

fn publish(cluster: &Cluster, nth: usize, topic: &str, id: &str) {
    let event = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"t","data":{{"n":1}}}}"#
    );
    let mut curl = Command::new("curl");
    curl.args(["-sf", "-H", "content-type: application/cloudevents+json", "-d", &event]);
    run(curl.arg(format!("http://{}/v1/events/{topic}", cluster.http(nth))));
}

#[test]
fn an_event_is_one_job_of_each_queue_or_one_in_each_region() {
    if !has_curl() {
        return skipped("curl is not installed");
    }
    let cluster = agreed(3);
    make(&cluster, "one", &["--subscribe", "orders.*"]);
    make(&cluster, "each", &["--subscribe-each-region", "orders.**"]);
    make(&cluster, "none", &["--subscribe", "users.**"]);
    publish(&cluster, 0, "orders.paid", "7");
    assert_eq!(ready(&cluster, "one", 1).len(), 1);
    let each = ready(&cluster, "each", 3);
    assert_eq!(each.iter().map(|(_, ready)| *ready).collect::<Vec<_>>(), [1, 1, 1], "{each:?}");
    // The same event again, in another region, and then one more: by its arrival the other was delivered.
    publish(&cluster, 1, "orders.paid", "7");
    publish(&cluster, 1, "orders.paid", "8");
    let total = |queue, count| ready(&cluster, queue, count).iter().map(|(_, it)| it).sum::<u64>();
    assert_eq!((total("one", 2), total("each", 6)), (2, 6));
    assert_eq!(total("none", 0), 0);
}

#[test]
fn the_end_of_a_job_is_an_event_where_its_queue_says_so() {
    let cluster = agreed(1);
    make(&cluster, "ends", &["--subscribe", "rhumb.job.**"]);
    make(&cluster, "loud", &["--announce"]);
    make(&cluster, "quiet", &[]);
    for queue in ["quiet", "loud"] {
        works(rhumb(&cluster, 0, &["queue", "send", queue, "work"]));
        let got = works(rhumb(&cluster, 0, &["queue", "receive", queue, "--wait", "20s"]));
        let got: Value = serde_json::from_str(&got).unwrap();
        let receipt = got.get("receipt").and_then(Value::as_str).unwrap();
        works(rhumb(&cluster, 0, &["queue", "complete", receipt]));
    }
    let got = works(rhumb(&cluster, 0, &["queue", "receive", "ends", "--wait", "20s"]));
    let got: Value = serde_json::from_str(&got).unwrap();
    let topic = got.pointer("/attributes/rhumb-topic").and_then(Value::as_str);
    assert_eq!(topic, Some("rhumb.job.finished.loud"), "{got}");
    let said = got.get("body").and_then(Value::as_str).unwrap();
    let said: Value = serde_json::from_str(said).unwrap();
    assert_eq!(said.get("queue").and_then(Value::as_str), Some("loud"));
    // One that nobody is to try again.
    works(rhumb(&cluster, 0, &["queue", "send", "loud", "work"]));
    let got = works(rhumb(&cluster, 0, &["queue", "receive", "loud", "--wait", "20s"]));
    let got: Value = serde_json::from_str(&got).unwrap();
    let fail = json!({ "receipt": got["receipt"], "reason": "no such order", "dead": true });
    let mut http = Http::open(cluster.http(0), ANSWER_WAIT).unwrap();
    let (status, _) =
        http.ask("POST", "/v1/queues/loud/fail", fail.to_string().as_bytes()).unwrap();
    assert_eq!(status, 204);
    let dead = eventually(SPREAD_MAX, || {
        let got = rhumb(&cluster, 0, &["queue", "receive", "ends", "--wait", "20s"]);
        let got: Value = serde_json::from_slice(&got.stdout)?;
        ensure!(got["attributes"]["rhumb-topic"] != "rhumb.job.finished.loud", "{got}");
        Ok(got)
    });
    let dead = dead.unwrap();
    assert_eq!(dead["attributes"]["rhumb-topic"], "rhumb.job.dead.loud", "{dead}");
    let said: Value = serde_json::from_str(dead["body"].as_str().unwrap()).unwrap();
    assert_eq!((&said["queue"], &said["id"]), (&json!("loud"), &got["id"]), "{said}");
}

/// How long the others take at most to agree that a region is down, or is there again.
const VERDICT_MAX: Duration = Duration::from_secs(120);

/// Receives one job of a queue, whose topic it says with the region that is meant.
fn next_event(cluster: &Cluster, nth: usize, queue: &str) -> anyhow::Result<(String, String)> {
    let got = rhumb(cluster, nth, &["queue", "receive", queue, "--wait", "20s"]);
    ensure!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    let got: Value = serde_json::from_slice(&got.stdout)?;
    let text = |at: &str| got.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let (topic, receipt) = (text("/attributes/rhumb-topic"), text("/receipt"));
    ensure!(topic.is_some() && receipt.is_some(), "no event yet: {got}");
    works(rhumb(cluster, nth, &["queue", "complete", &receipt.unwrap_or_default()]));
    let body: Value = serde_json::from_str(&text("/body").unwrap_or_default())?;
    let region = body.get("region").and_then(Value::as_str).unwrap_or_default();
    Ok((topic.unwrap_or_default(), region.to_owned()))
}

#[test]
fn a_region_that_fails_and_returns_is_an_event_each_in_a_queue_that_asks_for_them() {
    let mut cluster = agreed(3);
    make(&cluster, "alarms", &["--subscribe", "rhumb.region.**"]);
    let lost = cluster.region(2).to_owned();
    cluster.kill(2).unwrap();
    let failed = eventually(VERDICT_MAX, || next_event(&cluster, 0, "alarms")).unwrap();
    assert_eq!(failed, ("rhumb.region.failed".to_owned(), lost.clone()));
    cluster.start(2).unwrap();
    // The failure may be told twice: its home may be the lost region itself, and then each of the others
    // takes it in for itself.
    let returned = eventually(VERDICT_MAX, || {
        let event = next_event(&cluster, 1, "alarms")?;
        ensure!(event != failed, "{event:?} again");
        Ok(event)
    });
    assert_eq!(returned.unwrap(), ("rhumb.region.returned".to_owned(), lost));
}
