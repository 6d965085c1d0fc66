//! Any text as a configuration: accepted or refused, each fault with a place in the text, and no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_config::{Config, Outside, Place};

/// No variable is set, and an election takes ten round trips.
const NOTHING: Outside<'_> = Outside { variable: &|_| None, worst_election: &|trip| trip * 10 };

fuzz_target!(|text: &str| {
    let Err(faults) = Config::parse(text, &NOTHING) else { return };
    assert!(!faults.is_empty());
    // What breaks lines in YAML; the end of a text counts as one more.
    let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let lines = text.matches(breaks).count() as u64 + 1;
    for fault in faults {
        assert!(!fault.message.is_empty());
        let Place::File { line, column } = fault.place else { continue };
        assert!((1..=lines).contains(&line) && column >= 1, "{fault}");
    }
});
