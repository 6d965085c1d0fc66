//! Commands that are programs of their own in the workspace.

use anyhow::{Context, bail};

use crate::workspace::{Workspace, succeeds};

/// The simulator's package.
pub(crate) const SIM_PACKAGE: &str = "rhumb-sim";
/// The binary that ships, which the benchmarks start.
const SHIPPED_PACKAGE: &str = "rhumb";
/// The benchmarks' package.
const BENCH_PACKAGE: &str = "rhumb-bench";
/// The package of the tests that start real processes and real clients.
pub(crate) const INTEGRATION_PACKAGE: &str = "rhumb-integration";
/// Its program that does failures of a region.
const CHAOS_BINARY: &str = "chaos";
/// What that ends with when the machine does not let it run.
const CHAOS_SKIPPED: i32 = 77;

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

/// How a run of chaos ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChaosEnd {
    /// Everything was as promised.
    Passed,
    /// Something was not.
    Failed,
    /// This machine does not let it run; it has said why.
    Skipped,
}

/// Does failures of a region to the binary that ships, which is built first; optimised, unless it is the
/// short run.
pub(crate) fn chaos(workspace: &Workspace, rest: &[String]) -> anyhow::Result<ChaosEnd> {
    let short = rest.iter().any(|word| word == "--short");
    let (profile, folder) = if short { ("dev", "debug") } else { ("release", "release") };
    let packages = ["--package", SHIPPED_PACKAGE, "--package", INTEGRATION_PACKAGE];
    let mut build = workspace.cargo(&["build", "--quiet", "--bins", "--profile", profile]);
    if !succeeds(build.args(packages))? {
        return Ok(ChaosEnd::Failed);
    }
    let binary = workspace.metadata.target_directory.join(folder).join(CHAOS_BINARY);
    let mut chaos = workspace.command(&binary.to_string_lossy());
    let status = chaos.args(rest).status().context("failed to start chaos")?;
    Ok(match status.code() {
        Some(0) => ChaosEnd::Passed,
        Some(CHAOS_SKIPPED) => ChaosEnd::Skipped,
        _ => ChaosEnd::Failed,
    })
}

fn optimised(workspace: &Workspace, package: &str, arguments: &[String]) -> anyhow::Result<bool> {
    if !workspace.has(package) {
        bail!("this workspace has no package `{package}` yet, so there is nothing to run");
    }
    let mut command = workspace.cargo(&["run", "--quiet", "--release", "--package", package, "--"]);
    succeeds(command.args(arguments))
}
