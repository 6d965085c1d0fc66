//! Files that are changed behind the store's back, and keys that are not there.

#![allow(clippy::indexing_slicing, reason = "a test that misses its own file should fail")]

mod common;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use common::{all, content, file, names, open, sealing, store};
use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};
use rhumb_blobs::{FileBlobs, Key, Keys, OpenError, Options};
use rhumb_ports::blobs::{BlobError, Blobs};
use rhumb_types::record::{BlobHash, BlobRef};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const HEADER_BYTES: usize = 128;
const VALUE_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const BLOCK_BYTES: usize = 64 << 10;
const SMALL_BYTES: usize = 256 << 10;
const LENGTHS: [usize; 8] = [0, 1, 300, 65_536, 65_537, 200_000, SMALL_BYTES + 1, 600_000];

/// A blob, and its file as it was written.
struct Stored {
    path: Arc<TempDir>,
    blobs: Arc<FileBlobs>,
    blob: BlobRef,
    content: Bytes,
    file: Vec<u8>,
}

impl Stored {
    async fn new(length: usize, keys: Keys) -> Self {
        let mut all = Self::several(&[length], keys).await;
        all.pop().expect("a blob")
    }

    /// Blobs of some lengths in one store.
    async fn several(lengths: &[usize], keys: Keys) -> Vec<Self> {
        let path = Arc::new(tempfile::tempdir().expect("a directory"));
        let blobs = Arc::new(open(path.path(), keys));
        let mut out = Vec::new();
        for length in lengths {
            let (path, blobs) = (Arc::clone(&path), Arc::clone(&blobs));
            let content = content(9, *length);
            let blob = store(&blobs, content.clone()).await.expect("a blob");
            let file = fs::read(file(path.path(), blob.hash)).expect("its file");
            out.push(Self { path, blobs, blob, content, file });
        }
        out
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(file(self.path.path(), self.blob.hash), bytes).expect("a write");
    }

    fn data_at(&self) -> usize {
        self.file.len() - self.content.len()
    }

    /// Whether a byte of the file is used.
    fn is_used(&self, at: usize, is_sealed: bool) -> bool {
        let blocks = self.content.len().div_ceil(BLOCK_BYTES);
        let room = if self.content.len() <= SMALL_BYTES { 4 } else { 256 };
        let tags = HEADER_BYTES + room * VALUE_BYTES;
        at < HEADER_BYTES + blocks * VALUE_BYTES
            || (is_sealed && (tags..tags + blocks * TAG_BYTES).contains(&at))
            || at >= self.data_at()
    }

    /// Checks the blob, and that nothing but the truth is ever read of it.
    async fn look(&self, from: u64, to: u64) -> Result<bool, TestCaseError> {
        let range = from.min(self.blob.bytes)..to.min(self.blob.bytes);
        let place = |at| usize::try_from(at).expect("a place in memory");
        let (start, end) = (place(range.start), place(range.end));
        match self.blobs.read(self.blob.hash, range).await {
            Ok(read) => prop_assert!(read == self.content.slice(start..end), "other bytes"),
            Err(BlobError::Damaged { .. }) => return Ok(false),
            Err(other) => prop_assert!(false, "{}", other),
        }
        match self.blobs.verify(self.blob.hash).await {
            Ok(()) => Ok(true),
            Err(BlobError::Damaged { .. }) => Ok(false),
            Err(other) => Err(TestCaseError::fail(other.to_string())),
        }
    }

    /// After damage was told: set aside, counted, and missing.
    async fn is_aside(&self) -> Result<(), TestCaseError> {
        let hash = self.blob.hash;
        prop_assert_eq!(self.blobs.read(hash, 0..0).await, Err(BlobError::Missing(hash)));
        let aside = self.path.path().join("damaged").join(hash.to_string());
        prop_assert!(fs::remove_file(aside).is_ok(), "it is not set aside");
        Ok(())
    }
}

/// What is done to a file.
#[derive(Debug, Clone)]
enum Change {
    /// One bit is flipped at a place, as a part of the whole.
    Flip(prop::sample::Index, u8),
    /// One bit is flipped before the data.
    FlipFront(prop::sample::Index, u8),
    /// The end is lost.
    Truncate(prop::sample::Index),
    /// Something is appended.
    Extend(usize),
    /// A run of bytes reads as zeros, as after a torn write.
    Zero(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Change::FlipFront(at, bit)),
        any::<prop::sample::Index>().prop_map(Change::Truncate),
        (1..100_000_usize).prop_map(Change::Extend),
        (any::<prop::sample::Index>(), 1..70_000_usize).prop_map(|(at, len)| Change::Zero(at, len)),
    ]
}

