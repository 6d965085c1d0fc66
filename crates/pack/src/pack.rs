//! Packs: the objects that hold the stream.
//!
//! ```text
//! "RHPACK01"  chunks: u32  { hash: 32 bytes, plain: u32, stored: u32 } * chunks  bodies
//! ```
//! Numbers are little-endian. A body is a zstd frame; where `stored` equals `plain`, the bytes themselves.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    cut::PlainChunk,
    hex,
    limits::{CHUNK_BYTES_MAX, PACK_BYTES_MAX, PACK_CHUNKS_MAX},
    unhex,
};

const MAGIC: &[u8; 8] = b"RHPACK01";
/// What a pack's name is derived under, so that it never is the name of anything else.
const NAME_CONTEXT: &str = "rhumb 2026-11-21 name of a pack";
const HEAD_BYTES: usize = MAGIC.len() + 4;
const ROW_BYTES: usize = 32 + 4 + 4;
/// What compression has to gain, as one part of so many, to be worth unpacking.
const GAIN_PARTS: usize = 32;
/// How much of a chunk is tried before the whole is compressed.
const TRIAL_BYTES: usize = 64 << 10;
/// zstd's level for the trial.
const TRIAL_LEVEL: i32 = 1;

/// The BLAKE3 hash of a chunk's plain bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChunkHash(pub [u8; 32]);

impl ChunkHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// A pack's name: a hash of the hashes and sizes of its chunks, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PackId(pub [u8; 32]);

