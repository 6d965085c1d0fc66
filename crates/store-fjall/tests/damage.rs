//! Directories that are damaged, foreign, in use or too new.

mod common;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use common::{ORIGIN, commit, log_of, transaction, version_of};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use rhumb_ports::store::{Batch, Damage, Durability, ReadStore, Store, StoreError, Write};
use rhumb_store_fjall::{FORMAT_VERSION, FjallStore, OpenError, set_aside};
use rhumb_types::record::Space;
use tempfile::TempDir;

/// What fjall's journal puts before an item's key: tag, type and compression, one byte each, the
/// key space, and three lengths.
const ITEM_HEADER_BYTES: u64 = 3 + 8 + 2 + 4 + 4;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(path: &Path) -> FjallStore {
    FjallStore::open(path).expect("the directory opens")
}

/// A closed store with that many synced transactions.
fn filled(transactions: u64) -> TempDir {
    let directory = directory();
    let store = open(directory.path());
    for version in 1..=transactions {
        commit(&store, version, Durability::Synced).expect("a commit");
    }
    directory
}

fn journal(path: &Path) -> PathBuf {
    path.join("records").join("0.jnl")
}

/// Where the nth occurrence of some bytes in the journal is.
fn find(path: &Path, bytes: &[u8], nth: usize) -> u64 {
    let content = fs::read(journal(path)).expect("a journal");
    let mut places = content.windows(bytes.len()).enumerate().filter(|(_, at)| *at == bytes);
    u64::try_from(places.nth(nth).expect("the bytes are there").0).expect("a place")
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(journal(path)).expect("a journal");
    file.write_all_at(bytes, at).expect("a write");
}

/// Changes a table behind the store's back.
fn behind(path: &Path, table: &str, change: impl FnOnce(&Keyspace)) {
    let database = Database::builder(path.join("records")).open().expect("fjall opens");
    change(&database.keyspace(table, KeyspaceCreateOptions::default).expect("a table"));
    database.persist(PersistMode::SyncAll).expect("a sync");
}

fn refetches(damage: &[Damage]) -> Vec<u64> {
    damage.iter().filter_map(|damage| damage.refetch).map(|(_, version)| version).collect()
}

/// The row key of a log row.
fn log_key(version: u64) -> Vec<u8> {
    [ORIGIN.0.to_be_bytes(), version.to_be_bytes()].concat()
}

#[test]
fn a_batch_lost_in_the_middle_of_the_journal_is_reported_not_silent() {
    let directory = filled(40);
    // Break the frame of a batch in the middle, so that fjall cannot parse it: the tag before the
    // row of version 20. fjall itself opens this and says nothing (its issue 311).
    let row = find(directory.path(), &log_key(20), 0);
    overwrite(directory.path(), row - ITEM_HEADER_BYTES, &[0xee]);
    let store = open(directory.path());
    let found = store.recovered().damage.clone();
    assert_eq!(version_of(&store), 19, "what is left fits together");
    assert_eq!(log_of(&store), (1..=19).collect::<Vec<_>>());
    assert_eq!(store.recovered().applied.get(ORIGIN), 19);
    assert!(found.iter().any(|damage| damage.table == "journal"), "{found:?}");
    assert_eq!(refetches(&found), vec![20]);
    drop(store);
    let again = open(directory.path());
    assert_eq!(again.recovered().damage, found, "reported until a commit acts on it");
    commit(&again, 20, Durability::Synced).unwrap();
    drop(again);
    assert_eq!(open(directory.path()).recovered().damage, Vec::new());
}

#[test]
fn a_wrong_checksum_in_the_middle_of_the_journal_is_refused_with_what_to_do() {
    let directory = filled(40);
    let row = find(directory.path(), &log_key(20), 0);
    overwrite(directory.path(), row + 40, &[0, 0, 0, 0, 0, 0, 0, 0]);
    let refused = FjallStore::open(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("Move `records`"), "{refused}");
    let aside = set_aside(directory.path()).unwrap();
    assert!(aside.join("0.jnl").exists(), "nothing is deleted");
    let store = open(directory.path());
    assert_eq!(version_of(&store), 0);
    commit(&store, 1, Durability::Synced).unwrap();
}

