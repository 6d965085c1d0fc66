//! Segments: the objects that list the entries of an archive, some thousand each.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Entry,
    limits::{SEGMENT_BYTES, SEGMENT_BYTES_MAX, SEGMENT_LEVEL},
    pack::ChunkHash,
};

/// What the manifest says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The BLAKE3 hash of the object, and its name.
    pub hash: ChunkHash,
    /// How many entries it has.
    pub entries: u32,
    /// How long it is unpacked.
    pub plain: u32,
}

/// A segment as it is sent.
#[derive(Clone, Debug)]
pub struct Segment {
    /// What the manifest says of it.
    pub named: SegmentRef,
    /// The object.
    pub bytes: Bytes,
}

/// Collects entries to segments.
#[derive(Debug, Default)]
pub struct SegmentWriter {
    plain: Vec<u8>,
    entries: u32,
}

/// Why a segment cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It is not what its hash says.
    #[error("a list of files is damaged")]
    Damaged,
    /// What it holds is no list of entries.
    #[error("a list of files cannot be understood")]
    Format(#[source] postcard::Error),
    /// zstd failed, for want of memory.
    #[error("a list of files cannot be compressed")]
    Compress(#[source] std::io::Error),
}

impl SegmentWriter {
    /// A writer without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry; a segment comes back when that filled one.
    ///
    /// # Errors
    /// When an entry cannot be written down, or the segment not compressed.
    pub fn push(&mut self, entry: &Entry) -> Result<Option<Segment>, SegmentError> {
        self.plain = postcard::to_extend(entry, std::mem::take(&mut self.plain))
            .map_err(SegmentError::Format)?;
        self.entries += 1;
        if self.plain.len() >= SEGMENT_BYTES { self.finish() } else { Ok(None) }
    }

    /// What is left.
    ///
    /// # Errors
    /// When it cannot be compressed.
    pub fn finish(&mut self) -> Result<Option<Segment>, SegmentError> {
        if self.entries == 0 {
            return Ok(None);
        }
        let packed =
            zstd::bulk::compress(&self.plain, SEGMENT_LEVEL).map_err(SegmentError::Compress)?;
        let bytes = Bytes::from(packed);
        let named = SegmentRef {
            hash: ChunkHash::of(&bytes),
            entries: std::mem::take(&mut self.entries),
            // At most SEGMENT_BYTES and one entry.
            plain: u32::try_from(self.plain.len()).unwrap_or(u32::MAX),
        };
        self.plain.clear();
        Ok(Some(Segment { named, bytes }))
    }
}

/// The entries of a segment, which is compared with its hash before it is unpacked.
///
/// # Errors
/// When the bytes are not that segment.
pub fn read_segment(bytes: &[u8], named: &SegmentRef) -> Result<Vec<Entry>, SegmentError> {
    let plain = usize::try_from(named.plain).unwrap_or(usize::MAX);
    if ChunkHash::of(bytes) != named.hash || plain > SEGMENT_BYTES_MAX {
        return Err(SegmentError::Damaged);
    }
    let plain = zstd::bulk::decompress(bytes, plain).map_err(|_| SegmentError::Damaged)?;
    let (mut rest, mut entries) = (plain.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (entry, after) = postcard::take_from_bytes(rest).map_err(SegmentError::Format)?;
        entries.push(entry);
        rest = after;
    }
    if entries.len() == named.entries as usize { Ok(entries) } else { Err(SegmentError::Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArchivePath, Kind, Mtime, limits::PATH_BYTES_MAX};

    fn entry(number: usize) -> Entry {
        let names = ["n".repeat(200), number.to_string()].join("/");
        let path = ArchivePath::new(names).unwrap();
        let kind = Kind::Symlink { target: vec![b'x'; PATH_BYTES_MAX - 1].into() };
        Entry { path, mode: 0o777, mtime: Mtime::default(), owner: None, kind }
    }

    #[test]
    fn entries_come_back_in_their_order_whatever_segments_they_are_in() {
        let entries: Vec<_> = (0..1_000).map(entry).collect();
        let mut writer = SegmentWriter::new();
        let mut segments: Vec<_> =
            entries.iter().filter_map(|entry| writer.push(entry).unwrap()).collect();
        segments.extend(writer.finish().unwrap());
        assert!(segments.len() > 3);
        let read: Vec<_> =
            segments.iter().flat_map(|s| read_segment(&s.bytes, &s.named).unwrap()).collect();
        assert!(read == entries);
        assert!(writer.finish().unwrap().is_none());
    }

    #[test]
    fn a_segment_that_is_not_the_named_one_is_refused() {
        let mut writer = SegmentWriter::new();
        writer.push(&entry(1)).unwrap();
        let segment = writer.finish().unwrap().unwrap();
        let mut bytes = segment.bytes.to_vec();
        bytes[10] ^= 1;
        assert!(matches!(read_segment(&bytes, &segment.named), Err(SegmentError::Damaged)));
        let lying = SegmentRef { entries: 2, ..segment.named };
        assert!(read_segment(&segment.bytes, &lying).is_err());
        let bomb = SegmentRef { plain: u32::MAX, ..segment.named };
        assert!(read_segment(&segment.bytes, &bomb).is_err());
    }
}
