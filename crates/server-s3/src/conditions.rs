//! The conditions of a request, as its headers have them.
//!
//! They are taken off before the codec sees them: it would refuse lists of tags, and tags without quotes,
//! which clients send.

use http::{HeaderMap, HeaderName, header};
use rhumb_objects::{
    condition::{Condition, Validators},
    etag::EntityTags,
};
use rhumb_types::{
    UnixMillis,
    record::{Content, ObjectRecord},
};
use s3s::{
    S3Result,
    dto::{Timestamp, TimestampFormat},
    s3_error,
};

/// What the conditions on the source of a copy begin with.
const SOURCE: &str = "x-amz-copy-source-";

/// The conditions of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Conditions {
    /// On the object that it names.
    pub(crate) target: Condition,
    /// On the source of a copy.
    pub(crate) source: Condition,
}

impl Conditions {
    /// Takes the conditions off.
    ///
    /// # Errors
    /// `InvalidArgument` for a header that is none.
    pub(crate) fn take(headers: &mut HeaderMap) -> S3Result<Self> {
        Ok(Self { target: take(headers, "")?, source: take(headers, SOURCE)? })
    }
}

fn take(headers: &mut HeaderMap, prefix: &str) -> S3Result<Condition> {
    let mut text = |name: HeaderName| -> S3Result<Option<String>> {
        let name = format!("{prefix}{name}");
        let Some(value) = headers.remove(&name) else { return Ok(None) };
        let text = value.to_str().map_err(|_| s3_error!(InvalidArgument, "{name} is no text."))?;
        Ok(Some(text.to_owned()))
    };
    let tags = |text: Option<String>| -> S3Result<Option<EntityTags>> {
        let read = |text: String| {
            EntityTags::parse(&text)
                .map_err(|error| s3_error!(InvalidArgument, "A condition cannot be read: {error}."))
        };
        text.map(read).transpose()
    };
    Ok(Condition {
        if_match: tags(text(header::IF_MATCH)?)?,
        if_none_match: tags(text(header::IF_NONE_MATCH)?)?,
        // A date that cannot be read is no condition (RFC 9110, section 13.1.3).
        modified_since: text(header::IF_MODIFIED_SINCE)?.as_deref().and_then(date),
        unmodified_since: text(header::IF_UNMODIFIED_SINCE)?.as_deref().and_then(date),
    })
}

/// A date of HTTP.
fn date(text: &str) -> Option<UnixMillis> {
    let time = Timestamp::parse(TimestampFormat::HttpDate, text).ok()?;
    millis(time)
}

/// A time of the codec.
pub(crate) fn millis(time: Timestamp) -> Option<UnixMillis> {
    let time: time::OffsetDateTime = time.into();
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok().map(UnixMillis)
}

/// What conditions are asked about.
pub(crate) fn validators<'a>(record: &ObjectRecord, content: &'a Content) -> Validators<'a> {
    Validators { etag: &content.etag, modified: record.modified }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pairs: &[(&'static str, &str)]) -> (S3Result<Conditions>, usize) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let taken = Conditions::take(&mut headers);
        (taken, headers.len())
    }

    #[test]
    fn conditions_are_taken_off() {
        let (taken, left) = taken(&[
            ("if-match", "\"a\", b"),
            ("if-modified-since", "Sat, 21 Nov 2026 13:15:00 GMT"),
            ("x-amz-copy-source-if-none-match", "*"),
            ("x-amz-meta-if-match", "kept"),
        ]);
        let Conditions { target, source } = taken.unwrap();
        assert!(target.if_match.unwrap().match_strongly("b"));
        assert_eq!(target.modified_since, Some(UnixMillis(1_795_266_900_000)));
        assert_eq!(source.if_none_match, Some(EntityTags::Any));
        assert_eq!(left, 1);
    }

    #[test]
    fn what_is_no_condition_is_refused_or_none() {
        assert!(taken(&[("if-match", "\"a")]).0.is_err());
        let none = taken(&[("if-unmodified-since", "yesterday")]).0.unwrap();
        assert_eq!(none, Conditions::default());
    }
}
