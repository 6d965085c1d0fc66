//! The layer gate: arrows between crates point downward, and only where `ARCHITECTURE.md` draws
//! them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Complaint;
use crate::workspace::{Metadata, Package};

/// The table under which a manifest declares its place.
const TABLE: &str = "package.metadata.rhumb";
/// The one crate that may name every other.
const TOP: &str = "rhumb";

/// What a crate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Words,
    Machine,
    Codec,
    Ports,
    Node,
    Adapter,
    Engine,
    Simulator,
    Server,
    Workload,
    Rehearsal,
    Top,
    Side,
}

/// Where a crate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Layer {
    Number(u8),
    Side(SideWord),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum SideWord {
    #[serde(rename = "side")]
    Side,
}

/// What a manifest declares under [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    layer: Layer,
    pub(super) kind: Kind,
    /// No runtime, socket, thread, clock or randomness.
    #[serde(default)]
    pub(super) pure: bool,
}

/// Kinds, their layers, and the kinds that they may depend on.
const ARROWS: &[(Kind, Layer, &[Kind])] = &[
    (Kind::Words, Layer::Number(0), &[]),
    (Kind::Machine, Layer::Number(1), &[Kind::Words]),
    (Kind::Codec, Layer::Number(1), &[Kind::Words]),
    (Kind::Ports, Layer::Number(2), &[Kind::Words]),
    (Kind::Node, Layer::Number(3), &[Kind::Words, Kind::Machine, Kind::Ports]),
    (Kind::Adapter, Layer::Number(3), &[Kind::Words, Kind::Ports]),
    (Kind::Engine, Layer::Number(4), &[Kind::Words, Kind::Machine, Kind::Ports, Kind::Node]),
    // It runs machines, never adapters.
    (Kind::Simulator, Layer::Number(4), &[Kind::Words, Kind::Machine, Kind::Ports, Kind::Node]),
    (
        Kind::Rehearsal,
        Layer::Number(5),
        &[Kind::Words, Kind::Machine, Kind::Ports, Kind::Node, Kind::Simulator],
    ),
    (Kind::Server, Layer::Number(5), SERVER_MAY),
    (Kind::Workload, Layer::Number(5), SERVER_MAY),
    // The file's crate turns settings into the words of the machines; `rhumb` itself is exempt.
    (Kind::Top, Layer::Number(6), &[Kind::Words, Kind::Machine, Kind::Ports]),
    (Kind::Side, Layer::Side(SideWord::Side), ALL),
];

const SERVER_MAY: &[Kind] = &[Kind::Words, Kind::Machine, Kind::Codec, Kind::Engine];

const ALL: &[Kind] = &[
    Kind::Words,
    Kind::Machine,
    Kind::Codec,
    Kind::Ports,
    Kind::Node,
    Kind::Adapter,
    Kind::Engine,
    Kind::Simulator,
    Kind::Server,
    Kind::Workload,
    Kind::Rehearsal,
    Kind::Top,
    Kind::Side,
];

/// Arrows that are drawn crate by crate: sideways, or past the kinds above.
const NAMED_ARROWS: &[(&str, &str)] = &[
    ("rhumb-queue", "rhumb-regions"),
    ("rhumb-objects", "rhumb-regions"),
    ("rhumb-traffic", "rhumb-regions"),
    ("rhumb-frontier", "rhumb-regions"),
    ("rhumb-engine", "rhumb-telemetry"),
    ("rhumb-front", "rhumb-sigv4"),
    ("rhumb-front", "rhumb-telemetry"),
    ("rhumb-front", "rhumb-tls"),
    ("rhumb-runners", "rhumb-tls"),
    ("rhumb-server-cache", "rhumb-front"),
    ("rhumb-server-cache", "rhumb-tls"),
    ("rhumb-server-http", "rhumb-front"),
    ("rhumb-server-http", "rhumb-tls"),
    ("rhumb-server-resp", "rhumb-tls"),
    ("rhumb-server-s3", "rhumb-front"),
    ("rhumb-server-s3", "rhumb-tls"),
    ("rhumb-server-sqs", "rhumb-front"),
    ("rhumb-server-sqs", "rhumb-tls"),
];

/// What a pure crate's tests may use besides the kinds of its own arrows.
const PURE_TESTS_MAY: &[Kind] = &[Kind::Words, Kind::Machine, Kind::Codec, Kind::Ports, Kind::Node];

/// Refuses undeclared crates and arrows that are not drawn.
pub(super) fn check(metadata: &Metadata) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut declared = BTreeMap::new();
    for package in metadata.members() {
        match declaration(package) {
            Ok(place) => {
                complaints.extend(misplaced(package, place));
                declared.insert(package.name.as_str(), place);
            }
            Err(complaint) => complaints.push(complaint),
        }
    }
    for package in metadata.members() {
        let Some(from) = declared.get(package.name.as_str()) else { continue };
        complaints.extend(refused_arrows(package, *from, &declared));
    }
    complaints
}

/// What a manifest declares.
pub(super) fn declaration(package: &Package) -> Result<Declared, Complaint> {
    let table = package.metadata.as_ref().and_then(|m| m.get("rhumb"));
    let Some(table) = table else {
        return Err(complaint(package, format!("add [{TABLE}] with `layer` and `kind`")));
    };
    Declared::deserialize(table)
        .map_err(|error| complaint(package, format!("[{TABLE}] cannot be read: {error}")))
}

/// A layer that is not the kind's.
fn misplaced(package: &Package, place: Declared) -> Option<Complaint> {
    let (_, layer, _) = ARROWS.iter().find(|(kind, ..)| *kind == place.kind)?;
    (*layer != place.layer).then(|| {
        let reason = format!("{:?} belongs to {layer:?}, not {:?}", place.kind, place.layer);
        complaint(package, reason)
    })
}

fn refused_arrows(
    package: &Package,
    from: Declared,
    declared: &BTreeMap<&str, Declared>,
) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for dependency in &package.dependencies {
        let Some(to) = declared.get(dependency.name.as_str()) else { continue };
        let for_tests = dependency.kind.as_deref() == Some("dev");
        let drawn = if for_tests {
            !from.pure || PURE_TESTS_MAY.contains(&to.kind)
        } else {
            is_drawn(&package.name, from.kind, &dependency.name, to.kind)
        };
        if !drawn {
            let section = if for_tests { "dev-depend" } else { "depend" };
            complaints.push(complaint(
                package,
                format!(
                    "a crate of kind {:?} may not {section} on `{}` ({:?}); see the arrows in \
                     ARCHITECTURE.md",
                    from.kind, dependency.name, to.kind
                ),
            ));
        }
    }
    complaints
}

fn is_drawn(from_name: &str, from: Kind, to_name: &str, to: Kind) -> bool {
    if from_name == TOP || NAMED_ARROWS.contains(&(from_name, to_name)) {
        return true;
    }
    ARROWS.iter().any(|(kind, _, may)| *kind == from && may.contains(&to))
}

fn complaint(package: &Package, reason: String) -> Complaint {
    Complaint { place: package.name.clone(), reason }
}

#[cfg(test)]
mod tests;
