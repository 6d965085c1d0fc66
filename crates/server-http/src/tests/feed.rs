//! `/v1/log`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rhumb_engine::{LogCursorError, Request};
use rhumb_node::Retention;
use rhumb_state::Op;
use rhumb_types::control::ApiRole;
use serde_json::{Value, json};

use super::harness::{
    Client, HERE, Node, bearer, engine_keeping, loopback, token, until, with_tokens,
};
use crate::{HttpConfig, StaticToken, limits::FEED_HEARTBEAT};

const STREAM: (&str, &str) = ("accept", "text/event-stream");

fn lines(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The keys of the changes in some transactions, in order.
fn keys(transactions: &[Value]) -> Vec<String> {
    let changes = transactions.iter().flat_map(|line| line["changes"].as_array().unwrap());
    changes.filter_map(|change| change["key"].as_str().map(str::to_owned)).collect()
}

/// Writes some keys, and waits until the feed has them.
async fn put(node: &Node, names: std::ops::Range<usize>) -> Vec<String> {
    let mut client = node.client().await;
    let mut keys = Vec::new();
    for n in names {
        let put = client.put(&format!("/v1/kv/k{n}"), format!("v{n}")).await.expect(204);
        keys.push(format!("k{n}"));
        let written = crate::session::decode("", put.header("rhumb-session").as_bytes()).unwrap();
        assert!(node.engine.has_applied(&written, Duration::from_secs(5)).await);
    }
    keys
}

/// Writes in one transaction, and waits until the feed has it.
async fn write(node: &Node, ops: Vec<Op>) {
    let answer = node.engine.write(Request::new(ops)).await.unwrap();
    assert!(node.engine.has_applied(&answer.written, Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_give_every_change_once_and_in_order() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let written = put(&node, 0..25).await;
    let (mut read, mut cursor) = (Vec::new(), String::new());
    for _ in 0..20 {
        let page = client.get(&format!("/v1/log?limit=4&cursor={cursor}")).await.expect(200);
        assert_eq!(page.header("content-type"), "application/x-ndjson");
        let found = lines(&page.body);
        assert!(found.len() <= 4);
        if let Some(last) = found.last() {
            assert_eq!(last["cursor"], page.header("rhumb-cursor"));
        }
        cursor = page.header("rhumb-cursor").to_owned();
        read.extend(found);
        if page.header("rhumb-more") == "false" {
            break;
        }
    }
    assert_eq!(keys(&read), written);
    assert_eq!(read[0]["region"], HERE);
    assert_eq!(read[0]["changes"][0], json!({ "op": "put", "key": "k0", "value": "v0" }));
    let nothing = client.get(&format!("/v1/log?cursor={cursor}")).await.expect(200);
    assert!(nothing.body.is_empty());
    // Any line's cursor is a place to go on from.
    let middle = read[10]["cursor"].as_str().unwrap();
    let rest = client.get(&format!("/v1/log?cursor={middle}")).await.expect(200);
    assert_eq!(keys(&lines(&rest.body)), written[11..]);
    for bad in ["cursor=!", "cursor=AAAA", "limit=0", "wait=1h", "follow=1"] {
        client.get(&format!("/v1/log?{bad}")).await.problem(400, "invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_waits_for_something_new() {
    let node = Node::open().await;
    let mut client = node.client().await;
    put(&node, 0..3).await;
    let present = client.get("/v1/log?cursor=present").await.expect(200);
    assert!(present.body.is_empty());
    let path = format!("/v1/log?wait=20s&cursor={}", present.header("rhumb-cursor"));
    let engine = node.engine.clone();
    node.engine.tasks().spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let pairs = vec![("new".into(), "1".into())];
        engine.write(Request::new(vec![Op::MSet { pairs }])).await.unwrap();
    });
    let page = client.get(&path).await.expect(200);
    assert_eq!(keys(&lines(&page.body)), ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_has_a_form() {
    let node = Node::open().await;
    let top = vec![("top".into(), f64::INFINITY)];
    let members = vec!["m".into()];
    let ops = [
        Op::HSet { key: "h".into(), pairs: vec![("f".into(), "v".into())] },
        Op::IncrBy { key: "n".into(), by: 3 },
        Op::ZAdd { key: "z".into(), pairs: top, when: Default::default(), changed: false },
        Op::SAdd { key: Bytes::from_static(b"\xff"), members },
        Op::Del { keys: vec!["h".into()] },
        Op::FlushDb,
    ];
    for op in ops {
        write(&node, vec![op]).await;
    }
    let mut client = node.client().await;
    let page = client.get("/v1/log?wait=5s").await.expect(200);
    let changes: Vec<Value> = lines(&page.body)
        .iter()
        .flat_map(|line| line["changes"].as_array().unwrap().clone())
        .collect();
    for expected in [
        json!({ "op": "put", "key": "h", "type": "hash" }),
        json!({ "op": "put", "key": "h", "member": "f", "value": "v" }),
        json!({ "op": "put", "key": "z", "member": "top", "score": "inf" }),
        json!({ "op": "put", "key_base64": "/w==", "member": "m" }),
        json!({ "op": "remove_key", "key": "h" }),
        json!({ "op": "remove_prefix", "prefix": "" }),
    ] {
        assert!(changes.contains(&expected), "{expected} is not in {changes:#?}");
    }
    let added = changes.iter().find(|change| change["op"] == "add").unwrap();
    assert_eq!((&added["key"], &added["sum"]["int"]), (&json!("n"), &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_narrowed_to_keys_with_a_prefix() {
    let node = Node::open().await;
    for key in ["a:1", "b:1", "a:2"] {
        write(&node, vec![Op::MSet { pairs: vec![(key.into(), "1".into())] }]).await;
    }
    write(&node, vec![Op::FlushDb]).await;
    let mut client = node.client().await;
    let page = client.get("/v1/log?prefix=a:").await.expect(200);
    let seen = lines(&page.body);
    assert_eq!(keys(&seen), ["a:1", "a:2"]);
    assert_eq!(seen[2]["changes"][0]["op"], "remove_prefix");
    let all = client.get("/v1/log").await.expect(200);
    assert_eq!(page.header("rhumb-cursor"), all.header("rhumb-cursor"));
}

/// Events of a stream, as they come.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn open(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Self {
        let headers = [&[STREAM], headers].concat();
        let response = client.open("GET", path, &headers, "").await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The name, id and data of the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().to_owned()
                };
                if block.contains("data: ") {
                    let data = serde_json::from_str(&field("data: ")).unwrap();
                    return Some((field("event: "), field("id: "), data));
                }
                continue;
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame());
            let frame = frame.await.expect("something within the time of a heartbeat")?;
            let bytes = frame.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_follows_and_resumes_after_the_last_event() {
    let node = Node::open().await;
    let mut writer = node.client().await;
    put(&node, 0..2).await;
    let mut reader = node.client().await;
    let mut events = Events::open(&mut reader, "/v1/log", &[]).await;
    let (name, id, first) = events.next().await.unwrap();
    assert_eq!((name.as_str(), keys(&[first])), ("transaction", vec!["k0".to_owned()]));
    events.next().await.unwrap();
    put(&node, 2..3).await;
    let (_, _, third) = events.next().await.unwrap();
    assert_eq!(keys(&[third]), ["k2"]);
    let mut reader = node.client().await;
    // The header wins: it is what a browser sends when it reconnects to the same address.
    let resumed = [("last-event-id", id.as_str())];
    let mut events = Events::open(&mut reader, "/v1/log?cursor=oldest", &resumed).await;
    let (_, _, second) = events.next().await.unwrap();
    assert_eq!(keys(&[second]), ["k1"]);
    let garbage = [STREAM, ("last-event-id", "!")];
    writer.send("GET", "/v1/log", &garbage, "").await.problem(400, "invalid");
    writer.send("GET", "/v1/log?limit=1", &[STREAM], "").await.problem(400, "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_node_stops() {
    let node = Node::open().await;
    let mut reader = node.client().await;
    let mut events = Events::open(&mut reader, "/v1/log", &[]).await;
    put(&node, 0..1).await;
    events.next().await.unwrap();
    let tasks = node.engine.tasks().clone();
    let (stopped, ended) = tokio::join!(tasks.stop(), events.body.frame());
    assert!(stopped, "no task outlives the stop");
    assert!(ended.is_none_or(|frame| frame.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_too_old_is_gone_and_told_where_to_go_on() {
    let retention = Retention { age: Duration::from_secs(3_600), transactions_max: 3 };
    let engine = engine_keeping(retention);
    until("the node runs", || engine.is_ready()).await;
    let node = Node::serve(engine, HttpConfig::open(loopback()), |_| {}).await;
    let mut client = node.client().await;
    let start = client.get("/v1/log").await.expect(200);
    let start = start.header("rhumb-cursor").to_owned();
    put(&node, 0..10).await;
    // Trimming goes on in steps; nothing moves any more once only what is kept is left.
    until("the trims", || {
        let own = node.engine.status().origin;
        let last = node.engine.status().durable.get(own);
        let log = node.engine.log(&Default::default());
        matches!(log, Err(LogCursorError::Gone { first, .. }) if first + 3 > last)
    })
    .await;
    for path in ["/v1/log".to_owned(), format!("/v1/log?cursor={start}")] {
        let gone = client.get(&path).await.problem(410, "gone");
        let oldest = gone["oldest"].as_str().unwrap();
        let rest = client.get(&format!("/v1/log?cursor={oldest}")).await.expect(200);
        assert_eq!(keys(&lines(&rest.body)).last().unwrap(), "k9");
        let present = gone["present"].as_str().unwrap();
        let none = client.get(&format!("/v1/log?cursor={present}")).await.expect(200);
        assert!(none.body.is_empty());
    }
    client.send("GET", "/v1/log", &[STREAM], "").await.problem(410, "gone");
    client.get("/v1/log?cursor=oldest").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_scopes_sees_only_its_changes() {
    let scoped = StaticToken { scopes: vec!["ci:".to_owned()], ..token("scoped", ApiRole::Reader) };
    let tokens = vec![scoped, token("admin", ApiRole::Admin)];
    let config = with_tokens(tokens);
    let node = Node::start(config, |_| {}).await;
    let mut admin = node.client().await.with("authorization", bearer("admin"));
    for key in ["user:1", "ci:1", "user:2", "ci:2"] {
        admin.put(&format!("/v1/kv/{key}"), "x").await.expect(204);
    }
    write(&node, vec![Op::FlushDb]).await;
    let all = admin.get("/v1/log").await.expect(200);
    let mut scoped = node.client().await.with("authorization", bearer("scoped"));
    let seen = scoped.get("/v1/log").await.expect(200);
    assert_eq!(keys(&lines(&seen.body)), ["ci:1", "ci:2"]);
    assert_eq!(lines(&seen.body).last().unwrap()["changes"][0]["op"], "remove_prefix");
    assert_eq!(seen.header("rhumb-cursor"), all.header("rhumb-cursor"));
    let mut events = Events::open(&mut scoped, "/v1/log", &[]).await;
    let (_, _, first) = events.next().await.unwrap();
    assert_eq!(keys(&[first]), ["ci:1"]);
}

/// A stream whose token is revoked while it runs.
async fn revoked() -> (Node, Events) {
    let tokens = vec![token("admin", ApiRole::Admin)];
    let config = with_tokens(tokens);
    let node = Node::start(config, |_| {}).await;
    let mut admin = node.client().await.with("authorization", bearer("admin"));
    let body = json!({ "id": "brief", "role": "reader", "reason": "test" });
    let made = admin.json("POST", "/admin/tokens", body).await.expect(201).json();
    let auth = format!("Bearer {}", made["token"].as_str().unwrap());
    let mut reader = node.client().await.with("authorization", auth);
    let events = Events::open(&mut reader, "/v1/log?cursor=present", &[]).await;
    admin.send("DELETE", "/admin/tokens/brief?reason=test", &[], "").await.expect(200);
    (node, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_ends_with_its_token() {
    let (_node, mut events) = revoked().await;
    assert_eq!(events.next().await, None, "it ends at the next heartbeat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_stream_ends_with_its_token() {
    let (node, mut events) = revoked().await;
    let writer = node.engine.clone();
    node.engine.tasks().spawn_until_stopped(async move {
        loop {
            let busy = Op::IncrBy { key: "busy".into(), by: 1 };
            writer.write(Request::new(vec![busy])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ended = async { while events.next().await.is_some() {} };
    tokio::time::timeout(FEED_HEARTBEAT * 2, ended).await.unwrap();
}
