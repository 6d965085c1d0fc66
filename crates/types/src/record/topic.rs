//! Topics of events, and which of them a queue gets as jobs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::text_id;

/// Longest topic or pattern, in bytes: a queue's name and the words before it fit.
pub const TOPIC_BYTES_MAX: usize = 128;
/// What separates the words of a topic.
const DOT: char = '.';
/// In a pattern: any one word.
const ANY_WORD: &str = "*";
/// In a pattern, at its end: one word or more.
const ANY_REST: &str = "**";

/// What an event is about: words of `a-z`, `A-Z`, `0-9`, `-` and `_` with dots between them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(Arc<str>);

/// Topics that a queue asks for. `*` stands for any one word, and `**` at the end for one word or more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicPattern(Arc<str>);

/// Why a text is not a topic, or not a pattern of topics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not {what}: use words of a-z, A-Z, 0-9, `-` and `_` with dots between them, \
     128 bytes at most; in a pattern `*` for any word, and `**` at its end for any words"
)]
pub struct TopicError {
    text: String,
    what: &'static str,
}

/// Whether a text is a word of a topic.
fn is_word(word: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !word.is_empty() && word.bytes().all(known)
}

impl Topic {
    /// Checks a topic.
    ///
    /// # Errors
    /// When the text is too long, or one of its words is empty or has other characters.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        if text.len() <= TOPIC_BYTES_MAX && text.split(DOT).all(is_word) {
            Ok(Self(text.into()))
        } else {
            Err(TopicError { text: text.to_owned(), what: "a topic" })
        }
    }
}

impl TopicPattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// When the text is too long, a word is neither one nor `*`, or `**` stands before the end.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        let rest =
            text.strip_suffix(ANY_REST).map(|front| front.strip_suffix(DOT).unwrap_or(front));
        let words = rest.unwrap_or(text);
        let alone = rest.is_some() && words.is_empty() && text == ANY_REST;
        let dotted = rest.is_none() || text.len() == words.len() + ANY_REST.len() + DOT.len_utf8();
        let known = words.split(DOT).all(|word| word == ANY_WORD || is_word(word));
        if text.len() <= TOPIC_BYTES_MAX && (alone || dotted && known) {
            Ok(Self(text.into()))
        } else {
            Err(TopicError { text: text.to_owned(), what: "a pattern of topics" })
        }
    }

    /// Whether a topic is among those that are asked for.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut words = topic.0.split(DOT);
        for asked in self.0.split(DOT) {
            match (asked, words.next()) {
                (_, None) => return false,
                (ANY_REST, Some(_)) => return true,
                (ANY_WORD, Some(_)) => {}
                (asked, Some(word)) if asked == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    /// Whether it could match a topic that begins with a word.
    #[must_use]
    pub fn may_begin_with(&self, word: &str) -> bool {
        let first = self.0.split(DOT).next().unwrap_or_default();
        [ANY_WORD, ANY_REST, word].contains(&first)
    }
}

text_id!(Topic, TopicError);
text_id!(TopicPattern, TopicError);

/// A queue's wish for events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Of which topics.
    pub topics: TopicPattern,
    /// Whether each region gets a job of its own for an event; else there is one among them.
    #[serde(default)]
    pub each_region: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_words_with_dots() {
        for good in ["orders", "orders.paid", "rhumb.job.finished.jobs-2_x"] {
            assert_eq!(Topic::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a/b", "ä", "*", "a.**", &long] {
            assert!(Topic::new(bad).is_err(), "{bad}");
        }
        for bad in ["", "a.", "**.a", "a**", "a.b**", "***", "a.**.b", "a*", &long] {
            assert!(TopicPattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_word_by_word() {
        let matches = |pattern: &str, topic: &str| {
            TopicPattern::new(pattern).unwrap().matches(&Topic::new(topic).unwrap())
        };
        for (pattern, topic) in [
            ("orders.paid", "orders.paid"),
            ("orders.*", "orders.paid"),
            ("*.paid", "orders.paid"),
            ("orders.**", "orders.paid.eu"),
            ("*.**", "orders.paid"),
            ("**", "orders"),
        ] {
            assert!(matches(pattern, topic), "{pattern} {topic}");
        }
        for (pattern, topic) in [
            ("orders", "orders.paid"),
            ("orders.paid", "orders"),
            ("orders.*", "orders"),
            ("orders.*", "orders.paid.eu"),
            ("orders.**", "orders"),
            ("order*", "orders"),
        ] {
            let Ok(pattern) = TopicPattern::new(pattern) else { continue };
            assert!(!pattern.matches(&Topic::new(topic).unwrap()), "{pattern} {topic}");
        }
        assert!(TopicPattern::new("**").unwrap().may_begin_with("rhumb"));
        assert!(!TopicPattern::new("orders.**").unwrap().may_begin_with("rhumb"));
    }
}
