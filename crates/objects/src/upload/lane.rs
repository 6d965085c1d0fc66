//! What one region has of an upload, and what it is still to get.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use rhumb_types::{MonoTime, RegionId};

use super::{Fault, RegionResult};

/// Parts in flight to a region of which nothing is known.
pub(super) const WINDOW: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Sending,
    /// All parts are there; the region is being told, or will be again.
    Finishing {
        tries: u32,
        again_at: Option<MonoTime>,
    },
    Ended(Result<(), Fault>),
}

#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) region: RegionId,
    pub(super) stage: Stage,
    pub(super) in_place_of: Option<RegionId>,
    /// All parts before this one are there.
    first_lacking: usize,
    /// Parts after that which are there.
    beyond: BTreeSet<usize>,
    /// The kept parts before this one were all sent, or are there.
    next: usize,
    /// So were all parts before this one, kept or not.
    behind: usize,
    in_flight: BTreeSet<usize>,
    /// How often parts were sent that are not there.
    tries: BTreeMap<usize, u32>,
    again: BTreeSet<(MonoTime, usize)>,
    bytes: u64,
    attempts: u64,
}

impl Lane {
    pub(super) const fn new(region: RegionId, in_place_of: Option<RegionId>) -> Self {
        Self {
            region,
            stage: Stage::Sending,
            in_place_of,
            first_lacking: 0,
            beyond: BTreeSet::new(),
            next: 0,
            behind: 0,
            in_flight: BTreeSet::new(),
            tries: BTreeMap::new(),
            again: BTreeSet::new(),
            bytes: 0,
            attempts: 0,
        }
    }

    pub(super) const fn is_active(&self) -> bool {
        !matches!(self.stage, Stage::Ended(_))
    }

    pub(super) const fn first_lacking(&self) -> usize {
        self.first_lacking
    }

    /// The first part that is not there, of those from a certain one on.
    pub(super) fn first_lacking_from(&self, from: usize) -> usize {
        let mut part = from.max(self.first_lacking);
        while self.beyond.contains(&part) {
            part += 1;
        }
        part
    }

    fn is_there(&self, part: usize) -> bool {
        part < self.first_lacking || self.beyond.contains(&part)
    }

    /// A part is there.
    pub(super) fn has(&mut self, part: usize, bytes: u64) {
        if self.is_there(part) {
            return;
        }
        self.bytes += bytes;
        self.tries.remove(&part);
        self.again.retain(|(_, waiting)| *waiting != part);
        self.beyond.insert(part);
        while self.beyond.remove(&self.first_lacking) {
            self.first_lacking += 1;
        }
    }

    /// Whether a part was in flight; it is no longer.
    pub(super) fn left_flight(&mut self, part: usize) -> bool {
        self.in_flight.remove(&part)
    }

    /// How often a part was sent without success.
    pub(super) fn tries(&self, part: usize) -> u32 {
        self.tries.get(&part).copied().unwrap_or(0)
    }

    pub(super) fn again(&mut self, part: usize, at: MonoTime) {
        if !self.is_there(part) {
            self.again.insert((at, part));
        }
    }

    /// The next part to send now: one that is due again, else a kept one, else one that was read before
    /// those. It is in flight from here on.
    pub(super) fn next(
        &mut self,
        now: MonoTime,
        kept: Range<usize>,
        window: usize,
    ) -> Option<usize> {
        if self.stage != Stage::Sending || self.in_flight.len() >= window {
            return None;
        }
        let due = self.again.first().copied().filter(|(at, _)| *at <= now);
        let part = if let Some((at, part)) = due {
            self.again.remove(&(at, part));
            part
        } else {
            self.unsent(kept)?
        };
        self.in_flight.insert(part);
        *self.tries.entry(part).or_default() += 1;
        self.attempts += 1;
        Some(part)
    }

    fn unsent(&mut self, kept: Range<usize>) -> Option<usize> {
        let passed = |part: &usize| self.is_there(*part) || self.tries.contains_key(part);
        self.next =
            (self.next.max(kept.start)..kept.end).find(|part| !passed(part)).unwrap_or(kept.end);
        if self.next < kept.end {
            return Some(self.next);
        }
        let passed = |part: &usize| self.is_there(*part) || self.tries.contains_key(part);
        self.behind = (self.behind.max(self.first_lacking)..kept.start)
            .find(|part| !passed(part))
            .unwrap_or(kept.start);
        (self.behind < kept.start).then_some(self.behind)
    }

    /// Whether the region is to be told now that it has all of `count` parts.
    pub(super) fn finishes(&mut self, now: MonoTime, count: usize) -> bool {
        let tries = match self.stage {
            Stage::Sending if self.first_lacking >= count && self.in_flight.is_empty() => 0,
            Stage::Finishing { tries, again_at: Some(at) } if at <= now => tries,
            _ => return false,
        };
        self.stage = Stage::Finishing { tries: tries + 1, again_at: None };
        true
    }

    /// When time alone brings something to do.
    pub(super) fn wakes_at(&self, window: usize) -> Option<MonoTime> {
        match self.stage {
            Stage::Sending if self.in_flight.len() >= window => None,
            Stage::Sending => self.again.first().map(|(at, _)| *at),
            Stage::Finishing { again_at, .. } => again_at,
            Stage::Ended(_) => None,
        }
    }

    pub(super) fn result(&self) -> RegionResult {
        let result = match self.stage {
            Stage::Ended(result) => result,
            Stage::Sending | Stage::Finishing { .. } => Err(Fault::TooLate),
        };
        RegionResult {
            region: self.region.clone(),
            result,
            bytes: self.bytes,
            attempts: self.attempts,
            in_place_of: self.in_place_of.clone(),
        }
    }
}
