//! Evaluates operations against the table, and writes what they change into the draft.
//!
//! An operation first makes sure that its rows are there, then that it is allowed, and only then
//! edits: an error leaves everything as it was. Each edit takes effect at once, so that the next
//! operation of the same batch sees it.
//!
//! How an operation becomes changes of cells:
//!
//! - `SET` writes a base and marks the additions it saw; `INCR` and its kin add, so that
//!   concurrent additions all count.
//! - A write of a member also writes the key's head again, with the type and time to live that it
//!   has: a key that is written to in one region survives its removal in another.
//! - A key whose time is over, and a collection without members, is absent. What is left of it is
//!   removed before something new is written in its place.
//! - Whoever removes the last member removes the head too, time to live included.
//! - `EXPIRE` writes the head's value again and is, for concurrent writes, a write of that value;
//!   it leaves additions alone.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use rhumb_types::{
    OriginId, UnixMillis,
    record::{Amount, Cell, CellId, Delta, Field, Head, Kind, Value},
};

use crate::{
    Draft, KeyType, Missing, RowId, RowRef, Table, number,
    op::{Deadline, OP_BYTES_MAX, OP_ROWS_MAX, Op, OpError, ROW_BYTES_MAX, SPACE},
    query::look,
    reply::Reply,
    visible,
};

mod hashes;
mod keys;
mod rows;
mod sets;
mod sorted_sets;
mod strings;

/// What a change takes beside its names and its value, in bytes; more than it does.
const CHANGE_BYTES: usize = 64;

impl From<Missing> for OpError {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing.0)
    }
}

/// Evaluates an operation at a time.
///
/// # Errors
/// [`OpError`], with nothing edited; [`OpError::Missing`] when a row of [`Op::rows`] is not in
/// the table.
pub fn execute(
    op: &Op,
    now: UnixMillis,
    table: &mut Table,
    draft: &mut Draft,
) -> Result<Reply, OpError> {
    check(op, table)?;
    Editor { now, table, draft }.run(op)
}

/// As [`execute`], where keys have a time to live unless a write says otherwise. A key that the
/// operation creates, or sets as a whole without naming a time, gets the one that `ttl` names.
///
/// # Errors
/// As [`execute`].
pub fn execute_with_ttl(
    op: &Op,
    now: UnixMillis,
    ttl: &dyn Fn(&Bytes) -> Option<Duration>,
    table: &mut Table,
    draft: &mut Draft,
) -> Result<Reply, OpError> {
    check(op, table)?;
    let mut editor = Editor { now, table, draft };
    let mut fresh = Vec::new();
    op.keys(&mut |key| {
        let begins = || {
            let there = editor.standing(key).ok()?.kind.is_some();
            (!there || op.sets_anew(there)).then_some(())
        };
        if let Some(ttl) = ttl(key)
            && begins().is_some()
        {
            fresh.push((key.clone(), ttl));
        }
    });
    let reply = editor.run(op)?;
    for (key, ttl) in fresh {
        let standing = editor.standing(&key)?;
        if standing.kind.is_some() && standing.expiry.is_none() {
            let until = Deadline::after(ttl).resolve(now)?;
            editor.set_expiry(&key, standing, Some(until))?;
        }
    }
    Ok(reply)
}

/// Refuses what is too large for one transaction, and what needs rows that are not there.
fn check(op: &Op, table: &Table) -> Result<(), OpError> {
    let mut rows = 0_usize;
    let mut is_too_long = false;
    let mut bytes = op.value_bytes();
    let mut missing = None;
    op.rows(&mut |row| {
        rows += 1;
        let name = row_bytes(row);
        bytes += name + CHANGE_BYTES;
        is_too_long |= name > ROW_BYTES_MAX;
        if missing.is_none() && !table.has(row) {
            missing = Some(RowId::from(row));
        }
    });
    if rows > OP_ROWS_MAX {
        Err(OpError::TooManyRows)
    } else if is_too_long || bytes > OP_BYTES_MAX {
        Err(OpError::TooLong)
    } else {
        missing.map_or(Ok(()), |row| Err(OpError::Missing(row)))
    }
}

fn row_bytes(row: RowRef<'_>) -> usize {
    match row {
        RowRef::Head(_, key) => key.len(),
        RowRef::Member(_, key, member) => key.len() + member.len(),
        RowRef::Owned(id) => id.key.len(),
    }
}

