//! `cargo xtask test`: everything that a merge must pass, as a list of steps.
//!
//! A step that cannot run here says why and does not stop the rest; a step that fails makes the
//! whole run fail, after the others have run. The last lines are the summary.

pub(crate) mod environment;

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    delegate::{self, ChaosEnd, INTEGRATION_PACKAGE, SIM_PACKAGE},
    tidy,
    workspace::{Workspace, answers, succeeds},
};

/// How many seeds of the simulator a run takes unless told otherwise.
pub(crate) const SIM_SEEDS_DEFAULT: u32 = 300;
/// The package of the consensus groups, whose simulation is its own.
const CONTROL_PACKAGE: &str = "rhumb-control";
const QUEUE_PACKAGE: &str = "rhumb-queue";
const OBJECTS_PACKAGE: &str = "rhumb-objects";
/// The package of the binary.
const BINARY_PACKAGE: &str = "rhumb";

/// How to run the steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Whether missing tools may be installed.
    pub(crate) install: bool,
    /// How many seeds the simulator runs.
    pub(crate) seeds: u32,
    /// Only the steps whose name contains this.
    pub(crate) only: Option<String>,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// Passed, but for parts that could not run: what they are and why.
    PassedWithout(Vec<String>),
    Failed(String),
    Skipped(String),
}

impl From<bool> for Outcome {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed("see its output above".to_owned()) }
    }
}

/// One step: its name in the summary, the package without which it has nothing to do, and the work.
struct Step {
    name: &'static str,
    package: Option<&'static str>,
    run: fn(&Workspace, &Options) -> anyhow::Result<Outcome>,
}

const STEPS: &[Step] = &[
    Step { name: "Debian packages", package: None, run: environment::install_packages },
    Step { name: "Python environment", package: None, run: environment::install_python },
    Step { name: "Node.js clients", package: None, run: environment::install_node },
    Step { name: "Azurite", package: None, run: environment::install_azurite },
    Step { name: "tidy", package: None, run: tidy_step },
    Step { name: "unit and property tests", package: None, run: unit_tests },
    Step { name: "documentation tests", package: None, run: doc_tests },
    Step { name: "simulator seeds", package: Some(SIM_PACKAGE), run: simulator },
    Step { name: "planted faults", package: Some(SIM_PACKAGE), run: planted },
    Step {
        name: "real processes, real clients",
        package: Some(INTEGRATION_PACKAGE),
        run: integration,
    },
    Step { name: "chaos on real processes", package: Some(INTEGRATION_PACKAGE), run: chaos },
];

/// Runs every step and prints the summary; whether none failed.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<bool> {
    let mut done: Vec<(&str, Duration, Outcome)> = Vec::with_capacity(STEPS.len());
    let wanted = |step: &&Step| options.only.as_ref().is_none_or(|part| step.name.contains(part));
    for step in STEPS.iter().filter(wanted) {
        println!("\n== {}", step.name);
        let started = Instant::now();
        let outcome = run_step(step, workspace, options);
        done.push((step.name, started.elapsed(), outcome));
    }
    if done.is_empty() {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("no step's name contains that; the steps are: {}", names.join(", "));
    }
    println!("\n== summary");
    for (name, took, outcome) in &done {
        let verdict = match outcome {
            Outcome::Passed => "ok".to_owned(),
            Outcome::PassedWithout(parts) => format!("ok, without {}", parts.join("; ")),
            Outcome::Failed(reason) => format!("FAILED: {reason}"),
            Outcome::Skipped(reason) => format!("skipped, because {reason}"),
        };
        println!("{name:<30} {:>6.1} s  {verdict}", took.as_secs_f64());
    }
    Ok(!done.iter().any(|(.., outcome)| matches!(outcome, Outcome::Failed(_))))
}

/// A step that could not even start has failed.
fn run_step(step: &Step, workspace: &Workspace, options: &Options) -> Outcome {
    if let Some(package) = step.package.filter(|package| !workspace.has(package)) {
        return Outcome::Skipped(format!("the workspace has no package `{package}` yet"));
    }
    (step.run)(workspace, options).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
}

fn tidy_step(workspace: &Workspace, _: &Options) -> anyhow::Result<Outcome> {
    let verdict = tidy::run(workspace, tidy::Options { fix: false, quick: false })?;
    Ok(match (verdict.refused.as_slice(), verdict.skipped.as_slice()) {
        ([], []) => Outcome::Passed,
        ([], skipped) => Outcome::PassedWithout(skipped.to_vec()),
        (refused, _) => Outcome::Failed(format!("refused by {}", refused.join(", "))),
    })
}

