//! Health, status, regions, routes, metrics.

use rhumb_types::control::{AdminCommand, AdminState};
use serde_json::json;

use super::harness::{HERE, Node, THERE, engine, loopback, region, until};
use crate::HttpConfig;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_alive_before_it_is_ready_and_ready_until_it_is_drained() {
    let node = Node::open().await;
    let mut client = node.client().await;
    client.get("/healthz").await.expect(200);
    let ready = client.get("/readyz").await.expect(200).json();
    assert_eq!(ready, json!({ "ready": true, "reasons": [] }));
    let state = AdminState::Draining;
    let command = AdminCommand::SetRegionState { region: region(HERE), state, expected: None };
    node.engine.admin().unwrap().propose("ops", "drill", command).await.unwrap();
    let draining = client.get("/readyz").await.expect(503).json();
    assert_eq!(draining["reasons"][0]["code"], "draining");
    client.get("/healthz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_groups_a_node_says_so_and_serves_what_it_can() {
    let node = Node::serve(engine(), HttpConfig::open(loopback()), |_| {}).await;
    let mut client = node.client().await;
    until("the node runs", || node.engine.is_ready()).await;
    client.get("/v1/regions").await.problem(503, "unavailable");
    client.get("/v1/route?key=a").await.problem(503, "unavailable");
    client.get("/v1/kv/lock:a").await.problem(503, "unavailable");
    client.put("/v1/kv/a", "1").await.expect(204);
    let status = client.get("/v1/status").await.expect(200).json();
    assert_eq!(status["control"], json!(null));
    assert_eq!(status["phase"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_regions_show_what_routing_sees() {
    let node = Node::open().await;
    let mut client = node.client().await;
    until("the lease", || node.engine.may_act(&region(HERE)).is_some()).await;
    let status = client.get("/v1/status").await.expect(200).json();
    assert_eq!(status["region"], HERE);
    assert_eq!(status["node"], "n1");
    assert_eq!(status["leases"][0]["region"], HERE);
    assert!(status["control"]["cluster"].is_string());
    let regions = client.get("/v1/regions").await.expect(200).json();
    assert_eq!(regions["here"], HERE);
    let here = regions["regions"].as_array().unwrap().iter().find(|r| r["region"] == HERE);
    let here = here.unwrap();
    assert_eq!(here["health"], "healthy");
    assert_eq!(here["admin"], "active");
    assert_eq!(here["lease"]["holder"]["region"], HERE);
    assert_eq!(here["lease"]["epoch"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_a_plan_with_its_reasons() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let plan = client.get("/v1/route?key=user%3A1&strategy=affinity").await.expect(200).json();
    assert_eq!(plan["key"], "user:1");
    assert_eq!(plan["strategy"], "affinity");
    assert!(!plan["regions"].as_array().unwrap().is_empty());
    assert!(!plan["reasons"].as_array().unwrap().is_empty());
    assert_eq!(plan["scores"].as_array().unwrap().len(), 2);
    let home = client.get("/v1/home?key=user%3A1").await.expect(200).json();
    assert_eq!(home["home"], plan["home"]);
    let of_tenant = client.get("/v1/route?key=a&tenant=acme").await.expect(200).json();
    assert_eq!(of_tenant["key"], "a");
    let binary = client.get("/v1/route?key=%ff%00").await.expect(200).json();
    assert_eq!(binary["key_base64"], "/wA=");
    let nearest = format!("/v1/route?key=a&strategy=latency&client_region={THERE}");
    client.get(&nearest).await.expect(200);
    for (query, what) in [
        ("", "`key`"),
        ("key=a&strategy=best", "strategy"),
        ("key=a&client_region=Mars", "client_region"),
        ("key=a&residency=EU", "residency"),
        ("key=a&country=x", "country"),
        ("key=a&colour=red", "colour"),
        ("key=a&tenant=x&repository=x/y", "exclude"),
    ] {
        let problem = client.get(&format!("/v1/route?{query}")).await.problem(400, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(what), "{problem}");
    }
    client.get("/v1/route?key=a&residency=mars").await.problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_openmetrics_and_count_requests_by_route() {
    let node = Node::open().await;
    let mut client = node.client().await;
    client.put("/v1/kv/a", "1").await.expect(204);
    client.get("/v1/kv/a").await.expect(200);
    client.get("/v1/kv/none").await.expect(404);
    client.put("/v1/kv/a?ack=one_remote", "2").await.problem(504, "unconfirmed");
    client.get("/nowhere").await.problem(404, "not_found");
    let metrics = client.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "rhumb_http_requests_total{method=\"GET\",route=\"/v1/kv/{*key}\",status=\"404\"} 1",
        "rhumb_http_requests_total{method=\"PUT\",route=\"/v1/kv/{*key}\",status=\"204\"} 1",
        "rhumb_http_requests_total{method=\"ANY\",route=\"unmatched\",status=\"404\"} 1",
        "rhumb_serving 1",
        "rhumb_region_admin{region=\"us-east-1\",state=\"active\"} 1",
        "rhumb_commits_failed_total 0",
        "rhumb_unconfirmed_total 1",
        "rhumb_replication_applied_transactions_total{origin_region=\"us-east-1\"} 2",
        "rhumb_connections{server=\"http\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    let commits = text.lines().find_map(|line| line.strip_prefix("rhumb_commit_seconds_count "));
    assert!(commits.unwrap().parse::<u64>().unwrap() > 0);
}
