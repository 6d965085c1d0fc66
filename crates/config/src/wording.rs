//! Serde's refusals, in the words of a person who edits a file.

use rhumb_types::spelling::closest;
use serde::de::{Expected, Unexpected};

/// A word that is not among those that are allowed.
pub(crate) fn unknown(what: &str, found: &str, allowed: &[&str]) -> String {
    let hint = match closest(found, allowed) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use one of: {}", allowed.join(", ")),
    };
    format!("`{found}` is not a {what} here; {hint}")
}

/// A value of the wrong kind or range.
pub(crate) fn unexpected(found: Unexpected<'_>, expected: &dyn Expected) -> String {
    let found = match found {
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Signed(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("`{value}`"),
        Unexpected::Float(value) => format!("`{value}`"),
        Unexpected::Str(value) => format!("`{value}`"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    };
    format!("{found} is not {}", wanted(&expected.to_string()))
}

/// The words of a type's own parser, where they do not say what to write.
pub(crate) fn parsed(message: String) -> String {
    match message.as_str() {
        "invalid socket address syntax" => {
            "this is not an address with its port, such as 127.0.0.1:7400".to_owned()
        }
        _ => message,
    }
}

/// What serde expects, without the names of Rust.
fn wanted(expected: &str) -> String {
    let words = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" | "path string" => "a text (put it in quotes)",
        "a sequence" => "a list",
        "socket address" => "an address with its port, such as 127.0.0.1:7400",
        "a map" => "a map of settings",
        other if other.starts_with("struct ") => "a map of settings",
        other if other.contains("enum ") => "a word",
        other => other,
    };
    words.to_owned()
}
