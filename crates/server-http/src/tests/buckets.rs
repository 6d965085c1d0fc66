//! `/v1/buckets`.

use rhumb_types::control::ApiRole;
use serde_json::json;

use super::harness::{Client, HERE, Node, bearer, loopback, region, token, until, with_tokens};
use crate::HttpConfig;

async fn node() -> (Node, Client) {
    let node = Node::alone(HttpConfig::open(loopback())).await;
    until("the lease", || node.engine.may_act(&region(HERE)).is_some()).await;
    let client = node.client().await;
    (node, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_made_changed_listed_and_removed() {
    let (node, mut client) = node().await;
    let path = "/v1/buckets/photos?reason=album";
    let made = client.json("PUT", path, json!({ "copies": 1 })).await.expect(201).json();
    assert_eq!(made["settings"]["copies"], 1);
    assert_eq!(made["settings"]["replication"], "async");
    assert_eq!(made["settings"]["strategy"], "latency");
    let by_cost = json!({ "copies": 1, "strategy": "cost" });
    let changed = client.json("PUT", path, by_cost).await.expect(200).json();
    assert_eq!(changed["settings"]["strategy"], "cost");
    let other = json!({ "copies": 1, "replication": "regional", "versioning": "enabled" });
    let changed = client.json("PUT", path, other).await.expect(200).json();
    assert_eq!(changed["settings"]["strategy"], "latency", "what is left out is as usual");
    assert_eq!(changed["settings"]["replication"], "regional");
    assert!(changed["version"].as_u64() > made["version"].as_u64());
    let listed = client.get("/v1/buckets").await.expect(200).json();
    assert_eq!(listed["buckets"][0], changed);
    assert_eq!(client.get("/v1/buckets/photos").await.expect(200).json(), changed);
    client.send("DELETE", path, &[], "").await.expect(204);
    client.get("/v1/buckets/photos").await.problem(404, "not_found");
    // Each change is in the audit chain, with its reason.
    let chain = client.get("/admin/audit").await.expect(200).json().to_string();
    for act in ["create-bucket", "change-bucket", "delete-bucket"] {
        assert!(chain.contains(act), "{act}: {chain}");
    }
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused() {
    let (_node, mut client) = node().await;
    let path = "/v1/buckets/photos?reason=r";
    for bad in [
        json!({ "copies": 0 }),
        json!({ "copies": 2, "min_copies": 3 }),
        json!({ "replication": "everywhere" }),
        json!({ "copy": 1 }),
        json!({ "strategy": "by_moonlight" }),
        json!({ "inline_max": 1_000_000 }),
    ] {
        client.json("PUT", path, bad).await.problem(400, "invalid");
    }
    client.json("PUT", "/v1/buckets/Photos?reason=r", json!({})).await.problem(400, "invalid");
    client.json("PUT", "/v1/buckets/photos", json!({})).await.problem(400, "invalid");
    client.json("PUT", path, json!({})).await.expect(201);
    let absent = [("if-none-match", "*"), ("content-type", "application/json")];
    client.send("PUT", path, &absent, "{}").await.problem(412, "precondition_failed");
    let stale = [("if-match", "\"999\""), ("content-type", "application/json")];
    client.send("PUT", path, &stale, "{}").await.problem(412, "precondition_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reaches_the_buckets_of_its_scopes() {
    let mut tokens = vec![token("all", ApiRole::Operator), token("album", ApiRole::Operator)];
    tokens[1].scopes = vec!["bucket:photos-".to_owned()];
    let config = with_tokens(tokens);
    let node = Node::alone(config).await;
    until("the lease", || node.engine.may_act(&region(HERE)).is_some()).await;
    let mut client = node.client().await.with("authorization", bearer("all"));
    for bucket in ["photos-1", "other"] {
        let path = format!("/v1/buckets/{bucket}?reason=r");
        client.json("PUT", &path, json!({})).await.expect(201);
    }
    let mut client = node.client().await.with("authorization", bearer("album"));
    let listed = client.get("/v1/buckets").await.expect(200).json();
    assert_eq!(listed["buckets"].as_array().unwrap().len(), 1);
    client.get("/v1/buckets/photos-1").await.expect(200);
    client.get("/v1/buckets/other").await.problem(403, "forbidden");
    client.json("PUT", "/v1/buckets/other?reason=r", json!({})).await.problem(403, "forbidden");
}
