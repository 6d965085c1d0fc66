//! How nodes come by their identities, and keep them: `rhumb init`, `join-token` and `join`.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use rhumb_config::{Config, Outside};
use rhumb_integration::{Cluster, Layout, eventually, programs};
use rhumb_peer::{ClusterAuthority, Identities, JoinDesk, Validity};
use rhumb_types::{ClusterId, NodeId, RegionId};
use serde_json::Value;

use crate::{fails, rhumb, works};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// How long a node may take to renew its certificate, in a debug build on a busy machine.
const RENEWAL_WAIT_MAX: Duration = Duration::from_secs(30);

fn token(cluster: &Cluster, holder: usize, region: usize, expires: &str) -> String {
    let words = ["join-token", "--region", cluster.region(region), "--expires", expires];
    works(rhumb(cluster, holder, &words)).trim().to_owned()
}

fn identity(cluster: &Cluster, nth: usize) -> std::path::PathBuf {
    cluster.data(nth).join("identity")
}

#[test]
fn three_that_init_made_find_each_other_in_any_order() {
    let mut cluster = Layout::regions(3).without_identities().prepare().unwrap();
    let made: Value =
        serde_json::from_str(&works(rhumb(&cluster, 0, &["init", "--json"]))).unwrap();
    assert_eq!(made["identities"].as_array().unwrap().len(), 3, "{made}");
    let again = fails(rhumb(&cluster, 0, &["init"]));
    assert!(again.contains("holds a cluster's authority already"), "{again}");
    for nth in [2, 0, 1] {
        cluster.start(nth).unwrap();
    }
    cluster.wait_until_linked(0..3).unwrap();
    cluster.wait_until_agreed(0..3).unwrap();
}

#[test]
fn a_token_lets_one_node_in_once() {
    let mut cluster = Layout::regions(3).without_identities().prepare().unwrap();
    works(rhumb(&cluster, 0, &["init"]));
    fs::remove_dir_all(identity(&cluster, 2)).unwrap();
    cluster.start(0).unwrap();
    cluster.start(1).unwrap();
    cluster.wait_until_linked(0..2).unwrap();
    let good = token(&cluster, 0, 2, "1h");

    // What is wrong on this machine is found before the secret is used up.
    let other_region = fails(rhumb(&cluster, 1, &["join", &good]));
    assert!(other_region.contains("the token is for ap-southeast-1"), "{other_region}");
    let full = cluster.config(2).to_owned();
    let file = fs::read_to_string(&full).unwrap();
    fs::write(&full, file.replace("ap-southeast-1", "ap-southeast-2")).unwrap();
    let mut stranger = Command::new(programs::rhumb().unwrap());
    let stranger = stranger.arg("join").arg(&good).arg("--config").arg(&full).output().unwrap();
    let stranger = fails(stranger);
    assert!(stranger.contains("which is not in"), "{stranger}");
    fs::write(&full, file).unwrap();
    let mistyped = fails(rhumb(&cluster, 2, &["join", good.get(..good.len() - 1).unwrap()]));
    assert!(mistyped.contains("mistyped"), "{mistyped}");

    let brief = token(&cluster, 0, 2, "1s");
    std::thread::sleep(Duration::from_millis(2_100));
    let late = fails(rhumb(&cluster, 2, &["join", &brief]));
    assert!(late.contains("the token has expired"), "{late}");
    let foreign = foreign_token(&cluster, cluster.config(2).parent().unwrap());
    let refused = fails(rhumb(&cluster, 2, &["join", &foreign]));
    assert!(refused.contains("token"), "{refused}");
    assert!(!Identities::is_in(&identity(&cluster, 2)));

    works(rhumb(&cluster, 2, &["join", &good]));
    let exists = fails(rhumb(&cluster, 2, &["join", &good]));
    assert!(exists.contains("holds an identity already"), "{exists}");
    let kept = cluster.data(2).join("kept");
    fs::rename(identity(&cluster, 2), &kept).unwrap();
    let used = fails(rhumb(&cluster, 2, &["join", &good]));
    assert!(used.contains("was used"), "{used}");
    fs::rename(&kept, identity(&cluster, 2)).unwrap();
    cluster.start(2).unwrap();
    cluster.wait_until_linked(0..3).unwrap();
    cluster.wait_until_agreed(0..3).unwrap();
}

