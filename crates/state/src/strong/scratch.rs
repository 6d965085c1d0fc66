//! Evaluates one operation on items, through rows made for it alone.
//!
//! The rows that the operation names are put into a table of its own, the operation is executed
//! there like any other, and what it changed is read back. Nothing of the items is touched before
//! it is known that the result fits.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_types::{
    Hlc, RegionId, UnixMillis,
    record::{Cell, Head, Kind, Value, VersionVector},
};

use super::items::{Edit, ITEM_DOT, Items, Shape};
use crate::{
    Draft, DraftContext, KeyType, ReadSet, RowRef, RowWrite, Table, TableLimits, cell, number,
    op::{Op, OpError},
    query::CellScan,
    reply::Reply,
    visible,
};

/// The table lives for one operation, whose rows must all stay.
const UNLIMITED: TableLimits =
    TableLimits { rows_max: usize::MAX, bytes_max: usize::MAX, hash_seed: 0 };

/// Evaluates an operation under a log index.
pub(super) fn execute(
    op: &Op,
    index: u64,
    now: UnixMillis,
    items: &mut Items,
) -> Result<Reply, OpError> {
    if !op.is_allowed_strong() {
        return Err(OpError::NotStrong);
    }
    let mut table = Table::new(UNLIMITED);
    table.restore(0, [(ITEM_DOT.origin, ITEM_DOT.version)].into_iter().collect(), Vec::new());
    table.admit(rows(op, items));
    let reply = crate::execute(op, now, &mut table, &mut draft())?;
    let edits = edits(table.take_writes());
    if !items.has_room(&edits) {
        return Err(OpError::Full);
    }
    for (key, edit) in edits {
        items.apply(&key, edit, index, now);
    }
    Ok(reply)
}

fn draft() -> Draft {
    let Ok(region) = RegionId::new("strong") else { unreachable!("the name is well-formed") };
    Draft::open(DraftContext {
        origin: ITEM_DOT.origin,
        version: ITEM_DOT.version + 1,
        timestamp: Hlc(1),
        region,
        deps: VersionVector::new(),
    })
}

/// The rows that an operation names.
fn rows(op: &Op, items: &Items) -> ReadSet {
    let mut reads = ReadSet::default();
    op.rows(&mut |row| match row {
        RowRef::Head(space, key) => {
            let Ok(head) = items.head(key);
            reads.heads.push((space, key.clone(), head));
        }
        RowRef::Member(space, key, member) => {
            let Ok(cell) = items.member(key, member);
            reads.members.push((space, key.clone(), member.clone(), cell));
        }
        RowRef::Owned(_) => {}
    });
    reads
}

/// What changed rows say about items.
fn edits(writes: Vec<RowWrite>) -> BTreeMap<Bytes, Edit> {
    let mut heads = BTreeMap::new();
    let mut members = Vec::new();
    for write in writes {
        match write {
            RowWrite::Head { key, head, .. } => {
                heads.insert(key, head.unwrap_or_default());
            }
            RowWrite::Member { key, member, cell, .. } => {
                members.push((key, member, cell.unwrap_or_default()));
            }
            // Indexes are the items' own business.
            RowWrite::Score { .. }
            | RowWrite::Expiry { .. }
            | RowWrite::Owned(_)
            | RowWrite::OwnedDrop(_)
            | RowWrite::Cleared { .. } => {}
        }
    }
    let mut edits: BTreeMap<Bytes, Edit> =
        heads.iter().map(|(key, head)| (key.clone(), edit(head))).collect();
    for (key, member, cell) in members {
        // A change of a member is a change of its head: of its entry, or of its count.
        let (Some(head), Some(edit)) = (heads.get(&key), edits.get_mut(&key)) else {
            unreachable!("a member changed without its head");
        };
        if let Some(Shape::Collection(kind)) = edit.shape {
            let value = value(kind, &cell::settled(&cell, &head.cleared));
            edit.members.push((member, value));
        }
    }
    edits
}

fn edit(head: &Head) -> Edit {
    let shape = match visible::key_type(head) {
        None => None,
        Some(KeyType::String) => {
            visible::text(&head.cell).map(|text| Shape::Text(number::text_bytes(text)))
        }
        Some(KeyType::Collection(kind)) => Some(Shape::Collection(kind)),
    };
    Edit {
        shape,
        expiry: visible::expiry(&head.cell),
        cleared: !head.cleared.is_empty(),
        members: Vec::new(),
    }
}

fn value(kind: Kind, cell: &Cell) -> Option<Value> {
    if !visible::is_member(kind, cell) {
        return None;
    }
    match kind {
        Kind::Set => Some(Value::Unit),
        Kind::SortedSet => visible::score(cell).map(Value::Score),
        Kind::Hash => visible::text(cell).map(|text| Value::Bytes(number::text_bytes(text))),
    }
}
