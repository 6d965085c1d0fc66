//! The suite of [`Blobs`].

use std::{future::Future, ops::Range};

use bytes::Bytes;
use rhumb_types::record::{BlobHash, BlobRef};

use super::random::Random;
use crate::blobs::{BLOB_READ_BYTES_MAX, BlobError, Blobs};

/// Lengths at which a tree of hashes, a block or a buffer changes its shape.
const LENGTHS: [usize; 17] = [
    0,
    1,
    63,
    1_023,
    1_024,
    1_025,
    65_535,
    65_536,
    65_537,
    131_072,
    196_609,
    262_143,
    262_144,
    262_145,
    1_048_577,
    3_000_001,
    5 << 20,
];
/// How many ranges of a blob are compared with the model.
const RANGES: usize = 60;

/// Where a suite gets its stores.
pub trait BlobsFactory {
    /// The store under test.
    type Blobs: Blobs;
    /// Opens what is kept; the store opened before has been dropped.
    fn open(&mut self) -> impl Future<Output = Self::Blobs>;
    /// Damages what is kept of a blob, behind the back of an open store.
    fn damage(&mut self, blobs: &Self::Blobs, hash: BlobHash) -> impl Future<Output = ()>;
}

/// Hands the names of all [`cases`] to another macro: `blobs_cases!(each { first })` becomes
/// `each! { first [names] [names] }`. The second list is of those that [damage](BlobsFactory::damage) what is
/// kept.
#[macro_export]
macro_rules! blobs_cases {
    ($each:path { $($first:tt)* }) => {
        $each! {
            $($first)*
            [
                what_was_written_is_read
                the_longest_blob_is_held_and_a_longer_one_refused
                any_range_is_what_was_written
                ranges_outside_a_blob_are_refused
                what_is_not_there_is_missing
                nothing_is_there_before_the_end
                blobs_under_way_do_not_mix
                the_same_bytes_twice_are_one_blob
                lists_in_order_and_in_pages
                what_is_removed_is_gone_and_can_come_back
                what_is_held_outlives_the_process
            ]
            [
                damage_is_told_once_and_then_the_blob_is_missing
            ]
        }
    };
}

/// The tests of a store of blobs. `attribute` makes an async function a test; `factory` is an
/// expression that makes a [`BlobsFactory`] on nothing.
#[macro_export]
macro_rules! blobs_contract {
    (attribute = $attribute:meta, factory = $factory:expr $(,)?) => {
        $crate::blobs_cases!($crate::blobs_contract { @ $attribute; ($factory); });
    };
    (@ $attribute:meta; $factory:tt; $([$($case:ident)*])*) => {
        $($(
            #[$attribute]
            async fn $case() {
                $crate::contract::blobs::cases::$case(&mut $factory).await;
            }
        )*)*
    };
}

/// Bytes that do not repeat within a blob.
fn content(seed: u64, bytes: usize) -> Bytes {
    let mut random = Random(seed);
    let words = (0..bytes.div_ceil(8)).flat_map(|_| random.next().to_le_bytes());
    words.take(bytes).collect::<Vec<u8>>().into()
}

fn reference(content: &Bytes) -> BlobRef {
    BlobRef { hash: BlobHash(blake3::hash(content).into()), bytes: content.len() as u64 }
}

fn length(bytes: usize) -> u64 {
    bytes as u64
}

/// Stores a blob in pieces of some length.
async fn store(blobs: &impl Blobs, content: &Bytes, piece: usize) -> BlobRef {
    let mut writer = blobs.create().await.expect("a writer");
    let mut rest = content.clone();
    while !rest.is_empty() {
        let piece = rest.split_to(piece.min(rest.len()));
        writer.write(piece).await.expect("a write");
    }
    writer.finish().await.expect("the end of a blob")
}

/// Reads a range, in as many reads as it takes.
async fn read(blobs: &impl Blobs, hash: BlobHash, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
    let mut got = Vec::new();
    let mut from = range.start;
    loop {
        let part = blobs.read(hash, from..range.end).await?;
        let expected = (range.end - from).min(BLOB_READ_BYTES_MAX);
        assert_eq!(length(part.len()), expected, "a short read of {from}..{}", range.end);
        from += length(part.len());
        got.extend_from_slice(&part);
        if from == range.end {
            return Ok(got);
        }
    }
}

async fn names(blobs: &impl Blobs) -> Vec<BlobHash> {
    let held = blobs.list(None, 1_000).await.expect("a list");
    held.into_iter().map(|held| held.blob.hash).collect()
}

async fn assert_missing(blobs: &impl Blobs, hash: BlobHash) {
    let read = blobs.read(hash, 0..0).await;
    assert_eq!(read, Err(BlobError::Missing(hash)), "a read");
    assert_eq!(blobs.verify(hash).await, Err(BlobError::Missing(hash)), "a check");
    assert_eq!(blobs.stat(hash).await, Ok(None), "a question");
    assert!(!names(blobs).await.contains(&hash), "a list");
}

/// The cases, one function each.
pub mod cases {
    use std::{collections::BTreeMap, ops::Range};