fn unit_tests(workspace: &Workspace, _: &Options) -> anyhow::Result<Outcome> {
    let mut selection = vec!["--workspace"];
    if workspace.has(INTEGRATION_PACKAGE) {
        selection.extend(["--exclude", INTEGRATION_PACKAGE]);
    }
    succeeds(test_runner(workspace).args(selection)).map(Outcome::from)
}

fn doc_tests(workspace: &Workspace, _: &Options) -> anyhow::Result<Outcome> {
    succeeds(&mut workspace.cargo(&["test", "--quiet", "--workspace", "--doc"])).map(Outcome::from)
}

fn simulator(workspace: &Workspace, options: &Options) -> anyhow::Result<Outcome> {
    let seeds = ["--seeds".to_owned(), options.seeds.to_string()];
    delegate::sim(workspace, &seeds).map(Outcome::from)
}

/// Every fault that is planted must be found by the check that is named for it.
fn planted(workspace: &Workspace, _: &Options) -> anyhow::Result<Outcome> {
    let sim = ["--package", SIM_PACKAGE, "--features", "planted", "--test", "planted"];
    let groups = [
        "--package",
        CONTROL_PACKAGE,
        "--features",
        "planted",
        "--test",
        "groups",
        "simulated::planted::",
    ];
    let queues =
        ["--package", QUEUE_PACKAGE, "--features", "planted", "--test", "regions", "planted::"];
    let objects = [
        "--package",
        OBJECTS_PACKAGE,
        "--features",
        "planted",
        "--test",
        "grants",
        "--test",
        "terms",
        "planted::",
    ];
    let mut passed = true;
    for selection in [sim.as_slice(), groups.as_slice(), queues.as_slice(), objects.as_slice()] {
        passed &= succeeds(test_runner(workspace).args(selection))?;
    }
    Ok(passed.into())
}

/// The tests are told by environment where the binary and the Python environment are.
fn integration(workspace: &Workspace, _: &Options) -> anyhow::Result<Outcome> {
    if !succeeds(&mut workspace.cargo(&["build", "--quiet", "--package", BINARY_PACKAGE]))? {
        return Ok(Outcome::Failed("the binary does not build".to_owned()));
    }
    let binary = workspace.metadata.target_directory.join("debug").join(BINARY_PACKAGE);
    let mut tests = test_runner(workspace);
    tests.args(["--package", INTEGRATION_PACKAGE]).env("RHUMB_TEST_BINARY", binary);
    let python = environment::program(workspace, "python");
    if python.exists() {
        tests.env("RHUMB_TEST_PYTHON", python);
    }
    succeeds(&mut tests).map(Outcome::from)
}

/// One failure of each of four kinds, in network namespaces.
fn chaos(workspace: &Workspace, _: &Options) -> anyhow::Result<Outcome> {
    Ok(match delegate::chaos(workspace, &["--short".to_owned()])? {
        ChaosEnd::Passed => Outcome::Passed,
        ChaosEnd::Failed => Outcome::from(false),
        ChaosEnd::Skipped => {
            Outcome::Skipped("this machine does not let it run: see its output above".to_owned())
        }
    })
}

/// nextest where it is installed, else cargo's own runner.
fn test_runner(workspace: &Workspace) -> std::process::Command {
    if answers("cargo", &["nextest", "--version"]) {
        return workspace.cargo(&["nextest", "run", "--no-fail-fast", "--no-tests", "pass"]);
    }
    println!("cargo-nextest is not installed; cargo test runs the same tests, one crate at a time");
    workspace.cargo(&["test", "--quiet", "--no-fail-fast", "--all-targets"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_without_its_package_is_skipped_by_name() {
        let workspace = Workspace::load().unwrap();
        let step = Step {
            name: "never",
            package: Some("rhumb-no-such-package"),
            run: |_, _| Ok(Outcome::Passed),
        };
        let Outcome::Skipped(reason) = run_step(&step, &workspace, &Options::default()) else {
            panic!("not skipped")
        };
        assert!(reason.contains("rhumb-no-such-package"), "{reason}");
    }

    #[test]
    fn a_step_that_cannot_start_has_failed() {
        let workspace = Workspace::load().unwrap();
        let step = Step {
            name: "broken",
            package: None,
            run: |workspace, _| {
                succeeds(&mut workspace.command("no-such-program-anywhere")).map(Outcome::from)
            },
        };
        let outcome = run_step(&step, &workspace, &Options::default());
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
}
