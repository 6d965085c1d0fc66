//! The file gate: no file is too long without a reason, and none names a path of somebody's
//! machine.

use std::{fs, path::Path};

use anyhow::{Context, bail};

use super::Complaint;
use crate::workspace::Workspace;

/// Most lines of a source file that are not tests.
const LINES_MAX: usize = 500;
/// The start of the line that gives the reason of a longer file.
const REASON: &str = "//! Long: ";
/// Folders in which people keep their checkouts, on any machine.
const HOMES: &[&str] = &["/home/", "/Users/", "/root/"];
/// Folders at the root of every machine; a checkout below one of them is named by its whole path.
const STANDARD: &[&str] = &[
    "bin", "boot", "builds", "data", "dev", "etc", "home", "lib", "media", "mnt", "opt", "private",
    "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var", "Users",
];

/// Reads every file that git knows or would add.
pub(super) fn check(workspace: &Workspace) -> anyhow::Result<Vec<Complaint>> {
    let machine = machine_paths(workspace.root());
    let mut complaints = Vec::new();
    for name in listed(workspace)? {
        // Deleted but not yet committed, or not text: nothing to read.
        let Ok(text) = fs::read_to_string(workspace.root().join(&name)) else { continue };
        complaints.extend(too_long(&name, &text));
        complaints.extend(names_machine(&name, &text, &machine));
    }
    Ok(complaints)
}

fn listed(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let output = workspace
        .command("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("failed to start git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn too_long(name: &str, text: &str) -> Option<Complaint> {
    if !name.ends_with(".rs") || is_test_file(name) {
        return None;
    }
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let reasoned =
        text.lines().any(|line| line.strip_prefix(REASON).is_some_and(|r| !r.is_empty()));
    (lines > LINES_MAX && !reasoned).then(|| Complaint {
        place: name.to_owned(),
        reason: format!(
            "{lines} lines without tests; split it along a seam, or give the reason in one line \
             `{REASON}...` (most: {LINES_MAX})"
        ),
    })
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/") || name.contains("/benches/")
}

/// Beginnings of paths that mean something on one machine only.
fn machine_paths(root: &Path) -> Vec<String> {
    let mut paths: Vec<String> = HOMES.iter().map(|home| (*home).to_owned()).collect();
    let top = root.components().nth(1).and_then(|c| c.as_os_str().to_str());
    paths.push(match top {
        Some(top) if !STANDARD.contains(&top) => format!("/{top}/"),
        _ => root.display().to_string(),
    });
    paths
}

fn names_machine(name: &str, text: &str, machine: &[String]) -> Option<Complaint> {
    // This file lists them.
    if name == "crates/xtask/src/tidy/files.rs" {
        return None;
    }
    let line = text.lines().position(|line| machine.iter().any(|path| starts_path(line, path)))?;
    Some(Complaint {
        place: format!("{name}:{}", line + 1),
        reason: "names a path of one machine; make it relative, or a setting".to_owned(),
    })
}

/// Whether the line has the path where a path starts, so that a URL's path is not mistaken for it.
fn starts_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~}$".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_needs_a_reason() {
        let long = "let a = 1;\n".repeat(LINES_MAX + 1);
        assert!(too_long("crates/a/src/lib.rs", &long).is_some());
        assert!(too_long("crates/a/tests/it.rs", &long).is_none());
        assert!(
            too_long("crates/a/src/lib.rs", &format!("//! Long: one table.\n{long}")).is_none()
        );
        let tested = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(too_long("crates/a/src/lib.rs", &tested).is_none());
    }

    #[test]
    fn a_path_of_one_machine_is_refused() {
        let machine = machine_paths(Path::new("/checkouts/rhumb"));
        let found = |text: &str| names_machine("README.md", text, &machine).map(|c| c.place);
        assert_eq!(found("a\nsee `/checkouts/x`"), Some("README.md:2".to_owned()));
        assert_eq!(found("cd /home/ada/rhumb"), Some("README.md:1".to_owned()));
        assert_eq!(found("https://example.net/home/page"), None);
        assert_eq!(found("/usr/bin/env"), None);
    }

    #[test]
    fn a_checkout_in_a_common_folder_is_named_whole() {
        let machine = machine_paths(Path::new("/tmp/clone"));
        assert!(machine.contains(&"/tmp/clone".to_owned()));
    }
}
