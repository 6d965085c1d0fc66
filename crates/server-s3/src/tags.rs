//! Tags of objects and buckets.

use std::collections::{BTreeMap, BTreeSet};

use s3s::{
    S3Result,
    dto::{Tag, TagSet},
    s3_error,
};

use crate::limits::{TAG_KEY_MAX, TAG_VALUE_MAX};

/// Tags by their keys.
pub(crate) type Tags = BTreeMap<String, String>;

/// The tags of a document.
pub(crate) fn of_set(set: TagSet, most: usize) -> S3Result<Tags> {
    let pairs =
        set.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    checked(pairs, most)
}

/// The tags of the header `x-amz-tagging`, which is written as a query is.
pub(crate) fn of_header(text: &str, most: usize) -> S3Result<Tags> {
    let invalid = || s3_error!(InvalidArgument, "The header 'x-amz-tagging' cannot be read.");
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decoded(key).ok_or_else(invalid)?, decoded(value).ok_or_else(invalid)?));
    }
    checked(pairs, most)
}

/// Tags as a document.
pub(crate) fn set(tags: &Tags) -> TagSet {
    let tag = |(key, value): (&String, &String)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    tags.iter().map(tag).collect()
}

fn checked(pairs: impl IntoIterator<Item = (String, String)>, most: usize) -> S3Result<Tags> {
    let (mut tags, mut seen) = (Tags::new(), BTreeSet::new());
    for (key, value) in pairs {
        let long = key.chars().count() > TAG_KEY_MAX || value.chars().count() > TAG_VALUE_MAX;
        if key.is_empty() || long {
            return Err(s3_error!(
                InvalidTag,
                "A tag has a key of 1 to {TAG_KEY_MAX} characters and a value of at most {TAG_VALUE_MAX}."
            ));
        }
        if !seen.insert(key.clone()) {
            return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
        tags.insert(key, value);
    }
    if tags.len() > most {
        return Err(s3_error!(InvalidTag, "There cannot be more than {most} tags."));
    }
    Ok(tags)
}

/// The text that stands in a query.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&pair).ok()?;
                u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_a_query() {
        let tags = of_header("a=b%20c+d&e=&f&%C3%A4=%2B", 10).unwrap();
        let expected = [("a", "b c d"), ("e", ""), ("f", ""), ("ä", "+")];
        let expected: Tags =
            expected.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        assert_eq!(tags, expected);
        assert_eq!(of_set(set(&tags), 10).unwrap(), tags);
        assert_eq!(of_header("", 10).unwrap(), Tags::new());
    }

    #[test]
    fn what_is_against_the_bounds_is_refused() {
        for bad in ["=x", "a=1&a=2", "a=%", "a=%zz", "a=%+1", "a=%ff", "a=1&b=2&c=3"] {
            assert!(of_header(bad, 2).is_err(), "{bad}");
        }
        assert!(of_header(&format!("{}=x", "k".repeat(129)), 10).is_err());
        assert!(of_header(&format!("k={}", "x".repeat(257)), 10).is_err());
    }
}