/// fjall panics here in a debug build, and finds a wrong checksum in a release build.
#[test]
fn lengths_that_do_not_agree_are_damage_and_no_panic() {
    let directory = filled(40);
    let row = find(directory.path(), &log_key(20), 0);
    overwrite(directory.path(), row - 8, &[0xee]);
    let refused = FjallStore::open(directory.path()).unwrap_err();
    assert!(refused.to_string().contains("Move `records`"), "{refused}");
    set_aside(directory.path()).unwrap();
    commit(&open(directory.path()), 1, Durability::Synced).unwrap();
}

#[test]
fn a_last_batch_with_a_hole_that_was_never_synced_is_dropped_quietly() {
    let directory = filled(10);
    let store = open(directory.path());
    store.commit(&transaction(11, 5_000), Durability::Buffered).unwrap();
    // Let go of the directory as a crash does: what fjall syncs while it closes is undone below.
    drop(store);
    let row = find(directory.path(), &log_key(11), 0);
    overwrite(directory.path(), row + 100, &[0; 512]);
    let store = open(directory.path());
    assert_eq!(store.recovered().damage, Vec::new());
    assert_eq!(version_of(&store), 10);
    assert_eq!(log_of(&store).last(), Some(&10));
    let kept = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(kept.into_iter().any(|name| name == "records.torn-0"), "the torn journal is kept");
}

#[test]
fn a_last_batch_with_a_hole_that_was_synced_is_reported() {
    let directory = filled(10);
    let row = find(directory.path(), &log_key(10), 0);
    overwrite(directory.path(), row + 40, &[0; 16]);
    let store = open(directory.path());
    assert_eq!(version_of(&store), 9);
    assert_eq!(refetches(&store.recovered().damage), vec![10]);
}

#[test]
fn a_damaged_log_row_cuts_the_log_and_keeps_the_views() {
    for damage in [Some(b"\0\0\0\0wrong".as_slice()), None] {
        let directory = filled(30);
        behind(directory.path(), "log", |log| match damage {
            Some(row) => log.insert(log_key(25), row).unwrap(),
            None => log.remove(log_key(25)).unwrap(),
        });
        let store = open(directory.path());
        assert_eq!(version_of(&store), 30, "the views stay");
        assert_eq!(store.recovered().applied.get(ORIGIN), 30);
        assert_eq!(refetches(&store.recovered().damage), vec![25]);
        assert_eq!(log_of(&store).last(), Some(&24));
        // Fetched again, the log is whole.
        for version in 25..=30 {
            let transaction = Bytes::from_static(b"fetched");
            let writes = vec![Write::Log { origin: ORIGIN, version, transaction }];
            store.commit(&Batch { writes }, Durability::Synced).unwrap();
        }
        drop(store);
        let store = open(directory.path());
        assert_eq!(store.recovered().damage, Vec::new());
        assert_eq!(log_of(&store).last(), Some(&30));
    }
}

