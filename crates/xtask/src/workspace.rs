//! What cargo says about the workspace, and how commands are started in it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The workspace as `cargo metadata` describes it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// What cargo said.
    pub(crate) metadata: Metadata,
}

/// The parts of `cargo metadata --format-version 1` that the gates read.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) workspace_root: PathBuf,
    pub(crate) target_directory: PathBuf,
    pub(crate) resolve: Option<Resolve>,
}

/// One package, of the workspace or not.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) metadata: Option<serde_json::Value>,
}

/// A dependency as the manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for an ordinary dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// The resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<ResolvedNode>,
}

/// One package's resolved dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct ResolvedNode {
    pub(crate) id: String,
    pub(crate) deps: Vec<ResolvedDependency>,
}

/// One edge of the resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct ResolvedDependency {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<ResolvedKind>,
}

/// What an edge is for.
#[derive(Debug, Deserialize)]
pub(crate) struct ResolvedKind {
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// The packages of the workspace, by name.
    pub(crate) fn members(&self) -> Vec<&Package> {
        let mut members: Vec<&Package> =
            self.packages.iter().filter(|p| self.workspace_members.contains(&p.id)).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }
}

impl Package {
    /// The folder of the package.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("failed to start cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed; its message stands above");
        }
        let metadata =
            serde_json::from_slice(&output.stdout).context("failed to read cargo metadata")?;
        Ok(Self { metadata })
    }

    /// The folder of the workspace.
    pub(crate) fn root(&self) -> &Path {
        &self.metadata.workspace_root
    }

    /// Whether the workspace has a package of that name.
    pub(crate) fn has(&self, package: &str) -> bool {
        self.metadata.members().iter().any(|p| p.name == package)
    }

    /// A cargo command in the workspace's folder that reads nothing from the terminal.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&cargo());
        command.args(arguments);
        command
    }

    /// A command in the workspace's folder that reads nothing from the terminal.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root()).stdin(Stdio::null());
        command
    }
}

/// The cargo that started this program, so that a pinned toolchain stays pinned.
fn cargo() -> String {
    option_env!("CARGO").map_or_else(|| "cargo".to_owned(), str::to_owned)
}

/// Runs a command to its end with its output on the terminal; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> anyhow::Result<bool> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", command.get_program().display()))?;
    Ok(status.success())
}

/// Whether a program can be started and succeeds with these arguments, quietly.
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
