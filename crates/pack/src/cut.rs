//! Where chunks and packs end.
//!
//! Chunks by FastCDC as of 2020 (Xia et al., "The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems", IEEE TPDS 31(9)), normalisation level 1. Packs by the hash of
//! their last chunk. The parameters are frozen in [`limits`](crate::limits), and a test pins what they
//! give.

use bytes::{Buf as _, Bytes, BytesMut};
use fastcdc::v2020::{MASKS, cut};

use crate::{
    limits::{
        CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNK_BYTES_USUAL, PACK_BYTES_MAX, PACK_BYTES_MIN,
        PACK_ENDS_ONE_IN,
    },
    pack::{ChunkHash, PackId},
};

/// log2 of the usual size, and with it which bits of the gear hash are looked at: one more before the
/// usual size, one fewer after it.
const BITS: usize = CHUNK_BYTES_USUAL.ilog2() as usize;
const MASK_SHORT: u64 = MASKS[BITS + 1];
const MASK_LONG: u64 = MASKS[BITS - 1];

/// A piece of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainChunk {
    /// The BLAKE3 hash of the bytes.
    pub hash: ChunkHash,
    /// What it is, at most [`CHUNK_BYTES_MAX`].
    pub bytes: Bytes,
}

/// The chunks of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainPack {
    /// Its name.
    pub id: PackId,
    /// Its pieces, in order.
    pub chunks: Vec<PlainChunk>,
    /// The sum of their sizes.
    pub bytes: u32,
}

/// Cuts a stream into packs of chunks.
#[derive(Debug, Default)]
pub struct Cutter {
    /// What is not cut yet; less than [`CHUNK_BYTES_MAX`] between calls.
    rest: BytesMut,
    chunks: Vec<PlainChunk>,
    /// Plain bytes of `chunks`.
    bytes: usize,
}

