//! Batches that every test here uses: one transaction, four heads that must always agree.

#![allow(dead_code, reason = "each test binary uses its own part")]

use bytes::Bytes;
use rhumb_ports::store::{Batch, Durability, MetaName, ReadStore, Store, StoreError, Write};
use rhumb_store_fjall::FjallStore;
use rhumb_types::{
    OriginId,
    record::{Head, Record, Space, VersionVector},
};

/// The origin that writes.
pub(crate) const ORIGIN: OriginId = OriginId(0x5_0000);
/// Keys that every transaction sets to its version.
pub(crate) const KEYS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

/// Transaction number `version`, with a payload of some bytes.
pub(crate) fn transaction(version: u64, payload: usize) -> Batch {
    let applied: VersionVector = [(ORIGIN, version)].into_iter().collect();
    let heads = KEYS.into_iter().map(|key| {
        let head = Head { members: version, ..Head::default() };
        Write::Head { space: Space::USER, key: Bytes::from_static(key), head: Some(head) }
    });
    // Bytes that do not compress, so that the journal holds them as they are.
    let mut seed = version;
    let transaction = (0..payload).map(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[0]
    });
    let log = Write::Log { origin: ORIGIN, version, transaction: transaction.collect() };
    let meta = Write::Meta { name: MetaName::Applied, value: Some(applied.encode()) };
    Batch { writes: heads.chain([log, meta]).collect() }
}

/// Commits a transaction.
pub(crate) fn commit(
    store: &FjallStore,
    version: u64,
    durability: Durability,
) -> Result<u64, StoreError> {
    store.commit(&transaction(version, 100), durability)
}

/// The version that every key has; fails when they differ.
pub(crate) fn version_of(store: &FjallStore) -> u64 {
    let versions = KEYS
        .map(|key| store.head(Space::USER, key).expect("a read").map_or(0, |head| head.members));
    assert!(versions.iter().all(|version| *version == versions[0]), "a torn batch: {versions:?}");
    versions[0]
}

/// The versions that the log keeps.
pub(crate) fn log_of(store: &FjallStore) -> Vec<u64> {
    let rows = store.log(ORIGIN, 0, usize::MAX).expect("the log reads");
    rows.into_iter().map(|(version, _)| version).collect()
}
