//! The purity gate: crates marked `pure` know no runtime, socket, thread, clock or randomness,
//! neither through a dependency nor through the standard library.
//!
//! The standard library is fenced off by clippy. A `clippy.toml` in a crate's folder replaces the
//! one at the root, so the one of a pure crate is made from the root's text plus the bans below;
//! `cargo xtask tidy --fix` writes it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
};

use anyhow::Context;

use super::{Complaint, layers};
use crate::workspace::{Metadata, Package, Workspace};

/// Crates that bring the world with them.
const WORLDLY: &[(&str, &str)] = &[
    ("async-std", "a runtime"),
    ("chrono", "a clock"),
    ("crossbeam-channel", "threads"),
    ("fastrand", "randomness"),
    ("getrandom", "randomness"),
    ("hyper", "sockets"),
    ("mio", "sockets"),
    ("parking_lot", "locks between threads"),
    ("quanta", "a clock"),
    ("rand", "randomness"),
    ("rayon", "threads"),
    ("rustix", "the operating system"),
    ("smol", "a runtime"),
    ("socket2", "sockets"),
    ("time", "a clock"),
    ("tokio", "a runtime"),
];

const FILE: &str = "clippy.toml";
const HEADER: &str = "# Written by `cargo xtask tidy --fix` from the root's clippy.toml and the bans for pure crates.\n";
const METHODS_OPEN: &str = "disallowed-methods = [\n";
const PURE_METHODS: &str = r#"  { path = "std::time::Instant::now", reason = "time is a parameter" },
  { path = "std::time::SystemTime::now", reason = "time is a parameter" },
  { path = "std::thread::spawn", reason = "a machine has no threads" },
  { path = "std::thread::sleep", reason = "a machine never waits" },
  { path = "std::fs::File::open", reason = "a machine does no IO" },
  { path = "std::fs::read", reason = "a machine does no IO" },
  { path = "std::fs::write", reason = "a machine does no IO" },
"#;
const PURE_TYPES: &str = r#"disallowed-types = [
  { path = "std::collections::HashMap", reason = "its order is random; take a BTreeMap, or give a fixed hasher and say why" },
  { path = "std::collections::HashSet", reason = "its order is random; take a BTreeSet, or give a fixed hasher and say why" },
  { path = "std::sync::Mutex", reason = "one task owns a machine" },
  { path = "std::sync::RwLock", reason = "one task owns a machine" },
  { path = "std::sync::Condvar", reason = "a machine never waits" },
  { path = "std::net::TcpStream", reason = "a machine does no IO" },
  { path = "std::net::TcpListener", reason = "a machine does no IO" },
  { path = "std::net::UdpSocket", reason = "a machine does no IO" },
]
"#;

/// Both halves of the gate.
pub(super) fn check(workspace: &Workspace) -> anyhow::Result<Vec<Complaint>> {
    let mut complaints = worldly_dependencies(&workspace.metadata);
    let wanted = bans(workspace)?;
    for package in pure_packages(&workspace.metadata) {
        if fs::read_to_string(package.folder().join(FILE)).ok().as_ref() != Some(&wanted) {
            complaints.push(Complaint {
                place: package.name.clone(),
                reason: format!("{FILE} is missing or old; run `cargo xtask tidy --fix`"),
            });
        }
    }
    Ok(complaints)
}

/// Writes the `clippy.toml` of every pure crate.
pub(super) fn write_bans(workspace: &Workspace) -> anyhow::Result<()> {
    let wanted = bans(workspace)?;
    for package in pure_packages(&workspace.metadata) {
        let path = package.folder().join(FILE);
        fs::write(&path, &wanted).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

fn bans(workspace: &Workspace) -> anyhow::Result<String> {
    let path = workspace.root().join(FILE);
    let root =
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    pure_bans(&root).with_context(|| format!("{} has no `disallowed-methods = [`", path.display()))
}

/// The root's text with the bans for pure crates put into it.
fn pure_bans(root: &str) -> Option<String> {
    let (before, after) = root.split_once(METHODS_OPEN)?;
    Some(format!("{HEADER}{before}{METHODS_OPEN}{PURE_METHODS}{after}{PURE_TYPES}"))
}

fn pure_packages(metadata: &Metadata) -> Vec<&Package> {
    let is_pure = |p: &&Package| layers::declaration(p).is_ok_and(|d| d.pure);
    metadata.members().into_iter().filter(is_pure).collect()
}

/// Refuses a pure crate from which a worldly crate can be reached by ordinary dependencies.
pub(super) fn worldly_dependencies(metadata: &Metadata) -> Vec<Complaint> {
    let graph = Graph::new(metadata);
    let mut complaints = Vec::new();
    for package in pure_packages(metadata) {
        for (path, what) in graph.worldly_from(&package.id) {
            complaints.push(Complaint {
                place: package.name.clone(),
                reason: format!("a pure crate may not reach {what}: {}", path.join(" -> ")),
            });
        }
    }
    complaints
}

/// The resolved graph of ordinary dependencies.
struct Graph<'a> {
    names: BTreeMap<&'a str, &'a str>,
    edges: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        let names = metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
        let nodes = metadata.resolve.iter().flat_map(|r| &r.nodes);
        let edges = nodes
            .map(|node| {
                let ordinary =
                    node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind.is_none()));
                (node.id.as_str(), ordinary.map(|d| d.pkg.as_str()).collect())
            })
            .collect();
        Self { names, edges }
    }

    /// The shortest path to each worldly crate, by name, and what that crate brings.
    fn worldly_from(&self, start: &'a str) -> Vec<(Vec<&'a str>, &'static str)> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([start]);
        let mut waiting = VecDeque::from([vec![start]]);
        while let Some(path) = waiting.pop_front() {
            let Some(last) = path.last() else { continue };
            for next in self.edges.get(last).into_iter().flatten() {
                if !seen.insert(next) {
                    continue;
                }
                let mut longer = path.clone();
                longer.push(next);
                let name = self.names.get(next).copied().unwrap_or(next);
                match WORLDLY.iter().find(|(worldly, _)| *worldly == name) {
                    Some((_, what)) => found.push((self.named(&longer), *what)),
                    None => waiting.push_back(longer),
                }
            }
        }
        found
    }

    fn named(&self, ids: &[&'a str]) -> Vec<&'a str> {
        ids.iter().map(|id| self.names.get(id).copied().unwrap_or(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_of_a_pure_crate_repeat_those_of_the_root() {
        let root = include_str!("../../../../clippy.toml");
        let pure = pure_bans(root).unwrap();
        for line in root.lines() {
            assert!(pure.contains(line), "{line}");
        }
        for ban in ["Instant::now", "SystemTime::now", "HashMap", "HashSet", "Mutex"] {
            assert!(pure.contains(ban), "{ban}");
        }
    }
}
