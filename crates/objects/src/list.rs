//! Listings, a page at a time: of objects, of their versions, of unfinished uploads and their parts.
//!
//! Keys come in the order of their bytes. With a delimiter, keys that share what lies between the
//! prefix and the delimiter's next occurrence are one common prefix; the listing leaps over them, and
//! never reads them one by one. A page holds at most [`LISTED_MAX`] entries and common prefixes, and
//! says where the next begins.
//!
//! Nothing is kept between pages, so a listing shows each key that was there all the while exactly
//! once, and may or may not show one that came or went.

mod cursor;
mod objects;
mod parts;
mod position;
mod uploads;
mod versions;

#[cfg(test)]
mod capacity;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use rhumb_types::{
    RegionId, UnixMillis,
    record::{CodecError, ObjectRecord, Record, VersionId},
};
use serde::Deserialize;

pub use objects::objects;
pub use parts::{ListedPart, parts};
pub use position::{Position, PositionError};
pub use uploads::{ListedUpload, uploads};
pub use versions::{ListedVersion, after_version, versions};

/// Most entries and common prefixes of a page; the bound of S3.
pub const LISTED_MAX: usize = 1_000;
/// How many rows one page of objects may look at that are not listed, such as delete markers. Then the
/// page ends early and says so.
pub const HIDDEN_ROWS_MAX: usize = 10_000;

/// What is to be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Keys that start with this.
    pub prefix: Bytes,
    /// Keys are grouped by it; an empty one is none.
    pub delimiter: Bytes,
    /// Where the page begins.
    pub after: Option<Position>,
    /// How many entries and common prefixes at most; more than [`LISTED_MAX`] are as many.
    pub max: usize,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Entries, in order.
    pub entries: Vec<T>,
    /// Common prefixes, in order.
    pub prefixes: Vec<Bytes>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Position>,
}

/// What a listing tells of a version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Summary {
    /// Which version.
    pub version: VersionId,
    /// Whether clients see that id, or `null`.
    pub versioned: bool,
    /// When it was written.
    pub modified: UnixMillis,
    /// The region that took it in.
    pub region: RegionId,
    /// What it holds; `None` for a delete marker.
    pub content: Option<ContentSummary>,
}

/// What a listing tells of what a version holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ContentSummary {
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its entity tag, without quotes.
    pub etag: String,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: Bytes,
    /// What is told of it.
    pub summary: Summary,
}

impl Summary {
    /// Reads only the start of an [`ObjectRecord`]: its fields have an order, which never changes, and
    /// bodies and metadata come last.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
        if *version != ObjectRecord::VERSION {
            return Err(CodecError::Newer { found: *version, known: ObjectRecord::VERSION });
        }
        let (summary, _) = postcard::take_from_bytes(body)
            .map_err(|error| CodecError::Damaged(error.to_string()))?;
        Ok(summary)
    }

    /// The id that clients see; `None` for `null`.
    #[must_use]
    pub fn id(&self) -> Option<VersionId> {
        self.versioned.then_some(self.version)
    }
}

impl Listing {
    fn max(&self) -> usize {
        self.max.min(LISTED_MAX)
    }

    /// The common prefix that a key belongs to.
    fn group<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        group(&self.prefix, &self.delimiter, key)
    }
}

fn group<'a>(prefix: &[u8], delimiter: &[u8], key: &'a [u8]) -> Option<&'a [u8]> {
    let rest = key.strip_prefix(prefix)?;
    let at = match delimiter {
        [] => return None,
        [byte] => rest.iter().position(|one| one == byte)?,
        _ => rest.windows(delimiter.len()).position(|window| window == delimiter)?,
    };
    key.get(..prefix.len() + at + delimiter.len())
}

/// What is being gathered.
#[derive(Debug)]
struct Gathered<T> {
    page: Page<T>,
    max: usize,
    /// Where the next page would begin.
    last: Option<Position>,
}

impl<T> Gathered<T> {
    fn new(listing: &Listing) -> Self {
        let page = Page { entries: Vec::new(), prefixes: Vec::new(), next: None };
        Self { page, max: listing.max(), last: None }
    }

    fn is_full(&self) -> bool {
        self.page.entries.len() + self.page.prefixes.len() >= self.max
    }

    fn entry(&mut self, entry: T, at: Position) {
        self.page.entries.push(entry);
        self.last = Some(at);
    }

    fn prefix(&mut self, prefix: Bytes) {
        self.page.prefixes.push(prefix.clone());
        self.last = Some(Position::Prefix(prefix));
    }

    /// The page, with more after it.
    fn cut(mut self) -> Page<T> {
        self.page.next = self.last;
        self.page
    }

    /// The page, which is the last.
    fn end(self) -> Page<T> {
        self.page
    }
}
