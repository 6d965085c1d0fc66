//! Certificates that are foreign or have expired.

use std::{
    fs, thread,
    time::{Duration, SystemTime},
};

use redis::Commands;
use rhumb_integration::{Cluster, Layout};
use rhumb_peer::{ClusterAuthority, Validity};
use rhumb_types::ClusterId;

/// How long a node with a bad certificate is given to be let in by mistake.
const TRIAL: Duration = Duration::from_secs(3);

/// The last node comes back with another certificate: nothing that it writes reaches the others,
/// and they go on.
fn stays_outside(cluster: &mut Cluster) {
    cluster.start(2).unwrap();
    let end = std::time::Instant::now() + TRIAL;
    while std::time::Instant::now() < end {
        // It may refuse to start, or serve alone; both are outside.
        if let Ok(mut outsider) = cluster.connect(2) {
            let _refused: redis::RedisResult<()> = outsider.set("from:outside", 1);
        }
        thread::sleep(Duration::from_millis(100));
    }
    let mut inside = cluster.connect(0).unwrap();
    let () = inside.set("inside", 1).unwrap();
    let there: bool = inside.exists("from:outside").unwrap();
    assert!(!there, "a node that must stay outside was let in");
    let seen = cluster.connect(2).and_then(|mut outsider| Ok(outsider.exists("inside")?));
    assert!(!seen.unwrap_or(false), "an outsider reads what the cluster writes");
    let log = [0, 1, 2].map(|nth| cluster.log(nth)).join("\n").to_lowercase();
    assert!(log.contains("certificate") || log.contains("identity"), "nobody says why:\n{log}");
    cluster.kill(2).unwrap();
}

#[test]
fn foreign_and_expired_certificates_stay_outside() {
    let mut cluster = Layout::regions(3).start().unwrap();
    cluster.kill(2).unwrap();
    let foreign = ClusterAuthority::create(ClusterId(7)).unwrap();
    cluster.reissue(2, Some(&foreign), Validity::node()).unwrap();
    // A stranger has no data of this cluster; with it the node would refuse to start.
    let (store, control) = (cluster.data(2).join("store"), cluster.data(2).join("control"));
    let kept = cluster.data(2).join("kept");
    fs::create_dir(&kept).unwrap();
    fs::rename(&store, kept.join("store")).unwrap();
    fs::rename(&control, kept.join("control")).unwrap();
    stays_outside(&mut cluster);
    fs::remove_dir_all(&store).unwrap();
    fs::remove_dir_all(&control).unwrap();
    fs::rename(kept.join("store"), &store).unwrap();
    fs::rename(kept.join("control"), &control).unwrap();

    let now = SystemTime::now();
    let hour = Duration::from_secs(3_600);
    let expired = Validity { from: now - 2 * hour, until: now - hour };
    cluster.reissue(2, None, expired).unwrap();
    stays_outside(&mut cluster);

    cluster.reissue(2, None, Validity::node()).unwrap();
    cluster.start(2).unwrap();
    cluster.wait_until_linked(0..3).unwrap();
}
