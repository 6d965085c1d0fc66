//! Which rules a lifecycle may have; the bounds are those of S3.

use std::{collections::BTreeSet, time::Duration};

use rhumb_types::{
    ErrorCode,
    record::{LifecycleRule, bucket::LIFECYCLE_RULES_MAX, object::OBJECT_KEY_BYTES_MAX},
};

use super::{DAY, is_plain};
use crate::{index::TAGS_MAX, rows::Refusal};

/// Longest name of a rule, in bytes.
pub const RULE_NAME_BYTES_MAX: usize = 255;
/// Most replaced versions that a rule can keep.
pub const NONCURRENT_KEPT_MAX: u32 = 100;

/// Why rules are no lifecycle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesRefused {
    /// There are too many.
    #[error("a lifecycle has at most {LIFECYCLE_RULES_MAX} rules")]
    TooMany,
    /// One of them contradicts itself, or another.
    #[error("rule {} ({name:?}) of the lifecycle {why}", place + 1)]
    Rule {
        /// Which, from 0.
        place: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Refusal for RulesRefused {
    fn code(&self) -> ErrorCode {
        ErrorCode::Invalid
    }
}

/// Checks the rules of a lifecycle.
///
/// # Errors
/// [`RulesRefused`] for the first rule that is not as it must be.
pub fn check(rules: &[LifecycleRule]) -> Result<(), RulesRefused> {
    if rules.len() > LIFECYCLE_RULES_MAX {
        return Err(RulesRefused::TooMany);
    }
    let mut names = BTreeSet::new();
    for (place, rule) in rules.iter().enumerate() {
        let why = match wrong(rule) {
            None if rule.id.is_empty() || names.insert(&rule.id) => continue,
            None => "has the name of another",
            Some(why) => why,
        };
        return Err(RulesRefused::Rule { place, name: rule.id.clone(), why });
    }
    Ok(())
}

/// What is wrong with a rule.
fn wrong(rule: &LifecycleRule) -> Option<&'static str> {
    let is_zero = |time: &Option<Duration>| time.is_some_and(|time| time.is_zero());
    let times = [&rule.expire_after, &rule.noncurrent_after, &rule.abort_uploads_after];
    let expires = rule.expire_after.is_some() || rule.expire_at.is_some();
    let acts = expires
        || rule.expire_markers
        || rule.noncurrent_after.is_some()
        || rule.abort_uploads_after.is_some();
    let rules = [
        ("has a name that is too long", rule.id.len() > RULE_NAME_BYTES_MAX),
        ("has a prefix that is too long", rule.prefix.len() > OBJECT_KEY_BYTES_MAX),
        ("names too many tags", rule.tags.len() > TAGS_MAX),
        ("does nothing", !acts),
        ("has a time of zero", times.into_iter().any(is_zero)),
        (
            "expires objects both by age and at a time: make it two",
            rule.expire_after.is_some() && rule.expire_at.is_some(),
        ),
        (
            "expires objects at a time that is not midnight, UTC",
            rule.expire_at.is_some_and(|at| !at.0.is_multiple_of(DAY)),
        ),
        (
            "expires delete markers alone and by age or time: the latter does both",
            rule.expire_markers && expires,
        ),
        (
            "is about delete markers or uploads, which have neither tags nor sizes",
            (rule.expire_markers || rule.abort_uploads_after.is_some()) && !is_plain(rule),
        ),
        (
            "is about no size",
            rule.larger_than.zip(rule.smaller_than).is_some_and(|(least, most)| least >= most),
        ),
        (
            "keeps replaced versions, but does not say when others go",
            rule.noncurrent_kept > 0 && rule.noncurrent_after.is_none(),
        ),
        ("keeps more than 100 replaced versions", rule.noncurrent_kept > NONCURRENT_KEPT_MAX),
    ];
    rules.into_iter().find(|(_, broken)| *broken).map(|(why, _)| why)
}
