//! Clocks that are off.

use std::time::Duration;

use rhumb_integration::{Launch, Layout, eventually};

/// How long a node may take to see that its clock is off.
const NOTICE_MAX: Duration = Duration::from_secs(20);

#[test]
fn a_node_whose_clock_is_ten_minutes_off_stops_acknowledging_and_says_so() {
    let mut cluster = Layout::regions(3).start().unwrap();
    for offset in ["600000", "-600000"] {
        assert!(cluster.terminate(2).unwrap().success());
        cluster.launch(2, &Launch::with(&["--clock-offset", offset])).unwrap();
        let mut acknowledged = 0;
        let refusal = eventually(NOTICE_MAX, || {
            let mut connection = cluster.connect(2)?;
            let Err(error) = redis::cmd("SET").arg("k").arg(1).exec(&mut connection) else {
                acknowledged += 1;
                anyhow::bail!("it acknowledges");
            };
            let reason = error.to_string();
            anyhow::ensure!(
                reason.contains("clock"),
                "it refuses because of something else: {reason}"
            );
            Ok(reason)
        })
        .unwrap();
        println!(
            "by {offset} ms: {acknowledged} acknowledged before its peers were heard, then {refusal}"
        );
        assert!(cluster.log(2).contains("Clock"), "its log does not say so");
        // The others are not misled, and what they write is not older than what it wrote.
        let mut connection = cluster.connect(0).unwrap();
        redis::cmd("SET").arg("k").arg("sane").exec(&mut connection).unwrap();
        let value: String = redis::cmd("GET").arg("k").query(&mut connection).unwrap();
        assert_eq!(value, "sane");
    }
}
