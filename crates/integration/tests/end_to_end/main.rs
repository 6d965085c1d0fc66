//! Real processes, real clients: what a user of the binary meets.
//!
//! Each test starts a cluster of its own. A test that cannot run here prints why and passes; `cargo
//! xtask test` names the same reasons.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stdout, reason = "tests say what they measured and what they skip")]

mod certificates;
mod clients;
mod clocks;
mod disks;
mod identities;
mod kills;
mod malformed;
mod partitions;
mod restarts;

use std::process::{Command, Output, Stdio};

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