/// A token of another cluster's authority that leads to this cluster's first node.
fn foreign_token(cluster: &Cluster, folder: &Path) -> String {
    let folder = folder.join("foreign");
    ClusterAuthority::create(ClusterId(7)).unwrap().save(&folder).unwrap();
    let desk = JoinDesk::open(&folder).unwrap();
    let region = RegionId::new(cluster.region(2)).unwrap();
    desk.invite(region, NodeId(9), None, cluster.peer(0).to_string(), HOUR).unwrap().to_string()
}

/// The file of a node, without a region.
fn leave_out(cluster: &Cluster, nth: usize, region: usize) {
    let file = cluster.config(nth);
    let outside = Outside { variable: &|_| None, worst_election: &|_| Duration::ZERO };
    let mut settings = Config::load(file, &outside).unwrap().settings().clone();
    settings.regions.remove(&RegionId::new(cluster.region(region)).unwrap()).unwrap();
    fs::write(file, settings.to_yaml().unwrap()).unwrap();
}

/// Three regions that run, and a fourth that only its own file knows.
pub(crate) fn three_of_four() -> Cluster {
    let mut cluster = Layout::regions(4).without_identities().prepare().unwrap();
    (0..3).for_each(|nth| leave_out(&cluster, nth, 3));
    works(rhumb(&cluster, 0, &["init"]));
    assert!(!Identities::is_in(&identity(&cluster, 3)));
    for nth in 0..3 {
        cluster.start(nth).unwrap();
    }
    cluster.wait_until_linked(0..3).unwrap();
    cluster.wait_until_agreed(0..3).unwrap();
    cluster
}

/// The file changes on every machine; nobody restarts.
pub(crate) fn join_fourth(cluster: &mut Cluster) {
    let full = fs::read_to_string(cluster.config(3)).unwrap();
    (0..3).for_each(|nth| fs::write(cluster.config(nth), &full).unwrap());
    let token = token(cluster, 0, 3, "10m");
    works(rhumb(cluster, 3, &["join", &token]));
    let url = format!("http://{}", cluster.http(1));
    works(rhumb(cluster, 3, &["member", "add", "--reason", "growth", "--url", &url]));
    cluster.start(3).unwrap();
}

#[test]
fn a_fourth_region_joins_three_that_run() {
    let mut cluster = three_of_four();
    join_fourth(&mut cluster);
    cluster.wait_until_linked(0..4).unwrap();
    cluster.wait_until_agreed(3..4).unwrap();
    // It votes: of four, three are a majority.
    cluster.kill(2).unwrap();
    eventually(RENEWAL_WAIT_MAX, || {
        let put = rhumb(&cluster, 3, &["kv", "put", "lock:a", "1"]);
        anyhow::ensure!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
        Ok(())
    })
    .unwrap();
}

#[test]
fn certificates_are_renewed_in_the_last_third_of_their_life() {
    let mut cluster = Layout::regions(2).prepare().unwrap();
    cluster.authority().save(&cluster.data(0).join("authority")).unwrap();
    let now = SystemTime::now();
    let ending = Validity { from: now - 10 * HOUR, until: now + HOUR };
    for nth in 0..2 {
        cluster.reissue(nth, None, ending).unwrap();
        cluster.start(nth).unwrap();
    }
    for nth in 0..2 {
        eventually(RENEWAL_WAIT_MAX, || {
            let until = Identities::load(&identity(&cluster, nth), None)?.expires_at();
            anyhow::ensure!(until > now + 300 * DAY, "{}", cluster.log(nth));
            Ok(())
        })
        .unwrap();
    }
    cluster.wait_until_linked(0..2).unwrap();
}

#[test]
fn an_alarm_says_that_a_certificate_ends_and_nobody_can_renew_it() {
    let mut cluster = Layout::regions(1).prepare().unwrap();
    let now = SystemTime::now();
    let ending = Validity { from: now - 300 * DAY, until: now + 13 * DAY };
    cluster.reissue(0, None, ending).unwrap();
    cluster.start(0).unwrap();
    eventually(RENEWAL_WAIT_MAX, || {
        let log = cluster.log(0);
        anyhow::ensure!(log.contains("cannot be renewed"), "{log}");
        anyhow::ensure!(log.contains("rhumb join-token --node n1"), "{log}");
        Ok(())
    })
    .unwrap();
    cluster.wait_until_ready(0).unwrap();
}
