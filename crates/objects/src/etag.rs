//! Entity tags: of objects, and in conditions (RFC 9110, section 8.8.3).

use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

/// Most tags in one condition.
pub const ENTITY_TAGS_MAX: usize = 100;

/// An entity tag in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityTag {
    /// Whether it is marked as weak (`W/`).
    pub weak: bool,
    /// The tag, without quotes.
    pub tag: String,
}

/// Which entity tags a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntityTags {
    /// Any: `*`.
    Any,
    /// One of these.
    Of(Vec<EntityTag>),
}

/// Why a header is no list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntityTagError {
    /// There is none in it.
    #[error("there is no entity tag: give `*`, or tags in double quotes with commas between them")]
    Empty,
    /// A tag in quotes does not end, or holds what a tag may not.
    #[error("the entity tag at byte {0} is not closed, or holds a space or a control character")]
    Broken(usize),
    /// There are more than [`ENTITY_TAGS_MAX`].
    #[error("there are more than {ENTITY_TAGS_MAX} entity tags")]
    TooMany,
}

impl EntityTags {
    /// Reads `If-Match` or `If-None-Match`. Tags without quotes are taken too: clients send them.
    ///
    /// # Errors
    /// [`EntityTagError`].
    pub fn parse(header: &str) -> Result<Self, EntityTagError> {
        if header.trim() == "*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = header;
        while let Some(begins) = rest.find(|byte: char| !matches!(byte, ' ' | '\t' | ',')) {
            let at = header.len() - rest.len() + begins;
            let text = rest.get(begins..).unwrap_or_default();
            let (tag, after) = one(text).ok_or(EntityTagError::Broken(at))?;
            if tags.len() == ENTITY_TAGS_MAX {
                return Err(EntityTagError::TooMany);
            }
            tags.push(tag);
            rest = after;
        }
        if tags.is_empty() { Err(EntityTagError::Empty) } else { Ok(Self::Of(tags)) }
    }

    /// The strong comparison (section 8.8.3.2), which `If-Match` asks for.
    #[must_use]
    pub fn match_strongly(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of(tags) => tags.iter().any(|one| !one.weak && one.tag == etag),
        }
    }

    /// The weak comparison, which `If-None-Match` asks for.
    #[must_use]
    pub fn match_weakly(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of(tags) => tags.iter().any(|one| one.tag == etag),
        }
    }
}

/// The tag at the start of a text, and what follows it.
fn one(text: &str) -> Option<(EntityTag, &str)> {
    let (weak, text) = text.strip_prefix("W/").map_or((false, text), |rest| (true, rest));
    // etagc: %x21 / %x23-7E / obs-text
    let plain = |tag: &str| tag.chars().all(|char| char > ' ' && char != '"' && char != '\u{7f}');
    if let Some(quoted) = text.strip_prefix('"') {
        let (tag, after) = quoted.split_once('"')?;
        return plain(tag).then(|| (EntityTag { weak, tag: tag.to_owned() }, after));
    }
    let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
    let (tag, after) = text.split_at_checked(end)?;
    (!tag.is_empty() && plain(tag)).then(|| (EntityTag { weak, tag: tag.to_owned() }, after))
}

/// An MD5 in hex, as entity tags have it.
#[must_use]
pub fn hex(md5: &[u8]) -> String {
    let mut text = String::with_capacity(2 * md5.len());
    for byte in md5 {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The MD5 that an entity tag is; `None` for one of several parts.
#[must_use]
pub fn md5_of(etag: &str) -> Option<[u8; 16]> {
    let (pairs, rest) = etag.as_bytes().as_chunks::<2>();
    if pairs.len() != 16 || !rest.is_empty() {
        return None;
    }
    let mut md5 = [0; 16];
    for (byte, pair) in md5.iter_mut().zip(pairs) {
        if !pair.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(md5)
}

/// The entity tag of an object in parts: the MD5 of their MD5s, and how many they are.
#[must_use]
pub fn of_parts(md5s: &[[u8; 16]]) -> String {
    let mut hash = Md5::new();
    for md5 in md5s {
        hash.update(md5);
    }
    format!("{}-{}", hex(&hash.finalize()), md5s.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(weak: bool, tag: &str) -> EntityTag {
        EntityTag { weak, tag: tag.to_owned() }
    }

    #[test]
    fn headers_of_rfc_9110_are_read() {
        let read = |header| EntityTags::parse(header);
        assert_eq!(read(" * "), Ok(EntityTags::Any));
        assert_eq!(read("\"xyzzy\""), Ok(EntityTags::Of(vec![tag(false, "xyzzy")])));
        assert_eq!(
            read("\"xyzzy\", W/\"r2d2xxxx\" ,\"\""),
            Ok(EntityTags::Of(vec![tag(false, "xyzzy"), tag(true, "r2d2xxxx"), tag(false, "")]))
        );
        assert_eq!(read("abc,def"), Ok(EntityTags::Of(vec![tag(false, "abc"), tag(false, "def")])));
        assert_eq!(read("\"a,b\""), Ok(EntityTags::Of(vec![tag(false, "a,b")])));
        assert_eq!(read(" , "), Err(EntityTagError::Empty));
        assert_eq!(read("\"a\", \"b"), Err(EntityTagError::Broken(5)));
        assert_eq!(read(&"a,".repeat(ENTITY_TAGS_MAX + 1)), Err(EntityTagError::TooMany));
    }

    #[test]
    fn the_two_comparisons_are_those_of_rfc_9110() {
        // The table of section 8.8.3.2.
        for (left, weak, right_is_1, strong, weakly) in [
            ("1", true, true, false, true),
            ("1", true, false, false, false),
            ("1", false, true, true, true),
        ] {
            let tags = EntityTags::Of(vec![tag(weak, left)]);
            let right = if right_is_1 { "1" } else { "2" };
            assert_eq!((tags.match_strongly(right), tags.match_weakly(right)), (strong, weakly));
        }
    }

    #[test]
    fn tags_of_parts_are_those_of_s3() {
        // Two empty parts: the MD5 of two MD5s of nothing.
        let empty = md5_of("d41d8cd98f00b204e9800998ecf8427e").unwrap();
        assert_eq!(hex(&empty), "d41d8cd98f00b204e9800998ecf8427e");
        let mut both = empty.to_vec();
        both.extend(empty);
        assert_eq!(of_parts(&[empty, empty]), format!("{}-2", hex(&Md5::digest(&both))));
        assert_eq!(of_parts(&[empty]), "59adb24ef3cdbe0297f05b395827453f-1");
        assert_eq!(md5_of("59adb24ef3cdbe0297f05b395827453f-1"), None);
        assert_eq!(md5_of(&"é".repeat(16)), None);
        assert_eq!(md5_of(&"+1".repeat(16)), None);
    }
}
