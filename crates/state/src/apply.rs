//! Applying received transactions.
//!
//! A received transaction is never refused (rule 4). It is applied once, after everything in its
//! context; see [`readiness`].

use rhumb_types::{
    DomainId,
    record::{CellId, Change, Entry, Transaction, VersionVector},
};

use crate::{
    cell,
    conflict::ConflictSink,
    context::Context,
    row::{Missing, RowId, rows_of},
    table::Table,
};

/// Whether a transaction can be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It is the next one, and everything in its context is applied.
    Ready,
    /// It is applied already.
    Duplicate,
    /// Earlier versions of its origin are missing.
    Gap,
    /// It waits for transactions of other origins.
    Waits,
}

/// Whether a transaction can be applied to what is applied. `carries` tells which residency
/// domains this node carries; deps on others are ignored (rule 3).
#[must_use]
pub fn readiness(
    transaction: &Transaction,
    applied: &VersionVector,
    carries: impl Fn(DomainId) -> bool,
) -> Readiness {
    let known = applied.get(transaction.origin);
    if transaction.version <= known {
        return Readiness::Duplicate;
    }
    if transaction.version > known + 1 {
        return Readiness::Gap;
    }
    let met = transaction.deps.iter().all(|(origin, version)| {
        origin == transaction.origin || version <= applied.get(origin) || !carries(origin.domain())
    });
    if met { Readiness::Ready } else { Readiness::Waits }
}

/// Applies a received transaction to the table.
///
/// # Errors
/// [`Missing`] names the first row that is not in the table; nothing is applied then.
pub fn apply(
    transaction: &Transaction,
    table: &mut Table,
    conflicts: &mut ConflictSink,
) -> Result<(), Missing> {
    if let Some(missing) = rows_of(transaction).find(|row| !table.has(*row)) {
        return Err(Missing(RowId::from(missing)));
    }
    table.reflect(transaction.dot());
    for change in &transaction.changes {
        apply_change(transaction, change, table, conflicts)?;
    }
    Ok(())
}

fn apply_change(
    transaction: &Transaction,
    change: &Change,
    table: &mut Table,
    conflicts: &mut ConflictSink,
) -> Result<(), Missing> {
    let context = Context::of(transaction);
    match change {
        Change::Put { cell: id, value, expiry, marks } => {
            let entry = Entry {
                dot: context.dot,
                hlc: transaction.timestamp,
                value: value.clone(),
                expiry: *expiry,
            };
            let place = table.place(id)?;
            table.edit(place, |row| {
                cell::put(row, &context, entry, marks);
                conflicts.after_put(transaction, id, row);
            });
        }
        Change::Add { cell: id, frame, sum } => {
            let place = table.place(id)?;
            table.edit(place, |row| cell::add(row, context.dot, *frame, *sum));
        }
        Change::Remove { cell: id, marks } => {
            let place = table.place(id)?;
            table.edit(place, |row| {
                cell::remove(row, &context, marks);
                conflicts.after_remove(transaction, id, row);
            });
        }
        Change::RemoveKey { space, key } => {
            table.clear_key(*space, key, &context.removal())?;
            let head = table.head(*space, key)?;
            conflicts.after_remove(transaction, &CellId::head(*space, key.clone()), &head.cell);
        }
        Change::RemovePrefix { space, prefix } => {
            table.clear_prefix(*space, prefix, context.removal());
        }
        Change::Own(row) => {
            table.adopt(row)?;
        }
    }
    Ok(())
}
