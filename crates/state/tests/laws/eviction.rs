//! The table as a cache: what it may forget and what it must not take in.

use bytes::Bytes;
use rhumb_state::{
    Draft, DraftContext, ReadSet, RowId, RowRef, RowWrite, Table, TableLimits, Touched, visible,
};
use rhumb_types::{
    Hlc, OriginId, RegionId, UnixMillis,
    record::{CellId, Head, Value, VersionVector},
};

use crate::region::SPACE;

fn table(rows_max: usize) -> Table {
    Table::new(TableLimits { rows_max, bytes_max: usize::MAX, hash_seed: 7 })
}

fn name(at: usize) -> Bytes {
    Bytes::from(format!("key:{at}"))
}

fn reads(commit: u64, rows: impl IntoIterator<Item = (usize, Option<Head>)>) -> ReadSet {
    let heads = rows.into_iter().map(|(at, head)| (SPACE, name(at), head)).collect();
    ReadSet { commit, heads, ..ReadSet::default() }
}

fn draft(version: u64) -> Draft {
    Draft::open(DraftContext {
        origin: OriginId(1),
        version,
        timestamp: Hlc(version),
        region: RegionId::new("here").unwrap(),
        deps: VersionVector::new(),
    })
}

fn set(table: &mut Table, version: u64, at: usize) -> Vec<RowWrite> {
    let mut draft = draft(version);
    let value = Value::Bytes(Bytes::from(version.to_string()));
    draft.put(table, CellId::head(SPACE, name(at)), value, None).unwrap();
    draft.finish().unwrap();
    table.take_writes()
}

fn has(table: &Table, at: usize) -> bool {
    table.has(RowRef::Head(SPACE, &name(at)))
}

#[test]
fn a_row_that_is_not_on_disk_is_never_evicted() {
    let mut table = table(2);
    table.admit(reads(0, [(0, None)]));
    let _writes = set(&mut table, 1, 0);
    for at in 1..50 {
        table.admit(reads(0, [(at, None)]));
        assert!(has(&table, 0) && has(&table, at));
        assert!(table.size().0 <= 3);
    }
    table.committed(1);
    for at in 50..60 {
        table.admit(reads(1, [(at, None)]));
    }
    assert!(!has(&table, 0));
}

#[test]
fn a_read_set_older_than_an_evicted_change_is_refused() {
    let mut table = table(1);
    table.admit(reads(0, [(0, None)]));
    let writes = set(&mut table, 1, 0);
    table.committed(5);
    (1..9).for_each(|at| table.admit(reads(5, [(at, None)])));
    assert!(!has(&table, 0));
    // Read before the commit: shows the key as absent.
    table.admit(reads(4, [(0, None)]));
    let missing = table.head(SPACE, &name(0)).unwrap_err();
    assert_eq!(missing.0, RowId::Head(SPACE, name(0)));
    let RowWrite::Head { head, .. } = writes.into_iter().next().unwrap() else { panic!() };
    table.admit(reads(5, [(0, head)]));
    assert!(visible::key_type(table.head(SPACE, &name(0)).unwrap()).is_some());
}

#[test]
fn a_row_in_the_table_is_newer_than_any_read() {
    let mut table = table(10);
    table.admit(reads(0, [(0, None)]));
    let _writes = set(&mut table, 1, 0);
    table.admit(reads(9, [(0, None)]));
    assert!(!table.head(SPACE, &name(0)).unwrap().is_vacant());
}

#[test]
fn a_row_changed_again_while_it_is_on_its_way_stays() {
    let mut table = table(1);
    table.admit(reads(0, [(0, None)]));
    let _first = set(&mut table, 1, 0);
    let _second = set(&mut table, 2, 0);
    table.committed(1);
    (1..20).for_each(|at| table.admit(reads(1, [(at, None)])));
    assert!(has(&table, 0), "the second take is not on disk");
    table.committed(2);
    (20..40).for_each(|at| table.admit(reads(2, [(at, None)])));
    assert!(!has(&table, 0));
}

#[test]
fn rows_in_use_outlive_rows_that_are_not() {
    let mut table = table(8);
    table.admit(reads(0, [(0, None)]));
    for at in 1..100 {
        table.admit(reads(0, [(0, None)]));
        table.admit(reads(0, [(at, None)]));
        assert!(has(&table, 0), "used every time");
    }
}

#[test]
fn bytes_bound_the_table_too() {
    let mut table = Table::new(TableLimits { rows_max: 1_000, bytes_max: 64 << 10, hash_seed: 0 });
    for at in 0..500 {
        let version = at as u64 + 1;
        table.admit(reads(version - 1, [(at, None)]));
        let mut draft = draft(version);
        let value = Value::Bytes(Bytes::from(vec![0; 4 << 10]));
        draft.put(&mut table, CellId::head(SPACE, name(at)), value, None).unwrap();
        let _writes = table.take_writes();
        table.committed(version);
        assert!(table.size().1 < 128 << 10, "{:?}", table.size());
    }
}

#[test]
fn touched_names_keys_and_prefixes_since_the_last_take() {
    let mut table = table(10);
    table.admit(reads(0, [(0, None), (1, None)]));
    let mut draft = draft(1);
    draft.put(&mut table, CellId::head(SPACE, name(1)), Value::Unit, None).unwrap();
    draft.remove_prefix(&mut table, SPACE, Bytes::from_static(b"x:")).unwrap();
    let prefixes = vec![(SPACE, Bytes::from_static(b"x:"))];
    assert_eq!(table.touched(), Touched { keys: vec![(SPACE, name(1))], prefixes });
    let _writes = table.take_writes();
    assert_eq!(table.touched(), Touched::default());
}

#[test]
fn the_expiry_index_is_told_what_differs() {
    let mut table = table(10);
    table.admit(reads(0, [(0, None)]));
    let cell = CellId::head(SPACE, name(0));
    let mut indexed = Vec::new();
    for (version, expiry) in [(1, Some(10)), (2, Some(10)), (3, Some(20)), (4, None)] {
        let mut draft = draft(version);
        let expiry = expiry.map(UnixMillis);
        draft.put(&mut table, cell.clone(), Value::Unit, expiry).unwrap();
        indexed.extend(table.take_writes().into_iter().filter_map(|write| match write {
            RowWrite::Expiry { at, present, .. } => Some((at.0, present)),
            _ => None,
        }));
        table.committed(version);
    }
    assert_eq!(indexed, [(10, true), (10, false), (20, true), (20, false)]);
}
