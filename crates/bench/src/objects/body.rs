//! Bodies that do not compress, none of which is like another: some of the stores keep equal bytes once.

use std::{io::Write, sync::Arc};

use anyhow::Result;
use sha2::{Digest as _, Sha256};

/// A body repeats so many bytes, each time with a stamp of its own at their end: no store here cuts
/// smaller.
const BLOCK_BYTES: u64 = 1 << 20;
const STAMP_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// What bodies of one size are made of.
#[derive(Clone, Debug)]
pub(crate) struct Mould {
    bytes: u64,
    /// A block up to its stamp.
    noise: Arc<[u8]>,
    /// The hash so far after the first of them, so that a client need not hash what it sends.
    begun: Sha256,
}

impl Mould {
    pub(crate) fn new(bytes: u64) -> Self {
        let block = bytes.min(BLOCK_BYTES);
        let wanted = usize::try_from(block).unwrap_or(usize::MAX).saturating_sub(STAMP_BYTES);
        let noise: Arc<[u8]> = noise(0, wanted).into();
        let begun = Sha256::new_with_prefix(&noise);
        Self { bytes, noise, begun }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The nth body of a client.
    pub(crate) fn body(&self, client: usize, nth: u64) -> Body {
        let block = (self.noise.len() + STAMP_BYTES) as u64;
        let mut body = Body {
            bytes: self.bytes,
            hash: [0; HASH_BYTES],
            noise: self.noise.clone(),
            blocks: self.bytes / block.max(1),
            seed: (client as u64) << 32 | nth,
        };
        let mut hash = self.begun.clone();
        for at in 0..body.blocks {
            if at > 0 {
                hash.update(&self.noise);
            }
            hash.update(body.stamp(at));
        }
        body.hash = hash.finalize().into();
        body
    }
}

/// One body.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: u64,
    pub(crate) hash: [u8; HASH_BYTES],
    noise: Arc<[u8]>,
    blocks: u64,
    seed: u64,
}

impl Body {
    pub(crate) fn empty() -> Self {
        let hash = Sha256::digest(b"").into();
        Self { bytes: 0, hash, noise: Arc::from([]), blocks: 0, seed: 0 }
    }

    /// What stands for a text that the caller sends.
    pub(crate) fn of_text(text: &str) -> Self {
        let hash = Sha256::digest(text).into();
        Self { bytes: text.len() as u64, hash, ..Self::empty() }
    }

    /// Sends it behind what the buffer holds.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>, to: &mut impl Write) -> Result<()> {
        for at in 0..self.blocks {
            buffer.extend_from_slice(&self.noise);
            buffer.extend_from_slice(&self.stamp(at));
            to.write_all(buffer)?;
            buffer.clear();
        }
        Ok(())
    }

    fn stamp(&self, block: u64) -> [u8; STAMP_BYTES] {
        let mut stamp = [0; STAMP_BYTES];
        let parts = self.seed.to_le_bytes().into_iter().chain(block.to_le_bytes());
        stamp.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        stamp
    }
}

/// Bytes that look random (xorshift64*, Vigna 2016), the same in each run.
pub(crate) fn noise(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(seed);
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_its_hash_says_and_like_no_other() {
        for bytes in [4 << 10, 1 << 20, 4 << 20] {
            let mould = Mould::new(bytes);
            let mut hashes = Vec::new();
            for (client, nth) in [(0, 0), (0, 1), (1, 0)] {
                let body = mould.body(client, nth);
                let mut sent = Vec::new();
                body.write(&mut Vec::new(), &mut sent).unwrap();
                assert_eq!(sent.len() as u64, bytes);
                assert_eq!(body.hash, <[u8; 32]>::from(Sha256::digest(&sent)));
                hashes.push(body.hash);
            }
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), 3, "{bytes}");
        }
    }
}
