//! Whether the rows are what was written.
//!
//! At open only the end of each log is read, so that a large store is ready as soon as a small
//! one; [`Reader::verify_all`](crate::Reader) reads everything and can run beside the node.

use std::ops::Bound;

use bytes::Bytes;
use fjall::{Database, OwnedWriteBatch, PersistMode};
use rhumb_ports::store::{Damage, Recovered, StoreError};
use rhumb_types::{
    OriginId,
    record::{Cell, Head, OwnedRow, Record},
};

use crate::{
    commit::Writer,
    keys::{self, KeyBuf},
    read::{Bounds, Reader, Rows},
    row::{self, Extent},
    tables::Table,
};

/// How many of the newest rows of each log an open checks.
pub(crate) const TAIL_ROWS: u64 = 1_024;
/// Damaged rows that one check reports at most; the rest would say the same.
const DAMAGE_MAX: usize = 1_000;

/// A log row that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub(crate) origin: OriginId,
    pub(crate) version: u64,
    reason: String,
}

/// The first row between two versions, both included, that is missing or wrong.
fn first_bad<R: Rows>(
    reader: &Reader<R>,
    origin: OriginId,
    from: u64,
    last: u64,
) -> Result<Option<BadRow>, StoreError> {
    let bad =
        |version, reason: &str| Ok(Some(BadRow { origin, version, reason: reason.to_owned() }));
    let bounds =
        (Bound::Included(keys::log(origin, from)), Bound::Included(keys::log(origin, last)));
    let mut expected = from;
    for row in reader.rows(Table::Log, bounds, false) {
        let (key, value) = row?;
        match keys::split_log(&key) {
            Some((_, version)) if version == expected => {}
            _ => return bad(expected, "the row is missing"),
        }
        if let Err(error) = row::decode_log(origin, expected, &value) {
            return bad(expected, &error.to_string());
        }
        expected += 1;
    }
    if expected <= last { bad(expected, "the row is missing") } else { Ok(None) }
}

/// Checks the end of every log. From the first bad row on a log is dropped, so that what is left
/// is sound; [`Recovered::judge`] then finds it shorter than what the views have applied.
pub(crate) fn set_aside_damaged_tails<R: Rows>(
    reader: &Reader<R>,
    database: &Database,
    writer: &mut Writer,
) -> Result<Vec<BadRow>, StoreError> {
    let shared = &reader.shared;
    let mut found = Vec::new();
    for extent in writer.extents.values_mut().filter(|extent| !extent.log.is_empty()) {
        let Extent { log, .. } = *extent;
        let from = log.first.max(log.last.saturating_sub(TAIL_ROWS - 1));
        let Some(bad) = first_bad(reader, log.origin, from, log.last)? else { continue };
        let mut batch = OwnedWriteBatch::with_capacity(database.clone(), 0);
        for version in bad.version..=log.last {
            let key = Bytes::copy_from_slice(&keys::log(log.origin, version));
            batch.remove(shared.tables.get(Table::Log), key);
        }
        extent.log.last = bad.version.saturating_sub(1);
        let key = Bytes::copy_from_slice(&keys::extent(log.origin));
        batch.insert(shared.tables.get(Table::Meta), key, extent.encode());
        let committed = batch.durability(Some(PersistMode::SyncData)).commit();
        committed.map_err(|error| shared.failed(&error))?;
        found.push(bad);
    }
    Ok(found)
}

/// Puts what was wrong with a row into the report about its log.
pub(crate) fn explain(mut recovered: Recovered, bad: Vec<BadRow>) -> Recovered {
    for BadRow { origin, version, reason } in bad {
        let about = recovered
            .damage
            .iter_mut()
            .find(|damage| damage.refetch.is_some_and(|(whose, _)| whose == origin));
        match about {
            Some(damage) => damage.reason = reason,
            None => recovered.damage.push(log_damage(origin, version, reason)),
        }
    }
    recovered
}

fn log_damage(origin: OriginId, version: u64, reason: String) -> Damage {
    let row = format!("{origin} version {version}");
    Damage { table: Table::Log.name(), row, reason, refetch: Some((origin, version)) }
}

impl<R: Rows> Reader<R> {
    /// Reads every row of the store, and reports what is missing, damaged or newer than this
    /// binary, up to a thousand rows. Takes as long as reading the disk does, changes nothing,
    /// and can run while the node does, best on a snapshot.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn verify_all(&self) -> Result<Vec<Damage>, StoreError> {
        let mut found = Vec::new();
        for Extent { log, .. } in self.extents()? {
            if log.is_empty() {
                continue;
            }
            if let Some(bad) = first_bad(self, log.origin, log.first, log.last)? {
                found.push(log_damage(bad.origin, bad.version, bad.reason));
            }
        }
        self.verify_records::<Head>(Table::Heads, &mut found);
        self.verify_records::<Cell>(Table::Members, &mut found);
        self.verify_records::<OwnedRow>(Table::Owned, &mut found);
        for table in [Table::Scores, Table::Expiry, Table::Conflicts, Table::Meta] {
            self.verify_rows(table, &mut found, |_| Ok(()));
        }
        Ok(found)
    }

    fn verify_records<T: Record>(&self, table: Table, found: &mut Vec<Damage>) {
        self.verify_rows(table, found, |row| row::decode::<T>(table, row).map(|_| ()));
    }

    fn verify_rows(
        &self,
        table: Table,
        found: &mut Vec<Damage>,
        check: impl Fn(&[u8]) -> Result<(), StoreError>,
    ) {
        let all: Bounds = (Bound::Unbounded, Bound::Unbounded);
        let mark = KeyBuf::from_slice(&keys::MARK);
        for row in self.rows(table, all, false) {
            if found.len() >= DAMAGE_MAX {
                return;
            }
            let damage = |row: String, error: &StoreError| Damage {
                table: table.name(),
                row,
                reason: error.to_string(),
                refetch: None,
            };
            match row {
                Ok((key, _)) if key == mark.as_slice() => {}
                Ok((key, value)) => {
                    if let Err(error) = check(&value) {
                        found.push(damage(format!("{key:?}"), &error));
                    }
                }
                // A block that cannot be read: what follows it in this table stays unchecked.
                Err(error) => {
                    found.push(damage("a block".to_owned(), &error));
                    return;
                }
            }
        }
    }
}
