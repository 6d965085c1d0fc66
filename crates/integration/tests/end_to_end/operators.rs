//! What operators do with a running cluster, by the commands that they have.

use std::{fs, process::Command, process::Output};

use anyhow::Context;
use rhumb_config::settings::TlsSettings;
use rhumb_integration::{Cluster, Layout, READY_WAIT_MAX, eventually, programs};
use rhumb_peer::{ClusterAuthority, Identity, Validity};
use rhumb_types::{ClusterId, NodeId, RegionId};
use serde_json::Value;

use crate::{at, fails, holder, json, rhumb, wait_for_duties, works};

/// Runs `rhumb` away from the nodes' machines, with a token.
fn elsewhere(url: &str, token: &str, words: &[&str]) -> Output {
    let mut command = Command::new(programs::rhumb().unwrap());
    command.args(words).env("RHUMB_URL", url).env("RHUMB_TOKEN", token).output().unwrap()
}

#[test]
fn duties_move_and_return_and_the_chain_says_who_asked() {
    let asks = |settings: &mut rhumb_config::Settings| {
        for region in settings.regions.values_mut() {
            if let Some(http) = &mut region.listeners.http {
                http.auth = true;
            }
        }
    };
    let cluster = Layout::regions(3).adjust(asks).start().unwrap();
    let url = format!("http://{}", cluster.http(0));
    wait_for_duties(&cluster, 0..3);

    // Nobody gets in without a token, and a reader changes nothing.
    let stranger = fails(elsewhere(&url, "rhumb_x_y", &["status"]));
    assert!(stranger.contains("unauthenticated"), "{stranger}");
    let create = ["token", "create", "graphs", "--role", "reader", "--reason", "dashboards"];
    let token = works(rhumb(&cluster, 0, &create));
    let token = token.trim();
    works(elsewhere(&url, token, &["status"]));
    let drain = ["drain", cluster.region(2), "--reason", "kernel update"];
    let reader = fails(elsewhere(&url, token, &drain));
    assert!(reader.contains("forbidden"), "{reader}");
    works(rhumb(&cluster, 1, &["token", "revoke", "graphs", "--reason", "leaked"]));
    eventually(READY_WAIT_MAX, || {
        let refused = elsewhere(&url, token, &["status"]);
        anyhow::ensure!(!refused.status.success(), "a revoked token still opens");
        Ok(())
    })
    .unwrap();

    let dry =
        json(&works(rhumb(&cluster, 0, &["drain", cluster.region(2), "--dry-run", "--json"])));
    assert_eq!(at(&dry, "/carried"), &Value::Bool(true), "{dry}");
    assert_eq!(holder(&cluster, 0, 2), cluster.region(2));
    let told = works(rhumb(&cluster, 0, &drain));
    assert!(told.contains("take over") && told.trim_end().ends_with("succeeded"), "{told}");
    assert_ne!(holder(&cluster, 0, 2), cluster.region(2));
    works(rhumb(&cluster, 0, &["failback", cluster.region(2), "--reason", "updated"]));
    wait_for_duties(&cluster, 2..3);
    let runs = works(rhumb(&cluster, 1, &["failovers", "list"]));
    assert!(runs.contains("drain") && runs.contains("fail back"), "{runs}");

    let chain = works(rhumb(&cluster, 0, &["audit", "export"]));
    assert!(chain.contains("\"machine\"") && chain.contains("kernel update"), "{chain}");
    let file = cluster.data(0).join("audit.ndjson");
    let verify = ["audit", "verify", file.to_str().unwrap()];
    fs::write(&file, &chain).unwrap();
    works(rhumb(&cluster, 0, &verify));
    fs::write(&file, chain.replace("kernel update", "kernel upgrade")).unwrap();
    let edited = rhumb(&cluster, 0, &verify);
    assert_eq!(edited.status.code(), Some(1));
    let finding = String::from_utf8_lossy(&edited.stdout).into_owned();
    assert!(finding.contains("was edited"), "{finding}");
}

#[test]
fn a_nodes_own_machine_believes_its_certificate_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = ClusterAuthority::create(ClusterId(1)).unwrap();
    let region = RegionId::new("us-east-1").unwrap();
    let identity = Identity { cluster: ClusterId(1), region, node: NodeId(1) };
    let issued = authority.issue(&identity, Validity::node()).unwrap();
    let (certificate, key) = (folder.path().join("server.pem"), folder.path().join("server.key"));
    fs::write(&certificate, &issued.node_pem).unwrap();
    fs::write(&key, &issued.key_pem).unwrap();
    let tls = TlsSettings { certificate, key, client_authorities: None };
    let secure = move |settings: &mut rhumb_config::Settings| {
        settings.tls = Some(tls);
        for region in settings.regions.values_mut() {
            if let Some(http) = &mut region.listeners.http {
                (http.auth, http.tls) = (true, true);
            }
        }
    };
    let cluster = Layout::regions(1).adjust(secure).start().unwrap();
    works(rhumb(&cluster, 0, &["kv", "put", "a", "1"]));
    assert_eq!(works(rhumb(&cluster, 0, &["kv", "get", "a"])), "1");
    let missing = fails(rhumb(&cluster, 0, &["kv", "get", "b"]));
    assert!(missing.contains("no such key"), "{missing}");
    let url = format!("https://{}", cluster.http(0));
    let stranger = fails(elsewhere(&url, "rhumb_a_b", &["status"]));
    assert!(stranger.contains("cannot be reached"), "{stranger}");
}

