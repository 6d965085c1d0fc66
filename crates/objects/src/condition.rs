//! Conditions of requests, in the order of RFC 9110, section 13.2.2.

use rhumb_types::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::etag::EntityTags;

/// Under which conditions a request is to be carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `If-Match`.
    pub if_match: Option<EntityTags>,
    /// `If-None-Match`.
    pub if_none_match: Option<EntityTags>,
    /// `If-Modified-Since`.
    pub modified_since: Option<UnixMillis>,
    /// `If-Unmodified-Since`.
    pub unmodified_since: Option<UnixMillis>,
}

/// What a condition is asked about: an object that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validators<'a> {
    /// Its entity tag, without quotes.
    pub etag: &'a str,
    /// When it was written.
    pub modified: UnixMillis,
}

/// What a condition says of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request is carried out.
    Pass,
    /// The client has what is there: 304.
    NotModified,
    /// The condition does not hold: 412.
    Fails,
}

/// Why a change is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// The condition is about an object, and there is none.
    NoObject,
    /// The condition does not hold for the object that is there, or is not.
    Fails,
}

impl Condition {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What is said of a read of an object that is there.
    #[must_use]
    pub fn of_read(&self, object: Validators<'_>) -> Verdict {
        // Dates of HTTP have seconds.
        let seconds = |at: UnixMillis| at.0 / 1_000;
        let since = |at: &UnixMillis| seconds(object.modified) > seconds(*at);
        // Steps 1 and 2: `If-Unmodified-Since` only without `If-Match`.
        let holds = match (&self.if_match, &self.unmodified_since) {
            (Some(tags), _) => tags.match_strongly(object.etag),
            (None, Some(at)) => !since(at),
            (None, None) => true,
        };
        if !holds {
            return Verdict::Fails;
        }
        // Steps 3 and 4: `If-Modified-Since` only without `If-None-Match`.
        let modified = match (&self.if_none_match, &self.modified_since) {
            (Some(tags), _) => !tags.match_weakly(object.etag),
            (None, Some(at)) => since(at),
            (None, None) => true,
        };
        if modified { Verdict::Pass } else { Verdict::NotModified }
    }

    /// What is said of a copy by the state of its source: a copy knows no 304.
    #[must_use]
    pub fn of_copy(&self, source: Validators<'_>) -> bool {
        self.of_read(source) == Verdict::Pass
    }

    /// Whether a change may be made, of the object that is there.
    ///
    /// # Errors
    /// [`Unmet`] says why not.
    pub fn of_change(&self, object: Option<Validators<'_>>) -> Result<(), Unmet> {
        let Some(object) = object else {
            let needs_one = self.if_match.is_some() || self.unmodified_since.is_some();
            return if needs_one { Err(Unmet::NoObject) } else { Ok(()) };
        };
        if self.of_read(object) == Verdict::Pass { Ok(()) } else { Err(Unmet::Fails) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: Validators<'static> =
        Validators { etag: "e1", modified: UnixMillis(1_700_000_000_500) };
    const BEFORE: UnixMillis = UnixMillis(1_699_999_999_000);
    const SAME_SECOND: UnixMillis = UnixMillis(1_700_000_000_000);

    fn tags(header: &str) -> Option<EntityTags> {
        Some(EntityTags::parse(header).unwrap())
    }

    #[test]
    fn each_condition_alone_is_that_of_rfc_9110() {
        let of = |change: fn(&mut Condition)| {
            let mut condition = Condition::default();
            change(&mut condition);
            condition.of_read(OBJECT)
        };
        assert_eq!(of(|_| ()), Verdict::Pass);
        assert_eq!(of(|it| it.if_match = tags("\"e1\"")), Verdict::Pass);
        assert_eq!(of(|it| it.if_match = tags("W/\"e1\"")), Verdict::Fails);
        assert_eq!(of(|it| it.if_match = tags("e2")), Verdict::Fails);
        assert_eq!(of(|it| it.if_match = tags("*")), Verdict::Pass);
        assert_eq!(of(|it| it.if_none_match = tags("W/\"e1\"")), Verdict::NotModified);
        assert_eq!(of(|it| it.if_none_match = tags("e2")), Verdict::Pass);
        assert_eq!(of(|it| it.modified_since = Some(BEFORE)), Verdict::Pass);
        assert_eq!(of(|it| it.modified_since = Some(SAME_SECOND)), Verdict::NotModified);
        assert_eq!(of(|it| it.unmodified_since = Some(SAME_SECOND)), Verdict::Pass);
        assert_eq!(of(|it| it.unmodified_since = Some(BEFORE)), Verdict::Fails);
    }

    #[test]
    fn tags_come_before_dates_as_s3_documents_it() {
        // GetObject: If-Match true and If-Unmodified-Since false give 200.
        let both = Condition {
            if_match: tags("e1"),
            unmodified_since: Some(BEFORE),
            ..Condition::default()
        };
        assert_eq!(both.of_read(OBJECT), Verdict::Pass);
        // If-None-Match false and If-Modified-Since true give 304, and 412 for a copy.
        let both = Condition {
            if_none_match: tags("e1"),
            modified_since: Some(BEFORE),
            ..Condition::default()
        };
        assert_eq!(both.of_read(OBJECT), Verdict::NotModified);
        assert!(!both.of_copy(OBJECT));
    }

    #[test]
    fn changes_rest_on_what_is_there() {
        let create = Condition { if_none_match: tags("*"), ..Condition::default() };
        assert_eq!(create.of_change(None), Ok(()));
        assert_eq!(create.of_change(Some(OBJECT)), Err(Unmet::Fails));
        let replace = Condition { if_match: tags("e1"), ..Condition::default() };
        assert_eq!(replace.of_change(None), Err(Unmet::NoObject));
        assert_eq!(replace.of_change(Some(OBJECT)), Ok(()));
        let other = Condition { if_match: tags("e2"), ..Condition::default() };
        assert_eq!(other.of_change(Some(OBJECT)), Err(Unmet::Fails));
    }
}
