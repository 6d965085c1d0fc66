//! The HTTP server of real nodes, with curl.

#![expect(clippy::indexing_slicing, reason = "JSON values give null for what is not there")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rhumb_integration::{Cluster, Layout, eventually, programs::has_curl};
use rhumb_types::control::FailoverMode;
use serde_json::Value;

use crate::{run, skipped};

/// How long something may take to reach another region.
const REPLICATION_MAX: Duration = Duration::from_secs(10);
/// How long a region's loss may take until its duties are elsewhere: the verdict, and the rest of
/// its lease.
const FAILOVER_MAX: Duration = Duration::from_secs(60);

const NO_CURL: &str = "curl is not installed";

pub(super) fn curl(cluster: &Cluster, nth: usize, path: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30"]);
    command.arg(format!("http://{}{path}", cluster.http(nth)));
    command
}

/// The status and the body of an answer.
fn ask(command: &mut Command) -> (u16, String) {
    let printed = run(command.args(["--write-out", "\n%{http_code}"]));
    let (body, status) = printed.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

pub(super) fn json(command: &mut Command) -> Value {
    let (status, body) = ask(command);
    assert!((200..300).contains(&status), "{command:?}: {status} {body}");
    serde_json::from_str(&body).unwrap()
}

/// A header of an answer.
fn header(command: &mut Command, name: &str) -> String {
    let printed = run(command.args(["--dump-header", "-", "--output", "/dev/null"]));
    let line = printed.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {printed}")).trim().to_owned()
}

fn post(cluster: &Cluster, nth: usize, path: &str, body: &str) -> Value {
    let json_body = ["-X", "POST", "-H", "content-type: application/json", "-d", body];
    json(curl(cluster, nth, path).args(json_body))
}

#[test]
fn a_session_sees_its_write_in_another_region_at_once() {
    if !has_curl() {
        return skipped(NO_CURL);
    }
    let cluster = Layout::regions(2).start().unwrap();
    for nth in 0..50 {
        let path = format!("/v1/kv/cart/{nth}");
        let put = ["-X", "PUT", "-d", "three apples"];
        let session = header(curl(&cluster, 0, &path).args(put), "rhumb-session");
        let seen = format!("rhumb-session: {session}");
        let (status, body) = ask(curl(&cluster, 1, &path).args(["-H", &seen]));
        assert_eq!((status, body.as_str()), (200, "three apples"), "write {nth}");
    }
}

#[test]
fn a_lock_is_held_by_one_of_all_regions() {
    if !has_curl() {
        return skipped(NO_CURL);
    }
    let cluster = Layout::regions(3).start().unwrap();
    let take = |nth: usize| {
        let put = ["-X", "PUT", "-H", "if-none-match: *", "-d", "me"];
        ask(curl(&cluster, nth, "/v1/kv/lock:job").args(put)).0
    };
    let taken: Vec<u16> = thread::scope(|scope| {
        let takers: Vec<_> = (0..3).map(|nth| scope.spawn(move || take(nth))).collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    assert_eq!(taken.iter().filter(|status| **status == 204).count(), 1, "{taken:?}");
    assert!(taken.iter().all(|status| [204, 412].contains(status)), "{taken:?}");
}

/// A stream of events, ended when it is dropped.
struct Stream {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Stream {
    fn open(command: &mut Command) -> Self {
        let follow = ["--no-buffer", "-H", "accept: text/event-stream"];
        let mut child = command.args(follow).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (lines_in, lines) = mpsc::channel();
        thread::spawn(move || {
            let _ended =
                output.lines().map_while(Result::ok).try_for_each(|line| lines_in.send(line));
        });
        Self { child, lines }
    }

    /// What stands after a field's name, where it comes next.
    fn next(&self, field: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(REPLICATION_MAX).unwrap();
            if let Some(value) = line.strip_prefix(field) {
                return value.to_owned();
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn a_change_is_streamed_in_another_region_and_a_reader_resumes_at_a_third() {
    if !has_curl() {
        return skipped(NO_CURL);
    }
    let cluster = Layout::regions(3).start().unwrap();
    let put = |key: &str| {
        run(curl(&cluster, 0, &format!("/v1/kv/feed/{key}")).args(["-X", "PUT", "-d", key]));
    };
    put("one");
    let key = |data: &str| -> String {
        let event: Value = serde_json::from_str(data).unwrap();
        event["changes"][0]["key"].as_str().unwrap().to_owned()
    };
    let stream = Stream::open(&mut curl(&cluster, 1, "/v1/log?prefix=feed/"));
    let cursor = stream.next("id: ");
    assert_eq!(key(&stream.next("data: ")), "feed/one");
    put("two");
    assert_eq!(key(&stream.next("data: ")), "feed/two");
    drop(stream);
    let resumed = format!("last-event-id: {cursor}");
    let mut again = curl(&cluster, 2, "/v1/log?prefix=feed/");
    let stream = Stream::open(again.args(["-H", &resumed]));
    assert_eq!(key(&stream.next("data: ")), "feed/two");
}

/// What a node says of a region.
fn region_of(cluster: &Cluster, nth: usize, region: &str) -> anyhow::Result<Value> {
    let regions = json(&mut curl(cluster, nth, "/v1/regions"));
    let all = regions.get("regions").and_then(Value::as_array);
    let of_region = |one: &&Value| one.get("region").and_then(Value::as_str) == Some(region);
    let found = all.and_then(|all| all.iter().find(of_region)).cloned();
    found.ok_or_else(|| anyhow::anyhow!("no {region} in {regions}"))
}

/// The region that acts for a region, as a node sees it.
fn acting(cluster: &Cluster, nth: usize, region: &str) -> anyhow::Result<String> {
    let region = region_of(cluster, nth, region)?;
    let holder = region.pointer("/lease/holder/region").and_then(Value::as_str);
    holder.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("nobody acts: {region}"))
}

/// Three regions in a mode, the last of which holds its lease.
fn three_regions(mode: FailoverMode) -> (Cluster, String) {
    let cluster = Layout::regions(3).adjust(move |settings| settings.failover.mode = mode);
    let cluster = cluster.start().unwrap();
    let last = cluster.region(2).to_owned();
    eventually(FAILOVER_MAX, || {
        let holder = acting(&cluster, 0, &last)?;
        anyhow::ensure!(holder == last, "{holder} acts for {last}");
        Ok(())
    })
    .unwrap();
    (cluster, last)
}

/// Follows a failover to its end, and looks at what is left.
fn check_moved(cluster: &Cluster, id: u64, lost: &str) {
    let ended = eventually(FAILOVER_MAX, || {
        let record = json(&mut curl(cluster, 1, &format!("/admin/failovers/{id}")));
        anyhow::ensure!(record["state"] != "running", "{record}");
        Ok(record)
    })
    .unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended:#}");
    for nth in [0, 1] {
        eventually(REPLICATION_MAX, || {
            let holder = acting(cluster, nth, lost)?;
            anyhow::ensure!(holder != lost, "{lost} still acts for itself");
            Ok(())
        })
        .unwrap();
        assert_eq!(region_of(cluster, nth, lost).unwrap()["health"], "down");
        let verified = json(&mut curl(cluster, nth, "/admin/audit/verify"));
        assert_eq!(verified["whole"], true, "{verified}");
    }
}

#[test]
fn a_lost_regions_lease_moves_once_an_operator_approves() {
    if !has_curl() {
        return skipped(NO_CURL);
    }
    let (mut cluster, lost) = three_regions(FailoverMode::Assisted);
    cluster.kill(2).unwrap();
    let record = eventually(FAILOVER_MAX, || {
        let records = json(&mut curl(&cluster, 0, "/admin/failovers"));
        records.pointer("/failovers/0").cloned().ok_or_else(|| anyhow::anyhow!("no failover yet"))
    })
    .unwrap();
    assert_eq!(record["plan"]["region"], lost.as_str(), "{record}");
    assert_eq!(record["state"], "awaiting_approval", "{record}");
    let id = record["id"].as_u64().unwrap();
    let because = r#"{"reason": "it is gone"}"#;
    post(&cluster, 0, &format!("/admin/failovers/{id}/approve"), because);
    check_moved(&cluster, id, &lost);
}

#[test]
fn an_operator_moves_a_lost_regions_lease_by_hand() {
    if !has_curl() {
        return skipped(NO_CURL);
    }
    let (mut cluster, lost) = three_regions(FailoverMode::Manual);
    let path = format!("/admin/failover/{lost}");
    let rehearse = format!("{path}?dry_run=true");
    let rehearsed = json(curl(&cluster, 0, &rehearse).args(["-X", "POST"]));
    assert_eq!(rehearsed["carried"], true, "{rehearsed}");
    cluster.kill(2).unwrap();
    let start = |nth: usize| {
        let headers = ["-H", "content-type: application/json", "-H", "idempotency-key: incident-1"];
        let body = ["-X", "POST", "-d", r#"{"reason": "the rack burns", "strategy": "immediate"}"#];
        json(curl(&cluster, nth, &path).args(headers).args(body))
    };
    let id = start(0)["id"].as_u64().unwrap();
    assert_eq!(start(1)["id"], id, "asked twice, also of another node, it runs once");
    check_moved(&cluster, id, &lost);
}

#[test]
fn a_node_that_is_asked_to_stop_ends_its_streams() {
    if !has_curl() {
        return skipped(NO_CURL);
    }
    let mut cluster = Layout::regions(1).start().unwrap();
    assert_eq!(ask(&mut curl(&cluster, 0, "/readyz")).0, 200);
    let mut stream = Stream::open(&mut curl(&cluster, 0, "/v1/log"));
    stream.next("retry: ");
    let status = cluster.terminate(0).unwrap();
    assert!(status.success(), "{status}");
    // The stream ends as a whole answer, so that its reader just comes back.
    assert!(stream.child.wait().unwrap().success());
}
