//! What differs between two sets of settings.

use std::fmt;

use serde_json::Value;

use crate::{Settings, path::Path};

/// One setting that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which.
    pub path: Path,
    /// What it was; `None` when it was not there.
    pub before: Option<Value>,
    /// What it is; `None` when it is no longer there.
    pub after: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "~ {}: {before} -> {after}", self.path),
            (Some(before), None) => write!(f, "- {}: {before}", self.path),
            (None, after) => {
                write!(f, "+ {}: {}", self.path, after.as_ref().unwrap_or(&Value::Null))
            }
        }
    }
}

/// Every setting that differs, in the order of their names. Which region a node is and where it
/// keeps its data are its own, and are not compared.
#[must_use]
pub fn diff(before: &Settings, after: &Settings) -> Vec<Change> {
    let mut changes = Vec::new();
    walk(&Path::default(), Some(&shared(before)), Some(&shared(after)), &mut changes);
    changes
}

/// What all nodes of a cluster have in common.
fn shared(settings: &Settings) -> Value {
    let mut value = serde_json::to_value(settings).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.remove("region");
        fields.remove("data");
    }
    value
}

fn walk(path: &Path, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    if before == after {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) {
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            walk(&path.key(name), old.get(name), new.get(name), changes);
        }
        return;
    }
    changes.push(Change { path: path.clone(), before: before.cloned(), after: after.cloned() });
}