    use bytes::Bytes;
    use rhumb_types::record::{BlobHash, BlobRef};

    use super::{
        BlobsFactory, LENGTHS, RANGES, Random, assert_missing, content, length, names, read,
        reference, store,
    };
    use crate::blobs::{BLOB_BYTES_MAX, BlobError, Blobs};

    /// A blob is named by the hash of its bytes, however they came, and reads as they were.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn what_was_written_is_read(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        for (seed, bytes) in (0..).zip(LENGTHS) {
            let content = content(seed, bytes);
            let expected = reference(&content);
            for piece in [usize::MAX, 100_003] {
                assert_eq!(store(&blobs, &content, piece).await, expected, "{bytes} bytes");
            }
            let all = read(&blobs, expected.hash, 0..expected.bytes).await;
            assert!(all.expect("a read") == content, "{bytes} bytes differ");
            let held = blobs.stat(expected.hash).await.expect("a question");
            assert_eq!(held.map(|held| held.blob), Some(expected));
            assert_eq!(blobs.verify(expected.hash).await, Ok(()));
        }
    }

    /// The bound is exact, and what is over it leaves nothing.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn the_longest_blob_is_held_and_a_longer_one_refused(
        factory: &mut impl BlobsFactory,
    ) {
        let blobs = factory.open().await;
        let longest = content(1, usize::try_from(BLOB_BYTES_MAX).expect("a length"));
        let mut writer = blobs.create().await.expect("a writer");
        writer.write(longest.clone()).await.expect("the longest blob");
        let over = writer.write(Bytes::from_static(b"x")).await;
        assert!(matches!(over, Err(BlobError::Bounds(_))), "{over:?}");
        assert!(writer.finish().await.is_err(), "the end after an error");
        assert_eq!(names(&blobs).await, []);
        let blob = store(&blobs, &longest, 1 << 20).await;
        assert_eq!(blob, reference(&longest));
        let all = read(&blobs, blob.hash, 0..blob.bytes).await.expect("a read");
        assert!(all == longest, "the longest blob differs");
    }

    /// Any range reads as those bytes were written.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn any_range_is_what_was_written(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        let mut random = Random(7);
        for bytes in [1, 65_537, 300_000, 2_500_001] {
            let content = content(length(bytes), bytes);
            let blob = store(&blobs, &content, 1 << 20).await;
            for _ in 0..RANGES {
                let (one, two) = (random.below(bytes + 1), random.below(bytes + 1));
                let (start, end) = (one.min(two), one.max(two));
                let got = read(&blobs, blob.hash, length(start)..length(end)).await;
                let expected = content.slice(start..end);
                assert!(got.expect("a read") == expected, "{start}..{end} of {bytes} differ");
            }
        }
    }

    /// A range that does not lie in the blob is refused, and is no damage.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn ranges_outside_a_blob_are_refused(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        let blob = store(&blobs, &content(3, 70_000), 70_000).await;
        let inverted = Range { start: 9, end: 8 };
        for range in [0..70_001, 70_001..70_001, 70_000..u64::MAX, inverted] {
            let refused = blobs.read(blob.hash, range.clone()).await;
            assert!(matches!(refused, Err(BlobError::Bounds(_))), "{range:?}: {refused:?}");
        }
        assert_eq!(blobs.read(blob.hash, 70_000..70_000).await, Ok(Bytes::new()));
        assert_eq!(blobs.verify(blob.hash).await, Ok(()));
    }

    /// What is not held is missing everywhere, and removing it is no error.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn what_is_not_there_is_missing(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        for hash in [BlobHash([0; 32]), BlobHash([0xff; 32])] {
            assert_missing(&blobs, hash).await;
            assert_eq!(blobs.remove(hash).await, Ok(()));
        }
        assert_eq!(blobs.list(Some(BlobHash([0xff; 32])), 10).await, Ok(Vec::new()));
    }

    /// A blob is visible only when it is finished, and one that is given up leaves nothing.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn nothing_is_there_before_the_end(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        let content = content(4, 2_000_000);
        let hash = reference(&content).hash;
        let mut writer = blobs.create().await.expect("a writer");
        writer.write(content.clone()).await.expect("a write");
        assert_missing(&blobs, hash).await;
        drop(writer);
        assert_missing(&blobs, hash).await;
        store(&blobs, &content, 65_536).await;
        assert_eq!(names(&blobs).await, [hash]);
        assert_eq!(blobs.verify(hash).await, Ok(()));
    }

    /// Writers that take turns each get their own blob.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn blobs_under_way_do_not_mix(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        let mut writers = Vec::new();
        // Two of them write the same.
        for (seed, bytes) in [(0, 150_000), (1, 200_000), (2, 1_300_000), (3, 9), (1, 200_000)] {
            let writer = blobs.create().await.expect("a writer");
            writers.push((writer, content(seed, bytes)));
        }
        let mut expected: BTreeMap<BlobHash, Bytes> = BTreeMap::new();
        for round in 0..10 {
            for (writer, content) in &mut writers {
                let (from, to) = (content.len() * round / 10, content.len() * (round + 1) / 10);
                let piece = content.slice(from..to);
                writer.write(piece).await.expect("a write");
            }
        }
        for (writer, content) in writers.into_iter().rev() {
            let blob = writer.finish().await.expect("the end of a blob");
            assert_eq!(blob, reference(&content));
            expected.insert(blob.hash, content);
        }
        assert_eq!(names(&blobs).await, expected.keys().copied().collect::<Vec<_>>());
        for (hash, content) in &expected {
            let all = read(&blobs, *hash, 0..length(content.len())).await;
            assert!(all.expect("a read") == *content, "{hash} differs");
        }
    }

    /// What is held already is kept as it is.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn the_same_bytes_twice_are_one_blob(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        let content = content(5, 400_000);
        let blob = store(&blobs, &content, 400_000).await;
        let before = blobs.stat(blob.hash).await.expect("a question").expect("a blob");
        assert_eq!(store(&blobs, &content, 1_000).await, blob);
        assert_eq!(blobs.stat(blob.hash).await, Ok(Some(before)));
        assert_eq!(names(&blobs).await, [blob.hash]);
    }

    /// A list is in the order of the hashes; its pages put together are the whole.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn lists_in_order_and_in_pages(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        let mut expected = Vec::new();
        for (seed, bytes) in (0..).zip(10..50) {
            expected.push(store(&blobs, &content(seed, bytes), 100).await);
        }
        expected.sort_by_key(|blob| blob.hash);
        for max in [1, 7, 39, 40, 41] {
            let (mut got, mut after) = (Vec::new(), None);
            loop {
                let page = blobs.list(after, max).await.expect("a page");
                got.extend(page.iter().map(|held| held.blob));
                after = page.last().map(|held| held.blob.hash);
                assert!(page.len() <= max, "{} in a page of {max}", page.len());
                if page.len() < max {
                    break;
                }
            }
            assert_eq!(got, expected, "in pages of {max}");
        }
        // The place to go on from need not be held.
        let first = expected.first().expect("a blob").hash;
        blobs.remove(first).await.expect("a removal");
        let rest = blobs.list(Some(first), 2).await.expect("a page");
        let rest: Vec<BlobRef> = rest.into_iter().map(|held| held.blob).collect();
        assert_eq!(rest, expected.get(1..3).expect("two blobs"));
    }

    /// A removed blob is missing; the same bytes can be stored again.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn what_is_removed_is_gone_and_can_come_back(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        let content = content(6, 100_000);
        let blob = store(&blobs, &content, 100_000).await;
        let other = store(&blobs, &content.slice(1..), 100_000).await;
        for _ in 0..2 {
            assert!(blobs.read(blob.hash, 0..10).await.is_ok());
            for _ in 0..2 {
                assert_eq!(blobs.remove(blob.hash).await, Ok(()));
                assert_missing(&blobs, blob.hash).await;
            }
            assert_eq!(names(&blobs).await, [other.hash]);
            assert_eq!(store(&blobs, &content, 100_000).await, blob);
            assert_eq!(blobs.verify(blob.hash).await, Ok(()));
        }
    }

    /// Damage is found by a read and by a check, and the same bytes can be stored again.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn damage_is_told_once_and_then_the_blob_is_missing(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        for (seed, bytes) in (0..).zip([1, 65_536, 200_000, 700_000]) {
            let content = content(seed, bytes);
            for by_read in [true, false] {
                let blob = store(&blobs, &content, 1 << 20).await;
                factory.damage(&blobs, blob.hash).await;
                let told = if by_read {
                    blobs.read(blob.hash, 0..blob.bytes).await.map(|_| ())
                } else {
                    blobs.verify(blob.hash).await
                };
                let is_damage =
                    matches!(&told, Err(BlobError::Damaged { hash, .. }) if *hash == blob.hash);
                assert!(is_damage, "{bytes} bytes, by a read: {by_read}: {told:?}");
                assert_missing(&blobs, blob.hash).await;
            }
            let blob = store(&blobs, &content, 1 << 20).await;
            let all = read(&blobs, blob.hash, 0..blob.bytes).await.expect("a read");
            assert!(all == content, "the new copy differs");
        }
    }

    /// Blobs that were finished are there after the store was opened again; others are not.
    ///
    /// # Panics
    /// When the store breaks the contract.
    pub async fn what_is_held_outlives_the_process(factory: &mut impl BlobsFactory) {
        let blobs = factory.open().await;
        let content = content(8, 900_000);
        let blob = store(&blobs, &content, 65_536).await;
        let held = blobs.stat(blob.hash).await;
        let mut writer = blobs.create().await.expect("a writer");
        writer.write(content.slice(1..)).await.expect("a write");
        drop(writer);
        drop(blobs);
        let blobs = factory.open().await;
        assert_eq!(names(&blobs).await, [blob.hash]);
        assert_eq!(blobs.stat(blob.hash).await, held);
        let all = read(&blobs, blob.hash, 0..blob.bytes).await.expect("a read");
        assert!(all == content, "the blob differs");
    }
}
