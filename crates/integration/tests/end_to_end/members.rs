//! Members that come, are replaced and go while the cluster runs.

use std::{fs, time::Duration};

use rhumb_config::{Config, Outside};
use rhumb_integration::{Cluster, Layout, eventually};
use rhumb_types::RegionId;
use serde_json::Value;

use crate::{fails, rhumb, works};

/// How long a change of members may take to reach every node, on a busy machine.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(60);

/// Takes a region out of a node's file.
fn forget(cluster: &Cluster, nth: usize, region: &str) {
    let outside = Outside { variable: &|_| None, worst_election: &|trip| trip * 20 };
    let file = cluster.config(nth);
    let mut settings = Config::load(file, &outside).unwrap().settings().clone();
    settings.regions.remove(&RegionId::new(region).unwrap()).unwrap();
    fs::write(file, settings.to_yaml().unwrap()).unwrap();
}

fn json(cluster: &Cluster, nth: usize, words: &[&str]) -> anyhow::Result<Value> {
    let output = rhumb(cluster, nth, words);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{words:?}: {complaint}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The voters of the control plane's log, by region, as a node sees them; all with their ids.
fn voters(cluster: &Cluster, nth: usize) -> anyhow::Result<Vec<(String, String)>> {
    let status = json(cluster, nth, &["status", "--json"])?;
    let members = status.pointer("/control/members").and_then(Value::as_array);
    let members = members.cloned().unwrap_or_default();
    let voters = members.iter().filter(|member| member.get("voter") == Some(&Value::Bool(true)));
    let word = |member: &Value, name: &str| {
        member.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut voters: Vec<_> =
        voters.map(|member| (word(member, "region"), word(member, "node"))).collect();
    voters.sort();
    Ok(voters)
}

/// Waits until some nodes see voters in exactly these regions; gives the id of the last one's.
fn until_voters(cluster: &Cluster, nodes: &[usize], regions: &[&str]) -> String {
    let mut regions = regions.to_vec();
    regions.sort_unstable();
    let seen = |nth: &usize| -> anyhow::Result<Vec<(String, String)>> {
        let voters = voters(cluster, *nth)?;
        let found: Vec<&str> = voters.iter().map(|(region, _)| region.as_str()).collect();
        anyhow::ensure!(found == regions, "node {nth} sees {voters:?}");
        Ok(voters)
    };
    let all =
        eventually(CHANGE_WAIT_MAX, || nodes.iter().map(seen).collect::<anyhow::Result<Vec<_>>>())
            .unwrap();
    let newest = cluster.region(2);
    let last = all.last().unwrap().iter().find(|(region, _)| region == newest);
    last.map(|(_, node)| node.clone()).unwrap_or_default()
}

fn set(cluster: &Cluster, nth: usize, key: &str, value: &str) {
    let mut connection = cluster.connect(nth).unwrap();
    redis::cmd("SET").arg(key).arg(value).exec(&mut connection).unwrap();
}

fn until_read(cluster: &Cluster, nth: usize, key: &str, value: &str) {
    eventually(CHANGE_WAIT_MAX, || {
        let mut connection = cluster.connect(nth)?;
        let found: Option<String> = redis::cmd("GET").arg(key).query(&mut connection)?;
        anyhow::ensure!(found.as_deref() == Some(value), "{key} is {found:?} at {nth}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_region_is_added_replaced_and_removed_while_the_others_run() {
    let mut cluster = Layout::regions(3).without_identities().prepare().unwrap();
    let third = cluster.region(2).to_owned();
    for nth in 0..2 {
        forget(&cluster, nth, &third);
    }
    works(rhumb(&cluster, 0, &["init"]));
    cluster.start(0).unwrap();
    cluster.start(1).unwrap();
    cluster.wait_until_linked(0..2).unwrap();
    cluster.wait_until_agreed(0..2).unwrap();
    set(&cluster, 0, "before", "1");

    // The files of the running nodes do not know the region: its place is agreed on.
    let address = cluster.peer(2).to_string();
    let unknown = fails(rhumb(&cluster, 0, &["join-token", "--region", &third]));
    assert!(unknown.contains("say where its node will listen"), "{unknown}");
    let words =
        ["join-token", "--region", &third, "--address", &address, "--role", "voter"].to_vec();
    let token = works(rhumb(&cluster, 0, &words)).trim().to_owned();
    works(rhumb(&cluster, 2, &["join", &token]));
    cluster.start(2).unwrap();
    let (first, second) = (cluster.region(0).to_owned(), cluster.region(1).to_owned());
    let regions = [&*first, &*second, &*third];
    let node = until_voters(&cluster, &[0, 1, 2], &regions);
    until_read(&cluster, 2, "before", "1");
    set(&cluster, 2, "from:the:new:one", "2");
    until_read(&cluster, 1, "from:the:new:one", "2");
    cluster.wait_until_agreed(0..3).unwrap();

    // Its disk is lost: a new node takes its place, under another id.
    cluster.kill(2).unwrap();
    fs::remove_dir_all(cluster.data(2)).unwrap();
    let token = works(rhumb(&cluster, 0, &words)).trim().to_owned();
    let taken = fails(rhumb(&cluster, 2, &["join", &token]));
    assert!(taken.contains(&format!("--replace {node}")), "{taken}");
    let words = [words.as_slice(), &["--replace", &node]].concat();
    let token = works(rhumb(&cluster, 0, &words)).trim().to_owned();
    works(rhumb(&cluster, 2, &["join", &token]));
    cluster.start(2).unwrap();
    eventually(CHANGE_WAIT_MAX, || {
        let fresh = until_voters(&cluster, &[0, 1, 2], &regions);
        anyhow::ensure!(fresh != node, "{node} still has its seat");
        Ok(())
    })
    .unwrap();
    until_read(&cluster, 2, "before", "1");
    until_read(&cluster, 2, "from:the:new:one", "2");

    // And it goes.
    let node = until_voters(&cluster, &[0, 1, 2], &regions);
    assert!(cluster.terminate(2).unwrap().success());
    works(rhumb(&cluster, 0, &["member", "remove", &node, "--reason", "the region is given up"]));
    until_voters(&cluster, &[0, 1], &[&first, &second]);
    cluster.wait_until_agreed(0..2).unwrap();
}
