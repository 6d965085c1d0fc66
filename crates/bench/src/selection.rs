//! What one selection costs, as criterion measures it in `rhumb-regions`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rhumb_config::process_environment;
use rhumb_regions::Strategy;
use serde::Serialize;
use serde_json::Value;

use crate::{plan::Wanted, progress};

/// The name of its rows.
const NAME: &str = "selection";
/// The numbers of regions that the benchmark measures.
const REGIONS: [u32; 2] = [3, 20];
/// How criterion is called: short, since a selection is repeated millions of times a second.
const HOW: &[&str] = &[
    "bench",
    "--quiet",
    "--package",
    "rhumb-regions",
    "--bench",
    "select",
    "--",
    "--warm-up-time",
    "1",
    "--measurement-time",
    "2",
    "--noplot",
];

/// One strategy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Selection {
    pub(crate) strategy: &'static str,
    /// Medians in nanoseconds, in the order of [`REGIONS`].
    pub(crate) nanoseconds: Vec<f64>,
}

/// Runs the benchmark of `rhumb-regions`, and reads what criterion wrote.
pub(crate) fn measure(wanted: &Wanted) -> Result<Vec<Selection>> {
    if !wanted.includes(NAME) {
        return Ok(Vec::new());
    }
    progress(&format!("{NAME}: criterion measures every strategy"));
    let cargo = process_environment("CARGO").unwrap_or_else(|| "cargo".to_owned());
    let mut command = Command::new(cargo);
    // A folder of its own, so that no earlier run's figures are read.
    let folder = tempfile::Builder::new().prefix("rhumb-bench-criterion-").tempdir()?;
    command.args(HOW).env("CRITERION_HOME", folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    ensure!(command.status()?.success(), "cargo {} failed", HOW.join(" "));
    let median = |strategy: &str, regions: u32| {
        read(&folder.path().join(strategy).join(regions.to_string()).join("new/estimates.json"))
    };
    let one = |strategy: Strategy| {
        let strategy = strategy.as_str();
        let nanoseconds =
            REGIONS.iter().map(|regions| median(strategy, *regions)).collect::<Result<_>>()?;
        Ok(Selection { strategy, nanoseconds })
    };
    Strategy::ALL.into_iter().map(one).collect()
}

fn read(path: &Path) -> Result<f64> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let estimates: Value = serde_json::from_str(&text)?;
    let median = estimates.pointer("/median/point_estimate").and_then(Value::as_f64);
    median.with_context(|| format!("{} has no median", path.display()))
}
