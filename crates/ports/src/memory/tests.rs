use rhumb_types::record::{Record, VersionVector};

use super::*;
use crate::{contract::StoreFactory, store::Write};

const ORIGIN: OriginId = OriginId(0x10000);

struct OnMemory(MemoryDisk);

impl StoreFactory for OnMemory {
    type Store = MemoryStore;
    fn open(&mut self) -> MemoryStore {
        self.0.open()
    }
}

crate::store_contract!(OnMemory(MemoryDisk::new()));

fn append(store: &MemoryStore, version: u64, durability: Durability) -> Result<u64, StoreError> {
    let applied: VersionVector = [(ORIGIN, version)].into_iter().collect();
    let log = Write::Log { origin: ORIGIN, version, transaction: Bytes::from_static(b"t") };
    let meta = Write::Meta { name: MetaName::Applied, value: Some(applied.encode()) };
    store.commit(&Batch { writes: vec![log, meta] }, durability)
}

#[test]
fn a_crash_takes_only_what_was_not_synced_and_from_the_newest_back() {
    for kept in 0..4 {
        let disk = MemoryDisk::new();
        let store = disk.open();
        append(&store, 1, Durability::Synced).unwrap();
        for version in 2..5 {
            append(&store, version, Durability::Buffered).unwrap();
        }
        assert_eq!(disk.unsynced(), 3);
        disk.crash(kept);
        assert!(append(&store, 5, Durability::Synced).is_err(), "a dead process commits");
        let again = disk.open();
        let last = 1 + u64::try_from(kept).unwrap();
        assert_eq!(again.recovered().applied.get(ORIGIN), last);
        assert_eq!(again.recovered().damage, Vec::new());
        append(&again, last + 1, Durability::Synced).unwrap();
    }
}

#[test]
fn a_failed_sync_refuses_later_commits_and_hides_its_own() {
    let disk = MemoryDisk::new();
    let store = disk.open();
    append(&store, 1, Durability::Synced).unwrap();
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    assert!(append(&store, 2, Durability::Synced).is_err());
    disk.set_faults(Faults::default());
    assert!(append(&store, 2, Durability::Buffered).is_err(), "the store is poisoned");
    assert_eq!(store.log(ORIGIN, 0, 100).unwrap().len(), 1);
    assert_eq!(store.commit_number(), 1);
}

#[test]
fn a_lying_sync_loses_what_it_acknowledged() {
    let disk = MemoryDisk::new();
    let store = disk.open();
    disk.set_faults(Faults { sync_lies: true, ..Faults::default() });
    append(&store, 1, Durability::Synced).unwrap();
    disk.crash(0);
    assert_eq!(disk.open().recovered().applied.get(ORIGIN), 0);
}

#[test]
fn a_damaged_log_is_set_aside_and_named() {
    let disk = MemoryDisk::new();
    let store = disk.open();
    for version in 1..6 {
        append(&store, version, Durability::Synced).unwrap();
    }
    disk.damage_log(ORIGIN, 4);
    let again = disk.open();
    let recovered = again.recovered();
    assert_eq!(recovered.applied.get(ORIGIN), 5, "the views stay");
    assert_eq!(recovered.logs.first().map(|log| (log.first, log.last)), Some((1, 3)));
    assert_eq!(recovered.damage.first().and_then(|d| d.refetch), Some((ORIGIN, 4)));
}

#[test]
fn a_rewound_disk_is_reported_until_the_next_commit() {
    let disk = MemoryDisk::new();
    let store = disk.open();
    append(&store, 1, Durability::Synced).unwrap();
    let image = disk.image();
    append(&store, 2, Durability::Synced).unwrap();
    disk.rewind(&image);
    for _ in 0..2 {
        let found = disk.open().recovered().damage.clone();
        assert!(found.iter().any(|damage| damage.refetch == Some((ORIGIN, 2))), "{found:?}");
    }
    append(&disk.open(), 2, Durability::Synced).unwrap();
    assert_eq!(disk.open().recovered().damage, Vec::new());
}
