//! `cargo xtask chaos`: failures of a region on real processes, and what came of each.
#![expect(clippy::print_stdout, reason = "a command-line tool that reports to a terminal")]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux;

/// What this program ends with when the machine does not let it run.
const SKIPPED: u8 = 77;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped, because network namespaces are Linux's");
    ExitCode::from(SKIPPED)
}
