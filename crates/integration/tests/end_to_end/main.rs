//! Real processes, real clients: what a user of the binary meets.
//!
//! Each test starts a cluster of its own. A test that cannot run here prints why and passes; `cargo
//! xtask test` names the same reasons.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stdout, reason = "tests say what they measured and what they skip")]

mod aws;
mod cache;
mod certificates;
mod chaos;
mod checks;
mod clients;
mod clocks;
mod damage;
mod disks;
mod encrypted;
mod events;
mod http;
mod identities;
mod kills;
mod malformed;
mod members;
#[path = "../../../blobs/tests/s3/moto.rs"]
mod moto;
mod objects;
mod observed;
mod operators;
mod partitions;
mod queues;
mod races;
mod recovery;
mod rehearsed;
mod residency;
mod restarts;
mod runners;
mod s3;
mod shipments;
mod side_by_side;
mod sqs;
mod stores;
mod tour;
mod transactions;
mod workers;

use std::process::{Command, Output, Stdio};

use rhumb_integration::{Cluster, READY_WAIT_MAX, eventually, programs};
use serde_json::Value;

/// Says why a test does not run here.
fn skipped(reason: &str) {
    println!("skipped, because {reason}");
}

/// Runs a program to its end and gives what it printed; panics when it failed.
fn run(command: &mut Command) -> String {
    let output: Output = command.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}\n{complaint}", output.status);
    printed
}

/// Runs `rhumb` as a person on a node's machine would.
fn rhumb(cluster: &Cluster, nth: usize, words: &[&str]) -> Output {
    let mut command = Command::new(programs::rhumb().unwrap());
    command.args(words).arg("--config").arg(cluster.config(nth)).stdin(Stdio::null());
    command.env("RHUMB_REGION", cluster.region(nth)).output().unwrap()
}

fn works(output: Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says that must fail.
fn fails(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A part of an answer.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Who holds the duties of a node's region, as another says.
fn holder(cluster: &Cluster, asked: usize, nth: usize) -> String {
    let regions = json(&works(rhumb(cluster, asked, &["regions", "--json"])));
    let regions = at(&regions, "/regions").as_array().unwrap();
    let own = Value::from(cluster.region(nth));
    // Before it has joined, the others may not list it.
    let region = regions.iter().find(|region| at(region, "/region") == &own);
    region.map_or("", |it| at(it, "/lease/holder/region").as_str().unwrap_or_default()).to_owned()
}

/// Waits until so many regions are homes of keys of linearizable buckets, and no key's home moves.
fn wait_for_homes(cluster: &Cluster, count: usize) {
    eventually(READY_WAIT_MAX, || {
        let regions = json(&works(rhumb(cluster, 0, &["regions", "--json"])));
        let homes = at(&regions, "/homes");
        let in_force = at(homes, "/in_force").as_array().map_or(0, Vec::len);
        anyhow::ensure!(in_force == count && at(homes, "/announced").is_null(), "{homes}");
        Ok(())
    })
    .unwrap();
}

/// Waits until nodes act for their regions, and the first node knows it.
fn wait_for_duties(cluster: &Cluster, nodes: std::ops::Range<usize>) {
    for nth in nodes {
        eventually(READY_WAIT_MAX, || {
            let holder = holder(cluster, 0, nth);
            anyhow::ensure!(holder == cluster.region(nth), "{nth} is held by `{holder}`");
            // Its exit code is another matter.
            let status = rhumb(cluster, nth, &["status", "--json"]).stdout;
            let status: Value = serde_json::from_slice(&status)?;
            let leases = at(&status, "/leases").as_array().cloned().unwrap_or_default();
            let own = |lease: &Value| at(lease, "/region") == cluster.region(nth);
            anyhow::ensure!(leases.iter().any(own), "{nth} does not act yet: {leases:?}");
            Ok(())
        })
        .unwrap();
    }
}
