//! How a blob lies in its file or object.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `RHUMBLOB` |
//! | 8 | 1 | version |
//! | 9 | 1 | how it is sealed: 0 not at all, 1 with AES-256-GCM |
//! | 16 | 8 | bytes of the blob |
//! | 24 | 8 | id of the key |
//! | 32 | 32 | salt of the blob's own key |
//! | 64 | 16 | tag of the sealed tree |
//! | 96 | 32 | BLAKE3 of the 96 bytes before |
//! | 128 | 32 per block | the tree: the value of each block |
//! | | 16 per block | the tag of each sealed block |
//! | data | | the blocks |
//!
//! Numbers are little-endian and what is not used is zero. There are two layouts: up to
//! [`SMALL_BLOCKS`] blocks the data begins at [`SMALL_AT`], else at [`LARGE_AT`] with room for the
//! longest blob. So a writer need not know the length before the end, and the length follows from
//! the size of the file. The first 128 bytes stay what they are in later versions, so that a newer
//! version can be told from damage.

use rhumb_ports::blobs::BLOB_BYTES_MAX;
use rhumb_types::record::BlobHash;

use crate::{
    seal::{BlobKey, KeyId, Keys, Part, SALT_BYTES, TAG_BYTES},
    tree::{self, BLOCK_BYTES},
};

/// The version that is written, and the highest that is read.
const VERSION: u8 = 1;
const MAGIC: &[u8; 8] = b"RHUMBLOB";
/// Bytes of the header.
const HEADER_BYTES: usize = 128;
/// Bytes of the header that its hash covers.
const CHECKED_BYTES: usize = 96;
const VALUE_BYTES: usize = 32;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Most blocks of the small layout.
const SMALL_BLOCKS: u64 = 4;
/// Most blocks of a blob.
const LARGE_BLOCKS: u64 = BLOB_BYTES_MAX / BLOCK;
/// Where the data begins in the small layout: after a full tree.
const SMALL_AT: u64 = 320;
/// Where it begins in the large layout: after a full tree, on a page of its own.
const LARGE_AT: u64 = 16 << 10;
/// The most that lies before the data.
#[cfg(feature = "bucket")]
pub(crate) const FRONT_BYTES_MAX: u64 = LARGE_AT;

const _: () = {
    let entry = (VALUE_BYTES + TAG_BYTES) as u64;
    assert!(HEADER_BYTES as u64 + SMALL_BLOCKS * entry == SMALL_AT);
    assert!(HEADER_BYTES as u64 + LARGE_BLOCKS * entry <= LARGE_AT);
    assert!(BLOB_BYTES_MAX.is_multiple_of(BLOCK));
};

/// Where the parts of a blob of some length are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes of the blob.
    pub(crate) bytes: u64,
}

impl Layout {
    /// The layout of a file of that size, if a blob can have it.
    pub(crate) fn of_size(size: u64) -> Option<Self> {
        let small = size.checked_sub(SMALL_AT)?;
        let bytes = if small <= SMALL_BLOCKS * BLOCK { small } else { size.checked_sub(LARGE_AT)? };
        let layout = Self { bytes };
        (bytes <= BLOB_BYTES_MAX && layout.size() == size).then_some(layout)
    }

    const fn is_small(self) -> bool {
        self.bytes <= SMALL_BLOCKS * BLOCK
    }

    /// Where the data begins.
    pub(crate) const fn data_at(self) -> u64 {
        if self.is_small() { SMALL_AT } else { LARGE_AT }
    }

    /// Bytes of the file.
    pub(crate) const fn size(self) -> u64 {
        self.data_at() + self.bytes
    }

    /// How many blocks there are.
    pub(crate) const fn blocks(self) -> u64 {
        self.bytes.div_ceil(BLOCK)
    }

    /// Where the tags begin.
    const fn tags_at(self) -> usize {
        let room = if self.is_small() { SMALL_BLOCKS } else { LARGE_BLOCKS };
        // At most 256 blocks.
        #[allow(clippy::cast_possible_truncation, reason = "at most 256 blocks")]
        let room = room as usize;
        HEADER_BYTES + room * VALUE_BYTES
    }
}

/// Why a stored blob cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The bytes are not what was written.
    Damaged(String),
    /// It is sealed with a key that this store has not got.
    NoKey(KeyId),
    /// A newer binary wrote it.
    Newer(u8),
}

fn damaged(reason: &str) -> Flaw {
    Flaw::Damaged(reason.to_owned())
}

/// What a sealed blob says of its key.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) id: KeyId,
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) key: BlobKey,
}

/// The tree of a blob, and what opens its blocks.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) values: Vec<[u8; VALUE_BYTES]>,
    pub(crate) tags: Vec<[u8; TAG_BYTES]>,
    pub(crate) bytes: u64,
    pub(crate) sealed: Option<Sealed>,
}

impl Index {
    pub(crate) fn hash(&self) -> BlobHash {
        BlobHash(tree::root(&self.values))
    }

    pub(crate) const fn layout(&self) -> Layout {
        Layout { bytes: self.bytes }
    }

