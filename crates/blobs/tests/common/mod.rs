//! What every test of a directory uses.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rhumb_blobs::{FileBlobs, Key, Keys, Options};
use rhumb_ports::blobs::{BlobError, Blobs};
use rhumb_types::record::{BlobHash, BlobRef};

/// A key that seals.
pub(crate) fn sealing() -> Keys {
    Keys::new(Some(Key::new([7; 32])), [])
}

pub(crate) fn open(path: &Path, keys: Keys) -> FileBlobs {
    FileBlobs::open(path, Options { keys, ..Options::default() }).expect("the directory opens")
}

/// Bytes that do not repeat.
pub(crate) fn content(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..bytes.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(bytes).collect::<Vec<u8>>().into()
}

pub(crate) async fn store(blobs: &FileBlobs, content: Bytes) -> Result<BlobRef, BlobError> {
    let mut writer = blobs.create().await?;
    writer.write(content).await?;
    writer.finish().await
}

/// The file of a blob.
pub(crate) fn file(root: &Path, hash: BlobHash) -> PathBuf {
    let name = hash.to_string();
    root.join(name.split_at(2).0).join(name)
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
}

/// Every blob that a store lists.
pub(crate) async fn all(blobs: &FileBlobs) -> Vec<BlobRef> {
    let held = blobs.list(None, usize::MAX).await.expect("a list");
    held.into_iter().map(|held| held.blob).collect()
}
