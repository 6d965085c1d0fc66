//! Administration.

use std::sync::Arc;

use rhumb_front::token::digest_of;
use rhumb_regions::audit::import_ndjson;
use rhumb_types::control::{AuditEntry, Digest};
use serde_json::json;

use super::harness::{Client, HERE, Node, THERE, loopback, region, until};
use crate::{HttpConfig, Invitation, InvitationError, Invitations, Invited, Surroundings};

const REASON: &str = "a drill";

async fn because(client: &mut Client, path: &str) -> super::harness::Reply {
    client.json("POST", path, json!({ "reason": REASON })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_rehearsed_run_once_and_followed_to_its_end() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let path = format!("/admin/failover/{THERE}");
    let rehearsed = client.send("POST", &format!("{path}?dry_run=true"), &[], "").await;
    let rehearsed = rehearsed.expect(200).json();
    assert_eq!(rehearsed["successor"], HERE);
    assert_eq!(rehearsed["carried"], true);
    let none = client.get("/admin/failovers").await.expect(200).json();
    assert_eq!(none["failovers"], json!([]), "a dry run leaves nothing behind");
    let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
    let body = json!({ "reason": REASON, "strategy": "immediate" }).to_string();
    let first = client.send("POST", &path, &headers, body.clone()).await.expect(202);
    let location = first.header("location").to_owned();
    let again = client.send("POST", &path, &headers, body).await.expect(202);
    assert_eq!(again.header("location"), location, "one key starts one");
    assert_eq!(first.json()["plan"]["strategy"], "immediate");
    until("the takeover", || node.engine.may_act(&region(THERE)).is_some()).await;
    for _ in 0..500 {
        let record = client.get(&location).await.expect(200).json();
        if record["state"] == "succeeded" {
            break;
        }
        assert_eq!(record["state"], "running", "{record}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let record = client.get(&location).await.expect(200).json();
    assert_eq!((&record["state"], &record["reason"]), (&json!("succeeded"), &json!(REASON)));
    let late = because(&mut client, &format!("{location}/cancel")).await;
    late.problem(409, "conflict");
    because(&mut client, "/admin/failovers/99/approve").await.problem(404, "not_found");
    because(&mut client, "/admin/failovers/x/approve").await.problem(400, "invalid");
    because(&mut client, "/admin/failover/mars").await.problem(404, "not_found");
    because(&mut client, "/admin/failover/Mars").await.problem(400, "invalid");
    let empty = client.json("POST", &path, json!({ "reason": "" })).await;
    empty.problem(400, "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_set_and_the_last_one_stays() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let path = format!("/admin/regions/{THERE}");
    let disabled = json!({ "state": "disabled", "expected": "active", "reason": REASON });
    client.json("PUT", &path, disabled.clone()).await.expect(200);
    let again = client.json("PUT", &path, disabled).await.expect(200).json();
    assert_eq!(again, json!({ "changed": false }));
    let stale = json!({ "state": "draining", "expected": "active", "reason": REASON });
    let stale = client.json("PUT", &path, stale).await.problem(409, "conflict");
    assert_eq!(stale["refusal"], "state-changed");
    let last = json!({ "state": "disabled", "reason": REASON });
    let last = client.json("PUT", &format!("/admin/regions/{HERE}"), last).await;
    assert_eq!(last.problem(409, "conflict")["refusal"], "last-active-region");
    because(&mut client, &format!("{path}/lift-verdict")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_replaced_by_version_and_rolled_back() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let rules = |to: &str| {
        let rule = json!({ "matches": { "organisation": "acme" }, "region": to });
        json!({ "rules": [rule], "reason": REASON }).to_string()
    };
    let json = ("content-type", "application/json");
    assert_eq!(client.get("/admin/rules").await.expect(200).header("etag"), "\"0\"");
    client
        .send("PUT", "/admin/rules", &[json], rules(THERE))
        .await
        .problem(428, "precondition_required");
    let first = [json, ("if-match", "\"0\"")];
    let put = client.send("PUT", "/admin/rules", &first, rules(THERE)).await.expect(200);
    assert_eq!(put.header("etag"), "\"1\"");
    let late = client.send("PUT", "/admin/rules", &first, rules(HERE)).await;
    assert_eq!(late.problem(412, "precondition_failed")["version"], 1);
    // What was agreed decides the route.
    let placed = || node.engine.routing().unwrap().facts().rules.len() == 1;
    until("the rule in routing", placed).await;
    let home = client.get("/v1/home?key=x&tenant=acme").await.expect(200).json();
    assert_eq!(home["home"], THERE);
    let second = [json, ("if-match", "\"1\"")];
    client.send("PUT", "/admin/rules", &second, rules(HERE)).await.expect(200);
    let back = json!({ "to": 1, "reason": "back" });
    let third = [json, ("if-match", "2")];
    let body = back.to_string();
    client.send("POST", "/admin/rules/rollback", &third, body).await.expect(200);
    let now = client.get("/admin/rules").await.expect(200).json();
    assert_eq!((&now["version"], &now["rules"][0]["region"]), (&json!(3), &json!(THERE)));
    let versions = client.get("/admin/rules/versions").await.expect(200).json();
    assert_eq!(versions["versions"].as_array().unwrap().len(), 3);
    assert_eq!(versions["versions"][0]["actor"], "anybody");
    let gone = [json, ("if-match", "3")];
    let body = json!({ "to": 77, "reason": "back" }).to_string();
    client.send("POST", "/admin/rules/rollback", &gone, body).await.problem(404, "not_found");
    let bad = [json, ("if-match", "W/\"x\"")];
    client.send("PUT", "/admin/rules", &bad, rules(HERE)).await.problem(400, "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_checked_before_it_is_agreed_on() {
    let checked = |surroundings: &mut Surroundings| {
        surroundings.config_check = Some(Arc::new(|document: &str| match document {
            "good" => Ok(()),
            _ => Err(vec!["line 1: no".to_owned(), "line 2: no".to_owned()]),
        }));
    };
    let node = Node::start(HttpConfig::open(loopback()), checked).await;
    let mut client = node.client().await;
    let put = |document: &str| json!({ "document": document, "reason": REASON }).to_string();
    let headers = [("content-type", "application/json"), ("if-match", "\"0\"")];
    let bad = client.send("PUT", "/admin/config", &headers, put("bad")).await;
    assert_eq!(bad.problem(400, "invalid")["faults"], json!(["line 1: no", "line 2: no"]));
    client.send("PUT", "/admin/config", &headers, put("good")).await.expect(200);
    let now = client.get("/admin/config").await.expect(200);
    assert_eq!((now.header("etag"), &now.json()["document"]), ("\"1\"", &json!("good")));
    client.get("/admin/config/versions/1").await.expect(200);
    client.get("/admin/config/versions/9").await.problem(404, "not_found");
    client.get("/admin/config/versions/x").await.problem(400, "invalid");
    let versions = client.get("/admin/config/versions").await.expect(200).json();
    assert_eq!(versions["versions"][0]["reason"], REASON);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namespaces_that_a_node_applies_are_shown() {
    let node = Node::open().await;
    let shown = node.client().await.get("/admin/namespaces").await.expect(200).json();
    let lock = shown["namespaces"].as_array().unwrap().iter().find(|it| it["prefix"] == "lock:");
    assert_eq!(lock.unwrap()["consistency"], "strong");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_change_their_roles_are_replaced_and_leave() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let members = client.get("/admin/members").await.expect(200).json();
    assert_eq!(members["members"][1]["node"], "n2");
    let role = json!({ "role": "learner", "reason": REASON });
    client.json("PUT", "/admin/members/n2", role).await.expect(200);
    let new = json!({
        "node": "n2b", "address": "eu.example:7401",
        "fingerprint": "09".repeat(32), "reason": "its disk is gone",
    });
    client.json("POST", "/admin/members/n2/replace", new.clone()).await.expect(200);
    let members = client.get("/admin/members").await.expect(200).json();
    assert_eq!(
        (&members["members"][1]["node"], &members["members"][1]["role"]),
        (&json!("n2b"), &json!("learner"))
    );
    client.json("POST", "/admin/members/n9/replace", new).await.problem(404, "not_found");
    let mut another = json!({
        "node": "n2c", "region": "ap-southeast-1", "address": "ap:7401", "role": "learner",
        "fingerprint": "ac".repeat(32), "reason": "growth",
    });
    client.json("POST", "/admin/members", another.clone()).await.expect(200);
    let members = client.get("/admin/members").await.expect(200).json();
    let known = members["members"].as_array().unwrap().iter().find(|it| it["node"] == "n2c");
    assert_eq!(known.unwrap()["address"], "ap:7401");
    another["node"] = "two".into();
    client.json("POST", "/admin/members", another).await.problem(400, "invalid");
    let gone = client.send("DELETE", "/admin/members/n1?reason=x", &[], "").await;
    assert_eq!(gone.problem(409, "conflict")["refusal"], "last-voter");
    client.send("DELETE", "/admin/members/n2b", &[], "").await.problem(400, "invalid");
    client.send("DELETE", "/admin/members/two?reason=x", &[], "").await.problem(400, "invalid");
}

struct Desk;

impl Invitations for Desk {
    fn invite(&self, invitation: &Invitation) -> Result<Invited, InvitationError> {
        if invitation.region.as_str() != "ap-south-1" {
            return Err(InvitationError::Refused("unknown region".to_owned()));
        }
        Ok(Invited { token: "join-me".to_owned(), secret: digest_of("secret") })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_invited_where_the_authority_is() {
    let body = |region: &str| json!({ "region": region, "lasting": "1h", "reason": REASON });
    let node = Node::open().await;
    let away = node.client().await.json("POST", "/admin/join-tokens", body("ap-south-1")).await;
    away.problem(503, "unavailable");
    let with = |around: &mut Surroundings| around.invitations = Some(Arc::new(Desk));
    let node = Node::start(HttpConfig::open(loopback()), with).await;
    let mut client = node.client().await;
    let made = client.json("POST", "/admin/join-tokens", body("ap-south-1")).await.expect(201);
    assert_eq!(made.json()["token"], "join-me");
    client.json("POST", "/admin/join-tokens", body("mars-1")).await.problem(409, "conflict");
    let audit = client.get("/admin/audit").await.expect(200).json();
    let made =
        audit["entries"].as_array().unwrap().iter().find(|entry| entry["actor"] == "anybody");
    assert!(made.unwrap()["action"].as_str().unwrap().contains("join-token"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_chain_names_who_did_what_and_is_whole() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let path = format!("/admin/regions/{THERE}");
    for state in ["draining", "active", "disabled"] {
        let body = json!({ "state": state, "reason": format!("because {state}") });
        client.json("PUT", &path, body).await.expect(200);
    }
    let page = client.get("/admin/audit?limit=2").await.expect(200).json();
    assert_eq!(page["entries"].as_array().unwrap().len(), 2);
    assert_eq!((&page["first_kept"], &page["after"]), (&json!(1), &json!(2)));
    let rest = client.get("/admin/audit?after=2").await.expect(200).json();
    assert_eq!(rest["entries"][0]["index"], 3);
    let ndjson = [("accept", "application/x-ndjson, */*;q=0.1")];
    let export = client.send("GET", "/admin/audit", &ndjson, "").await.expect(200);
    let entries = import_ndjson(std::str::from_utf8(&export.body).unwrap()).unwrap();
    let mine: Vec<&AuditEntry> = entries.iter().filter(|e| e.actor == "anybody").collect();
    assert_eq!(mine.len(), 3);
    assert!(mine[2].detail.contains("because disabled"), "{:?}", mine[2]);
    let verified = client.get("/admin/audit/verify").await.expect(200).json();
    assert_eq!((&verified["whole"], &verified["first"]), (&json!(true), &json!(1)), "{verified}");
    assert!(verified["last"].as_u64().unwrap() >= entries.len() as u64);
    assert_ne!(verified["hash"], json!(Digest::default()));
    client.get("/admin/audit?limit=0").await.problem(400, "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_json_is_told_where_it_is_bad() {
    let node = Node::open().await;
    let mut client = node.client().await;
    let path = format!("/admin/failover/{THERE}");
    let json = [("content-type", "application/json; charset=utf-8")];
    for (body, what) in [
        ("", "EOF"),
        ("{", "line 1"),
        ("[]", "expected"),
        ("{\"reason\": 7}", "string"),
        ("{\"reason\": \"x\", \"colour\": 1}", "colour"),
        ("{\"reason\": \"x\", \"strategy\": \"fast\"}", "fast"),
        ("{\"reason\": \"x\"} y", "trailing"),
    ] {
        let problem = client.send("POST", &path, &json, body).await.problem(400, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(what), "{body}: {problem}");
    }
    let large = json!({ "reason": "x".repeat(crate::limits::JSON_BYTES_MAX) }).to_string();
    client.send("POST", &path, &json, large).await.problem(413, "too_large");
    let mut client = node.client().await;
    let long = json!({ "reason": "x".repeat(2_000) });
    client.json("POST", &path, long).await.problem(400, "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_what_was_agreed_is_shown_and_changes_are_refused_in_time() {
    let node = Node::open().await;
    let mut client = node.client().await;
    client.put("/v1/kv/lock:a", "me").await.expect(204);
    node.groups.iter().for_each(|group| group.set_reachable(false));
    for path in [
        "/readyz",
        "/v1/status",
        "/v1/regions",
        "/v1/route?key=a",
        "/admin/rules",
        "/admin/config",
        "/admin/members",
        "/admin/tokens",
        "/admin/failovers",
        "/admin/audit",
        "/admin/audit/verify",
    ] {
        client.get(path).await.expect(200);
    }
    client.put("/v1/kv/plain", "x").await.expect(204);
    let mut other = node.client().await;
    let state = json!({ "state": "draining", "reason": REASON });
    let path = format!("/admin/regions/{THERE}");
    let (change, lock) =
        tokio::join!(client.json("PUT", &path, state), other.put("/v1/kv/lock:a", "you"));
    change.problem(503, "unavailable");
    lock.problem(503, "unavailable");
}