impl Cutter {
    /// A cutter at the begin of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes more of the stream, and gives the packs that end in it.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<PlainPack> {
        let mut packs = Vec::new();
        while !bytes.is_empty() {
            if self.rest.capacity() < CHUNK_BYTES_MAX {
                self.rest.reserve(2 * CHUNK_BYTES_MAX - self.rest.len());
            }
            let room = CHUNK_BYTES_MAX - self.rest.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() == CHUNK_BYTES_MAX {
                packs.extend(self.cut());
            }
        }
        packs
    }

    /// The stream is over: what is left.
    pub fn finish(&mut self) -> Vec<PlainPack> {
        let mut packs = Vec::new();
        while !self.rest.is_empty() {
            packs.extend(self.cut());
        }
        packs.extend(self.close());
        packs
    }

    /// Bytes that were taken and are in no pack yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes + self.rest.len()
    }

    /// Cuts one chunk, which ends the pack or not.
    fn cut(&mut self) -> Option<PlainPack> {
        let (_, end) = cut(
            &self.rest,
            CHUNK_BYTES_MIN,
            CHUNK_BYTES_USUAL,
            CHUNK_BYTES_MAX,
            MASK_SHORT,
            MASK_LONG,
            MASK_SHORT << 1,
            MASK_LONG << 1,
        );
        // A copy of its own size: a part of the buffer would keep all of the buffer in memory.
        let bytes = Bytes::copy_from_slice(self.rest.get(..end).unwrap_or(&self.rest));
        self.rest.advance(bytes.len());
        let hash = ChunkHash::of(&bytes);
        self.bytes += bytes.len();
        self.chunks.push(PlainChunk { hash, bytes });
        let full = self.bytes + CHUNK_BYTES_MAX > PACK_BYTES_MAX;
        let chosen = hash.0.first().is_some_and(|byte| byte % PACK_ENDS_ONE_IN == 0);
        if full || (chosen && self.bytes >= PACK_BYTES_MIN) { self.close() } else { None }
    }

    fn close(&mut self) -> Option<PlainPack> {
        let chunks = std::mem::take(&mut self.chunks);
        // A pack has at most 32 MiB.
        let bytes = u32::try_from(std::mem::take(&mut self.bytes)).ok()?;
        let sizes =
            |chunk: &PlainChunk| (chunk.hash, u32::try_from(chunk.bytes.len()).unwrap_or(0));
        let id = PackId::of(chunks.iter().map(sizes));
        (!chunks.is_empty()).then_some(PlainPack { id, chunks, bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes without structure, the same for the same seed.
    fn noise(seed: u8, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
        noise
    }

    fn packs(pieces: &[&[u8]]) -> Vec<PlainPack> {
        let mut cutter = Cutter::new();
        let mut packs: Vec<_> = pieces.iter().flat_map(|piece| cutter.push(piece)).collect();
        packs.extend(cutter.finish());
        assert_eq!(cutter.held(), 0);
        packs
    }

    fn stream(packs: &[PlainPack]) -> Vec<u8> {
        packs.iter().flat_map(|p| &p.chunks).flat_map(|c| c.bytes.to_vec()).collect()
    }

    #[test]
    fn what_is_cut_is_what_came_and_within_the_bounds() {
        let data = noise(1, 100 << 20);
        let packs = packs(&[&data]);
        assert!(packs.len() > 3, "{}", packs.len());
        let last = packs.len() - 1;
        for (at, pack) in packs.iter().enumerate() {
            let sum: usize = pack.chunks.iter().map(|c| c.bytes.len()).sum();
            assert_eq!(sum, pack.bytes as usize);
            assert!(sum <= PACK_BYTES_MAX && (at == last || sum >= PACK_BYTES_MIN), "{sum}");
            for (place, chunk) in pack.chunks.iter().enumerate() {
                let end = at == last && place == pack.chunks.len() - 1;
                let bytes = chunk.bytes.len();
                assert!(bytes <= CHUNK_BYTES_MAX && (end || bytes >= CHUNK_BYTES_MIN), "{bytes}");
            }
        }
        assert!(stream(&packs) == data);
    }

    /// A change of one of these numbers would part every archive from what was sent before.
    #[test]
    fn where_chunks_and_packs_end_is_frozen() {
        let packs = packs(&[&noise(7, 40 << 20)]);
        let sizes: Vec<u32> = packs.iter().map(|pack| pack.bytes).collect();
        let first: Vec<usize> =
            packs.iter().flat_map(|p| &p.chunks).take(4).map(|c| c.bytes.len()).collect();
        assert_eq!(
            (sizes, first),
            (
                vec![11_008_868, 10_779_267, 20_154_905],
                vec![1_265_652, 1_107_878, 2_505_023, 1_203_172]
            )
        );
        let name = "9292c3e95f2eccf7e3149e138912883f93f6a1e5d078035b840615b5eceeaf1a";
        assert_eq!(packs.first().map(|pack| pack.id.to_string()).as_deref(), Some(name));
    }

    #[test]
    fn a_change_in_the_middle_leaves_the_other_packs_as_they_are() {
        let data = noise(2, 160 << 20);
        let (front, back) = data.split_at(70 << 20);
        let before = packs(&[&data]);
        let after = packs(&[front, b"something new", back]);
        let kept = after.iter().filter(|pack| before.iter().any(|old| old.id == pack.id)).count();
        assert!(after.len() - kept <= 3, "{kept} of {} packs are as before", after.len());
    }

    #[test]
    fn nothing_gives_no_pack() {
        assert_eq!(packs(&[]), []);
        assert_eq!(packs(&[b""]), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn it_does_not_matter_in_which_pieces_a_stream_comes(
            seed: u8,
            bytes in 0_usize..(12 << 20),
            cuts in proptest::collection::vec(0_usize..(12 << 20), 0..5),
        ) {
            let data = noise(seed, bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes)).collect();
            cuts.extend([0, bytes]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> =
                cuts.windows(2).filter_map(|pair| data.get(pair[0]..pair[1])).collect();
            prop_assert_eq!(packs(&pieces), packs(&[&data]));
        }
    }
}
