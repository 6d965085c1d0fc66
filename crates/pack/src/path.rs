//! Paths in an archive.

use std::{cmp::Ordering, fmt};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

/// A path below the archive's top: names with `/` between them, as bytes. Never absolute, and no name
/// is empty, `.` or `..`, longer than [`NAME_BYTES_MAX`], or has a NUL. The top itself is the empty path.
///
/// Paths are ordered by their names, one after the other, which is the order of a walk.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct ArchivePath(Bytes);

/// Why bytes are no path of an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("a path has {0} bytes; at most {PATH_BYTES_MAX} are allowed")]
    Long(usize),
    /// It begins with `/`.
    #[error("the path `{0}` is absolute")]
    Absolute(String),
    /// One of its names is none.
    #[error("the path `{0}` has a name that is empty, `.`, `..`, too long, or has a NUL")]
    Name(String),
}

impl ArchivePath {
    /// The archive's top.
    #[must_use]
    pub const fn top() -> Self {
        Self(Bytes::new())
    }

    /// Checks a path.
    ///
    /// # Errors
    /// When it breaks a rule of the type.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        let shown = || String::from_utf8_lossy(&bytes).escape_debug().to_string();
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::Long(bytes.len()));
        }
        if bytes.starts_with(b"/") {
            return Err(PathError::Absolute(shown()));
        }
        if !bytes.is_empty() && !bytes.split(|byte| *byte == b'/').all(is_name) {
            return Err(PathError::Name(shown()));
        }
        Ok(Self(bytes))
    }

    /// The path of what has this name in this directory.
    ///
    /// # Errors
    /// When the name is none, or the whole gets too long.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        if !is_name(name) {
            return Err(PathError::Name(String::from_utf8_lossy(name).escape_debug().to_string()));
        }
        let separator: &[u8] = if self.is_top() { b"" } else { b"/" };
        Self::new([self.as_bytes(), separator, name].concat())
    }

    /// Whether this is the top itself.
    #[must_use]
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its names, from the top; none for the top.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The directory and the name in it; none for the top.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &[u8])> {
        let name = self.0.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty())?;
        let parent = self.0.len().saturating_sub(name.len() + 1);
        Some((Self(self.0.slice(..parent)), name))
    }
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

impl Ord for ArchivePath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names().cmp(other.names())
    }
}

impl PartialOrd for ArchivePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<Bytes> for ArchivePath {
    type Error = PathError;

    fn try_from(bytes: Bytes) -> Result<Self, PathError> {
        Self::new(bytes)
    }
}

impl From<ArchivePath> for Bytes {
    fn from(path: ArchivePath) -> Self {
        path.0
    }
}

impl fmt::Display for ArchivePath {
    /// For people: bytes that are no text, and control characters, are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_top() {
            return f.write_str(".");
        }
        for piece in self.0.utf8_chunks() {
            write!(f, "{}", piece.valid().escape_debug())?;
            piece.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_top_is_no_path() {
        for wrong in
            ["/etc/passwd", "..", "a/..", "../a", "a//b", "a/", "./a", "a/./b", "a\0b", "/", "."]
        {
            assert!(ArchivePath::new(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(ArchivePath::new(vec![b'a'; NAME_BYTES_MAX + 1]).is_err());
        assert!(ArchivePath::new("a/".repeat(PATH_BYTES_MAX)).is_err());
        for right in ["", "a", "...", "a/..b/c..", "\u{e9}/\\", "a b"] {
            assert!(ArchivePath::new(right.as_bytes()).is_ok(), "{right}");
        }
        assert!(ArchivePath::new(&b"\xff\xfe"[..]).is_ok());
    }

    #[test]
    fn a_path_is_its_directory_and_a_name() {
        let path = ArchivePath::new("a/b/c").unwrap();
        let (parent, name) = path.split().unwrap();
        assert_eq!((parent.as_bytes(), name), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(parent.join(name).unwrap(), path);
        let (top, name) = ArchivePath::new("a")
            .map(|a| a.split().map(|(t, n)| (t, n.to_vec())))
            .unwrap()
            .unwrap();
        assert!(top.is_top());
        assert_eq!(top.join(&name).unwrap().as_bytes(), b"a");
        assert!(top.split().is_none());
        assert!(top.join(b"a/b").is_err() && top.join(b"..").is_err() && top.join(b"").is_err());
    }

    #[test]
    fn the_order_is_that_of_a_walk_and_not_of_the_bytes() {
        let path = |text: &str| ArchivePath::new(text.to_owned()).unwrap();
        assert!(path("a/b") < path("a.b"));
        assert!(path("a") < path("a/b") && path("") < path("a"));
    }

    #[test]
    fn people_see_no_control_characters() {
        let path = ArchivePath::new(&b"a\x1b[2J\xff"[..]).unwrap();
        assert_eq!(path.to_string(), "a\\u{1b}[2J\\xff");
    }
}
