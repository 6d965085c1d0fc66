//! The queue of what will happen, in the order of time.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::Planned;

/// What is planned. The heap holds times and places only, so that little is moved in it.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    planned: Vec<Option<Planned>>,
    free: Vec<usize>,
}

impl Agenda {
    pub(super) fn push(&mut self, planned: Planned) {
        let (at, order) = (planned.at, planned.order);
        let place = self.free.pop().unwrap_or(self.planned.len());
        match self.planned.get_mut(place) {
            Some(vacant) => *vacant = Some(planned),
            None => self.planned.push(Some(planned)),
        }
        self.heap.push(Reverse((at, order, place)));
    }

    /// When the next one happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Planned> {
        let Reverse((.., place)) = self.heap.pop()?;
        self.free.push(place);
        self.planned.get_mut(place)?.take()
    }

    /// All that is planned, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Planned> {
        self.planned.iter().flatten()
    }
}
