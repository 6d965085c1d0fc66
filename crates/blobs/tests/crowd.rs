//! Many callers at once.

mod common;

use std::{collections::BTreeSet, sync::Arc};

use common::{all, content, names, open, sealing, store};
use rhumb_blobs::{FileBlobs, Keys, Options};
use rhumb_ports::blobs::{BlobError, Blobs};
use tokio::task::JoinSet;

/// How many small blobs are stored at once.
const BLOBS: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_small_blobs_at_once_are_all_there() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Arc::new(open(directory.path(), sealing()));
    let mut storing = JoinSet::new();
    let whole = content(1, 30_000);
    for first in 0..BLOBS {
        let (blobs, content) = (Arc::clone(&blobs), whole.slice(first..));
        storing.spawn(async move { store(&blobs, content).await });
    }
    let mut expected = BTreeSet::new();
    while let Some(stored) = storing.join_next().await {
        expected.insert(stored.unwrap().unwrap().hash);
    }
    let listed: Vec<_> = all(&blobs).await;
    assert!(listed.iter().map(|blob| &blob.hash).eq(expected.iter()));
    for blob in listed {
        assert_eq!(blobs.verify(blob.hash).await, Ok(()));
    }
    assert_eq!(blobs.counters().now().stored, BLOBS as u64);
    assert_eq!(names(&directory.path().join("incoming")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_blob_from_many_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Arc::new(open(directory.path(), Keys::default()));
    let mut storing = JoinSet::new();
    for _ in 0..100 {
        let blobs = Arc::clone(&blobs);
        storing.spawn(async move { store(&blobs, content(1, 200_000)).await });
    }
    let mut stored = storing.join_all().await;
    stored.dedup();
    let [Ok(blob)] = stored.as_slice() else { panic!("{stored:?}") };
    assert_eq!(all(&blobs).await, [*blob]);
    let counts = blobs.counters().now();
    assert_eq!((counts.stored, counts.kept), (1, 99));
}

/// Readers, a remover and a writer of the same blob: every read gives the bytes, or nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_a_blob_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Arc::new(open(directory.path(), Keys::default()));
    let expected = content(1, 500_000);
    let mut working = JoinSet::new();
    for worker in 0..8 {
        let (blobs, expected) = (Arc::clone(&blobs), expected.clone());
        working.spawn(async move {
            let hash = rhumb_types::record::BlobHash(blake3::hash(&expected).into());
            for _ in 0..100 {
                match worker {
                    0 => blobs.remove(hash).await.unwrap(),
                    1 => drop(store(&blobs, expected.clone()).await.unwrap()),
                    2 => assert!(matches!(
                        blobs.verify(hash).await,
                        Ok(()) | Err(BlobError::Missing(_))
                    )),
                    _ => match blobs.read(hash, 100_000..400_000).await {
                        Ok(read) => assert!(read == expected.slice(100_000..400_000)),
                        Err(error) => assert_eq!(error, BlobError::Missing(hash)),
                    },
                }
            }
        });
    }
    working.join_all().await;
    assert_eq!(blobs.counters().now().damaged, 0);
}

/// A caller that gives up at any moment leaves nothing half done, and others go on.
#[tokio::test]
async fn callers_that_give_up_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { writes_max: 1, reads_max: 1, ..Options::default() };
    let blobs = FileBlobs::open(directory.path(), options).unwrap();
    let whole = content(7, 3_000_000);
    for seed in 0..40 {
        let storing = store(&blobs, whole.slice(usize::try_from(seed).unwrap()..));
        let patience = std::time::Duration::from_micros(seed * 150);
        let _given_up = tokio::time::timeout(patience, storing).await;
    }
    // A blob that was nearly finished may be there; what is there is whole.
    let last = store(&blobs, content(99, 10)).await.unwrap();
    for blob in all(&blobs).await {
        assert_eq!(blobs.verify(blob.hash).await, Ok(()));
    }
    assert_eq!(blobs.verify(last.hash).await, Ok(()));
    drop(blobs);
    open(directory.path(), Keys::default());
    assert_eq!(names(&directory.path().join("incoming")), [""; 0]);
}
