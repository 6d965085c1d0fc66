//! SIGKILL at any moment loses nothing that was acknowledged.

use std::{thread, time::Duration};

use rhumb_config::dev::SAFE_PREFIX;
use rhumb_integration::{Layout, Load};

/// Kills of a node that is alone.
const KILLS: u64 = 10;
/// Kills of a node whose clients wait for another region.
const KILLS_WITH_SURVIVORS: u64 = 3;
/// Clients that write at a time.
const WRITERS: usize = 4;
/// How long survivors may take until all of them have what one of them has.
const SPREAD_MAX: Duration = Duration::from_secs(20);

/// A time between two kills: from a tenth of a second on, and never the same.
const fn pause(nth: u64) -> Duration {
    Duration::from_millis(100 + nth * 7_919 % 400)
}

#[test]
fn a_killed_node_has_all_that_it_acknowledged() {
    let mut cluster = Layout::regions(1).start().unwrap();
    let load = Load::start("plain:", &[cluster.resp(0)], WRITERS);
    for nth in 0..KILLS {
        thread::sleep(pause(nth));
        cluster.kill(0).unwrap();
        cluster.start(0).unwrap();
        cluster.wait_until_ready(0).unwrap();
    }
    let written = load.stop().unwrap();
    println!("{} acknowledged, {} failed", written.acknowledged.len(), written.failed);
    assert!(written.failed > 0, "no kill was under load");
    written.check(cluster.resp(0), Duration::ZERO).unwrap();
}

#[test]
fn survivors_have_all_that_a_killed_node_acknowledged_at_one_remote() {
    let mut cluster = Layout::regions(3).start().unwrap();
    for nth in 0..KILLS_WITH_SURVIVORS {
        let prefix = format!("{SAFE_PREFIX}{nth}:");
        let load = Load::start(&prefix, &[cluster.resp(0)], WRITERS);
        thread::sleep(Duration::from_millis(700) + pause(nth));
        cluster.kill(0).unwrap();
        let written = load.stop().unwrap();
        println!("{} acknowledged, {} failed", written.acknowledged.len(), written.failed);
        for survivor in [1, 2] {
            written.check(cluster.resp(survivor), SPREAD_MAX).unwrap();
        }
        cluster.start(0).unwrap();
        cluster.wait_until_linked(0..3).unwrap();
    }
}
