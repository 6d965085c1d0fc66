//! `/v1/kv`.

use rhumb_engine::Request;
use rhumb_state::Op;
use serde_json::json;

use super::harness::{Client, HERE, Node};
use crate::limits::VALUE_BYTES_MAX;

#[tokio::test(flavor = "multi_thread")]
async fn a_value_comes_back_with_its_version_and_origin() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let written = client.put("/v1/kv/a/b%2Fc", &b"\x00\xffvalue"[..]).await.expect(204);
    let read = client.get("/v1/kv/a/b/c").await.expect(200);
    assert_eq!(read.body, &b"\x00\xffvalue"[..]);
    assert_eq!(read.header("content-type"), "application/octet-stream");
    assert_eq!(read.header("rhumb-version"), written.header("rhumb-version"));
    assert_eq!(read.header("rhumb-origin-region"), HERE);
    assert_eq!(read.header("x-content-type-options"), "nosniff");
    let head = client.send("HEAD", "/v1/kv/a/b/c", &[], "").await.expect(200);
    assert_eq!((head.body.len(), head.header("content-length")), (0, "7"));
    client.send("DELETE", "/v1/kv/a/b/c", &[], "").await.expect(204);
    client.get("/v1/kv/a/b/c").await.problem(404, "not_found");
    client.send("DELETE", "/v1/kv/a/b/c", &[], "").await.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_its_writes_and_waits_for_what_it_has_seen() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let written = client.put("/v1/kv/sess:a", "1").await.expect(204);
    let token = written.header("rhumb-session").to_owned();
    let session = [("rhumb-session", token.as_str())];
    let read = client.send("GET", "/v1/kv/sess:a", &session, "").await.expect(200);
    assert_eq!(read.body, "1");
    let next = crate::session::decode("", read.header("rhumb-session").as_bytes()).unwrap();
    assert!(next.includes(&crate::session::decode("", token.as_bytes()).unwrap()));
    // A session that has seen what this region never will is told so, after its time.
    let future = [(rhumb_types::OriginId(0x70000), 9)].into_iter().collect();
    let future = crate::session::encode(&future);
    let ahead = [("rhumb-session", future.as_str())];
    let local = "/v1/kv/sess:a?consistency=local";
    client.send("GET", local, &ahead, "").await.expect(200);
    client.send("GET", "/v1/kv/sess:a", &ahead, "").await.problem(503, "unavailable");
    let garbage = [("rhumb-session", "!")];
    client.send("GET", "/v1/kv/sess:a", &garbage, "").await.problem(400, "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn strong_keys_are_agreed_on_and_have_fences() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let absent = [("if-none-match", "*")];
    let taken = client.send("PUT", "/v1/kv/lock:a", &absent, "me").await.expect(204);
    let fence = taken.header("rhumb-fence").to_owned();
    client.send("PUT", "/v1/kv/lock:a", &absent, "you").await.problem(412, "precondition_failed");
    let read = client.get("/v1/kv/lock:a?consistency=strong").await.expect(200);
    assert_eq!((read.body.as_ref(), read.header("rhumb-fence")), (&b"me"[..], fence.as_str()));
    let tag = read.header("etag").to_owned();
    let same = [("if-match", tag.as_str())];
    client.send("PUT", "/v1/kv/lock:a", &same, "me again").await.expect(204);
    client.send("PUT", "/v1/kv/lock:a", &same, "late").await.problem(412, "precondition_failed");
    client.send("DELETE", "/v1/kv/lock:a", &same, "").await.problem(412, "precondition_failed");
    client.get("/v1/kv/lock:a?consistency=local").await.problem(400, "invalid");
    client.get("/v1/kv/plain?consistency=strong").await.problem(400, "invalid");
    client.put("/v1/kv/lock:a?ack=local", "x").await.problem(400, "invalid");
    let page = client.get("/v1/kv?prefix=lock:").await.expect(200).json();
    assert_eq!(page["keys"], json!([{ "key": "lock:a" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_times_to_live_hold() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let (absent, present) = ([("if-none-match", "*")], [("if-match", "*")]);
    client.send("PUT", "/v1/kv/k", &present, "1").await.problem(412, "precondition_failed");
    client.send("PUT", "/v1/kv/k", &absent, "1").await.expect(204);
    client.send("PUT", "/v1/kv/k", &absent, "2").await.problem(412, "precondition_failed");
    client.send("PUT", "/v1/kv/k?ttl=1h", &present, "3").await.expect(204);
    let read = client.get("/v1/kv/k").await.expect(200);
    let expires: u64 = read.header("rhumb-expires-unix-ms").parse().unwrap();
    assert!(expires > node.engine.clock().now().wall.0);
    let tag = read.header("etag").to_owned();
    let known = [("if-none-match", tag.as_str())];
    client.send("GET", "/v1/kv/k", &known, "").await.expect(304);
    client.send("PUT", "/v1/kv/k", &known, "").await.problem(400, "invalid");
    let same = [("if-match", tag.as_str())];
    client.send("PUT", "/v1/kv/k?ttl=keep", &same, "4").await.expect(204);
    client.send("PUT", "/v1/kv/k", &same, "5").await.problem(412, "precondition_failed");
    let read = client.get("/v1/kv/k").await.expect(200);
    assert_eq!(
        (read.body.as_ref(), read.header("rhumb-expires-unix-ms")),
        (&b"4"[..], &*expires.to_string())
    );
    client.put("/v1/kv/k?ttl=40ms", "5").await.expect(204);
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    client.get("/v1/kv/k").await.problem(404, "not_found");
    let cached = client.put("/v1/kv/cache:x", "6").await.expect(204);
    assert!(!cached.headers.contains_key("rhumb-version"), "what is never logged has none");
    let read = client.get("/v1/kv/cache:x").await.expect(200);
    assert!(read.headers.contains_key("rhumb-expires-unix-ms"), "its namespace says so");
    for query in ["ttl=0", "ttl=soon", "ack=most", "tll=1s", "consistency=local"] {
        client.put(&format!("/v1/kv/k?{query}"), "x").await.problem(400, "invalid");
    }
}

/// Adds one to the number that was read, unless somebody else was faster.
async fn increments(client: &mut Client) -> bool {
    let read = client.get("/v1/kv/count").await.expect(200);
    let tag = read.header("etag").to_owned();
    let count: u64 = std::str::from_utf8(&read.body).unwrap().parse().unwrap();
    let same = [("if-match", tag.as_str())];
    let put = client.send("PUT", "/v1/kv/count", &same, (count + 1).to_string()).await;
    if put.status.as_u16() == 412 {
        return false;
    }
    put.expect(204);
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_writes_under_one_tag_one_is_done() {
    let node = Node::open().await;
    let mut client = node.client().await;
    client.put("/v1/kv/count", "0").await.expect(204);
    let mut workers = Vec::new();
    for _ in 0..4 {
        let mut client = node.client().await;
        let (done, finished) = tokio::sync::oneshot::channel();
        node.engine.tasks().spawn(async move {
            let mut added = 0;
            while added < 20 {
                added += u64::from(increments(&mut client).await);
            }
            let _gone = done.send(());
        });
        workers.push(finished);
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(client.get("/v1/kv/count").await.expect(200).body, "80");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_in_pages() {
    let node = Node::open().await;
    let mut client = node.client().await;
    for n in 0..25 {
        client.put(&format!("/v1/kv/list%5B*%5D{n:02}"), "x").await.expect(204);
        client.put(&format!("/v1/kv/other{n:02}"), "x").await.expect(204);
    }
    client.put("/v1/kv/list%5B*%5D%ff", "x").await.expect(204);
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    for _ in 0..10 {
        let path = format!("/v1/kv?prefix=list%5B*%5D&limit=7{cursor}");
        let page = client.get(&path).await.expect(200).json();
        keys.extend(page["keys"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(keys.len(), 26);
    assert_eq!(keys[0], json!({ "key": "list[*]00" }));
    assert_eq!(keys[25], json!({ "key_base64": "bGlzdFsqXf8=" }));
    client.get("/v1/kv?cursor=%21").await.problem(400, "invalid");
    client.get("/v1/kv?limit=0").await.problem(400, "invalid");
    client.get("/v1/kv?limit=1001").await.problem(400, "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_clear_problems() {
    let node = Node::open().await;
    let mut client = node.client().await;
    client.get("/v1/kv/%zz").await.problem(400, "invalid");
    client.get("/v1/kv/a%2").await.problem(400, "invalid");
    client.get(&format!("/v1/kv/{}", "k".repeat(31_999))).await.problem(404, "not_found");
    client.get(&format!("/v1/kv/{}", "k".repeat(32_001))).await.problem(400, "invalid");
    let large = client.put("/v1/kv/a", vec![0; VALUE_BYTES_MAX + 1]).await;
    assert_eq!(large.problem(413, "too_large")["bytes_max"], VALUE_BYTES_MAX);
    let mut client = node.client().await;
    client.put("/v1/kv/a", vec![7; VALUE_BYTES_MAX]).await.expect(204);
    assert_eq!(client.get("/v1/kv/a").await.expect(200).body.len(), VALUE_BYTES_MAX);
    client.send("GET", "/v1/kv/a", &[], "body").await.problem(413, "too_large");
    let mut client = node.client().await;
    let method = client.send("PATCH", "/v1/kv/a", &[], "").await;
    assert_eq!(method.header("allow"), "GET, PUT, DELETE");
    method.problem(405, "method_not_allowed");
    let set = Op::SAdd { key: "set".into(), members: vec!["m".into()] };
    node.engine.write(Request::new(vec![set])).await.unwrap();
    client.get("/v1/kv/set").await.problem(409, "conflict");
    for bad in ["x", "\"a\", \"b\"", "\"\""] {
        client.send("GET", "/v1/kv/a", &[("if-match", bad)], "").await.problem(400, "invalid");
    }
}
