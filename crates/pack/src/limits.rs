//! Every bound of the format, in one place. Those of cutting are frozen: an archive that is sent again
//! shares its packs with the first only while both were cut alike.

/// Shortest chunk, in bytes, but for the last of an archive.
pub const CHUNK_BYTES_MIN: usize = 256 << 10;
/// What most chunks are near, in bytes.
pub const CHUNK_BYTES_USUAL: usize = 1 << 20;
/// Longest chunk, in bytes.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;
/// A pack ends at no chunk before it has so many plain bytes.
pub const PACK_BYTES_MIN: usize = 8 << 20;
/// Most plain bytes of a pack.
pub const PACK_BYTES_MAX: usize = 32 << 20;
/// Between the two, a pack ends at one chunk of so many, chosen by the chunk's hash.
pub const PACK_ENDS_ONE_IN: u8 = 8;
/// Most chunks of a pack.
pub const PACK_CHUNKS_MAX: usize = PACK_BYTES_MAX / CHUNK_BYTES_MIN;

/// Longest path in an archive, in bytes; Linux's bound.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Longest name of a file, in bytes; Linux's bound.
pub const NAME_BYTES_MAX: usize = 255;
/// Most holes that one file is written down with.
pub const HOLES_MAX: usize = 16_384;

/// A segment is closed when it has so many plain bytes.
pub const SEGMENT_BYTES: usize = 1 << 20;
/// Most plain bytes of a segment: the one entry that closed it may be as long again.
pub const SEGMENT_BYTES_MAX: usize = 2 << 20;
/// Most segments of an archive.
pub const SEGMENTS_MAX: usize = 1 << 18;
/// Most packs of an archive.
pub const PACKS_MAX: usize = 1 << 20;
/// Longest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;

/// zstd's level for what lists files; it is little, and read by every receiver.
pub(crate) const SEGMENT_LEVEL: i32 = 6;

const _: () = {
    assert!(CHUNK_BYTES_MIN <= CHUNK_BYTES_USUAL && CHUNK_BYTES_USUAL <= CHUNK_BYTES_MAX);
    assert!(PACK_BYTES_MIN + CHUNK_BYTES_MAX <= PACK_BYTES_MAX);
    // A hole takes at most 20 bytes, and two paths stand in an entry.
    assert!(SEGMENT_BYTES + HOLES_MAX * 20 + 2 * PATH_BYTES_MAX + 256 <= SEGMENT_BYTES_MAX);
    // A pack takes at most 37 bytes in the manifest, and so does a segment with its counts.
    assert!(PACKS_MAX * 37 + SEGMENTS_MAX * 48 + 4_096 <= MANIFEST_BYTES_MAX);
};
