//! Commands that are programs of their own in the workspace.

use anyhow::bail;

use crate::workspace::{Workspace, succeeds};

/// The simulator's package.
pub(crate) const SIM_PACKAGE: &str = "rhumb-sim";
/// The binary that ships, which the benchmarks start.
const SHIPPED_PACKAGE: &str = "rhumb";
/// The benchmarks' package.
const BENCH_PACKAGE: &str = "rhumb-bench";

/// Runs the simulator.
pub(crate) fn sim(workspace: &Workspace, rest: &[String]) -> anyhow::Result<bool> {
    optimised(workspace, SIM_PACKAGE, rest)
}

/// Runs the benchmarks of the binary that ships, which is built first.
pub(crate) fn bench(workspace: &Workspace, rest: &[String]) -> anyhow::Result<bool> {
    let mut build =
        workspace.cargo(&["build", "--quiet", "--release", "--package", SHIPPED_PACKAGE]);
    if !succeeds(&mut build)? {
        return Ok(false);
    }
    optimised(workspace, BENCH_PACKAGE, rest)
}

fn optimised(workspace: &Workspace, package: &str, arguments: &[String]) -> anyhow::Result<bool> {
    if !workspace.has(package) {
        bail!("this workspace has no package `{package}` yet, so there is nothing to run");
    }
    let mut command = workspace.cargo(&["run", "--quiet", "--release", "--package", package, "--"]);
    succeeds(command.args(arguments))
}
