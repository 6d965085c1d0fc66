//! What counts of what was decided about a key of a linearizable bucket (rule 10, ADR 0013).
//!
//! A home writes a change into its own log, and may lose its lease before a majority has it. The next one
//! decides without it, and when the old one is back its log replicates. Three things keep such a late
//! change from being made behind the back of who decided meanwhile:
//!
//! - **Terms have an order**, and what is decided says its [`Term`]. Of entries beside each other in a row
//!   that of the latest term is the row; that there is none is an entry, too.
//! - **A term begins with a fence**: what was applied where it began. It is with a majority before
//!   anything is decided, so that every later term knows it. What was decided earlier and is not in the
//!   first fence after it is *void* ([`Fences`]): somebody may have decided without it.
//! - **A home shows nothing void.** Beside something else what is void goes. Where nothing else is there,
//!   it had seen all that this home had, and nobody has decided about the row since: then it is decided now,
//!   in the present term ([`Look::Settle`]).

use bytes::Bytes;
use rhumb_regions::homes;
use rhumb_types::{
    RegionId, UnixMillis,
    planted::{self, Planted},
    record::{Cell, CodecError, Dot, Entry, FenceRecord, IndexKey, Record, Term, VersionVector},
};

use crate::rows::{Change, Rows};

#[cfg(test)]
mod tests;

/// The agreed protocol version from which on changes are decided in terms (rule 16).
pub const TERMS_SINCE: u16 = 4;

/// What is known of the beginning of a term.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fence {
    term: Term,
    home: RegionId,
    written: Dot,
    record: FenceRecord,
}

/// The beginnings of terms that a home knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fences {
    /// The latest first.
    all: Vec<Fence>,
}

/// What a home finds in the row of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing void: the row is what everybody sees.
    Clear,
    /// Something void: this is to be decided in the present term, before anything else.
    Settle(Option<Bytes>),
    /// Something was decided in a later term: this home is none any more.
    Later,
}

impl Fences {
    /// Takes the rows of fences, in any order.
    ///
    /// # Errors
    /// When one cannot be understood.
    pub fn read<'r>(
        rows: impl IntoIterator<Item = (&'r Bytes, &'r Cell)>,
    ) -> Result<Self, CodecError> {
        let mut all = Vec::new();
        for (key, cell) in rows {
            let IndexKey::Fence { home, term } = IndexKey::decode(key)? else { continue };
            // Who lost its disk in its term may have written a second one: the first is the safe one.
            let first = cell.entries.iter().min_by_key(|entry| entry.stamp());
            let Some((entry, bytes)) = first.and_then(|it| Some((it, it.value.bytes()?))) else {
                continue;
            };
            let record = FenceRecord::decode(bytes)?;
            all.push(Fence { term, home, written: entry.dot, record });
        }
        all.sort_by_key(|fence| std::cmp::Reverse(fence.term));
        Ok(Self { all })
    }

    /// What a home that decides in a term finds in an object's row, by [its name](crate::place::name()).
    #[must_use]
    pub fn look(&self, own: Term, name: &[u8], cell: &Cell) -> Look {
        let of = |entry: &Entry| entry.value.term();
        if cell.entries.iter().any(|entry| of(entry) > Some(own)) {
            return Look::Later;
        }
        if cell.entries.iter().all(|entry| of(entry).is_none_or(|term| term == own)) {
            return Look::Clear;
        }
        let fences = self.of(name);
        let is_void =
            |entry: &&Entry| of(entry).is_some_and(|term| is_void(&fences, term, entry.dot));
        if !cell.entries.iter().any(|entry| is_void(&entry)) {
            return Look::Clear;
        }
        let latest = |entry: &&Entry| (of(entry), entry.stamp());
        let counts = cell.entries.iter().filter(|entry| !is_void(entry)).max_by_key(latest);
        let chosen = counts.or_else(|| cell.entries.iter().max_by_key(latest));
        Look::Settle(chosen.and_then(|entry| entry.value.bytes()).cloned())
    }

    /// The fences of the terms in which somebody decided about a key, the latest first. One that was not
    /// there as the next term began did not reach a majority: in its term nothing was decided.
    fn of(&self, name: &[u8]) -> Vec<&Fence> {
        let mut found: Vec<&Fence> = Vec::new();
        for fence in &self.all {
            let is_home = homes::among(&fence.record.homes, name) == Some(&fence.home);
            let known = found.last().is_none_or(|next| next.record.applied.covers(fence.written));
            if is_home && known {
                found.push(fence);
            }
        }
        found
    }

    /// The rows of the fences of a home whose terms had ended at a time, because the next had begun.
    #[must_use]
    pub fn ended(&self, home: &RegionId, by: UnixMillis) -> Vec<Bytes> {
        let own: Vec<&Fence> = self.all.iter().filter(|fence| fence.home == *home).collect();
        let ended = own.windows(2).filter_map(|pair| match pair {
            [next, fence] if next.record.began <= by => Some(fence_row(home, fence.term)),
            _ => None,
        });
        ended.collect()
    }
}

