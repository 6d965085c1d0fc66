//! Any text as each thing that clients name by a text: read or refused, no panic, and what is read is the
//! same after it was written.
#![no_main]

use std::fmt::Display;

use libfuzzer_sys::fuzz_target;
use rhumb_objects::{checksum::Algorithm, etag::EntityTags, index::Which};
use rhumb_pack::PackId;
use rhumb_peer::JoinToken;
use rhumb_queue::Receipt;
use rhumb_runners::RunnerName;
use rhumb_sigv4::Stamp;
use rhumb_types::record::{BlobHash, JobId, Topic, TopicPattern, VersionId};

fn survives<T: Display + PartialEq>(text: &str, read: impl Fn(&str) -> Option<T>) {
    let Some(value) = read(text) else { return };
    assert!(read(&value.to_string()).is_some_and(|again| again == value), "{value}");
}

fuzz_target!(|text: &str| {
    survives(text, BlobHash::parse);
    survives(text, JobId::parse);
    survives(text, PackId::parse);
    survives(text, Receipt::parse);
    survives(text, RunnerName::ours);
    survives(text, VersionId::parse);
    survives(text, |text| text.parse::<JoinToken>().ok());
    survives(text, |text| Topic::new(text).ok());
    survives(text, |text| TopicPattern::new(text).ok());
    if let Some((topic, pattern)) = text.split_once(' ')
        && let (Ok(topic), Ok(pattern)) = (Topic::new(topic), TopicPattern::new(pattern))
        && pattern.matches(&topic)
    {
        let first = topic.as_str().split('.').next().unwrap_or_default();
        assert!(pattern.may_begin_with(first));
    }
    if let Ok(tags) = EntityTags::parse(text) {
        assert!(!tags.match_strongly(text) || tags.match_weakly(text));
    }
    for algorithm in Algorithm::ALL {
        if let Ok(bytes) = algorithm.read(text) {
            assert_eq!(bytes.len(), algorithm.bytes());
        }
    }
    let _any = (Which::parse(text), Stamp::parse(text), rhumb_runners::unix_millis(text));
    let _any = (rhumb_runners::origin(text), rhumb_runners::region_of(text));
});
