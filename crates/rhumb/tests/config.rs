//! `rhumb config` on files, as a user calls it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::process::{Command, Output};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rhumb.yaml");

fn rhumb(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rhumb")).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_example_is_sound_and_a_slip_is_told_with_its_place() {
    assert!(rhumb(&["config", "check", "--config", EXAMPLE]).status.success());
    let folder = tempfile::tempdir().unwrap();
    let slip = folder.path().join("slip.yaml");
    let example = std::fs::read_to_string(EXAMPLE).unwrap();
    std::fs::write(&slip, example.replace("cluster: acme", "clustr: acme")).unwrap();
    let refused = rhumb(&["config", "check", "--config", slip.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("did you mean `cluster`?"), "{refused:?}");
    let missing = rhumb(&["config", "check", "--config", "no-such-file.yaml"]);
    assert!(text(&missing.stderr).contains("cannot be read"), "{missing:?}");
}

#[test]
fn the_schema_is_json_and_differences_are_named() {
    let schema = rhumb(&["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(schema["title"], "rhumb.yaml");
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed.yaml");
    let example = std::fs::read_to_string(EXAMPLE).unwrap();
    std::fs::write(&changed, example.replace("weight: 50", "weight: 60")).unwrap();
    let diff = rhumb(&["config", "diff", EXAMPLE, changed.to_str().unwrap()]);
    assert_eq!(text(&diff.stdout), "regions.us-east-1.weight: 50 -> 60\n");
}
