//! The settings of a queue, in JSON.

use std::collections::BTreeMap;

use rhumb_types::{
    AckLevel,
    record::{QueueDefinition, QueueName, Subscription},
};
use serde::{Deserialize, Serialize};

use crate::span::Span;

/// A queue's settings; what is left out is as usual.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    visibility: Span,
    retention: Span,
    delay: Span,
    attempts_max: Option<u32>,
    dead_letters: Option<QueueName>,
    backoff: Span,
    fifo: bool,
    content_dedup: bool,
    keys_kept: Span,
    ack: AckLevel,
    oldest_age_target: Span,
    subscriptions: Vec<Subscription>,
    announce: bool,
    protocol: BTreeMap<String, String>,
    residency: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&QueueDefinition::default())
    }
}

impl From<&QueueDefinition> for Settings {
    fn from(definition: &QueueDefinition) -> Self {
        let QueueDefinition {
            visibility,
            retention,
            delay,
            attempts_max,
            dead_letters,
            backoff,
            fifo,
            content_dedup,
            keys_kept,
            ack,
            oldest_age_target,
            subscriptions,
            announce,
            protocol,
            residency,
        } = definition.clone();
        Self {
            visibility: Span(visibility),
            retention: Span(retention),
            delay: Span(delay),
            attempts_max,
            dead_letters,
            backoff: Span(backoff),
            fifo,
            content_dedup,
            keys_kept: Span(keys_kept),
            ack,
            oldest_age_target: Span(oldest_age_target),
            subscriptions,
            announce,
            protocol,
            residency,
        }
    }
}

impl Settings {
    pub(super) fn definition(self) -> QueueDefinition {
        QueueDefinition {
            visibility: self.visibility.0,
            retention: self.retention.0,
            delay: self.delay.0,
            attempts_max: self.attempts_max,
            dead_letters: self.dead_letters,
            backoff: self.backoff.0,
            fifo: self.fifo,
            content_dedup: self.content_dedup,
            keys_kept: self.keys_kept.0,
            ack: self.ack,
            oldest_age_target: self.oldest_age_target.0,
            subscriptions: self.subscriptions,
            announce: self.announce,
            protocol: self.protocol,
            residency: self.residency,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn settings_are_written_as_they_are_read() {
        let text = r#"{"visibility":"2m","attempts_max":5,"dead_letters":"dead","ack":"quorum","residency":["eu"],
                       "subscriptions":[{"topics":"orders.**","each_region":true}]}"#;
        let read: Settings = serde_json::from_str(text).unwrap();
        let definition = read.clone().definition();
        assert_eq!(definition.visibility, Duration::from_secs(120));
        assert_eq!(definition.backoff, QueueDefinition::default().backoff);
        assert!(definition.subscribes());
        assert_eq!(definition.residency, ["eu"]);
        let written = serde_json::to_string(&Settings::from(&definition)).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&written).unwrap(), read);
        for bad in [r#"{"visible":"2m"}"#, r#"{"delay":5}"#, r#"{"dead_letters":"a/b"}"#] {
            assert!(serde_json::from_str::<Settings>(bad).is_err(), "{bad}");
        }
    }
}
