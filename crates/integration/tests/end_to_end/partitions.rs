//! Networks that are cut while everybody runs.

use std::{thread, time::Duration};

use redis::Commands;
use rhumb_integration::{Layout, Load, eventually};

/// How long regions may take to agree after a cut has healed.
const HEAL_MAX: Duration = Duration::from_secs(30);

#[test]
fn both_sides_of_a_cut_go_on_and_agree_afterwards() {
    let cluster = Layout::regions(3).relayed().start().unwrap();
    cluster.set_cut_off(0, true).unwrap();
    let alone = Load::start("alone:", &[cluster.resp(0)], 2);
    let others = Load::start("others:", &[cluster.resp(1)], 2);
    thread::sleep(Duration::from_secs(2));
    // Strong namespaces need a majority: refused on the small side, never answered wrongly.
    let mut minority = cluster.connect(0).unwrap();
    let refused: Result<Option<String>, _> =
        redis::cmd("SET").arg("lock:cut").arg("minority").arg("NX").query(&mut minority);
    assert!(refused.is_err(), "the minority took a lock: {refused:?}");
    let mut majority = cluster.connect(1).unwrap();
    let taken: Option<String> = eventually(HEAL_MAX, || {
        Ok(redis::cmd("SET").arg("lock:cut").arg("majority").arg("NX").query(&mut majority)?)
    })
    .unwrap();
    assert_eq!(taken.as_deref(), Some("OK"));
    let (alone, others) = (alone.stop().unwrap(), others.stop().unwrap());
    for side in [&alone, &others] {
        assert!(side.worst_gap < Duration::from_secs(2), "{:?}", side.worst_gap);
    }
    cluster.set_cut_off(0, false).unwrap();
    for nth in 0..3 {
        alone.check(cluster.resp(nth), HEAL_MAX).unwrap();
        others.check(cluster.resp(nth), HEAL_MAX).unwrap();
    }
    let holder: String = eventually(HEAL_MAX, || {
        Ok(redis::cmd("GET").arg("lock:cut").query(&mut cluster.connect(0)?)?)
    })
    .unwrap();
    assert_eq!(holder, "majority");
}

#[test]
fn what_is_cut_one_way_arrives_once_it_heals() {
    let cluster = Layout::regions(3).relayed().start().unwrap();
    cluster.set_cut_one_way(0, 1, true).unwrap();
    let written = Load::start("oneway:", &[cluster.resp(0)], 2);
    thread::sleep(Duration::from_secs(2));
    let mut other = cluster.connect(1).unwrap();
    let () = other.set("from:1", "still here").unwrap();
    let written = written.stop().unwrap();
    // The third region is not cut off from anybody.
    written.check(cluster.resp(2), HEAL_MAX).unwrap();
    cluster.set_cut_one_way(0, 1, false).unwrap();
    written.check(cluster.resp(1), HEAL_MAX).unwrap();
    let heard: String = eventually(HEAL_MAX, || Ok(cluster.connect(0)?.get("from:1")?)).unwrap();
    assert_eq!(heard, "still here");
}
