//! The majority is lost for ever, and one survivor goes on: `rhumb control recover`.

use std::{fs, process::Command, time::Duration};

use redis::Commands;
use rhumb_config::dev::STRONG_PREFIX;
use rhumb_integration::{Cluster, Layout, READY_WAIT_MAX, eventually, programs};
use rhumb_peer::{ClusterAuthority, Identities};
use serde_json::Value;

use crate::{fails, rhumb, works};

/// How long nodes of the old cluster try to reach the new one.
const TRIAL: Duration = Duration::from_secs(2);

fn lock(name: &str) -> String {
    format!("{STRONG_PREFIX}{name}")
}

/// Takes a lock that is free, and gives its fencing token.
fn take(cluster: &Cluster, nth: usize, name: &str) -> u64 {
    let mut connection = cluster.connect(nth).unwrap();
    let taken: bool = connection.set_nx(lock(name), nth).unwrap();
    assert!(taken, "{name} is held");
    redis::cmd("RHUMB.FENCE").arg(lock(name)).query(&mut connection).unwrap()
}

fn exists(cluster: &Cluster, nth: usize, key: &str) -> bool {
    cluster.connect(nth).unwrap().exists(key).unwrap()
}

/// Ends a node once it knows all members: they join in their own time.
fn terminate_as_member(cluster: &mut Cluster, nth: usize) {
    eventually(READY_WAIT_MAX, || {
        let members = works(rhumb(cluster, nth, &["member", "list", "--json"]));
        let members: Value = serde_json::from_str(&members)?;
        let known = members.pointer("/members").and_then(Value::as_array).map_or(0, Vec::len);
        anyhow::ensure!(known == cluster.len(), "{known} members");
        Ok(())
    })
    .unwrap();
    cluster.terminate(nth).unwrap();
}

/// On the machine of an old node a new one takes part, with empty data.
fn grow_again(cluster: &mut Cluster, survivor: usize, nth: usize) {
    fs::remove_dir_all(cluster.data(nth)).unwrap();
    let token = ["join-token", "--region", cluster.region(nth)];
    let token = works(rhumb(cluster, survivor, &token));
    works(rhumb(cluster, nth, &["join", token.trim()]));
    let url = format!("http://{}", cluster.http(survivor));
    works(rhumb(cluster, nth, &["member", "add", "--reason", "anew", "--url", &url]));
    cluster.start(nth).unwrap();
    cluster.wait_until_ready(nth).unwrap();
    cluster.wait_until_agreed(nth..nth + 1).unwrap();
    take(cluster, nth, "again");
    eventually(READY_WAIT_MAX, || {
        anyhow::ensure!(exists(cluster, nth, "eventual"), "old writes have not come");
        Ok(())
    })
    .unwrap();
}

#[test]
fn one_survivor_of_three_goes_on_and_the_old_nodes_are_refused() {
    let mut cluster = Layout::regions(3).start().unwrap();
    let before = take(&cluster, 2, "before");
    let () = cluster.connect(0).unwrap().set("eventual", 1).unwrap();
    eventually(TRIAL * 5, || {
        anyhow::ensure!(exists(&cluster, 2, "eventual"), "the write has not come");
        Ok(())
    })
    .unwrap();

    let running = fails(rhumb(&cluster, 2, &["control", "recover"]));
    assert!(running.contains("stop it first"), "{running}");
    terminate_as_member(&mut cluster, 2);
    // The other two agree on what the third has never seen, and are lost.
    let unseen = take(&cluster, 0, "unseen");
    let lost = ["control", "recover", "--lost-for-ever", "us-east-1,eu-west-1"];
    let alive = fails(rhumb(&cluster, 2, &lost));
    assert!(alive.contains("is not lost: something listens"), "{alive}");
    cluster.kill(0).unwrap();
    cluster.kill(1).unwrap();

    let status = works(rhumb(&cluster, 2, &["control", "status", "--json"]));
    let status: Value = serde_json::from_str(&status).unwrap();
    let seats = status["groups"]["admin"]["members"].as_array().unwrap();
    assert_eq!(seats.len(), 3, "{status}");
    let told = fails(rhumb(&cluster, 2, &["control", "recover"]));
    assert!(told.contains("--lost-for-ever eu-west-1,us-east-1"), "{told}");
    let half = ["control", "recover", "--lost-for-ever", "us-east-1"];
    assert!(fails(rhumb(&cluster, 2, &half)).contains("nothing was changed"));
    let unchanged = works(rhumb(&cluster, 2, &["control", "status", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&unchanged).unwrap(), status);
    works(rhumb(&cluster, 2, &lost));

    cluster.start(2).unwrap();
    cluster.wait_until_ready(2).unwrap();
    cluster.wait_until_agreed(2..3).unwrap();
    assert!(exists(&cluster, 2, "eventual") && exists(&cluster, 2, &lock("before")));
    let after = take(&cluster, 2, "after");
    assert!(after > unseen && unseen > before, "{before} {unseen} {after}");

    // The old nodes are a majority of the old cluster, and stay strangers to the new one.
    cluster.start(0).unwrap();
    cluster.start(1).unwrap();
    cluster.wait_until_linked(0..2).unwrap();
    let () = cluster.connect(0).unwrap().set("of the past", 1).unwrap();
    let () = cluster.connect(2).unwrap().set("of the future", 1).unwrap();
    std::thread::sleep(TRIAL);
    assert!(!exists(&cluster, 2, "of the past") && !exists(&cluster, 0, "of the future"));
    assert!(cluster.log(2).contains("certificate"), "{}", cluster.log(2));
    take(&cluster, 2, "at last");

    cluster.kill(0).unwrap();
    cluster.kill(1).unwrap();
    grow_again(&mut cluster, 2, 0);

    let own = cluster.data(2);
    let authority = ClusterAuthority::load(&own.join("authority")).unwrap();
    let identity = Identities::load(&own.join("identity"), None).unwrap();
    assert_eq!(authority.cluster(), identity.identity().cluster);
    assert_ne!(authority.cluster(), cluster.authority().cluster());
    cluster.terminate(2).unwrap();
    let half = fails(rhumb(&cluster, 2, &["control", "recover"]));
    assert!(half.contains("--lost-for-ever us-east-1"), "{half}");
    // The chain of the old cluster goes on in the new one.
    let folder = cluster.data(2);
    let mut verify = Command::new(programs::rhumb().unwrap());
    let whole = works(verify.args(["audit", "verify", "--data"]).arg(&folder).output().unwrap());
    assert!(whole.contains("are whole"), "{whole}");
}

#[test]
fn a_recovery_that_was_interrupted_is_run_again() {
    let mut cluster = Layout::regions(2).start().unwrap();
    terminate_as_member(&mut cluster, 1);
    cluster.kill(0).unwrap();
    let own = cluster.data(1);
    let identity = Identities::load(&own.join("identity"), None).unwrap().identity();
    let lost = ["control", "recover", "--lost-for-ever", cluster.region(0)];
    works(rhumb(&cluster, 1, &lost));
    // As if the process had ended before the folders were put in place.
    fs::create_dir(own.join("recovery")).unwrap();
    for name in ["authority", "identity"] {
        fs::rename(own.join(name), own.join("recovery").join(name)).unwrap();
    }
    fs::rename(own.join(format!("identity.{}", identity.cluster)), own.join("identity")).unwrap();
    // The operator has named what is lost before, and need not again.
    works(rhumb(&cluster, 1, &["control", "recover"]));
    cluster.start(1).unwrap();
    cluster.wait_until_agreed(1..2).unwrap();
    take(&cluster, 1, "after");
}