/// The changed file, and whether a change must be found: `None` when it may or may not matter.
fn changed(stored: &Stored, change: &Change, is_sealed: bool) -> (Vec<u8>, Option<bool>) {
    let mut bytes = stored.file.clone();
    let must_be_found = match change {
        Change::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            Some(stored.is_used(at, is_sealed))
        }
        Change::FlipFront(at, bit) => {
            let at = at.index(stored.data_at());
            bytes[at] ^= 1 << bit;
            Some(stored.is_used(at, is_sealed))
        }
        Change::Truncate(at) => {
            bytes.truncate(at.index(bytes.len()));
            Some(true)
        }
        Change::Extend(by) => {
            bytes.resize(bytes.len() + by, 0);
            Some(true)
        }
        Change::Zero(at, length) => {
            let from = at.index(bytes.len());
            let to = (from + length).min(bytes.len());
            bytes[from..to].fill(0);
            (bytes == stored.file).then_some(false)
        }
    };
    (bytes, must_be_found)
}

/// Some changes of one blob, one after the other, and which range is read after each.
#[derive(Debug, Clone)]
struct Case {
    length: prop::sample::Index,
    is_sealed: bool,
    changes: Vec<Change>,
    read: (u64, u64),
}

fn case() -> impl Strategy<Value = Case> {
    let changes = prop::collection::vec(change(), 1..6);
    let read = (0..600_000_u64, 0..100_000_u64);
    (any::<prop::sample::Index>(), any::<bool>(), changes, read).prop_map(
        |(length, is_sealed, changes, (from, length_read))| {
            let read = (from, from + length_read);
            Case { length, is_sealed, changes, read }
        },
    )
}

async fn check(stored: &Stored, case: &Case) -> Result<(), TestCaseError> {
    for change in &case.changes {
        let (bytes, must_be_found) = changed(stored, change, case.is_sealed);
        stored.put(&bytes);
        let is_sound = stored.look(case.read.0, case.read.1).await?;
        if let Some(must_be_found) = must_be_found {
            prop_assert_eq!(is_sound, !must_be_found, "{:?}", change);
        }
        if !is_sound {
            stored.is_aside().await?;
        }
        stored.put(&stored.file);
        prop_assert!(stored.look(0, u64::MAX).await?, "the file as it was");
    }
    Ok(())
}

#[test]
fn any_change_is_found_or_without_effect() {
    let runtime = Runtime::new().unwrap();
    let plain = runtime.block_on(Stored::several(&LENGTHS, Keys::default()));
    let sealed = runtime.block_on(Stored::several(&LENGTHS, sealing()));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let run = runner.run(&case(), |case| {
        let stored = if case.is_sealed { &sealed } else { &plain };
        runtime.block_on(check(case.length.get(stored), &case))
    });
    run.unwrap_or_else(|failed| panic!("{failed}"));
}

#[tokio::test]
async fn a_file_under_another_name_is_damage() {
    for keys in [Keys::default(), sealing()] {
        let directory = tempfile::tempdir().unwrap();
        let blobs = open(directory.path(), keys);
        let one = store(&blobs, content(1, 100_000)).await.unwrap();
        let two = store(&blobs, content(2, 100_000)).await.unwrap();
        fs::copy(file(directory.path(), one.hash), file(directory.path(), two.hash)).unwrap();
        let refused = blobs.read(two.hash, 0..1).await;
        assert!(matches!(refused, Err(BlobError::Damaged { .. })), "{refused:?}");
        assert!(blobs.read(one.hash, 0..1).await.is_ok());
    }
}

#[tokio::test]
async fn swapped_blocks_are_damage() {
    for keys in [Keys::default(), sealing()] {
        let stored = Stored::new(4 * BLOCK_BYTES, keys).await;
        let mut bytes = stored.file.clone();
        let (one, two) = bytes[stored.data_at()..].split_at_mut(BLOCK_BYTES);
        one.swap_with_slice(&mut two[..BLOCK_BYTES]);
        stored.put(&bytes);
        assert!(!stored.look(0, 10).await.unwrap());
    }
}

#[tokio::test]
async fn a_damaged_blob_is_replaced_by_the_same_bytes_before_it_was_noticed() {
    let stored = Stored::new(100_000, Keys::default()).await;
    let mut bytes = stored.file.clone();
    bytes[HEADER_BYTES] ^= 1;
    stored.put(&bytes);
    store(&stored.blobs, stored.content.clone()).await.unwrap();
    assert!(stored.look(0, 10).await.unwrap());
    assert_eq!(stored.blobs.counters().now().damaged, 1);
}

