//! Transactions as JSON.

use bytes::Bytes;
use rhumb_types::record::{
    CellId, Change, Field, Kind, OwnedRow, OwnedState, Space, Transaction, Value,
};
use serde_json::{Map, Value as Json, json};

use crate::{auth::Principal, encode::put_bytes};

/// Whose feed it is, and which keys are asked for.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) principal: Principal,
    pub(super) prefix: Bytes,
}

impl View {
    fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix) && self.principal.covers(key)
    }

    /// Whether a removal of all keys with a prefix touches keys of this feed.
    fn touches(&self, removed: &[u8]) -> bool {
        let asked = removed.starts_with(&self.prefix) || self.prefix.starts_with(removed);
        asked && self.principal.touches(removed)
    }

    fn sees_all(&self) -> bool {
        self.prefix.is_empty() && self.principal.sees_all()
    }
}

/// What a feed shows of a transaction; `None` when that is nothing.
///
/// Rhumb's own keys are left out. Owned rows belong to no key, so only a feed of everything shows
/// them.
pub(super) fn transaction(view: &View, transaction: &Transaction) -> Option<Json> {
    let changes: Vec<Json> =
        transaction.changes.iter().filter_map(|one| change(view, one)).collect();
    if changes.is_empty() {
        return None;
    }
    Some(json!({
        "origin": transaction.origin.to_string(),
        "version": transaction.version,
        "region": transaction.region,
        "timestamp": transaction.timestamp.to_string(),
        "unix_ms": transaction.timestamp.millis(),
        "changes": changes,
    }))
}

fn change(view: &View, change: &Change) -> Option<Json> {
    let mut shown = Map::new();
    let op = match change {
        Change::Put { cell, value, expiry, .. } => {
            place(view, &mut shown, cell)?;
            put_value(&mut shown, value);
            if let Some(at) = expiry {
                shown.insert("expires_unix_ms".to_owned(), at.0.into());
            }
            "put"
        }
        Change::Add { cell, frame, sum } => {
            place(view, &mut shown, cell)?;
            shown.insert("frame".to_owned(), (*frame).into());
            shown.insert("sum".to_owned(), json!({ "int": sum.int, "float": sum.float }));
            "add"
        }
        Change::Remove { cell, .. } => {
            place(view, &mut shown, cell)?;
            "remove"
        }
        Change::RemoveKey { space, key } => {
            visible(view, *space, key)?;
            put_bytes(&mut shown, "key", key);
            "remove_key"
        }
        Change::RemovePrefix { space, prefix } => {
            let seen = *space == Space::USER && view.touches(prefix);
            seen.then(|| put_bytes(&mut shown, "prefix", prefix))?;
            "remove_prefix"
        }
        Change::Own(row) => {
            view.sees_all().then(|| put_owned(&mut shown, row))?;
            "own"
        }
    };
    shown.insert("op".to_owned(), op.into());
    Some(shown.into())
}

fn visible(view: &View, space: Space, key: &[u8]) -> Option<()> {
    (space == Space::USER && view.covers(key)).then_some(())
}

fn place(view: &View, shown: &mut Map<String, Json>, cell: &CellId) -> Option<()> {
    visible(view, cell.space, &cell.key)?;
    put_bytes(shown, "key", &cell.key);
    if let Field::Member(member) = &cell.field {
        put_bytes(shown, "member", member);
    }
    Some(())
}

fn put_value(shown: &mut Map<String, Json>, value: &Value) {
    match value {
        Value::Bytes(bytes) => put_bytes(shown, "value", bytes),
        // A set's member: its place is shown, and it holds nothing more.
        Value::Unit => {}
        // Only in a view of Rhumb's own, which is not shown.
        Value::Decided(_) => {}
        Value::Score(score) => {
            // Infinities are scores, and JSON has none.
            let score = if score.is_finite() { json!(score) } else { json!(score.to_string()) };
            shown.insert("score".to_owned(), score);
        }
        Value::Kind(kind) => {
            let kind = match kind {
                Kind::Hash => "hash",
                Kind::Set => "set",
                Kind::SortedSet => "zset",
            };
            shown.insert("type".to_owned(), kind.into());
        }
    }
}

fn put_owned(shown: &mut Map<String, Json>, row: &OwnedRow) {
    let state = match row.state {
        OwnedState::Ready => "ready",
        OwnedState::Done => "done",
    };
    let about = [
        ("table", json!(row.id.table)),
        ("home", json!(row.home)),
        ("pinned", json!(row.pinned)),
        ("epoch", json!(row.epoch)),
        ("sequence", json!(row.sequence)),
        ("state", json!(state)),
    ];
    shown.extend(about.map(|(name, value)| (name.to_owned(), value)));
    put_bytes(shown, "id", &row.id.key);
    put_bytes(shown, "payload", &row.payload);
}
