//! The BLAKE3 tree of a blob, cut at blocks.
//!
//! BLAKE3 hashes a binary tree over chunks of 1 KiB (O'Connor et al., "BLAKE3", 2020, section 2.1).
//! A block of 64 KiB is a whole subtree, so the values of the blocks are inner nodes, from which the
//! root follows by merging: the name of a blob says what each of its blocks must be.

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

/// Bytes of a block: a power of two of chunks, so that it is a subtree.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// What a block contributes to the root. The only block of a blob is its root.
pub(crate) fn value(index: u64, is_only: bool, block: &[u8]) -> ChainingValue {
    if is_only {
        return blake3::hash(block).into();
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(index * BLOCK_BYTES as u64).update(block);
    hasher.finalize_non_root()
}

/// The hash of a blob from the values of its blocks.
pub(crate) fn root(values: &[ChainingValue]) -> [u8; 32] {
    match values {
        [] => blake3::hash(&[]).into(),
        [only] => *only,
        several => {
            let (left, right) = several.split_at(left_blocks(several.len()));
            merge_subtrees_root(&node(left), &node(right), Mode::Hash).into()
        }
    }
}

fn node(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [] => ChainingValue::default(),
        [only] => *only,
        several => {
            let (left, right) = several.split_at(left_blocks(several.len()));
            merge_subtrees_non_root(&node(left), &node(right), Mode::Hash)
        }
    }
}

/// The left subtree is the largest that is complete and leaves something to its right.
fn left_blocks(blocks: usize) -> usize {
    1 << (blocks - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_hash_of_the_bytes() {
        let bytes: Vec<u8> = (0..70_u32 * 16_384).flat_map(u32::to_le_bytes).collect();
        for blocks in 0..70 {
            for over in [0, 1, 1_024, BLOCK_BYTES - 1] {
                let content = &bytes[..blocks * BLOCK_BYTES + over];
                let is_only = content.len() <= BLOCK_BYTES;
                let of = |(index, block)| value(index, is_only, block);
                let values: Vec<_> = (0..).zip(content.chunks(BLOCK_BYTES)).map(of).collect();
                assert_eq!(root(&values), *blake3::hash(content).as_bytes(), "{blocks} {over}");
            }
        }
    }
}