#[tokio::test]
async fn nothing_of_a_sealed_blob_can_be_read_without_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let secret = Bytes::from(b"the same sixteen".repeat(10_000));
    let (old, new) = (Key::new([1; 32]), Key::new([2; 32]));
    let open = |keys| open(directory.path(), keys);
    let blobs = open(Keys::new(Some(old.clone()), []));
    let blob = store(&blobs, secret.clone()).await.unwrap();
    drop(blobs);
    let on_disk = fs::read(file(directory.path(), blob.hash)).unwrap();
    assert!(!on_disk.windows(16).any(|window| window == b"the same sixteen"));
    let value = blake3::hash(&secret[..1024]);
    assert!(!on_disk.windows(32).any(|window| window == value.as_bytes()));

    for keys in [Keys::default(), Keys::new(Some(new.clone()), [])] {
        let blobs = open(keys);
        for refused in [
            blobs.read(blob.hash, 0..1).await.map(|_| ()),
            blobs.verify(blob.hash).await,
            store(&blobs, secret.clone()).await.map(|_| ()),
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, BlobError::Failed { .. }), "{refused}");
            assert!(refused.to_string().contains(&old.id().to_string()), "{refused}");
        }
        assert_eq!(all(&blobs).await, [blob], "a missing key is no damage");
    }
    // The new key writes, both read.
    let blobs = open(Keys::new(Some(new.clone()), [old]));
    let other = store(&blobs, content(1, 1_000)).await.unwrap();
    for blob in [blob, other] {
        assert_eq!(blobs.verify(blob.hash).await, Ok(()));
    }
    drop(blobs);
    let blobs = open(Keys::new(None, [new]));
    assert_eq!(blobs.verify(other.hash).await, Ok(()));
}

#[tokio::test]
async fn equal_blobs_do_not_look_equal_when_sealed() {
    let one = Stored::new(300, sealing()).await;
    let two = Stored::new(300, sealing()).await;
    assert_eq!(one.blob, two.blob);
    assert_ne!(one.file[one.data_at()..], two.file[two.data_at()..]);
}

#[tokio::test]
async fn a_newer_format_is_told_and_kept() {
    let stored = Stored::new(300, Keys::default()).await;
    let mut bytes = stored.file.clone();
    bytes[8] += 1;
    let check = blake3::hash(&bytes[..96]);
    bytes[96..128].copy_from_slice(check.as_bytes());
    stored.put(&bytes);
    let refused = stored.blobs.verify(stored.blob.hash).await.unwrap_err().to_string();
    assert!(refused.contains("upgrade this node"), "{refused}");
    assert_eq!(all(&stored.blobs).await, [stored.blob]);
}

#[tokio::test]
async fn what_is_no_blob_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = open(directory.path(), Keys::default());
    let blob = store(&blobs, content(1, 10)).await.unwrap();
    let hash = BlobHash([0xab; 32]);
    fs::write(directory.path().join("ab").join("notes.txt"), "text").unwrap();
    fs::write(file(directory.path(), hash), "").unwrap();
    assert_eq!(all(&blobs).await, [blob]);
    let refused = blobs.stat(hash).await;
    assert!(matches!(refused, Err(BlobError::Damaged { .. })), "{refused:?}");
    assert!(directory.path().join("ab").join("notes.txt").exists());
}

fn refused(path: &Path) -> OpenError {
    FileBlobs::open(path, Options::default()).expect_err("the directory is refused")
}

#[tokio::test]
async fn a_directory_in_use_newer_or_foreign_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = open(directory.path(), Keys::default());
    let error = refused(directory.path());
    assert!(
        matches!(&error, OpenError::Locked { holder, .. }
        if *holder == std::process::id().to_string()),
        "{error}"
    );
    drop(blobs);
    let format = OpenOptions::new().write(true).open(directory.path().join("format")).unwrap();
    format.write_all_at(b"rhumb blobs 2", 0).unwrap();
    assert!(matches!(refused(directory.path()), OpenError::Newer { found: 2, .. }));

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis.tex"), "text").unwrap();
    assert!(matches!(refused(foreign.path()), OpenError::Foreign { .. }));
    assert_eq!(names(foreign.path()), ["thesis.tex"], "nothing was left in it");

    // A first open that was cut short is begun again.
    let bare = tempfile::tempdir().unwrap();
    for folder in ["00", "incoming"] {
        fs::create_dir(bare.path().join(folder)).unwrap();
    }
    fs::write(bare.path().join("draft"), "rhumb bl").unwrap();
    let blobs = open(bare.path(), Keys::default());
    store(&blobs, content(1, 10)).await.unwrap();
}