impl PackId {
    /// The name of a pack of these chunks.
    #[must_use]
    pub fn of(chunks: impl IntoIterator<Item = (ChunkHash, u32)>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(NAME_CONTEXT);
        for (hash, bytes) in chunks {
            hasher.update(&hash.0);
            hasher.update(&bytes.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The name that [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// A chunk as it is stored.
#[derive(Clone, Debug)]
pub struct Sealed {
    hash: ChunkHash,
    plain: u32,
    body: Bytes,
}

impl Sealed {
    /// Compresses a chunk at a level of zstd, unless a trial on its first bytes says that it is in vain.
    #[must_use]
    pub fn new(chunk: &PlainChunk, level: i32) -> Self {
        let plain = u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX);
        let body = compressed(&chunk.bytes, level).unwrap_or_else(|| chunk.bytes.clone());
        Self { hash: chunk.hash, plain, body }
    }

    /// Bytes as they are stored.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.body.len()
    }
}

/// The frame of these bytes, if it is shorter by enough.
fn compressed(bytes: &[u8], level: i32) -> Option<Bytes> {
    let enough = |bytes: usize| bytes - bytes / GAIN_PARTS;
    if let Some(first) = bytes.get(..TRIAL_BYTES) {
        let mut room = vec![0; enough(TRIAL_BYTES)];
        zstd::bulk::compress_to_buffer(first, room.as_mut_slice(), TRIAL_LEVEL).ok()?;
    }
    // Room that is too small makes zstd give up, so that what does not shrink costs no memory.
    let mut room = vec![0; enough(bytes.len()).min(bytes.len().saturating_sub(1))];
    let written = zstd::bulk::compress_to_buffer(bytes, room.as_mut_slice(), level).ok()?;
    room.truncate(written);
    room.shrink_to_fit();
    Some(Bytes::from(room))
}

/// The object of a pack, as pieces that are sent one after the other.
#[must_use]
pub fn assemble(chunks: Vec<Sealed>) -> Vec<Bytes> {
    let mut head = BytesMut::with_capacity(HEAD_BYTES + chunks.len() * ROW_BYTES);
    head.put_slice(MAGIC);
    head.put_u32_le(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
    for chunk in &chunks {
        head.put_slice(&chunk.hash.0);
        head.put_u32_le(chunk.plain);
        head.put_u32_le(u32::try_from(chunk.body.len()).unwrap_or(u32::MAX));
    }
    std::iter::once(head.freeze()).chain(chunks.into_iter().map(|chunk| chunk.body)).collect()
}

/// Why bytes are not the pack that they are said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// It does not begin as a pack does.
    #[error("this is no pack")]
    Magic,
    /// Shorter or longer than its index says.
    #[error("the pack is not as long as it says")]
    Length,
    /// A number in its index is beyond the format's bounds.
    #[error("the pack's index breaks a bound of the format")]
    Bounds,
    /// Its index makes another name.
    #[error("the pack is {found} and was taken for {wanted}")]
    Name {
        /// The name that was asked for.
        wanted: PackId,
        /// The name of what is there.
        found: PackId,
    },
    /// A chunk is not what its hash says.
    #[error("chunk {0} of the pack is damaged")]
    Chunk(usize),
    /// There is no such chunk.
    #[error("the pack has no chunk {0}")]
    NoChunk(usize),
}

#[derive(Clone, Debug)]
struct Row {
    hash: ChunkHash,
    plain: usize,
    body: Bytes,
}

/// A pack whose index is true; its chunks are looked at one by one.
#[derive(Clone, Debug)]
pub struct Pack {
    rows: Vec<Row>,
    bytes: usize,
}

impl Pack {
    /// Reads a pack of this name.
    ///
    /// # Errors
    /// When the bytes are not that pack. What its chunks hold is compared later, chunk by chunk.
    pub fn parse(mut bytes: Bytes, wanted: PackId) -> Result<Self, PackError> {
        if bytes.len() < HEAD_BYTES || bytes.split_to(MAGIC.len()) != MAGIC.as_slice() {
            return Err(PackError::Magic);
        }
        let count = bytes.get_u32_le() as usize;
        if count > PACK_CHUNKS_MAX {
            return Err(PackError::Bounds);
        }
        let mut index = bytes.split_to_checked(count * ROW_BYTES).ok_or(PackError::Length)?;
        let mut pack = Self { rows: Vec::with_capacity(count), bytes: 0 };
        while index.has_remaining() {
            let mut hash = ChunkHash([0; 32]);
            index.copy_to_slice(&mut hash.0);
            let (plain, stored) = (index.get_u32_le() as usize, index.get_u32_le() as usize);
            pack.bytes += plain;
            if plain > CHUNK_BYTES_MAX
                || stored > plain
                || stored == 0
                || pack.bytes > PACK_BYTES_MAX
            {
                return Err(PackError::Bounds);
            }
            let body = bytes.split_to_checked(stored).ok_or(PackError::Length)?;
            pack.rows.push(Row { hash, plain, body });
        }
        let sizes = |row: &Row| (row.hash, u32::try_from(row.plain).unwrap_or(u32::MAX));
        let found = PackId::of(pack.rows.iter().map(sizes));
        match (bytes.is_empty(), found == wanted) {
            (false, _) => Err(PackError::Length),
            (_, false) => Err(PackError::Name { wanted, found }),
            _ => Ok(pack),
        }
    }

    /// How many chunks it has.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.rows.len()
    }

    /// Plain bytes of all chunks.
    #[must_use]
    pub fn plain_bytes(&self) -> usize {
        self.bytes
    }

    /// A chunk's plain bytes, compared with its hash.
    ///
    /// # Errors
    /// When there is no such chunk, or it is damaged.
    pub fn chunk(&self, at: usize) -> Result<Bytes, PackError> {
        let row = self.rows.get(at).ok_or(PackError::NoChunk(at))?;
        let damaged = PackError::Chunk(at);
        let plain = if row.body.len() == row.plain {
            row.body.clone()
        } else {
            // The room is the size that the name covers; a frame that holds more fails.
            zstd::bulk::decompress(&row.body, row.plain).map_err(|_| damaged.clone())?.into()
        };
        if plain.len() == row.plain && ChunkHash::of(&plain) == row.hash {
            Ok(plain)
        } else {
            Err(damaged)
        }
    }
}

/// `split_to` for lengths from outside.
trait SplitChecked: Sized {
    fn split_to_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitChecked for Bytes {
    fn split_to_checked(&mut self, at: usize) -> Option<Self> {
        (at <= self.len()).then(|| self.split_to(at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(bytes: Vec<u8>) -> PlainChunk {
        PlainChunk { hash: ChunkHash::of(&bytes), bytes: bytes.into() }
    }

    fn packed(chunks: &[PlainChunk], level: i32) -> (PackId, Bytes) {
        let id = PackId::of(chunks.iter().map(|c| (c.hash, u32::try_from(c.bytes.len()).unwrap())));
        let pieces = assemble(chunks.iter().map(|chunk| Sealed::new(chunk, level)).collect());
        (id, pieces.concat().into())
    }

    fn unpacked(id: PackId, bytes: Bytes) -> Result<Vec<Bytes>, PackError> {
        let pack = Pack::parse(bytes, id)?;
        (0..pack.chunks()).map(|at| pack.chunk(at)).collect()
    }

    /// Bytes with as much structure as asked for.
    fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
        (any::<u8>(), 1_usize..200_000, any::<bool>()).prop_map(|(seed, bytes, plain)| {
            let mut data = vec![seed; bytes];
            if !plain {
                blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut data);
            }
            data
        })
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is_and_shares_its_memory() {
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let noise = chunk(noise);
        let sealed = Sealed::new(&noise, 3);
        assert_eq!(sealed.body.as_ptr(), noise.bytes.as_ptr());
        assert!(Sealed::new(&chunk(vec![7; 1 << 20]), 3).stored() < 1_000);
    }

    #[test]
    fn the_level_changes_the_bytes_and_not_the_name() {
        let text: Vec<u8> =
            (0..200_000_u32).flat_map(|n| (n % 977).to_string().into_bytes()).collect();
        let (chunk, short) = (chunk(text.clone()), &text[..1_000]);
        let chunks = [chunk, super::tests::chunk(short.to_vec())];
        let ((fast, one), (slow, two)) = (packed(&chunks, 1), packed(&chunks, 12));
        assert_eq!(fast, slow);
        assert_ne!(one, two);
        assert_eq!(unpacked(fast, two).unwrap(), unpacked(slow, one).unwrap());
    }

    #[test]
    fn an_index_beyond_the_bounds_is_refused_before_anything_is_made_for_it() {
        let forged = |count: u32, plain: u32, stored: u32, body: &[u8]| {
            let mut bytes = BytesMut::from(&MAGIC[..]);
            bytes.put_u32_le(count);
            bytes.put_slice(&[1; 32]);
            bytes.put_u32_le(plain);
            bytes.put_u32_le(stored);
            bytes.put_slice(body);
            let id = PackId::of([(ChunkHash([1; 32]), plain)]);
            Pack::parse(bytes.freeze(), id).map(|pack| pack.chunk(0))
        };
        assert_eq!(forged(u32::MAX, 1, 1, b"a").unwrap_err(), PackError::Bounds);
        assert_eq!(forged(2, 1, 1, b"a").unwrap_err(), PackError::Length);
        assert_eq!(forged(1, u32::MAX, 1, b"a").unwrap_err(), PackError::Bounds);
        assert_eq!(forged(1, 1, 2, b"ab").unwrap_err(), PackError::Bounds);
        assert_eq!(forged(1, 2, 2, b"a").unwrap_err(), PackError::Length);
        assert_eq!(forged(1, 1, 1, b"ab").unwrap_err(), PackError::Length);
        assert_eq!(forged(1, 1, 1, b"a").unwrap().unwrap_err(), PackError::Chunk(0));
        // A frame that unpacks to more than its index says.
        let bomb = zstd::bulk::compress(&vec![0; 3 << 20], 3).unwrap();
        let stored = u32::try_from(bomb.len()).unwrap();
        assert_eq!(forged(1, 1 << 20, stored, &bomb).unwrap().unwrap_err(), PackError::Chunk(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_pack_comes_back_and_no_flipped_bit_gets_through(
            data in proptest::collection::vec(some_bytes(), 1..5),
            level in 1..6,
            flip: prop::sample::Index,
            bit in 0_u8..8,
        ) {
            let chunks: Vec<_> = data.into_iter().map(chunk).collect();
            let (id, bytes) = packed(&chunks, level);
            let plain: Vec<_> = chunks.iter().map(|chunk| chunk.bytes.clone()).collect();
            prop_assert_eq!(unpacked(id, bytes.clone()), Ok(plain.clone()));
            let mut flipped = bytes.to_vec();
            flipped[flip.index(bytes.len())] ^= 1 << bit;
            // zstd ignores some bits; then the plain bytes are what they were.
            if let Ok(read) = unpacked(id, flipped.into()) {
                prop_assert_eq!(read, plain);
            }
            let cut = bytes.slice(..flip.index(bytes.len()));
            prop_assert!(unpacked(id, cut).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let framed = [&MAGIC[..], &bytes].concat();
            let _refused = unpacked(PackId([0; 32]), framed.into());
            let _refused = unpacked(PackId([0; 32]), bytes.into());
        }
    }
}