#[test]
fn a_node_that_lost_its_disk_is_replaced() {
    let mut cluster = Layout::regions(3).without_identities().prepare().unwrap();
    works(rhumb(&cluster, 0, &["init"]));
    for nth in 0..3 {
        cluster.start(nth).unwrap();
    }
    cluster.wait_until_linked(0..3).unwrap();
    cluster.wait_until_agreed(0..3).unwrap();
    wait_for_duties(&cluster, 0..3);
    // Who is a member shows at another node a moment after it is agreed.
    let node = |cluster: &Cluster| {
        eventually(READY_WAIT_MAX, || {
            let members = json(&works(rhumb(cluster, 0, &["member", "list", "--json"])));
            let own = Value::from(cluster.region(2));
            let mut members = at(&members, "/members").as_array().into_iter().flatten();
            let member = members.find(|member| at(member, "/region") == &own);
            let node = member.and_then(|member| at(member, "/node").as_str());
            node.map(str::to_owned).with_context(|| format!("{own} is no member yet"))
        })
        .unwrap()
    };
    works(rhumb(&cluster, 0, &["kv", "put", "kept", "1", "--ack", "quorum"]));
    let lost = node(&cluster);
    cluster.kill(2).unwrap();
    fs::remove_dir_all(cluster.data(2)).unwrap();

    // An identity from files: the member list is told by an operator.
    works(rhumb(&cluster, 0, &["init", "--region", cluster.region(2)]));
    // On the machine of the new node, which asks a running one.
    let url = format!("http://{}", cluster.http(0));
    let replace = ["member", "replace", &lost, "--reason", "disk lost", "--url", &url];
    works(rhumb(&cluster, 2, &replace));
    assert_ne!(node(&cluster), lost);
    cluster.start(2).unwrap();
    cluster.wait_until_linked(0..3).unwrap();
    cluster.wait_until_agreed(2..3).unwrap();
    eventually(READY_WAIT_MAX, || {
        let kept = rhumb(&cluster, 2, &["kv", "get", "kept"]);
        anyhow::ensure!(kept.status.success(), "what was written before is not there yet");
        Ok(())
    })
    .unwrap();
    // It votes: one of the others can be missed.
    cluster.kill(1).unwrap();
    eventually(READY_WAIT_MAX * 2, || {
        let put = rhumb(&cluster, 2, &["kv", "put", "lock:a", "1"]);
        anyhow::ensure!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_configuration_is_agreed_on_compared_with_and_put_back() {
    let cluster = Layout::regions(2).start().unwrap();
    let plain = cluster.config(0).to_str().unwrap().to_owned();
    let ruled = format!("{plain}.ruled");
    let home = |nth: usize| {
        let route = json(&works(rhumb(&cluster, nth, &["route", "vip:1", "--json"])));
        at(&route, "/home").as_str().unwrap_or_default().to_owned()
    };
    let until_home = |region: &str| {
        eventually(READY_WAIT_MAX, || {
            let homes = [home(0), home(1)];
            anyhow::ensure!(homes == [region, region], "{homes:?} and not {region}");
            Ok(())
        })
        .unwrap();
    };
    let usual = home(0);
    let other = [cluster.region(0), cluster.region(1)].into_iter().find(|it| *it != usual).unwrap();
    let rule = format!("affinity: {{ rules: [ {{ key_prefix: 'vip:', region: {other} }} ] }}\n");
    let text = fs::read_to_string(&plain).unwrap();
    let mut kept: String = String::new();
    // The rules of the file, which has none, give way to one.
    for line in text.lines().filter(|line| !line.starts_with("affinity:") && *line != "  rules: []")
    {
        kept.push_str(line);
        kept.push('\n');
    }
    fs::write(&ruled, kept + &rule).unwrap();

    let apply = |file: &str| works(rhumb(&cluster, 0, &["config", "apply", file, "--reason", "t"]));
    assert!(apply(&plain).contains("configuration: version 1 now"));
    assert!(apply(&plain).contains("configuration: so already"), "the same is no new version");
    let changed = apply(&ruled);
    assert!(changed.contains("affinity rules: version"), "{changed}");
    until_home(other);
    let drift = works(rhumb(&cluster, 1, &["config", "diff", &plain]));
    assert!(drift.contains("affinity.rules"), "{drift}");
    let back = ["config", "rollback", "1", "--reason", "it was wrong"];
    let back = works(rhumb(&cluster, 1, &back));
    assert!(back.contains("configuration: version 3 now"), "{back}");
    until_home(&usual);
    let unknown = fails(rhumb(&cluster, 1, &["config", "rollback", "9", "--reason", "r"]));
    assert!(unknown.contains("version 9"), "{unknown}");
}
