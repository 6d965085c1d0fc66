//! Restarts on purpose.

use std::{
    thread,
    time::{Duration, Instant},
};

use rhumb_config::dev::SAFE_PREFIX;
use rhumb_integration::{Layout, Load};

/// How long a region may take to catch up.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);
/// How long a node that clients write to may take to stop. It waits 5 s at most for other regions.
const STOP_MAX: Duration = Duration::from_secs(8);

#[test]
fn a_rolling_restart_loses_nothing_and_clients_go_on() {
    let mut cluster = Layout::regions(3).start().unwrap();
    let addresses: Vec<_> = (0..3).map(|nth| cluster.resp(nth)).collect();
    let load = Load::start("rolling:", &addresses, 4);
    // Some wait for other regions whenever a node is stopped.
    let safe = Load::start(&format!("{SAFE_PREFIX}rolling:"), &addresses, 4);
    for nth in 0..3 {
        thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        let status = cluster.terminate(nth).unwrap();
        assert!(status.success(), "{nth} ended with {status}");
        assert!(begun.elapsed() < STOP_MAX, "{nth} took {:?} to stop", begun.elapsed());
        cluster.start(nth).unwrap();
        cluster.wait_until_linked(0..3).unwrap();
    }
    for written in [load.stop().unwrap(), safe.stop().unwrap()] {
        println!("{} acknowledged, worst gap {:?}", written.acknowledged.len(), written.worst_gap);
        for address in &addresses {
            written.check(*address, CATCH_UP_MAX).unwrap();
        }
    }
}

#[test]
fn two_regions_and_a_witness_survive_the_loss_of_either() {
    let mut cluster = Layout::regions(3).witness().start().unwrap();
    for lost in [0, 1] {
        let survivor = 1 - lost;
        cluster.kill(lost).unwrap();
        let key = format!("lock:{lost}");
        let taken = rhumb_integration::eventually(CATCH_UP_MAX, || {
            let mut connection = cluster.connect(survivor)?;
            let set = redis::cmd("SET").arg(&key).arg("me").arg("NX").query(&mut connection)?;
            Ok::<Option<String>, anyhow::Error>(set)
        });
        // An attempt whose answer was lost may have taken it: then the key is there.
        let mut connection = cluster.connect(survivor).unwrap();
        let holder: Option<String> = redis::cmd("GET").arg(&key).query(&mut connection).unwrap();
        assert_eq!(holder.as_deref(), Some("me"), "{taken:?}");
        redis::cmd("SET").arg("plain").arg(lost).exec(&mut connection).unwrap();
        cluster.start(lost).unwrap();
        cluster.wait_until_linked(0..2).unwrap();
    }
}
