//! What must stay in a jurisdiction does, and the report says so.

use std::fs;

use redis::{Commands, Connection};
use rhumb_config::settings::NamespaceSettings;
use rhumb_integration::{Cluster, Layout, READY_WAIT_MAX, eventually};
use rhumb_regions::ResidencyTag;
use rhumb_types::Consistency;
use serde_json::Value;

use crate::{at, fails, json, rhumb, wait_for_duties, works};

/// The region that is in no jurisdiction.
const OUTSIDE: &str = "us-east-1";

/// Three regions, of which two are in a jurisdiction; the first is not.
fn cluster() -> Cluster {
    let configure = |settings: &mut rhumb_config::Settings| {
        let eu = ResidencyTag::new("eu").unwrap();
        for (name, region) in &mut settings.regions {
            if name.as_str() != OUTSIDE {
                region.residency.insert(eu.clone());
            }
        }
        settings.state.namespaces.push(NamespaceSettings {
            prefix: "eu:".to_owned(),
            consistency: Consistency::Eventual,
            ack: None,
            ttl: None,
            residency: [eu].into(),
        });
    };
    Layout::regions(3).adjust(configure).start().unwrap()
}

/// What a client outside may do, and what not.
fn ask_from_outside(stranger: &mut Connection) {
    let user: String = stranger.get("eu:user").unwrap();
    assert_eq!(user, "ada");
    let () = stranger.hset_multiple("eu:profile", &[("born", 1815), ("children", 3)]).unwrap();
    let fields: Vec<String> = stranger.hkeys("eu:profile").unwrap();
    assert_eq!(fields.len(), 2);
    let added: usize = stranger.sadd("eu:tags", &["a", "b", "c"]).unwrap();
    let popped: Vec<String> = redis::cmd("SPOP").arg("eu:tags").arg(2).query(stranger).unwrap();
    let left: usize = stranger.scard("eu:tags").unwrap();
    assert_eq!((added, popped.len(), left), (3, 2, 1));
    let wrong = stranger.incr::<_, _, i64>("eu:profile", 1).unwrap_err();
    assert_eq!(wrong.code(), Some("WRONGTYPE"));
    let mut pipe = redis::pipe();
    let pipe = pipe.incr("eu:count", 5).get("everywhere").incr("eu:count", 1);
    let answers: (i64, String, i64) = pipe.query(stranger).unwrap();
    assert_eq!(answers, (5, "known".to_owned(), 6));
    let mixed: redis::RedisResult<Vec<Option<String>>> = stranger.mget(&["eu:user", "everywhere"]);
    assert_eq!(mixed.unwrap_err().code(), Some("CROSSSLOT"));
    redis::cmd("MULTI").exec(stranger).unwrap();
    redis::cmd("INCR").arg("eu:count").exec(stranger).unwrap();
    assert_eq!(redis::cmd("EXEC").exec(stranger).unwrap_err().code(), Some("CROSSSLOT"));
    let keys: Vec<String> = stranger.keys("*").unwrap();
    assert!(!keys.iter().any(|key| key.starts_with("eu:")), "{keys:?}");
}

