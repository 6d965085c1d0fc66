//! `rhumb runners demo`, as somebody runs it who has just installed the program.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rhumb_integration::programs;
use serde_json::Value;
use tempfile::TempDir;

/// Jobs of the demonstration: two of each kind.
const JOBS: usize = 8;
/// How long it may take, with three regions of a debug build that start and stop.
const DEMO_MAX: Duration = Duration::from_secs(180);
/// Ports between those of the other tests and those of outgoing connections.
const PORTS: std::ops::Range<u16> = 31_300..32_700;
/// Ports that a cluster on this machine has, 100 for each region, the last of which nothing uses.
const PORTS_OF_DEMO: u16 = 300;

/// The first of ports that nothing listens on, and one of them held, as the sign that they are taken.
fn ports() -> (u16, TcpListener) {
    let on = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let mut firsts =
        PORTS.step_by(PORTS_OF_DEMO.into()).filter(|it| it + PORTS_OF_DEMO <= PORTS.end);
    let free = firsts.find_map(|first| {
        let held = on(first + PORTS_OF_DEMO - 1).ok()?;
        let others = first..first + PORTS_OF_DEMO - 1;
        others.into_iter().all(|port| on(port).is_ok()).then_some((first, held))
    });
    free.unwrap()
}

#[test]
fn the_demonstration_holds_what_it_shows() {
    let folder = TempDir::new().unwrap();
    let (port, _held) = ports();
    let began = Instant::now();
    let mut demo = Command::new(programs::rhumb().unwrap());
    demo.args(["runners", "demo", "--no-wan", "--json", "--jobs", &JOBS.to_string()]);
    demo.args(["--port", &port.to_string(), "--data"]).arg(folder.path());
    let output = demo.stdin(Stdio::null()).output().unwrap();
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complaint}", output.status);
    assert!(began.elapsed() < DEMO_MAX, "{:?}", began.elapsed());
    let outcome: Value = serde_json::from_str(&said).unwrap();
    let rows = outcome["rows"].as_array().unwrap();
    let row = |what: &str| {
        let row = rows.iter().find(|row| row["what"] == what);
        row.and_then(|row| row["measured"].as_str())
            .unwrap_or_else(|| panic!("{what}: {outcome:#}"))
    };
    assert_eq!(row("forged webhooks are refused"), "{401}");
    assert!(row("every job ran").starts_with("8 of 8"), "{outcome:#}");
    assert_eq!(row("no job ran twice"), "8 starts");
    assert_eq!(row("repeats are no other jobs"), "4 of 4 repeats known, 8 jobs");
    let went = row("jobs went by rule and label");
    for home in ["acme/web eu-west-1", "acme/api us-east-1", "globex/site ap-southeast-1"] {
        assert!(went.split(", ").any(|it| it == home), "{home}: {went}");
    }
    assert!(rows.iter().all(|row| row["held"] == true), "{outcome:#}");
}
