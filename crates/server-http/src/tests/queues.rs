//! `/v1/queues`, and workers.

use std::time::Duration;

use rhumb_types::control::ApiRole;
use serde_json::{Value, json};

use super::harness::{Client, HERE, Node, bearer, loopback, region, token, until, with_tokens};
use crate::HttpConfig;

async fn node() -> (Node, Client) {
    let node = Node::alone(HttpConfig::open(loopback())).await;
    until("the lease", || node.engine.may_act(&region(HERE)).is_some()).await;
    let mut client = node.client().await;
    make(&mut client, "jobs", json!({ "attempts_max": 2, "dead_letters": "dead" })).await;
    make(&mut client, "dead", json!({})).await;
    (node, client)
}

async fn make(client: &mut Client, queue: &str, settings: Value) {
    let path = format!("/v1/queues/{queue}?reason=test");
    client.json("PUT", &path, settings).await.expect(201);
}

async fn post(client: &mut Client, path: &str, body: Value) -> super::harness::Reply {
    client.json("POST", &format!("/v1/queues/{path}"), body).await
}

async fn receive(client: &mut Client, queue: &str) -> Value {
    let wish = json!({ "wait": "5s", "worker": "w" });
    let got = post(client, &format!("{queue}/receive"), wish).await.expect(200).json();
    assert_eq!(got["jobs"].as_array().unwrap().len(), 1, "{got}");
    got["jobs"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_completed_with_the_wish_for_the_next() {
    let (_node, mut client) = node().await;
    let jobs = json!({ "jobs": [{ "body": "a" }, { "body": "b" }] });
    post(&mut client, "jobs/jobs", jobs).await.expect(200);
    let first = receive(&mut client, "jobs").await;
    let wish = json!({ "complete": [first["receipt"]] });
    let got = post(&mut client, "jobs/receive", wish.clone()).await.expect(200).json();
    assert_eq!(
        (&got["jobs"][0]["body"], &got["completed"][0]["settled"]),
        (&json!("b"), &json!(true))
    );
    let got = post(&mut client, "jobs/receive", wish).await.expect(200).json();
    assert_eq!((&got["jobs"], &got["completed"][0]["settled"]), (&json!([]), &json!(false)));
    assert_eq!(got["completed"][0]["problem"]["refused"], "gone");
    for bad in [json!([]), json!(["x"]), json!(["other/00/1/1"])] {
        post(&mut client, "jobs/receive", json!({ "complete": bad })).await.problem(400, "invalid");
    }
    let none = post(&mut client, "jobs/receive", json!({})).await.expect(200).json();
    assert_eq!(none, json!({ "jobs": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_sent_leased_renewed_and_completed() {
    let (_node, mut client) = node().await;
    let job = json!({
        "body": "hello", "priority": 3, "tenant": "t",
        "attributes": { "color": "red", "count": { "kind": "Number", "value": "5" } },
    });
    let sent = post(&mut client, "jobs/jobs", job.clone()).await.expect(201).json();
    assert_eq!((&sent["home"], &sent["pinned"]), (&json!(HERE), &json!(false)));
    let got = receive(&mut client, "jobs").await;
    assert_eq!(got["id"], sent["id"]);
    for name in ["body", "priority", "tenant", "attributes"] {
        assert_eq!(got[name], job[name], "{name}");
    }
    assert_eq!(got["attempt"], 1);
    assert!((20_000..=30_000).contains(&got["lease_ms"].as_u64().unwrap()), "{got}");
    let stats = client.get("/v1/queues/jobs/stats").await.expect(200).json();
    assert_eq!((&stats["total"]["leased"], &stats["total"]["ready"]), (&json!(1), &json!(0)));
    let receipt = &got["receipt"];
    let longer = json!({ "receipt": receipt, "visibility": "60s" });
    post(&mut client, "jobs/extend", longer).await.expect(204);
    let path = format!("/v1/queues/jobs/jobs/{}", got["id"].as_str().unwrap());
    let why = client.get(&path).await.expect(200).json();
    assert_eq!(why["jobs"][0]["place"], "leased");
    assert_eq!(why["jobs"][0]["worker"]["name"], "w");
    post(&mut client, "jobs/complete", json!({ "receipt": receipt })).await.expect(204);
    let late = post(&mut client, "jobs/complete", json!({ "receipt": receipt })).await;
    assert_eq!(late.problem(404, "not_found")["refused"], "gone");
    let why = client.get(&path).await.expect(200).json();
    assert_eq!(why["jobs"][0]["decisions"][0]["decision"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_receipt_is_refused_and_a_batch_says_which() {
    let (_node, mut client) = node().await;
    let two = json!({ "jobs": [{ "body": "a" }, { "body_base64": "/w==" }] });
    let sent = post(&mut client, "jobs/jobs", two).await.expect(200).json();
    assert!(sent["results"].as_array().unwrap().iter().all(|it| it["id"].is_string()), "{sent}");
    let (first, second) = (receive(&mut client, "jobs").await, receive(&mut client, "jobs").await);
    assert!(first["body"] == "a" || second["body"] == "a");
    assert!(first["body_base64"] == "/w==" || second["body_base64"] == "/w==");
    let old = &first["receipt"];
    post(&mut client, "jobs/release", json!({ "receipt": old })).await.expect(204);
    let again = receive(&mut client, "jobs").await;
    assert_eq!((&again["id"], &again["attempt"]), (&first["id"], &json!(1)), "given back untried");
    let lie = post(&mut client, "jobs/complete", json!({ "receipt": old })).await;
    assert_eq!(lie.problem(409, "conflict")["refused"], "stale");
    let receipts = json!({ "receipts": [old, again["receipt"], second["receipt"]] });
    let done = post(&mut client, "jobs/complete", receipts).await.expect(200).json();
    let settled: Vec<_> = (0..3).map(|nth| done["results"][nth]["settled"] == true).collect();
    assert_eq!(settled, [false, true, true], "{done}");
    assert_eq!(done["results"][0]["problem"]["refused"], "stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_one_job() {
    let (_node, mut client) = node().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-7")];
    let body = r#"{"body":"a"}"#;
    let path = "/v1/queues/jobs/jobs";
    let first = client.send("POST", path, &headers, body).await.expect(201).json();
    let second = client.send("POST", path, &headers, body).await.expect(200).json();
    assert_eq!((&second["id"], &second["duplicate"]), (&first["id"], &json!("waiting")));
    let other = client.send("POST", path, &headers, r#"{"body":"b"}"#).await;
    let problem = other.problem(409, "conflict");
    assert_eq!((&problem["refused"], &problem["id"]), (&json!("changed_parameters"), &first["id"]));
    let wrong = [r#"{"jobs":[{"body":"a"},{"body":"b"}]}"#, r#"{"body":"a","key":"other"}"#];
    for body in wrong {
        client.send("POST", path, &headers, body).await.problem(400, "invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_dies_says_why_and_is_taken_back() {
    let (_node, mut client) = node().await;
    let sent = post(&mut client, "jobs/jobs", json!({ "body": "poison" })).await.expect(201).json();
    for attempt in 1..=2 {
        let got = receive(&mut client, "jobs").await;
        assert_eq!(got["attempt"], attempt);
        let failed = json!({ "receipt": got["receipt"], "reason": "exit code 1: boom" });
        post(&mut client, "jobs/fail", failed).await.expect(204);
    }
    let path = format!("/v1/queues/jobs/jobs/{}", sent["id"].as_str().unwrap());
    let why = client.get(&path).await.expect(200).json();
    let moved = &why["jobs"][0]["decisions"][0];
    assert_eq!(
        (&moved["decision"], &moved["to_queue"]),
        (&json!("moved"), &json!("dead")),
        "{why}"
    );
    assert_eq!(why["jobs"][1]["queue"], "dead", "the job that it goes on as is shown, too");
    let came = &why["jobs"][1]["decisions"][0];
    assert_eq!((&came["decision"], &came["from_queue"]), (&json!("came"), &json!("jobs")));
    let listed = client.get("/v1/queues/dead/jobs?limit=1").await.expect(200).json();
    assert_eq!(listed["jobs"][0]["id"], moved["to_id"]);
    client.send("POST", "/v1/queues/dead/redrive", &[], "").await.problem(400, "invalid");
    let back = client.send("POST", "/v1/queues/dead/redrive?reason=fixed", &[], "").await;
    assert_eq!(back.expect(200).json()["redriven"], 1);
    assert_eq!(receive(&mut client, "jobs").await["body"], "poison");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_answered_when_a_job_comes() {
    let (node, mut client) = node().await;
    let mut other = node.client().await;
    let began = std::time::Instant::now();
    let (got, _) = tokio::join!(receive(&mut client, "jobs"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        post(&mut other, "jobs/jobs", json!({ "body": "late" })).await.expect(201);
    });
    assert_eq!(got["body"], "late");
    assert!(began.elapsed() < Duration::from_secs(4));
    let none = post(&mut client, "jobs/receive", json!({ "wait": "100ms" })).await.expect(200);
    assert_eq!(none.json(), json!({ "jobs": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_made_changed_and_dropped_and_the_chain_says_by_whom() {
    let (_node, mut client) = node().await;
    let known = client.get("/v1/queues/jobs").await.expect(200);
    let tag = known.header("etag").to_owned();
    assert_eq!(known.json()["settings"]["visibility"], "30s");
    let json = ("content-type", "application/json");
    let path = "/v1/queues/jobs?reason=slower";
    let absent = [json, ("if-none-match", "*")];
    client.send("PUT", path, &absent, "{}").await.problem(412, "precondition_failed");
    let same = [json, ("if-match", tag.as_str())];
    let changed = client.send("PUT", path, &same, r#"{"visibility":"2m"}"#).await.expect(200);
    assert_eq!(changed.json()["settings"]["visibility"], "2m");
    assert_ne!(changed.header("etag"), tag);
    client.send("PUT", path, &same, "{}").await.problem(412, "precondition_failed");
    let all = client.get("/v1/queues").await.expect(200).json();
    assert_eq!(all["queues"].as_array().unwrap().len(), 2);
    post(&mut client, "jobs/jobs", json!({ "body": "a" })).await.expect(201);
    let purged = client.send("POST", "/v1/queues/jobs/purge?reason=test", &[], "").await;
    assert_eq!(purged.expect(200).json()["purged"], 1);
    client.send("DELETE", "/v1/queues/jobs?reason=over", &[], "").await.expect(204);
    let gone = client.get("/v1/queues/jobs").await.problem(404, "not_found");
    assert_eq!(gone["refused"], "no_queue");
    let audit = client.get("/admin/audit?limit=500").await.expect(200).json();
    let entries = audit["entries"].as_array().unwrap();
    for act in ["create-queue", "change-queue", "purge-queue", "delete-queue"] {
        let noted = entries.iter().any(|it| it["action"] == act && it["subject"] == "jobs");
        assert!(noted, "{act}: {audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said() {
    let (_node, mut client) = node().await;
    for (path, body) in [
        ("jobs/jobs", json!({})),
        ("jobs/jobs", json!({ "body": "a", "group": "g" })),
        ("jobs/jobs", json!({ "body": "a", "priority": 10 })),
        ("jobs/jobs", json!({ "body": "a", "delay": "13h" })),
        ("jobs/jobs", json!({ "jobs": vec![json!({ "body": "" }); 101] })),
        ("jobs/jobs", json!({ "body": "x".repeat((1 << 20) + 1) })),
        ("jobs/receive", json!({ "max": 0 })),
        ("jobs/receive", json!({ "max": 11 })),
        ("jobs/receive", json!({ "wait": "21s" })),
        ("jobs/receive", json!({ "visibility": "13h" })),
        ("jobs/receive", json!({ "worker": "" })),
        ("jobs/complete", json!({})),
        ("jobs/complete", json!({ "receipt": "x" })),
        ("jobs/complete", json!({ "receipts": [] })),
        ("jobs/complete", json!({ "receipt": format!("dead/{}/1/1", "0".repeat(32)) })),
        ("jobs/complete", json!({ "receipt": format!("jobs/{}/1/1", "0".repeat(32)), "x": 1 })),
        (
            "jobs/fail",
            json!({ "receipt": format!("jobs/{}/1/1", "0".repeat(32)), "retry_after": "1s", "dead": true }),
        ),
        ("jobs/extend", json!({ "receipt": format!("jobs/{}/1/1", "0".repeat(32)) })),
        ("jobs/heartbeat", json!({ "worker": "w", "concurrency": 1, "active": ["7"] })),
    ] {
        let reply = post(&mut client, path, body.clone()).await;
        assert_eq!(reply.status, 400, "{path} {body}: {reply:?}");
        reply.problem(400, "invalid");
    }
    let nowhere = post(&mut client, "none/jobs", json!({ "body": "a" })).await;
    assert_eq!(nowhere.problem(404, "not_found")["refused"], "no_queue");
    let none = post(&mut client, "none/receive", json!({})).await;
    assert_eq!(none.problem(404, "not_found")["refused"], "no_queue");
    client.get("/v1/queues/none/stats").await.problem(404, "not_found");
    client.get("/v1/queues/none/jobs").await.problem(404, "not_found");
    client.get("/v1/queues/a%2Fb").await.problem(400, "invalid");
    client.get("/v1/queues/jobs/jobs?place=lost").await.problem(400, "invalid");
    let id = "0".repeat(32);
    client.get(&format!("/v1/queues/jobs/jobs/{id}")).await.problem(404, "not_found");
    let gone = json!({ "receipt": format!("jobs/{id}/1/1") });
    let gone = post(&mut client, "jobs/complete", gone).await;
    assert_eq!(gone.problem(404, "not_found")["refused"], "gone");
    let wrong = [json!({ "attempts_max": 0 }), json!({ "visibility": "13h" }), json!({ "x": 1 })];
    for settings in wrong {
        client.json("PUT", "/v1/queues/new?reason=r", settings).await.problem(400, "invalid");
    }
    client.json("PUT", "/v1/queues/new", json!({})).await.problem(400, "invalid");
    client.json("PUT", "/v1/queues/rhumb.x?reason=r", json!({})).await.problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_of_a_fifo_queue_has_a_group() {
    let (_node, mut client) = node().await;
    make(&mut client, "line", json!({ "fifo": true })).await;
    let without = post(&mut client, "line/jobs", json!({ "body": "a", "key": "k" })).await;
    let problem = without.problem(400, "invalid");
    assert!(problem.to_string().contains("group"), "{problem}");
    let two = json!({ "jobs": [
        { "body": "a", "group": "g", "key": "1" }, { "body": "b", "key": "2" },
    ] });
    let batch = post(&mut client, "line/jobs", two).await;
    assert!(batch.status == 200 || batch.status == 400, "{batch:?}");
    let held = client.get("/v1/queues/line/jobs").await.expect(200).json();
    let groupless = held["jobs"].as_array().unwrap().iter().filter(|it| it["group"].is_null());
    assert_eq!(groupless.count(), 0, "{held}");
    let with = json!({ "body": "a", "group": "g", "key": "k" });
    post(&mut client, "line/jobs", with).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_counts_as_long_as_its_lease() {
    let (_node, mut client) = node().await;
    post(&mut client, "jobs/jobs", json!({ "body": "a" })).await.expect(201);
    let wish = json!({ "wait": "5s", "visibility": "1s" });
    let late = post(&mut client, "jobs/receive", wish).await.expect(200).json();
    let late = &late["jobs"][0]["receipt"];
    // It comes again once its lease is over, and nobody has settled it until then.
    let again = receive(&mut client, "jobs").await;
    assert_eq!(again["attempt"], 2);
    for how in ["complete", "release"] {
        let refused = post(&mut client, &format!("jobs/{how}"), json!({ "receipt": late })).await;
        assert_eq!(refused.problem(409, "conflict")["refused"], "stale", "{how}");
    }
    let longer = json!({ "receipt": late, "visibility": "60s" });
    let refused = post(&mut client, "jobs/extend", longer).await;
    assert_eq!(refused.problem(409, "conflict")["refused"], "stale");
    let done = json!({ "receipt": again["receipt"] });
    post(&mut client, "jobs/complete", done).await.expect(204);
    let gone = post(&mut client, "jobs/complete", json!({ "receipt": late })).await;
    assert_eq!(gone.problem(404, "not_found")["refused"], "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reaches_the_queues_of_its_scopes() {
    let mut tokens = vec![token("all", ApiRole::Operator), token("ci", ApiRole::Operator)];
    tokens[1].scopes = vec!["queue:ci-".to_owned()];
    let mut reader = token("reader", ApiRole::Reader);
    reader.scopes = vec!["queue:ci-".to_owned()];
    tokens.push(reader);
    let config = with_tokens(tokens);
    let node = Node::alone(config).await;
    until("the lease", || node.engine.may_act(&region(HERE)).is_some()).await;
    let mut all = node.client().await.with("authorization", bearer("all"));
    let mut ci = node.client().await.with("authorization", bearer("ci"));
    let mut reader = node.client().await.with("authorization", bearer("reader"));
    make(&mut all, "pay", json!({})).await;
    make(&mut ci, "ci-build", json!({})).await;
    post(&mut ci, "ci-build/jobs", json!({ "body": "a" })).await.expect(201);
    post(&mut ci, "pay/jobs", json!({ "body": "a" })).await.problem(403, "forbidden");
    post(&mut ci, "pay/receive", json!({})).await.problem(403, "forbidden");
    let aside = "/v1/queues/ci-build/redrive?reason=r&to=pay";
    ci.send("POST", aside, &[], "").await.problem(403, "forbidden");
    let seen = reader.get("/v1/queues").await.expect(200).json();
    assert_eq!(seen["queues"].as_array().unwrap().len(), 1);
    assert_eq!(seen["queues"][0]["queue"], "ci-build");
    reader.get("/v1/queues/ci-build/stats").await.expect(200);
    reader.get("/v1/queues/pay/stats").await.problem(403, "forbidden");
    post(&mut reader, "ci-build/jobs", json!({ "body": "a" })).await.problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_beat_are_shown() {
    let (_node, mut client) = node().await;
    let id = "ab".repeat(16);
    let beat = json!({ "worker": "w", "concurrency": 4, "active": [id] });
    post(&mut client, "jobs/heartbeat", beat).await.expect(204);
    let seen = client.get("/api/health/workers").await.expect(200).json();
    assert_eq!((&seen["alive"], &seen["healthy"]), (&json!(1), &json!(true)));
    let worker = &seen["workers"][0];
    assert_eq!((&worker["state"], &worker["queues"]), (&json!("busy"), &json!(["jobs"])));
    assert_eq!(worker["active"], json!([id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_kept_for_those_who_subscribe() {
    let (_node, mut client) = node().await;
    let event = |id: &str| json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": { "n": 1 } });
    let path = "/v1/events/orders.paid";
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let heard = client.send("POST", path, &structured, event("1").to_string()).await.expect(202);
    assert_eq!(heard.json(), json!({ "accepted": 1, "queues": [] }));
    client.get("/v1/queues/rhumb.events").await.problem(404, "not_found");
    let receive = "/v1/queues/rhumb.events/receive";
    client.json("POST", receive, json!({})).await.problem(403, "forbidden");
    make(&mut client, "mails", json!({ "subscriptions": [{ "topics": "orders.*" }] })).await;
    let heard = client.send("POST", path, &structured, event("1").to_string()).await.expect(202);
    assert_eq!(heard.json(), json!({ "accepted": 1, "queues": ["mails"] }));
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let two = json!([event("2"), event("3")]).to_string();
    client.send("POST", path, &batch, two).await.expect(202);
    let binary = [
        ("content-type", "text/plain"),
        ("ce-specversion", "1.0"),
        ("ce-id", "4"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
    ];
    client.send("POST", path, &binary, "text").await.expect(202);
    // Nobody delivers here: all four wait.
    let stats = client.get("/v1/queues/rhumb.events/stats").await.expect(200).json();
    assert_eq!(stats["total"]["ready"], 4, "{stats}");
    for (headers, body) in [
        (&structured[..], "{}".to_owned()),
        (&structured[..], "[]".to_owned()),
        (&batch[..], event("5").to_string()),
        (&binary[..4], "text".to_owned()),
        (&structured[..], json!({ "specversion": "0.3", "id": "6" }).to_string()),
    ] {
        client.send("POST", path, headers, body).await.problem(400, "invalid");
    }
    let avro = [("content-type", "application/cloudevents+avro")];
    client.send("POST", path, &avro, "x").await.problem(415, "unsupported_media_type");
    let own = "/v1/events/rhumb.region.failed";
    let one = event("7").to_string();
    client.send("POST", own, &structured, one.clone()).await.problem(403, "forbidden");
    client.send("POST", "/v1/events/a..b", &structured, one).await.problem(400, "invalid");
}