/// Whether something that was decided in a term was not there as the next one began.
fn is_void(fences: &[&Fence], term: Term, dot: Dot) -> bool {
    if planted::is(Planted::IgnoreFences) {
        return false;
    }
    let next = fences.iter().take_while(|fence| fence.term > term).last();
    next.is_some_and(|fence| !fence.record.applied.covers(dot))
}

/// The row of the fence of a term.
#[must_use]
pub fn fence_row(home: &RegionId, term: Term) -> Bytes {
    IndexKey::Fence { home: home.clone(), term }.encode()
}

/// What writes a fence, unless it is there.
#[must_use]
pub fn begin(row: &Bytes, record: &FenceRecord) -> Change {
    let mut change = Change::default();
    change.expect.push((row.clone(), None));
    change.set(row.clone(), record.encode());
    change
}

/// The rows of a change that are decided about, and the others.
#[must_use]
#[expect(clippy::type_complexity, reason = "two lists of rows, as changes have them")]
pub fn split(
    write: Vec<(Bytes, Option<Bytes>)>,
) -> (Vec<(Bytes, Option<Bytes>)>, Vec<(Bytes, Option<Bytes>)>) {
    write.into_iter().partition(|(key, _)| IndexKey::is_decided(key))
}

/// What this region and all others have, by what each of them said that it has; `None` before all of that
/// is applied here.
#[must_use]
pub fn common(here: &VersionVector, said: &[VersionVector]) -> Option<VersionVector> {
    if planted::is(Planted::ForgetAtOnce) {
        return Some(here.clone());
    }
    let least = |(origin, version): (_, u64)| {
        let least = said.iter().map(|vector| vector.get(origin)).fold(version, u64::min);
        (least > 0).then_some((origin, least))
    };
    let applied = said.iter().all(|vector| here.includes(vector));
    applied.then(|| here.iter().filter_map(least).collect())
}

/// The decision that a row is not there, where it says nothing else and every region has it, by
/// [`common`]. Then it may be forgotten: nobody decides in an earlier term who has applied it.
#[must_use]
pub fn forgettable(cell: &Cell, common: &VersionVector) -> Option<Dot> {
    let [entry] = cell.entries.as_slice() else { return None };
    let gone = entry.value.term().is_some() && entry.value.bytes().is_none();
    (gone && common.covers(entry.dot)).then_some(entry.dot)
}

/// The rows of an index, for who changes them; those of who decides about an object have its row as it was
/// found.
#[derive(Debug, Clone)]
pub struct Found<R> {
    rows: R,
    /// The object's key, and its row.
    object: Option<(Bytes, Option<Bytes>)>,
}

impl<R: Rows> Found<R> {
    /// For anyone.
    pub const fn by_anyone(rows: R) -> Self {
        Self { rows, object: None }
    }

    /// For who decides about an object, whose row was found to be this.
    pub const fn by_home(rows: R, key: Bytes, row: Option<Bytes>) -> Self {
        Self { rows, object: Some((key, row)) }
    }

    /// Has what a home changes rest on the row of the object, and be a decision about it: who decides about
    /// something that hangs together with it.
    pub(crate) fn rest_on(&self, change: &mut Change) {
        let Some((key, row)) = &self.object else { return };
        if !change.write.iter().any(|(written, _)| written == key) {
            change.expect.push((key.clone(), row.clone()));
            change.write.push((key.clone(), row.clone()));
        }
    }
}

impl<R: Rows> Rows for Found<R> {
    type Error = R::Error;

    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, R::Error> {
        match &self.object {
            Some((object, row)) if object == key => Ok(row.clone()),
            _ => self.rows.row(key),
        }
    }

    fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, R::Error> {
        self.rows.rows(prefix, after, limit)
    }
}