/// Where a key stands before an operation.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Its type, when it is there.
    kind: Option<KeyType>,
    /// When it ceases to be visible; only of a key that is there.
    expiry: Option<UnixMillis>,
    /// Whether the head's cell holds anything.
    has_head: bool,
    /// Whether there are members, visible or not.
    has_members: bool,
}

/// One operation under way.
struct Editor<'a> {
    now: UnixMillis,
    table: &'a mut Table,
    draft: &'a mut Draft,
}

impl Editor<'_> {
    fn run(&mut self, op: &Op) -> Result<Reply, OpError> {
        match op {
            Op::Set { key, value, when, get, expiry } => self.set(key, value, *when, *get, *expiry),
            Op::MSet { pairs } => self.set_many(pairs),
            Op::MSetNx { pairs } => self.set_many_absent(pairs),
            Op::GetDel { key } => self.get_and_delete(key),
            Op::GetEx { key, expiry } => self.get_and_expire(key, *expiry),
            Op::Append { key, value } => self.append(key, value),
            Op::SetRange { key, offset, value } => self.set_range(key, *offset, value),
            Op::IncrBy { key, by } => self.increment(key, *by),
            Op::IncrByFloat { key, by } => self.increment_float(key, *by),
            Op::Del { keys } => self.delete(keys),
            Op::Expire { key, deadline, when } => self.expire(key, *deadline, *when),
            Op::Persist { key } => self.persist(key),
            Op::HSet { key, pairs } => self.set_fields(key, pairs),
            Op::HSetNx { key, field, value } => self.set_absent_field(key, field, value),
            Op::HDel { key, fields } => self.remove_members(key, Kind::Hash, fields),
            Op::HIncrBy { key, field, by } => self.increment_field(key, field, *by),
            Op::HIncrByFloat { key, field, by } => self.increment_field_float(key, field, *by),
            Op::SAdd { key, members } => self.add_members(key, members),
            Op::SRem { key, members } => self.remove_members(key, Kind::Set, members),
            Op::SMove { source, destination, member } => {
                self.move_member(source, destination, member)
            }
            Op::SPop { key, candidates, count } => self.pop_members(key, candidates, *count),
            Op::ZAdd { key, pairs, when, changed } => self.add_scored(key, pairs, *when, *changed),
            Op::ZIncrBy { key, member, by, when } => self.add_score(key, member, *by, *when),
            Op::ZRem { key, members } => self.remove_members(key, Kind::SortedSet, members),
            Op::ZRemScored { key, members } => self.remove_scored(key, members),
            Op::ZPop { key, candidates, count } => self.pop_scored(key, candidates, *count),
            Op::FlushDb => {
                self.draft.remove_prefix(self.table, SPACE, Bytes::new())?;
                Ok(Reply::Ok)
            }
            Op::Look { query } => look(query, self.now, self.table),
            Op::CompareSet { space, expected, pairs } => self.compare_set(*space, expected, pairs),
            Op::Decide { space, term, expected, decided, pairs } => {
                self.decide((*space, *term), expected, decided, pairs)
            }
            Op::Forget { space, key, decision } => self.forget(*space, key, *decision),
            Op::CompareAndDelete { key, expected } => self.compare_and_delete(key, expected),
            Op::CompareAndExpire { key, expected, ttl } => {
                self.compare_and_expire(key, expected, *ttl)
            }
        }
    }

    fn head(&self, key: &Bytes) -> Result<&Head, OpError> {
        Ok(self.table.head(SPACE, key)?)
    }

    fn standing(&self, key: &Bytes) -> Result<Standing, OpError> {
        let head = self.head(key)?;
        let kind = match visible::present(head, self.now) {
            Some(KeyType::Collection(_)) if head.members == 0 => None,
            kind => kind,
        };
        Ok(Standing {
            kind,
            expiry: kind.and_then(|_| visible::expiry(&head.cell)),
            has_head: visible::is_live(&head.cell),
            has_members: head.members != 0,
        })
    }

    /// Where a key stands that must be of a type, or absent.
    fn standing_as(&self, key: &Bytes, kind: KeyType) -> Result<Standing, OpError> {
        let standing = self.standing(key)?;
        match standing.kind {
            Some(other) if other != kind => Err(OpError::WrongType),
            _ => Ok(standing),
        }
    }

    /// Removes all of a key, also what is left of one that is absent.
    fn erase(&mut self, key: &Bytes, standing: Standing) -> Result<(), OpError> {
        if standing.has_members {
            self.draft.remove_key(self.table, SPACE, key.clone())?;
        } else if standing.has_head {
            self.draft.remove(self.table, CellId::head(SPACE, key.clone()))?;
        }
        Ok(())
    }

    /// Removes what is left of a key that is absent, so that something new can be written.
    fn clear_remnants(&mut self, key: &Bytes, standing: Standing) -> Result<(), OpError> {
        if standing.kind.is_none() { self.erase(key, standing) } else { Ok(()) }
    }

    /// Writes a head.
    fn put_head(
        &mut self,
        key: &Bytes,
        value: Value,
        expiry: Option<UnixMillis>,
    ) -> Result<(), OpError> {
        let cell = CellId::head(SPACE, key.clone());
        Ok(self.draft.put(self.table, cell, value, expiry)?)
    }

    /// Writes a collection's head again, since a member was written.
    fn put_kind(&mut self, key: &Bytes, kind: Kind, standing: Standing) -> Result<(), OpError> {
        self.put_head(key, Value::Kind(kind), standing.expiry)
    }

    /// Adds to a counter.
    fn add(&mut self, cell: CellId, amount: Amount) -> Result<(), OpError> {
        Ok(self.draft.add(self.table, cell, amount)?)
    }

    /// Adds a whole number to a counter, which then comes to `new`.
    fn add_whole(
        &mut self,
        cell: CellId,
        by: i64,
        new: i64,
        expiry: Option<UnixMillis>,
    ) -> Result<(), OpError> {
        let origin = self.draft.context().origin;
        let row = match &cell.field {
            Field::Head => Cow::Borrowed(&self.head(&cell.key)?.cell),
            Field::Member(member) => self.table.member(SPACE, &cell.key, member)?,
        };
        if sum_fits(&row, origin, by) {
            return self.add(cell, Amount { int: by, float: 0.0 });
        }
        // The total fits where the sum of the additions does not: start again from a base.
        Ok(self.draft.put(self.table, cell, Value::Bytes(number::int_bytes(new)), expiry)?)
    }

    fn put_member(&mut self, key: &Bytes, member: &Bytes, value: Value) -> Result<(), OpError> {
        let cell = CellId::member(SPACE, key.clone(), member.clone());
        Ok(self.draft.put(self.table, cell, value, None)?)
    }

    /// What a function makes of a member's cell; of a vacant one when the key is absent.
    fn member<T>(
        &self,
        key: &Bytes,
        standing: Standing,
        member: &Bytes,
        read: impl FnOnce(&Cell) -> Option<T>,
    ) -> Result<Option<T>, OpError> {
        if standing.kind.is_none() {
            return Ok(None);
        }
        Ok(read(self.table.member(SPACE, key, member)?.as_ref()))
    }

    /// Removes a member.
    fn remove_member(&mut self, key: &Bytes, member: &Bytes) -> Result<(), OpError> {
        let cell = CellId::member(SPACE, key.clone(), member.clone());
        Ok(self.draft.remove(self.table, cell)?)
    }

    /// Removes the head of a collection whose last member was removed.
    fn drop_if_empty(&mut self, key: &Bytes) -> Result<(), OpError> {
        if self.head(key)?.members == 0 {
            self.draft.remove(self.table, CellId::head(SPACE, key.clone()))?;
        }
        Ok(())
    }

    /// `HDEL`, `SREM`, `ZREM`: answers how many were there.
    fn remove_members(
        &mut self,
        key: &Bytes,
        kind: Kind,
        members: &[Bytes],
    ) -> Result<Reply, OpError> {
        let standing = self.standing_as(key, KeyType::Collection(kind))?;
        let mut removed = 0;
        for member in members {
            if self.member(key, standing, member, |cell| holds(kind, cell))?.is_some() {
                self.remove_member(key, member)?;
                removed += 1;
            }
        }
        if removed > 0 {
            self.drop_if_empty(key)?;
        }
        Ok(Reply::count(removed))
    }
}

/// Whether an origin's additions, and all additions together, still fit when one is added.
fn sum_fits(cell: &Cell, origin: OriginId, by: i64) -> bool {
    let live = || cell.deltas.iter().filter(|delta| delta.counts());
    let net = |delta: &Delta| i128::from(delta.sum.int.wrapping_sub(delta.mark.int));
    let own: i128 = live().filter(|delta| delta.origin == origin).map(net).sum();
    let all: i128 = live().map(net).sum();
    let by = i128::from(by);
    i64::try_from(own + by).is_ok() && i64::try_from(all + by).is_ok()
}

/// Whether a member's cell holds what members of a type hold.
fn holds(kind: Kind, cell: &Cell) -> Option<()> {
    visible::is_member(kind, cell).then_some(())
}
