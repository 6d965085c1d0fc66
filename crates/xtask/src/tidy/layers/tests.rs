use serde_json::{Value, json};

use super::*;
use crate::tidy::purity;

/// A package of the fixture: name, its table, its dependencies with their kind.
fn package(name: &str, table: Value, dependencies: &[(&str, Option<&str>)]) -> Value {
    let dependencies: Vec<Value> =
        dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
    json!({
        "id": name,
        "name": name,
        "manifest_path": format!("crates/{name}/Cargo.toml"),
        "dependencies": dependencies,
        "metadata": { "rhumb": table },
    })
}

/// Metadata in which every package with a table is a member, and the resolved graph is what the
/// manifests say.
fn metadata(packages: &[Value]) -> Metadata {
    let is_member = |p: &&Value| !p["metadata"]["rhumb"].is_null();
    let members: Vec<&Value> = packages.iter().filter(is_member).map(|p| &p["id"]).collect();
    let nodes: Vec<Value> = packages
        .iter()
        .map(|p| {
            let deps: Vec<Value> = p["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|d| json!({ "pkg": d["name"], "dep_kinds": [{ "kind": d["kind"] }] }))
                .collect();
            json!({ "id": p["id"], "deps": deps })
        })
        .collect();
    serde_json::from_value(json!({
        "packages": packages,
        "workspace_members": members,
        "workspace_root": ".",
        "target_directory": "target",
        "resolve": { "nodes": nodes },
    }))
    .unwrap()
}

fn words() -> Value {
    package("rhumb-types", json!({ "layer": 0, "kind": "words", "pure": true }), &[])
}

fn machine(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
    package(name, json!({ "layer": 1, "kind": "machine", "pure": true }), dependencies)
}

fn adapter(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
    package(name, json!({ "layer": 3, "kind": "adapter" }), dependencies)
}

/// The places that are refused.
fn refused(packages: &[Value]) -> Vec<String> {
    check(&metadata(packages)).into_iter().map(|c| c.to_string()).collect()
}

#[test]
fn the_drawn_arrows_pass() {
    let engine = json!({ "layer": 4, "kind": "engine" });
    let found = refused(&[
        words(),
        machine("rhumb-regions", &[("rhumb-types", None)]),
        machine("rhumb-queue", &[("rhumb-types", None), ("rhumb-regions", None)]),
        adapter("rhumb-telemetry", &[("rhumb-types", None)]),
        package("rhumb-engine", engine, &[("rhumb-telemetry", None), ("rhumb-regions", None)]),
        package(
            "rhumb",
            json!({ "layer": 6, "kind": "top" }),
            &[("rhumb-engine", None), ("rhumb-telemetry", None)],
        ),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_arrow_that_points_up_is_refused() {
    let up = package(
        "rhumb-types",
        json!({ "layer": 0, "kind": "words", "pure": true }),
        &[("rhumb-state", None)],
    );
    let found = refused(&[up, machine("rhumb-state", &[])]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("rhumb-types: a crate of kind Words may not depend on"));
}

#[test]
fn an_arrow_that_points_sideways_is_refused() {
    let server = json!({ "layer": 5, "kind": "server" });
    let found = refused(&[
        words(),
        machine("rhumb-regions", &[]),
        machine("rhumb-state", &[("rhumb-regions", None)]),
        adapter("rhumb-peer", &[("rhumb-control", None)]),
        adapter("rhumb-control", &[]),
        package("rhumb-server-http", server.clone(), &[("rhumb-server-resp", None)]),
        package("rhumb-server-resp", server, &[]),
    ]);
    let places: Vec<&str> = found.iter().filter_map(|c| c.split(':').next()).collect();
    assert_eq!(places, ["rhumb-peer", "rhumb-server-http", "rhumb-state"]);
}

#[test]
fn the_engine_may_not_name_an_adapter_but_telemetry() {
    let engine = json!({ "layer": 4, "kind": "engine" });
    let found = refused(&[
        adapter("rhumb-store-fjall", &[]),
        package("rhumb-engine", engine, &[("rhumb-store-fjall", None)]),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn only_rhumb_and_the_side_name_everything() {
    let top = json!({ "layer": 6, "kind": "top" });
    let side = json!({ "layer": "side", "kind": "side" });
    let simulator = json!({ "layer": 4, "kind": "simulator" });
    let adapter_below = [("rhumb-peer", None)];
    let found = refused(&[
        adapter("rhumb-peer", &[]),
        package("rhumb-config", top, &adapter_below),
        package("rhumb-integration", side, &adapter_below),
        package("rhumb-sim", simulator, &adapter_below),
    ]);
    let places: Vec<&str> = found.iter().filter_map(|c| c.split(':').next()).collect();
    assert_eq!(places, ["rhumb-config", "rhumb-sim"]);
}

#[test]
fn tests_of_a_pure_crate_may_not_use_an_adapter() {
    let found = refused(&[
        adapter("rhumb-store-fjall", &[]),
        machine("rhumb-state", &[("rhumb-store-fjall", Some("dev"))]),
        adapter("rhumb-peer", &[("rhumb-store-fjall", Some("dev"))]),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("rhumb-state: a crate of kind Machine may not dev-depend"));
}

#[test]
fn a_crate_must_declare_its_place_truly() {
    let found = refused(&[
        package("rhumb-a", json!({ "layer": 2, "kind": "machine" }), &[]),
        package("rhumb-b", json!({ "layer": 1 }), &[]),
        package("rhumb-c", json!({ "layer": 1, "kind": "manager" }), &[]),
    ]);
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn a_runtime_in_a_pure_crate_is_refused_at_any_distance() {
    let outside = |name: &str, deps: &[(&str, Option<&str>)]| package(name, Value::Null, deps);
    let metadata = metadata(&[
        machine("rhumb-state", &[("tokio", None)]),
        machine("rhumb-regions", &[("innocent", None), ("proptest", Some("dev"))]),
        outside("innocent", &[("getrandom", None), ("cc", Some("build"))]),
        outside("proptest", &[("rand", None)]),
        outside("getrandom", &[]),
        outside("rand", &[]),
        outside("tokio", &[]),
        outside("cc", &[("jobserver", None)]),
        outside("jobserver", &[("getrandom", None)]),
        adapter("rhumb-peer", &[("tokio", None)]),
    ]);
    let found: Vec<String> =
        purity::worldly_dependencies(&metadata).into_iter().map(|c| c.to_string()).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("rhumb-regions -> innocent -> getrandom"), "{found:?}");
    assert!(found[1].contains("rhumb-state -> tokio"), "{found:?}");
}
