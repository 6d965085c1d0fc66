//! A blob on its way into a store: hashed, sealed and cut into what is written at once.

use bytes::{Bytes, BytesMut};
use rhumb_ports::blobs::{BLOB_BYTES_MAX, BlobError};

use crate::{
    format::{Index, Layout, Sealed},
    seal::{BlobKey, Keys, Part, SALT_BYTES},
    tree::{self, BLOCK_BYTES},
};

/// Bytes that are hashed and written at once: whole blocks.
pub(crate) const PIECE_BYTES: usize = 16 * BLOCK_BYTES;

/// From here on a piece gets the room of a whole one, so that it is not moved each time it grows.
const SMALL_BYTES: usize = BLOCK_BYTES;

/// Gathers what callers write into pieces of [`PIECE_BYTES`]. A piece leaves only when more follows
/// it, so that the last one is known to be the last.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    bytes: u64,
    buffer: BytesMut,
}

impl Gathered {
    /// Adds from the front of some bytes what has room; gives a piece when one is full and more
    /// follows.
    pub(crate) fn fill(&mut self, bytes: &mut Bytes) -> Option<BytesMut> {
        let room = PIECE_BYTES - self.buffer.len();
        if room == 0 && !bytes.is_empty() {
            return Some(std::mem::take(&mut self.buffer));
        }
        let taken = bytes.split_to(room.min(bytes.len()));
        let wanted = self.buffer.len() + taken.len();
        let is_long = wanted > SMALL_BYTES || self.bytes > PIECE_BYTES as u64;
        if is_long && wanted > self.buffer.capacity() {
            self.buffer.reserve(PIECE_BYTES - self.buffer.len());
        }
        self.bytes += taken.len() as u64;
        self.buffer.extend_from_slice(&taken);
        None
    }

    /// Whether as many bytes more are still a blob.
    pub(crate) fn admit(&self, bytes: usize) -> Result<(), BlobError> {
        let all = self.bytes + bytes as u64;
        if all > BLOB_BYTES_MAX { Err(BlobError::too_long()) } else { Ok(()) }
    }

    /// The last piece.
    pub(crate) fn rest(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }
}

/// Hashes and seals the pieces of one blob.
#[derive(Debug)]
pub(crate) struct Packer {
    index: Index,
}

impl Packer {
    /// For a blob that is sealed as the keys say. Errors when the system gives no randomness.
    pub(crate) fn new(keys: &Keys) -> Result<Self, getrandom::Error> {
        let mut index = Index::default();
        if let Some(key) = keys.writing() {
            let mut salt = [0; SALT_BYTES];
            getrandom::fill(&mut salt)?;
            let blob_key = BlobKey::derive(key, &salt);
            index.sealed = Some(Sealed { id: key.id(), salt, key: blob_key });
        }
        Ok(Self { index })
    }

    /// Packs the next piece in place, and says where in the file it belongs.
    pub(crate) fn pack(&mut self, piece: &mut [u8], is_last: bool) -> u64 {
        let before = self.index.bytes;
        let all = before + piece.len() as u64;
        let is_only = is_last && all <= BLOCK_BYTES as u64;
        let blocks = piece.len().div_ceil(BLOCK_BYTES);
        for (place, block) in piece.chunks_mut(BLOCK_BYTES).enumerate() {
            let number = self.index.values.len() as u64;
            self.index.values.push(tree::value(number, is_only, block));
            if let Some(sealed) = &self.index.sealed {
                let is_last = is_last && place + 1 == blocks;
                let part = Part::Block { index: number, is_last };
                self.index.tags.push(sealed.key.seal(part, &[], block));
            }
        }
        self.index.bytes = all;
        // A piece that is not the last is followed by more: the small layout is out of question.
        let layout = Layout { bytes: if is_last { all } else { BLOB_BYTES_MAX } };
        layout.data_at() + before
    }

    /// What was packed.
    pub(crate) fn index(self) -> Index {
        self.index
    }
}
