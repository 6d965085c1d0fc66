//! The reference: what a set of transactions means, from the definition and without any order.

use std::collections::BTreeMap;

use rhumb_types::{
    OriginId,
    record::{Amount, CellId, Change, Dot, Mark, Transaction},
};

use crate::region::{CellView, View};

/// A change and where it stands.
#[derive(Clone, Copy)]
struct Event<'a> {
    transaction: &'a Transaction,
    place: usize,
    change: &'a Change,
}

impl Event<'_> {
    /// Whether this event comes after another one in the eyes of its writer.
    fn saw(&self, other: &Event<'_>) -> bool {
        if self.transaction.dot() == other.transaction.dot() {
            self.place > other.place
        } else {
            self.transaction.has_seen(other.transaction.dot())
        }
    }

    /// Whether it removes what its writer saw of a cell; and whether by range.
    fn removes(&self, cell: &CellId) -> Option<bool> {
        match self.change {
            Change::Put { cell: own, .. } | Change::Remove { cell: own, .. } => {
                (own == cell).then_some(false)
            }
            Change::RemoveKey { space, key } => {
                (*space == cell.space && *key == cell.key).then_some(true)
            }
            Change::RemovePrefix { space, prefix } => {
                (*space == cell.space && cell.key.starts_with(prefix)).then_some(true)
            }
            Change::Add { .. } | Change::Own(_) => None,
        }
    }
}

/// What these transactions come to, in whatever order they were applied.
pub(crate) fn meaning<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> View {
    let events: Vec<Event<'_>> = transactions
        .into_iter()
        .flat_map(|transaction| {
            transaction.changes.iter().enumerate().map(move |(place, change)| Event {
                transaction,
                place,
                change,
            })
        })
        .collect();
    let mut view = View::new();
    for event in &events {
        if let Change::Put { cell, .. } | Change::Add { cell, .. } = event.change {
            view.entry(cell.clone()).or_default();
        }
    }
    for (cell, seen) in &mut view {
        *seen = cell_meaning(cell, &events);
    }
    view.retain(|_, cell| !cell.is_vacant());
    view
}

fn cell_meaning(cell: &CellId, events: &[Event<'_>]) -> CellView {
    let removals: Vec<_> = events.iter().filter(|event| event.removes(cell).is_some()).collect();
    let mut entries: Vec<_> = events
        .iter()
        .filter(|event| !removals.iter().any(|removal| removal.saw(event)))
        .filter_map(|event| match event.change {
            Change::Put { cell: own, value, expiry, .. } if own == cell => {
                Some((event.transaction.dot(), value.clone(), *expiry))
            }
            _ => None,
        })
        .collect();
    entries.sort_by_key(|(dot, ..)| *dot);
    CellView { entries, additions: additions(cell, events, &removals) }
}

fn additions(cell: &CellId, events: &[Event<'_>], removals: &[&Event<'_>]) -> Option<Amount> {
    let mut last: BTreeMap<OriginId, (Event<'_>, u64, Amount)> = BTreeMap::new();
    for event in events {
        if let Change::Add { cell: own, frame, sum } = event.change
            && own == cell
        {
            let dot = event.transaction.dot();
            let newer = last
                .get(&dot.origin)
                .is_none_or(|(known, ..)| known.transaction.version < dot.version);
            if newer {
                last.insert(dot.origin, (*event, *frame, *sum));
            }
        }
    }
    let mut total = Amount::default();
    let mut any = false;
    for (origin, (event, frame, sum)) in last {
        let mark = highest_mark(cell, events, origin, frame);
        let cleared = removals
            .iter()
            .any(|removal| removal.removes(cell) == Some(true) && removal.saw(&event));
        let marked = mark.is_some_and(|mark| mark.version >= event.transaction.version);
        if !cleared && !marked {
            let mark = mark.map(|mark| mark.sum).unwrap_or_default();
            any = true;
            total.int += sum.int - mark.int;
            total.float += sum.float - mark.float;
        }
    }
    any.then_some(total)
}

fn highest_mark(cell: &CellId, events: &[Event<'_>], origin: OriginId, frame: u64) -> Option<Mark> {
    events
        .iter()
        .filter_map(|event| match event.change {
            Change::Put { cell: own, marks, .. } | Change::Remove { cell: own, marks }
                if own == cell =>
            {
                marks.iter().find(|mark| mark.origin == origin && mark.frame == frame)
            }
            _ => None,
        })
        .max_by_key(|mark| mark.version)
        .copied()
}

/// The dots of everything that is visible.
pub(crate) fn dots(view: &View) -> impl Iterator<Item = Dot> {
    view.values().flat_map(|cell| cell.entries.iter().map(|(dot, ..)| *dot))
}
