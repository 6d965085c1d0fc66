//! Words of JSON answers, for people.

use serde_json::Value;

/// What stands where nothing is known.
pub(super) const NOTHING: &str = "-";

/// A part of an answer, as a word.
pub(super) fn word(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => NOTHING.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(other) => other.to_string(),
    }
}

/// A number of milliseconds, with as many digits as matter.
pub(super) fn millis(value: &Value, pointer: &str) -> String {
    say_millis(value.pointer(pointer).and_then(Value::as_f64))
}

/// As [`millis`], from the number.
pub(super) fn say_millis(millis: Option<f64>) -> String {
    match millis {
        None => NOTHING.to_owned(),
        Some(0.0) => "0 ms".to_owned(),
        Some(millis) if millis < 10.0 => format!("{millis:.1} ms"),
        Some(millis) if millis < 10_000.0 => format!("{millis:.0} ms"),
        Some(millis) => format!("{:.0} s", millis / 1e3),
    }
}

/// A share of one, in percent.
pub(super) fn percent(value: &Value, pointer: &str) -> String {
    let share = value.pointer(pointer).and_then(Value::as_f64);
    share.map_or_else(|| NOTHING.to_owned(), |share| format!("{:.0} %", share * 100.0))
}

/// The parts of a list.
pub(super) fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_said_to_be() {
        let value = json!({ "a": { "b": null, "c": "text", "d": 7, "e": true } });
        let words = ["/a/b", "/a/c", "/a/d", "/a/e", "/x"].map(|at| word(&value, at));
        assert_eq!(words, ["-", "text", "7", "yes", "-"]);
        let value = json!({ "short": 1.26, "long": 150.4, "huge": 61_000, "half": 0.5 });
        let times = ["/short", "/long", "/huge", "/none"].map(|at| millis(&value, at));
        assert_eq!(times, ["1.3 ms", "150 ms", "61 s", "-"]);
        assert_eq!(percent(&value, "/half"), "50 %");
    }
}
