//! What users do, and what is under way because of it: work of a process, and messages.

use rhumb_objects::grant::{HolderEffect, HolderEvent, HomeEffect, HomeEvent, Pinning};
use rhumb_regions::{RegionIndex, RegionSet};
use rhumb_types::{
    RegionId,
    planted::{self, Planted},
};

use super::{BLOBS, Event, KEYS, Message, TROUBLE, Work, World, blob_of, hash, id, mono};
use crate::index::{Blob, Txn};

impl World {
    pub(super) fn pin(&mut self, at: usize, blob: Blob) -> bool {
        self.nodes[at].holder.pin(hash(blob)) == Pinning::Pinned
    }

    pub(super) fn upload(&mut self, at: usize) {
        let (blob, key) = (self.small(BLOBS), self.small(KEYS));
        if self.pin(at, blob) {
            self.work(at, 3_000, Work::Write { blob, key, fetched: None, moved: None });
        }
    }

    /// Copies an object to another key, or moves it there, or writes its row anew.
    pub(super) fn copy(&mut self, at: usize) {
        let (from, same) = (self.small(KEYS), self.chance(300));
        let key = if same { from } else { self.small(KEYS) };
        let moved = self.chance(500).then_some(from).filter(|from| *from != key);
        let cell = self.nodes[at].view.cells.get(&from);
        let Some(blob) = cell.and_then(|cell| cell.values().next_back().copied()) else { return };
        if planted::is(Planted::CommitUnheld) {
            return self.work(at, 3_000, Work::Commit { blob, key, moved });
        }
        if !self.pin(at, blob) {
            return;
        }
        let fetched = if self.nodes[at].disk.contains(&blob) {
            None
        } else {
            match self.source(at, blob) {
                Some(source) => Some(source),
                None => return self.nodes[at].holder.unpin(&hash(blob)),
            }
        };
        self.work(at, 3_000, Work::Write { blob, key, fetched, moved });
    }

    pub(super) fn delete(&mut self, at: usize) {
        let key = self.small(KEYS);
        let removes = self.nodes[at].view.dots(key);
        if !removes.is_empty() {
            self.commit(at, Txn { removes, ..Txn::default() });
        }
    }

    pub(super) fn source(&mut self, at: usize, blob: Blob) -> Option<usize> {
        let first = self.pick();
        let count = self.nodes.len();
        (0..count).map(|step| (first + step) % count).find(|other| {
            let it = &self.nodes[*other];
            *other != at && it.up && it.cut_off_until <= self.now && it.disk.contains(&blob)
        })
    }

    /// Fetches what ought to be here, or now and then caches what need not be.
    pub(super) fn replicate(&mut self, at: usize, trouble: bool) {
        let blob = self.small(BLOBS);
        let here = self.index(at);
        let wanted = self.wanted(blob).contains(here);
        let cached = !wanted && trouble && self.chance(300);
        let referenced = self.nodes[at].view.referenced().contains(&blob);
        if !referenced || self.nodes[at].disk.contains(&blob) || !(wanted || cached) {
            return;
        }
        if let Some(from) = self.source(at, blob)
            && self.pin(at, blob)
        {
            self.work(at, 5_000, Work::Fetch { blob, from, cached });
        }
    }

    pub(super) fn index(&self, at: usize) -> RegionIndex {
        self.map.index(&id(at)).unwrap()
    }

    pub(super) fn wanted(&self, blob: Blob) -> RegionSet {
        let count = self.nodes.len();
        let first = usize::from(blob) + self.policy;
        (0..usize::from(self.copies)).map(|nth| self.index((first + nth) % count)).collect()
    }

    // What is under way.

    pub(super) fn on_event(&mut self, event: Event, trouble: bool) {
        match event {
            Event::Work { at, life, work } => {
                if self.nodes[at].life == life {
                    self.on_work(at, work);
                }
            }
            Event::Message { from, to, about, message } => {
                if !self.nodes[to].up || !self.nodes[from].up && self.chance(500) {
                    return;
                }
                if trouble && self.chance(300) {
                    let message = message.clone();
                    self.later(300_000, Event::Message { from, to, about, message });
                }
                self.on_message(from, to, about, message);
            }
            Event::Restart(at) => self.restart(at),
        }
    }

