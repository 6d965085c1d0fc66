//! The programs that tests start, and why a test cannot run where one is missing.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use rhumb_config::process_environment;

/// Names the binary under test.
pub const BINARY_VARIABLE: &str = "RHUMB_TEST_BINARY";
/// Names the Python that has the clients.
pub const PYTHON_VARIABLE: &str = "RHUMB_TEST_PYTHON";
/// Names the folder `node_modules` that has the clients.
pub const NODE_VARIABLE: &str = "RHUMB_TEST_NODE_MODULES";

/// The binary under test: as the environment says, else the one that cargo built beside this
/// program.
///
/// # Errors
/// When there is none.
pub fn rhumb() -> Result<PathBuf> {
    if let Some(path) = process_environment(BINARY_VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe()?;
    // target/debug/deps/test or target/debug/program
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("rhumb"));
    beside.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("there is no rhumb beside {}; build it, or set {BINARY_VARIABLE}", own.display())
    })
}

/// The Python that has the clients: as the environment says, else the one that `cargo xtask test`
/// made in the target folder.
#[must_use]
pub fn python() -> Option<PathBuf> {
    if let Some(path) = process_environment(PYTHON_VARIABLE) {
        return Some(PathBuf::from(path));
    }
    let own = std::env::current_exe().ok()?;
    let made = own.ancestors().map(|folder| folder.join("xtask/python/bin/python"));
    made.into_iter().find(|path| path.is_file())
}

/// The folder with the Node.js clients: as the environment says, else the one that `cargo xtask
/// test` made in the target folder.
#[must_use]
pub fn node_modules() -> Option<PathBuf> {
    if let Some(path) = process_environment(NODE_VARIABLE) {
        return Some(PathBuf::from(path));
    }
    let own = std::env::current_exe().ok()?;
    let made = own.ancestors().map(|folder| folder.join("xtask/node/node_modules"));
    made.into_iter().find(|path| path.is_dir())
}

/// Whether a program can be started.
#[must_use]
pub fn answers(program: impl AsRef<Path>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether there is curl.
#[must_use]
pub fn has_curl() -> bool {
    answers("curl", &["--version"])
}