#[test]
fn keys_of_a_jurisdiction_never_leave_it() {
    let mut cluster = cluster();
    let nth = |name: &str| (0..3).find(|nth| cluster.region(*nth) == name).unwrap();
    let (outside, one, two) = (nth(OUTSIDE), nth("eu-west-1"), nth("ap-southeast-1"));
    let mut here = cluster.connect(one).unwrap();
    let () = here.set("eu:user", "ada").unwrap();
    let () = here.set("everywhere", "known").unwrap();
    let mut there = cluster.connect(two).unwrap();
    let mut stranger = cluster.connect(outside).unwrap();
    eventually(READY_WAIT_MAX, || {
        let user: Option<String> = there.get("eu:user")?;
        // What was written later has arrived, so the other is not only late.
        let known: Option<String> = stranger.get("everywhere")?;
        anyhow::ensure!(user.is_some() && known.is_some(), "{user:?} {known:?}");
        Ok(())
    })
    .unwrap();
    ask_from_outside(&mut stranger);
    let over_http = fails(rhumb(&cluster, outside, &["kv", "get", "eu:user"]));
    assert!(over_http.contains("stays in") && over_http.contains("eu-west-1"), "{over_http}");

    let report = rhumb(&cluster, outside, &["residency", "--json"]);
    let report = json(&String::from_utf8(report.stdout).unwrap());
    assert_eq!(at(&report, "/alerts"), &Value::Array(Vec::new()));
    let holdings = at(&report, "/holdings").as_array().unwrap();
    let eu = holdings.iter().find(|holding| at(holding, "/name") == "eu:").unwrap();
    assert_eq!(at(eu, "/regions").as_array().unwrap().len(), 2);

    // The other one answers when the nearest is gone, and nobody when both are.
    let has = |value: Option<String>| {
        anyhow::ensure!(value.as_deref() == Some("ada"), "{value:?}");
        Ok(())
    };
    drop((here, there));
    cluster.kill(one).unwrap();
    eventually(READY_WAIT_MAX, || has(stranger.get("eu:user")?)).unwrap();
    cluster.kill(two).unwrap();
    eventually(READY_WAIT_MAX, || {
        let refused = stranger.get::<_, Option<String>>("eu:user").err();
        let code = refused.as_ref().and_then(|error| error.code());
        anyhow::ensure!(code == Some("UNAVAILABLE"), "{refused:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn jobs_of_a_jurisdiction_run_inside_and_are_passed_on_by_who_is_outside() {
    let mut cluster = cluster();
    cluster.wait_until_agreed(0..3).unwrap();
    wait_for_duties(&cluster, 0..3);
    let nth = |name: &str| (0..3).find(|nth| cluster.region(*nth) == name).unwrap();
    let (outside, one, two) = (nth(OUTSIDE), nth("eu-west-1"), nth("ap-southeast-1"));
    let create = ["queue", "create", "payroll", "--residency", "eu", "--reason", "test"];
    eventually(READY_WAIT_MAX, || {
        let made = rhumb(&cluster, outside, &create);
        anyhow::ensure!(made.status.success(), "{made:?}");
        Ok(())
    })
    .unwrap();
    for nth in 0..3 {
        eventually(READY_WAIT_MAX, || {
            let shown = rhumb(&cluster, nth, &["queue", "show", "payroll"]);
            anyhow::ensure!(shown.status.success(), "{shown:?}");
            Ok(())
        })
        .unwrap();
    }
    let job = works(rhumb(&cluster, outside, &["queue", "send", "payroll", "pay ada"]));
    let why = json(&works(rhumb(&cluster, one, &["queue", "why", job.trim(), "--json"])));
    let (home, pinned) = (at(&why, "/jobs/0/home"), at(&why, "/jobs/0/pinned"));
    assert!(home != OUTSIDE && pinned == false, "{why}");
    let refused = fails(rhumb(&cluster, outside, &["queue", "receive", "payroll"]));
    assert!(refused.contains("stay in eu"), "{refused}");
    let sent_out = ["queue", "send", "payroll", "x", "--home", OUTSIDE];
    let refused = fails(rhumb(&cluster, one, &sent_out));
    assert!(refused.contains("is outside"), "{refused}");
    let received = works(rhumb(&cluster, two, &["queue", "receive", "payroll", "--wait", "10s"]));
    assert!(received.contains("pay ada"), "{received}");
    let report = json(&works(rhumb(&cluster, outside, &["residency", "--json"])));
    assert_eq!(at(&report, "/queues/0/name"), "queue payroll");
    assert_eq!(at(&report, "/queues/0/regions").as_array().unwrap().len(), 2);
    // With nobody inside in reach it takes nothing in.
    cluster.kill(one).unwrap();
    cluster.kill(two).unwrap();
    eventually(READY_WAIT_MAX, || {
        let refused = rhumb(&cluster, outside, &["queue", "send", "payroll", "lost"]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        anyhow::ensure!(told.contains("no region can be reached"), "{told}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_file_that_says_otherwise_where_keys_lie_is_an_alarm() {
    let mut cluster = Layout::regions(2).prepare().unwrap();
    let file = fs::read_to_string(cluster.config(1)).unwrap();
    let other = file.replace("lock:", "locks:");
    assert_ne!(file, other);
    fs::write(cluster.config(1), other).unwrap();
    for nth in 0..2 {
        cluster.start(nth).unwrap();
    }
    eventually(READY_WAIT_MAX, || {
        for nth in 0..2 {
            let status = rhumb(&cluster, nth, &["status", "--json"]);
            let status = String::from_utf8(status.stdout)?;
            anyhow::ensure!(status.contains("give all nodes the same namespaces"), "{status}");
        }
        Ok(())
    })
    .unwrap();
}
