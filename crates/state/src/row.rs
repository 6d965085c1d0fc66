//! Rows as they go in and out of the [`crate::Table`].

use std::fmt;

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{Cell, CellId, Change, Field, Head, OwnedId, OwnedRow, Space, Transaction},
};

use serde::{Deserialize, Serialize};

use crate::prefixes::ClearedPrefixes;

/// The address of a row.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RowId {
    /// A key's head.
    Head(Space, Bytes),
    /// A member's cell.
    Member(Space, Bytes, Bytes),
    /// An owned row.
    Owned(OwnedId),
}

/// The address of a row, borrowed: most addresses are only looked at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RowRef<'a> {
    /// A key's head.
    Head(Space, &'a Bytes),
    /// A member's cell.
    Member(Space, &'a Bytes, &'a Bytes),
    /// An owned row.
    Owned(&'a OwnedId),
}

impl<'a> From<&'a RowId> for RowRef<'a> {
    fn from(id: &'a RowId) -> Self {
        match id {
            RowId::Head(space, key) => Self::Head(*space, key),
            RowId::Member(space, key, member) => Self::Member(*space, key, member),
            RowId::Owned(id) => Self::Owned(id),
        }
    }
}

impl From<RowRef<'_>> for RowId {
    fn from(row: RowRef<'_>) -> Self {
        match row {
            RowRef::Head(space, key) => Self::Head(space, key.clone()),
            RowRef::Member(space, key, member) => Self::Member(space, key.clone(), member.clone()),
            RowRef::Owned(id) => Self::Owned(id.clone()),
        }
    }
}

impl From<&CellId> for RowId {
    fn from(cell: &CellId) -> Self {
        match &cell.field {
            Field::Head => Self::Head(cell.space, cell.key.clone()),
            Field::Member(member) => Self::Member(cell.space, cell.key.clone(), member.clone()),
        }
    }
}

/// A row that is needed and not in the table: read it from the store and admit it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is not in the table")]
pub struct Missing(pub RowId);

/// Rows as read from the store; `None` where the store has none.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ReadSet {
    /// A commit that every read includes: the rows are at least as new.
    pub commit: u64,
    /// Heads of keys.
    pub heads: Vec<(Space, Bytes, Option<Head>)>,
    /// Cells of members.
    pub members: Vec<(Space, Bytes, Bytes, Option<Cell>)>,
    /// Owned rows.
    pub owned: Vec<(OwnedId, Option<OwnedRow>)>,
}

impl ReadSet {
    /// Owned rows that nobody has written yet, whatever was committed: their ids were drawn just now.
    #[must_use]
    pub fn absent(ids: Vec<OwnedId>) -> Self {
        let owned = ids.into_iter().map(|id| (id, None)).collect();
        Self { commit: u64::MAX, owned, ..Self::default() }
    }
}

/// A row to write to the store; the variants mirror those of the store's port. `None` removes.
#[derive(Clone, PartialEq, Debug)]
pub enum RowWrite {
    /// A key's head.
    Head {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// The new row.
        head: Option<Head>,
    },
    /// A member's cell.
    Member {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// The field or member.
        member: Bytes,
        /// The new row.
        cell: Option<Cell>,
    },
    /// A row of a sorted set's score index.
    Score {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// The score; never NaN.
        score: f64,
        /// The member.
        member: Bytes,
        /// Whether the row is there.
        present: bool,
    },
    /// A row of the expiry index; at time 0 for a key that waits for the sweep.
    Expiry {
        /// When the key ceases to be visible.
        at: UnixMillis,
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// Whether the row is there.
        present: bool,
    },
    /// An owned row.
    Owned(OwnedRow),
    /// An owned row that is forgotten.
    OwnedDrop(OwnedId),
    /// What removals of ranges have covered in a space and the sweep has not yet taken out.
    Cleared {
        /// The view.
        space: Space,
        /// The new record.
        prefixes: ClearedPrefixes,
    },
}

/// What changed since the last look, for WATCH.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Touched {
    /// Keys, in the order of their first change; a key may occur twice.
    pub keys: Vec<(Space, Bytes)>,
    /// Prefixes all of whose keys were removed.
    pub prefixes: Vec<(Space, Bytes)>,
}

/// The rows that applying a transaction needs; a row may occur more than once.
pub fn rows_of(transaction: &Transaction) -> impl Iterator<Item = RowRef<'_>> {
    transaction.changes.iter().flat_map(rows_of_change)
}

fn rows_of_change(change: &Change) -> impl Iterator<Item = RowRef<'_>> {
    let (first, second) = match change {
        Change::Put { cell, .. } | Change::Add { cell, .. } | Change::Remove { cell, .. } => {
            let head = RowRef::Head(cell.space, &cell.key);
            match &cell.field {
                Field::Head => (Some(head), None),
                Field::Member(member) => {
                    (Some(head), Some(RowRef::Member(cell.space, &cell.key, member)))
                }
            }
        }
        Change::RemoveKey { space, key } => (Some(RowRef::Head(*space, key)), None),
        Change::RemovePrefix { .. } => (None, None),
        Change::Own(row) => (Some(RowRef::Owned(&row.id)), None),
    };
    first.into_iter().chain(second)
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(space, key) => write!(f, "head {}:{key:?}", space.0),
            Self::Member(space, key, member) => write!(f, "member {}:{key:?}/{member:?}", space.0),
            Self::Owned(id) => write!(f, "owned {}:{:?}", id.table, id.key),
        }
    }
}
