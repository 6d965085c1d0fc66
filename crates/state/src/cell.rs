//! The merge laws of one cell.
//!
//! A cell is a function of the set of transactions applied, whatever order causality allowed:
//!
//! - an **entry** is there when no applied change that covers its dot removed it;
//! - a **delta** of an origin holds that origin's last addition, and the mark with the highest
//!   version that names its frame. It counts when neither a mark nor a removal of the whole key
//!   covers its last addition, and then with `sum - mark`.
//!
//! Deliberately absent: which entry wins. That is a question of reading, see [`crate::visible`].

use std::borrow::Cow;

use rhumb_types::{
    planted::{self, Planted},
    record::{Amount, Cell, Cleared, Delta, Dot, Entry, Mark, Removal},
};

use crate::context::Context;

/// Replaces what the context covers by one entry.
pub fn put(cell: &mut Cell, context: &Context<'_>, entry: Entry, marks: &[Mark]) {
    let dropped = planted::is(Planted::LoseConcurrent);
    cell.entries.retain(|known| !context.removes(known.dot) && !dropped);
    let arrived = planted::is(Planted::StampWithoutOrigin);
    let at = cell.entries.partition_point(|known| arrived || known.dot < entry.dot);
    cell.entries.insert(at, entry);
    mark(cell, context.dot, marks);
}

/// Removes what the context covers.
pub fn remove(cell: &mut Cell, context: &Context<'_>, marks: &[Mark]) {
    let unseen = planted::is(Planted::RemoveUnseen);
    cell.entries.retain(|known| !context.removes(known.dot) && !unseen);
    mark(cell, context.dot, marks);
}

/// Sets an origin's running sum of a frame.
///
/// Additions of one origin arrive in the order of their versions, and frames grow with versions,
/// so the last to arrive is the newest. An origin starts a frame only when it has seen all of the
/// one before marked or cleared; whoever applies its addition has applied those marks too, so
/// replacing the old frame loses nothing.
pub fn add(cell: &mut Cell, dot: Dot, frame: u64, sum: Amount) {
    match cell.deltas.binary_search_by_key(&dot.origin, |delta| delta.origin) {
        Ok(at) => {
            let Some(delta) = cell.deltas.get_mut(at) else { return };
            if delta.frame == frame {
                delta.version = dot.version;
                let known = if planted::is(Planted::CountAgain) { delta.sum.int } else { 0 };
                delta.sum = Amount { int: sum.int + known, ..sum };
                delta.cleared = false;
                delta.marked_by = None;
            } else if delta.frame < frame {
                *delta = fresh_delta(dot, frame, sum);
            }
        }
        Err(at) => cell.deltas.insert(at, fresh_delta(dot, frame, sum)),
    }
}

const fn fresh_delta(dot: Dot, frame: u64, sum: Amount) -> Delta {
    Delta {
        origin: dot.origin,
        frame,
        version: dot.version,
        sum,
        mark_version: 0,
        mark: Amount { int: 0, float: 0.0 },
        cleared: false,
        marked_by: None,
    }
}

/// Notes that a write saw additions.
///
/// A mark whose delta is absent is ignored: the addition that it names is in the mark's context
/// and so was applied here before; if it is gone, it was forgotten, which needs all of it to have
/// been marked or cleared, and its origin never adds to that frame again. A mark of a lower frame
/// than the delta's is ignored for the same reason: the frame is over. A higher frame cannot be,
/// since its first addition is in the mark's context.
fn mark(cell: &mut Cell, by: Dot, marks: &[Mark]) {
    for mark in marks {
        let found = cell.deltas.binary_search_by_key(&mark.origin, |delta| delta.origin);
        let Some(delta) = found.ok().and_then(|at| cell.deltas.get_mut(at)) else { continue };
        if delta.frame == mark.frame && delta.mark_version < mark.version {
            delta.mark_version = mark.version;
            delta.mark = mark.sum;
            if delta.version <= mark.version {
                delta.marked_by = Some(by);
            }
        }
    }
}

/// The marks that a write with this context must carry: the additions it has seen and nobody has
/// marked yet. A cleared delta is marked too, so that an addition that did not see the removal
/// brings back as little as possible.
#[must_use]
pub fn marks(cell: &Cell, context: &Context<'_>) -> Vec<Mark> {
    let seen = |delta: &&Delta| {
        delta.mark_version < delta.version
            && context.removes(Dot { origin: delta.origin, version: delta.version })
    };
    cell.deltas
        .iter()
        .filter(seen)
        .map(|delta| Mark {
            origin: delta.origin,
            frame: delta.frame,
            version: delta.version,
            sum: delta.sum,
        })
        .collect()
}

/// Passes a cell through one removal of its whole key. Gives whether anything changed.
pub fn clear(cell: &mut Cell, removal: &Removal) -> bool {
    let before = cell.entries.len();
    cell.entries.retain(|entry| !removal.seen.covers(entry.dot));
    let mut changed = cell.entries.len() != before;
    for delta in &mut cell.deltas {
        let last = Dot { origin: delta.origin, version: delta.version };
        if delta.counts() && removal.seen.covers(last) {
            delta.cleared = true;
            delta.marked_by = Some(removal.dot);
            changed = true;
        }
    }
    changed
}

/// Passes a cell through the removals that its key still waits for.
pub fn settle(cell: &mut Cell, cleared: &Cleared) -> bool {
    let mut changed = false;
    for removal in cleared.iter() {
        changed |= clear(cell, removal);
    }
    changed
}

/// The cell as it is after the removals that its key still waits for.
#[must_use]
pub fn settled<'a>(cell: &'a Cell, cleared: &Cleared) -> Cow<'a, Cell> {
    if cleared.is_empty() || cell.is_vacant() {
        return Cow::Borrowed(cell);
    }
    let mut own = cell.clone();
    if settle(&mut own, cleared) { Cow::Owned(own) } else { Cow::Borrowed(cell) }
}
