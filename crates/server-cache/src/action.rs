//! Action results, trees and directories of the Remote Execution API (`remote_execution.proto`, v2), as
//! far as they name blobs.
//!
//! They are read field by field and never built, so that a message of a few bytes cannot ask for more
//! memory than it has. What has no meaning here is passed over, as the encoding demands of unknown fields.

use crate::limits::NAMED_MAX;

/// A blob, as these messages name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest {
    /// Its SHA-256.
    pub hash: [u8; 32],
    /// Its length, in bytes.
    pub bytes: u64,
}

/// SHA-256 of nothing.
const EMPTY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

impl Digest {
    /// Whether it is the blob without bytes, which everybody has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hash == EMPTY
    }
}

/// What a message names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Named {
    /// Files and outputs.
    pub blobs: Vec<Digest>,
    /// Blobs that are trees of directories.
    pub trees: Vec<Digest>,
    /// Blobs that are one directory each.
    pub directories: Vec<Digest>,
}

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// They are cut off, or no message at all.
    #[error("it is no message of protocol buffers")]
    Damaged,
    /// A field has another type than the API gives it.
    #[error("field {0} is of another type")]
    Type(u32),
    /// A digest is not a SHA-256 and a length.
    #[error("a digest is not 64 lower-case hexadecimal digits and a length")]
    Digest,
    /// It names too much.
    #[error("it names more than {NAMED_MAX} blobs")]
    TooMany,
    /// It holds nothing.
    #[error("it is empty")]
    Empty,
}

/// Reads an `ActionResult`.
///
/// # Errors
/// [`NotRead`]; also for an empty message, which says nothing of an action.
pub fn action_result(bytes: &[u8]) -> Result<Named, NotRead> {
    if bytes.is_empty() {
        return Err(NotRead::Empty);
    }
    let mut named = Named::default();
    for field in Fields(bytes) {
        let (number, value) = field?;
        match number {
            // OutputFile { digest = 2 }
            2 => push(&mut named.blobs, within(value, number, 2)?)?,
            // OutputDirectory { tree_digest = 3, root_directory_digest = 5 }
            3 => {
                let directory = value.message(number)?;
                push(&mut named.trees, digest_in(directory, 3)?)?;
                push(&mut named.directories, digest_in(directory, 5)?)?;
            }
            // stdout_digest, stderr_digest
            6 | 8 => push(&mut named.blobs, Some(digest(value.message(number)?)?))?,
            // Symbolic links, raw outputs and metadata name no blobs.
            5 | 7 | 9..=12 => drop(value.message(number)?),
            4 => value.varint(number).map(drop)?,
            _ => {}
        }
    }
    Ok(named)
}

/// Reads a `Tree`: the root and all directories below it.
///
/// # Errors
/// [`NotRead`].
pub fn tree(bytes: &[u8]) -> Result<Vec<Digest>, NotRead> {
    let mut files = Vec::new();
    for field in Fields(bytes) {
        let (number, value) = field?;
        // root = 1, children = 2. The directories that they name are the children.
        if matches!(number, 1 | 2) {
            for file in directory(value.message(number)?)?.blobs {
                push(&mut files, Some(file))?;
            }
        }
    }
    Ok(files)
}

/// Reads a `Directory`: its files, and the directories in it.
///
/// # Errors
/// [`NotRead`].
pub fn directory(bytes: &[u8]) -> Result<Named, NotRead> {
    let mut named = Named::default();
    for field in Fields(bytes) {
        let (number, value) = field?;
        match number {
            // FileNode { digest = 2 }, DirectoryNode { digest = 2 }
            1 => push(&mut named.blobs, within(value, number, 2)?)?,
            2 => push(&mut named.directories, within(value, number, 2)?)?,
            _ => {}
        }
    }
    Ok(named)
}

fn push(list: &mut Vec<Digest>, digest: Option<Digest>) -> Result<(), NotRead> {
    if list.len() >= NAMED_MAX {
        return Err(NotRead::TooMany);
    }
    list.extend(digest);
    Ok(())
}

/// The digest in a field of a message that is itself a field. A file of which nothing is said is none.
fn within(value: Value<'_>, number: u32, field: u32) -> Result<Option<Digest>, NotRead> {
    digest_in(value.message(number)?, field)
}

fn digest_in(message: &[u8], wanted: u32) -> Result<Option<Digest>, NotRead> {
    let mut found = None;
    for field in Fields(message) {
        let (number, value) = field?;
        if number == wanted {
            found = Some(digest(value.message(number)?)?);
        }
    }
    Ok(found)
}

/// Reads a `Digest { hash = 1, size_bytes = 2 }`.
fn digest(message: &[u8]) -> Result<Digest, NotRead> {
    let (mut hash, mut bytes) = (None, 0);
    for field in Fields(message) {
        match field? {
            (1, value) => hash = Some(parse_hash(value.message(1)?).ok_or(NotRead::Digest)?),
            (2, value) => bytes = value.varint(2)?,
            _ => {}
        }
    }
    let signed = i64::try_from(bytes).is_ok();
    hash.filter(|_| signed).map(|hash| Digest { hash, bytes }).ok_or(NotRead::Digest)
}

/// A SHA-256 from 64 lower-case hexadecimal digits.
pub(crate) fn parse_hash(text: &[u8]) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(hash)
}

/// A field's value.
#[derive(Clone, Copy)]
enum Value<'b> {
    Varint(u64),
    Message(&'b [u8]),
    Fixed,
}

impl<'b> Value<'b> {
    const fn message(self, number: u32) -> Result<&'b [u8], NotRead> {
        match self {
            Self::Message(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed => Err(NotRead::Type(number)),
        }
    }

    const fn varint(self, number: u32) -> Result<u64, NotRead> {
        match self {
            Self::Varint(value) => Ok(value),
            Self::Message(_) | Self::Fixed => Err(NotRead::Type(number)),
        }
    }
}

/// The fields of a message, one after the other; ends after the first that cannot be read. Groups are of
/// an older syntax than that of the API.
/// <https://protobuf.dev/programming-guides/encoding/>
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u32, Value<'b>)> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Message(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((number, value))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u32, Value<'b>), NotRead>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(NotRead::Damaged))
    }
}

#[cfg(test)]
mod tests;
