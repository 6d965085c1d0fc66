//! Health, status, regions, routes, metrics.

use std::time::Duration;

use rhumb_regions::{ResidencyTag, Sticky, StickyKeys, residency::Holding};
use rhumb_types::{
    ClusterId, Epoch,
    control::{AdminCommand, AdminState},
};
use serde_json::{Value, json};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_in_its_region_while_that_is_well() {
    let keys = StickyKeys::new(ClusterId(1), &[7; 32], None);
    let of = |name: &str, epoch, expires| {
        keys.issue(&Sticky { region: region(name), epoch: Epoch(epoch), expires })
    };
    let node = Node::start(HttpConfig::open(loopback()), |surroundings| {
        surroundings.sticky = Some(keys.clone());
    })
    .await;
    let mut client = node.client().await;
    let mut plan = async |token: &str| {
        let path = format!("/v1/route?key=a&strategy=round_robin&token={token}");
        client.get(&path).await.expect(200).json()
    };
    let first = plan("").await;
    assert_eq!(first["sticky"]["outcome"], Value::Null);
    let token = first["sticky"]["token"].as_str().unwrap().to_owned();
    for _ in 0..4 {
        let again = plan(&token).await;
        assert_eq!(again["regions"][0], first["regions"][0], "it moves");
        assert_eq!(again["sticky"]["token"], token.as_str());
        assert_eq!(again["sticky"]["outcome"], "kept");
    }
    let now = node.engine.clock().now().wall;
    let day = Duration::from_secs(24 * 3_600);
    // Half of its time is over.
    let old = of(HERE, 0, now.saturating_add(day / 3));
    let epoch = plan(&old).await;
    let renewed = epoch["sticky"]["token"].as_str().unwrap();
    assert_ne!(renewed, old);
    assert!(keys.verify(renewed, now).unwrap().expires > now.saturating_add(day * 2 / 3));
    // Of another time, of another cluster, changed, expired.
    let moved = plan(&of(HERE, 999, now.saturating_add(day))).await;
    assert_eq!(moved["sticky"]["outcome"], "epoch_changed");
    let foreign = StickyKeys::new(ClusterId(2), &[7; 32], None).issue(&Sticky {
        region: region(HERE),
        epoch: Epoch(0),
        expires: now.saturating_add(day),
    });
    for (bad, why) in
        [(foreign.as_str(), "not signed"), ("x", "malformed"), (&of(HERE, 0, now), "expired")]
    {
        let refused = plan(bad).await;
        let said = refused["sticky"]["refused"].as_str().unwrap();
        assert!(said.contains(why), "{said}");
        keys.verify(refused["sticky"]["token"].as_str().unwrap(), now).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sticky_sessions_there_are_no_tokens() {
    let node = Node::open().await;
    let plan = node.client().await.get("/v1/route?key=a&token=x").await.expect(200).json();
    assert_eq!(plan["sticky"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_on_residency_says_what_lies_where() {
    let holding = |name: &str, tags: &[&str], regions: &[&str]| Holding {
        name: name.to_owned(),
        residency: tags.iter().map(|tag| ResidencyTag::new(tag).unwrap()).collect(),
        regions: regions.iter().map(|name| region(name)).collect(),
    };
    let node = Node::start(HttpConfig::open(loopback()), |surroundings| {
        let holdings = [holding("all", &[], &[HERE, THERE]), holding("eu:", &["eu"], &[HERE])];
        surroundings.holdings = holdings.into();
    })
    .await;
    let report = node.client().await.get("/v1/residency").await.expect(200).json();
    assert_eq!(report["holdings"][1]["regions"][0], HERE);
    let alerts: Vec<&str> =
        report["alerts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    assert!(alerts.iter().any(|alert| alert.contains("which no region carries")), "{alerts:?}");
    assert!(alerts.iter().any(|alert| alert.contains("outside of")), "{alerts:?}");
}