    pub(super) fn on_work(&mut self, at: usize, work: Work) {
        match work {
            Work::Write { blob, key, fetched, moved } => {
                let there = fetched.is_none_or(|from| self.nodes[from].disk.contains(&blob));
                if !there {
                    return self.nodes[at].holder.unpin(&hash(blob));
                }
                self.nodes[at].disk.insert(blob);
                self.nodes[at].in_flight.push(blob);
                self.work(at, 20_000, Work::Commit { blob, key, moved });
            }
            Work::Commit { blob, key, moved } => {
                let mut removes = self.nodes[at].view.dots(key);
                removes.extend(moved.iter().flat_map(|from| self.nodes[at].view.dots(*from)));
                let known = self.nodes[at].view.holders.get(&(blob, at)).copied();
                let held = self.nodes[at].disk.contains(&blob);
                let row = (held && known.is_none()).then_some((blob, Some((self.now, false))));
                self.commit(
                    at,
                    Txn { removes, puts: Some((key, blob)), holds: row, ..Txn::default() },
                );
                if let Some(place) = self.nodes[at].in_flight.iter().position(|it| *it == blob) {
                    self.nodes[at].in_flight.remove(place);
                    self.nodes[at].holder.unpin(&hash(blob));
                }
            }
            Work::Fetch { blob, from, cached } => {
                if self.nodes[from].disk.contains(&blob) && self.nodes[at].disk.insert(blob) {
                    self.hold(at, blob, cached);
                }
                self.nodes[at].holder.unpin(&hash(blob));
            }
            Work::Looked { blob, look } => {
                let held = Some(self.nodes[at].disk.contains(&blob));
                self.holder_event(at, HolderEvent::Looked { hash: hash(blob), look, held });
            }
            Work::RemoveRow(blob) => {
                self.commit(at, Txn { holds: Some((blob, None)), ..Txn::default() });
                self.work(at, 4_000, Work::RemoveBytes(blob));
            }
            Work::RemoveBytes(blob) => {
                self.nodes[at].disk.remove(&blob);
                let event = HolderEvent::Removed { hash: hash(blob), gone: true };
                self.holder_event(at, event);
            }
            Work::WalkOn => self.walk_on(at),
        }
    }

    pub(super) fn on_message(&mut self, from: usize, to: usize, about: usize, message: Message) {
        let region = id(from);
        match message {
            Message::Ask(ask) => {
                self.holder_event(to, HolderEvent::Asked { from: region, ask });
            }
            Message::Grant(grant) => {
                self.holder_event(to, HolderEvent::Granted { from: region, grant });
            }
            Message::Told(told) => {
                self.home_event(to, about, HomeEvent::Told { from: region, told });
            }
            Message::Ended(outcome) => {
                self.home_event(to, about, HomeEvent::Ended { from: region, outcome });
            }
        }
    }

    pub(super) fn holder_event(&mut self, at: usize, event: HolderEvent<'_>) {
        let mut out = Vec::new();
        self.nodes[at].holder.on_event(mono(self.now), event, &mut out);
        self.holder_effects(at, out);
    }

    /// Every home of a region hears its answers: rounds have their own numbers.
    pub(super) fn holder_effects(&mut self, at: usize, effects: Vec<HolderEffect>) {
        for effect in effects {
            match effect {
                HolderEffect::Look { hash, look } => {
                    self.work(at, 500, Work::Looked { blob: blob_of(&hash), look });
                }
                HolderEffect::Remove(hash) => {
                    self.work(at, 4_000, Work::RemoveRow(blob_of(&hash)));
                }
                HolderEffect::Tell(to, told) => self.answer(at, &to, &Message::Told(told)),
                HolderEffect::End(to, outcome) => self.answer(at, &to, &Message::Ended(outcome)),
            }
        }
    }

    pub(super) fn answer(&mut self, from: usize, to: &RegionId, message: &Message) {
        let to = (0..self.nodes.len()).find(|at| id(*at) == *to).unwrap();
        let duties: Vec<_> = self.nodes[to].homes.keys().copied().collect();
        for about in duties {
            self.send(from, to, about, message.clone());
        }
    }

    pub(super) fn home_event(&mut self, at: usize, duty: usize, event: HomeEvent) {
        let mut out = Vec::new();
        if let Some(home) = self.nodes[at].homes.get_mut(&duty) {
            home.on_event(mono(self.now), event, &mut out);
        }
        self.home_effects(at, duty, out);
    }

    pub(super) fn home_effects(&mut self, at: usize, duty: usize, effects: Vec<HomeEffect>) {
        for effect in effects {
            let (to, message) = match effect {
                HomeEffect::Ask(to, ask) => (to, Message::Ask(ask)),
                HomeEffect::Grant(to, grant) => (to, Message::Grant(grant)),
            };
            let to = (0..self.nodes.len()).find(|at| id(*at) == to).unwrap();
            self.send(at, to, duty, message);
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, about: usize, message: Message) {
        if self.now < TROUBLE && self.chance(50) {
            return;
        }
        let slow = self.now < TROUBLE && self.chance(250);
        let most = if slow { 30_000 } else { 400 };
        self.later(most, Event::Message { from, to, about, message });
    }
}
