//! What stands in an archive: files, directories and links.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    ArchivePath,
    limits::{HOLES_MAX, PATH_BYTES_MAX},
};

/// Bits of a mode that are kept: permissions, set-user, set-group, sticky.
const MODE_BITS: u32 = 0o7777;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// When something was changed, since 1970; seconds may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mtime {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Below a thousand million.
    pub nanos: u32,
}

/// The numbers of a user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// A range of a file that has no data: it reads as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is; never 0.
    pub bytes: u64,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Where its data begins in the stream.
    pub start: u64,
    /// How much data it has: its size without its holes.
    pub data: u64,
    /// Its holes, in order, with data between them.
    pub holes: Vec<Hole>,
    /// The BLAKE3 hash of its data.
    pub hash: [u8; 32],
}

impl Content {
    /// The file's size, with its holes. Never fails for content that was [checked](Entry::check).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.holes.iter().fold(self.data, |size, hole| size.saturating_add(hole.bytes))
    }

    /// The ranges with data, as (offset, bytes), in order.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = Vec::with_capacity(self.holes.len() + 1);
        let mut at = 0;
        for hole in &self.holes {
            ranges.push((at, hole.offset.saturating_sub(at)));
            at = hole.offset.saturating_add(hole.bytes);
        }
        ranges.push((at, self.size().saturating_sub(at)));
        ranges.retain(|(_, bytes)| *bytes > 0);
        ranges
    }

    fn check(&self) -> Result<(), EntryError> {
        if self.holes.len() > HOLES_MAX || self.start.checked_add(self.data).is_none() {
            return Err(EntryError(
                "the data or the holes of a file are beyond the format's bounds",
            ));
        }
        let (mut at, mut data) = (0_u64, self.data);
        let mut first = true;
        for hole in &self.holes {
            let before = hole.offset.checked_sub(at).filter(|before| first || *before > 0);
            let rest = before.and_then(|before| data.checked_sub(before));
            let end = hole.offset.checked_add(hole.bytes).filter(|_| hole.bytes > 0);
            let (Some(rest), Some(end)) = (rest, end) else {
                return Err(EntryError("the holes of a file overlap or lie outside of it"));
            };
            (at, data, first) = (end, rest, false);
        }
        // `off_t` has 63 bits.
        match at.checked_add(data).map(i64::try_from) {
            Some(Ok(_)) => Ok(()),
            _ => Err(EntryError("a file is longer than a file can be")),
        }
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory; what is in it follows.
    Directory,
    /// A file.
    File(Content),
    /// A symbolic link, restored as it was and never followed.
    Symlink {
        /// Where it points, as it was written.
        target: Bytes,
    },
    /// Another name of a file that came before.
    HardLink {
        /// The file.
        to: ArchivePath,
    },
}

/// One row of an archive's list. The order of the fields is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands.
    pub path: ArchivePath,
    /// Its permissions, with set-user, set-group and sticky.
    pub mode: u32,
    /// When it was changed.
    pub mtime: Mtime,
    /// Whose it was, if the sender says so.
    pub owner: Option<Owner>,
    /// What it is.
    pub kind: Kind,
}

/// Why an entry is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EntryError(pub(crate) &'static str);

impl Entry {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// When something is out of its bounds, or contradicts itself.
    pub fn check(&self) -> Result<(), EntryError> {
        if self.mode & !MODE_BITS != 0 || self.mtime.nanos >= NANOS_PER_SECOND {
            return Err(EntryError("a mode or a time is out of its bounds"));
        }
        match &self.kind {
            Kind::Directory => Ok(()),
            Kind::File(content) => content.check(),
            Kind::Symlink { target } => {
                let fits = (1..PATH_BYTES_MAX).contains(&target.len()) && !target.contains(&0);
                if fits {
                    Ok(())
                } else {
                    Err(EntryError("a link's target is empty, too long, or has a NUL"))
                }
            }
            Kind::HardLink { to } if *to < self.path && !to.is_top() => Ok(()),
            Kind::HardLink { .. } => Err(EntryError("a hard link to what does not come before it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(data: u64, holes: &[(u64, u64)]) -> Content {
        let holes = holes.iter().map(|&(offset, bytes)| Hole { offset, bytes }).collect();
        Content { start: 0, data, holes, hash: [0; 32] }
    }

    #[test]
    fn data_is_what_is_between_the_holes() {
        let sparse = content(30, &[(0, 100), (110, 5)]);
        assert_eq!(sparse.check(), Ok(()));
        assert_eq!((sparse.size(), sparse.ranges()), (135, vec![(100, 10), (115, 20)]));
        let hollow = content(0, &[(0, 1 << 40)]);
        assert_eq!((hollow.check(), hollow.size(), hollow.ranges()), (Ok(()), 1 << 40, vec![]));
        assert_eq!(content(5, &[]).ranges(), [(0, 5)]);
        assert_eq!(content(0, &[]).ranges(), []);
        assert_eq!(content(5, &[(5, 5)]).ranges(), [(0, 5)]);
    }

    #[test]
    fn holes_that_lie_are_refused() {
        for (data, holes) in [
            (5, &[(6, 1)][..]),
            (5, &[(1, 0)]),
            (5, &[(1, 2), (2, 1)]),
            (5, &[(1, 2), (3, 1)]),
            (5, &[(u64::MAX, 1)]),
            (5, &[(0, u64::MAX)]),
            (0, &[(0, 1 << 63)]),
            (u64::MAX, &[]),
        ] {
            assert!(content(data, holes).check().is_err(), "{data} {holes:?}");
        }
        assert!(Content { start: u64::MAX, ..content(1, &[]) }.check().is_err());
    }
}
