//! Upper bounds of encoded sizes, cheap enough to keep with every edit.

use rhumb_types::record::{CellId, Change, Field, Value};

use super::DraftContext;

/// An upper bound of what a transaction takes beside its changes.
pub(super) fn context_bytes(context: &DraftContext) -> usize {
    /// The record's version, origin, version, timestamp, and the lengths of the rest.
    const FIXED: usize = 56;
    /// An origin and a version.
    const DEP: usize = 20;
    FIXED + context.region.as_str().len() + context.deps.len() * DEP
}

/// An upper bound of a change's encoded size.
pub(super) fn change_bytes(change: &Change) -> usize {
    /// Lengths, tags and numbers at their longest.
    const FIXED: usize = 48;
    /// A mark: four numbers of at most ten bytes and a fraction of eight.
    const MARK: usize = 48;
    let of_cell = |cell: &CellId| {
        cell.key.len()
            + match &cell.field {
                Field::Head => 0,
                Field::Member(member) => member.len(),
            }
    };
    FIXED
        + match change {
            Change::Put { cell, value, marks, .. } => {
                let value = if let Value::Bytes(bytes) = value { bytes.len() } else { 0 };
                of_cell(cell) + value + marks.len() * MARK
            }
            Change::Add { cell, .. } => of_cell(cell),
            Change::Remove { cell, marks } => of_cell(cell) + marks.len() * MARK,
            Change::RemoveKey { key, .. } => key.len(),
            Change::RemovePrefix { prefix, .. } => prefix.len(),
            Change::Own(row) => row.id.key.len() + row.home.as_str().len() + row.payload.len(),
        }
}
