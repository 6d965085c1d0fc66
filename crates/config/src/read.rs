//! From text to settings, with every fault of form.

use serde::Deserialize;

use crate::{
    Outside, Settings,
    cursor::Cursor,
    environment,
    fault::{Fault, Place},
    path::Path,
    tree::{Node, Value},
};

/// Most faults that one reading reports.
const FAULTS_MAX: usize = 100;
/// Largest file, in bytes: that of the configuration document that the control plane keeps.
const FILE_BYTES_MAX: usize = rhumb_types::control::limits::CONFIG_BYTES_MAX;

/// What a file says, as far as it can be read.
pub(crate) struct Reading {
    /// The file as written, with the environment laid over it.
    pub(crate) tree: Node,
    /// What could be read; defaults stand where a value was refused.
    pub(crate) settings: Settings,
    /// What was refused.
    pub(crate) faults: Vec<Fault>,
}

/// Reads the text.
pub(crate) fn read(text: &str, outside: &Outside<'_>) -> Result<Reading, Fault> {
    let mut tree = parse(text)?;
    for (variable, path) in environment::set(outside.variable) {
        tree.put(path, Node::text(Place::Environment(variable.0), variable.1));
    }
    let (settings, faults) = settings(&tree);
    Ok(Reading { tree, settings, faults })
}

fn parse(text: &str) -> Result<Node, Fault> {
    let at = |place, message| Fault { place, path: Path::default(), message };
    let top = Place::File { line: 1, column: 1 };
    if text.len() > FILE_BYTES_MAX {
        let message =
            format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        return Err(at(top, message));
    }
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let tree = serde_saphyr::from_str_with_options::<Option<Node>>(text, options)
        .map_err(|error| at(error.location().map_or(top, Place::from), plain(&error)))?;
    let tree = tree.unwrap_or_else(Node::empty);
    match tree.value {
        Value::Map(_) | Value::Null => Ok(tree),
        _ => Err(at(
            tree.place,
            "the file must be a map of settings, such as `cluster: acme`".into(),
        )),
    }
}

/// The parser's words without the place, which stands before them already.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let words = text.split(" at line ").next().unwrap_or(&text);
    format!("this is not YAML: {words}")
}

/// Reads the tree again and again, each time without the value that stopped it last.
fn settings(tree: &Node) -> (Settings, Vec<Fault>) {
    let mut rest = tree.clone();
    let mut faults = Vec::new();
    while faults.len() < FAULTS_MAX {
        let stop = match Settings::deserialize(Cursor(&rest)) {
            Ok(settings) => return (settings, faults),
            Err(stop) => stop,
        };
        let (path, on_key, message) = stop.into_parts();
        let place = if on_key { tree.place_of_key(&path) } else { tree.place_of(&path) };
        let removed = rest.remove(&path);
        faults.push(Fault { place, path, message });
        if !removed {
            break;
        }
    }
    (Settings::default(), faults)
}

#[cfg(test)]
mod tests {
    use crate::OVERRIDES;

    #[test]
    fn every_override_names_a_setting() {
        let schema = serde_json::to_value(crate::Config::schema()).unwrap();
        for each in OVERRIDES {
            let mut place = &schema;
            for key in each.path {
                place = resolve(&schema, place).pointer(&format!("/properties/{key}")).unwrap();
            }
        }
    }

    fn resolve<'a>(
        schema: &'a serde_json::Value,
        place: &'a serde_json::Value,
    ) -> &'a serde_json::Value {
        let reference = place.get("$ref").or_else(|| place.pointer("/anyOf/0/$ref"));
        match reference.and_then(|r| r.as_str()) {
            Some(name) => schema.pointer(name.trim_start_matches('#')).unwrap(),
            None => place,
        }
    }
}