#[test]
fn old_damage_is_found_by_a_full_check_and_by_the_reader() {
    let directory = directory();
    let store = open(directory.path());
    for version in 1..=1_200 {
        commit(&store, version, Durability::Buffered).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    behind(directory.path(), "log", |log| log.insert(log_key(7), b"\0\0\0\0wrong").unwrap());
    behind(directory.path(), "heads", |heads| heads.insert(b"\0b", b"\x01\xff\xff").unwrap());
    let store = open(directory.path());
    assert_eq!(store.recovered().damage, Vec::new(), "an open reads the newest rows only");
    let refused = store.log(ORIGIN, 0, usize::MAX);
    assert!(matches!(refused, Err(StoreError::Record { table: "log", .. })), "{refused:?}");
    assert_eq!(store.log(ORIGIN, 7, usize::MAX).unwrap().len(), 1_193);
    let found = store.snapshot().verify_all().unwrap();
    assert_eq!(refetches(&found), vec![7]);
    assert!(found.iter().any(|damage| damage.table == "heads"), "{found:?}");
}

#[test]
fn a_table_that_is_apart_from_the_others_is_refused() {
    let directory = filled(10);
    behind(directory.path(), "heads", |heads| heads.insert([0xff], 9_u64.to_be_bytes()).unwrap());
    let refused = FjallStore::open(directory.path()).unwrap_err();
    assert!(refused.to_string().contains("heads is at commit 9"), "{refused}");
}

#[test]
fn a_record_of_a_newer_version_is_told_in_the_codecs_words() {
    let directory = filled(1);
    behind(directory.path(), "heads", |heads| heads.insert(b"\0b", b"\x09rest").unwrap());
    let store = open(directory.path());
    let error = store.head(Space::USER, b"b").unwrap_err();
    assert_eq!(
        error.to_string(),
        "a record of heads cannot be used: the record has version 9, and this node reads up to 1: \
         upgrade this node"
    );
    assert!(store.head(Space::USER, b"a").is_ok());
}

#[test]
fn a_directory_has_one_process() {
    let directory = directory();
    let store = open(directory.path());
    let refused = FjallStore::open(directory.path()).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Locked { holder, .. }
        if *holder == std::process::id().to_string()),
        "{refused}"
    );
    drop(store);
    open(directory.path());
}

#[test]
fn a_newer_format_and_a_foreign_directory_are_refused() {
    let directory = filled(1);
    let newer = format!("rhumb store {}\n", FORMAT_VERSION + 1);
    fs::write(directory.path().join("format"), newer).unwrap();
    let refused = FjallStore::open(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found, .. } if found == FORMAT_VERSION + 1));

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis.tex"), "text").unwrap();
    let refused = FjallStore::open(foreign.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1, "nothing was left in it");
}

#[test]
fn a_first_start_that_was_cut_short_is_begun_again() {
    let directory = directory();
    drop(open(directory.path()));
    // As it is before fjall has written its own marker.
    fs::remove_file(directory.path().join("records/version")).unwrap();
    let store = open(directory.path());
    commit(&store, 1, Durability::Synced).unwrap();
    assert!(directory.path().join("records.unfinished-1").exists());
    // Before the directory has a format.
    let bare = tempfile::tempdir().unwrap();
    fs::write(bare.path().join("lock"), "17").unwrap();
    fs::write(bare.path().join("draft"), "rhumb st").unwrap();
    open(bare.path());
}

#[test]
fn rows_of_a_trimmed_log_leave_the_disk_in_parts() {
    const ROWS: u64 = 10_000;
    let directory = directory();
    let store = open(directory.path());
    for first in (1..=ROWS).step_by(1_000) {
        let rows = (first..first + 1_000).flat_map(|version| transaction(version, 8).writes);
        let logs = rows.filter(|write| matches!(write, Write::Log { .. } | Write::Meta { .. }));
        store.commit(&Batch { writes: logs.collect() }, Durability::Buffered).unwrap();
    }
    let trim = Write::LogTrim { origin: ORIGIN, through: ROWS - 10 };
    store.commit(&Batch { writes: vec![trim] }, Durability::Synced).unwrap();
    assert_eq!(log_of(&store).len(), 10, "the trim holds at once");
    drop(store);
    let rows = |path: &Path| {
        let mut rows = 0;
        behind(path, "log", |log| rows = log.prefix(ORIGIN.0.to_be_bytes()).count());
        rows
    };
    assert!(rows(directory.path()) > 1_000, "one commit does not remove everything");
    let store = open(directory.path());
    for _ in 0..2 {
        store.commit(&Batch::default(), Durability::Synced).unwrap();
    }
    drop(store);
    assert_eq!(rows(directory.path()), 10);
}