    /// Everything before the data.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let layout = self.layout();
        // The layout bounds it at 16 KiB.
        let mut out = Vec::with_capacity(usize::try_from(layout.data_at()).unwrap_or_default());
        let mut values = self.values.as_flattened().to_vec();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, u8::from(self.sealed.is_some())]);
        out.resize(16, 0);
        out.extend_from_slice(&self.bytes.to_le_bytes());
        if let Some(sealed) = &self.sealed {
            out.extend_from_slice(&sealed.id.0);
            out.extend_from_slice(&sealed.salt);
            let tag = sealed.key.seal(Part::Tree, &out, &mut values);
            out.extend_from_slice(&tag);
        }
        out.resize(CHECKED_BYTES, 0);
        let check = blake3::hash(&out);
        out.extend_from_slice(check.as_bytes());
        out.extend_from_slice(&values);
        out.resize(layout.tags_at(), 0);
        out.extend_from_slice(self.tags.as_flattened());
        out.resize(usize::try_from(layout.data_at()).unwrap_or(out.len()), 0);
        out
    }

    /// Reads what lies before the data, and checks it against the blob's name.
    pub(crate) fn decode(
        hash: BlobHash,
        layout: Layout,
        front: &[u8],
        keys: &Keys,
    ) -> Result<Self, Flaw> {
        let header = Header::parse(front)?;
        if header.bytes != layout.bytes {
            return Err(damaged("the file has not the size that its header says"));
        }
        let blocks = usize::try_from(layout.blocks()).unwrap_or(usize::MAX);
        let part = |at: usize, bytes: usize| {
            front.get(at..at + bytes).ok_or_else(|| damaged("it is cut off before its data"))
        };
        let mut values = part(HEADER_BYTES, blocks * VALUE_BYTES)?.to_vec();
        let sealed = header.open(keys)?;
        let mut tags = Vec::new();
        if let Some(sealed) = &sealed {
            let opened = sealed.key.open(Part::Tree, header.about, header.tag, &mut values);
            opened.map_err(|_| damaged("its tree was not sealed with its key"))?;
            let bytes = part(layout.tags_at(), blocks * TAG_BYTES)?;
            tags = bytes.as_chunks::<TAG_BYTES>().0.to_vec();
        }
        let values = values.as_chunks::<VALUE_BYTES>().0.to_vec();
        let index = Self { values, tags, bytes: header.bytes, sealed };
        if index.hash() == hash { Ok(index) } else { Err(damaged("its tree has another root")) }
    }

    /// Opens and verifies a block in place.
    pub(crate) fn check(&self, number: u64, block: &mut [u8]) -> Result<(), Flaw> {
        let wrong = || Flaw::Damaged(format!("block {number} is not what was written"));
        let place = usize::try_from(number).map_err(|_| wrong())?;
        let count = self.layout().blocks();
        if let Some(sealed) = &self.sealed {
            let tag = self.tags.get(place).ok_or_else(wrong)?;
            let part = Part::Block { index: number, is_last: number + 1 == count };
            sealed.key.open(part, &[], tag, block).map_err(|_| wrong())?;
        }
        let expected = self.values.get(place).ok_or_else(wrong)?;
        let value = tree::value(number, count == 1, block);
        if value == *expected { Ok(()) } else { Err(wrong()) }
    }
}

/// The first bytes, as they lie there.
struct Header<'a> {
    bytes: u64,
    is_sealed: bool,
    id: KeyId,
    salt: &'a [u8; SALT_BYTES],
    tag: &'a [u8; TAG_BYTES],
    /// What the seal of the tree covers besides it.
    about: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(front: &'a [u8]) -> Result<Self, Flaw> {
        let cut = || damaged("it is cut off in its header");
        let (checked, rest) = front.split_at_checked(CHECKED_BYTES).ok_or_else(cut)?;
        let (check, _) = rest.split_first_chunk::<32>().ok_or_else(cut)?;
        if blake3::hash(checked) != *check || !checked.starts_with(MAGIC) {
            return Err(damaged("its header is not one"));
        }
        let (about, rest) = checked.split_at_checked(64).ok_or_else(cut)?;
        let (tag, _) = rest.split_first_chunk::<TAG_BYTES>().ok_or_else(cut)?;
        let (fixed, rest) = about.split_first_chunk::<16>().ok_or_else(cut)?;
        let (bytes, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (id, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (salt, _) = rest.split_first_chunk::<SALT_BYTES>().ok_or_else(cut)?;
        let [.., version, seal, _, _, _, _, _, _] = *fixed;
        if version > VERSION || seal > 1 {
            return Err(Flaw::Newer(version));
        }
        let bytes = u64::from_le_bytes(*bytes);
        Ok(Self { bytes, is_sealed: seal == 1, id: KeyId(*id), salt, tag, about })
    }

    fn open(&self, keys: &Keys) -> Result<Option<Sealed>, Flaw> {
        if !self.is_sealed {
            return Ok(None);
        }
        let key = keys.find(self.id).ok_or(Flaw::NoKey(self.id))?;
        let key = BlobKey::derive(key, self.salt);
        Ok(Some(Sealed { id: self.id, salt: *self.salt, key }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_follows_from_the_size() {
        let edges = [0, 1, 262_143, 262_144, 262_145, BLOB_BYTES_MAX - 1, BLOB_BYTES_MAX];
        for bytes in edges {
            let layout = Layout { bytes };
            assert_eq!(Layout::of_size(layout.size()), Some(layout));
        }
        let between = Layout { bytes: 262_144 }.size() + 1..Layout { bytes: 262_145 }.size();
        for size in [0, 319, between.start, between.end - 1, LARGE_AT + BLOB_BYTES_MAX + 1] {
            assert_eq!(Layout::of_size(size), None, "{size}");
        }
    }
}
