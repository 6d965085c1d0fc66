//! What a region answers about an object that it does not know (rule 11).
//!
//! All other regions are asked at once. Each looks for what the asker has *not applied*: what it has
//! applied and does not find was deleted (mechanism 5), and a region that has not heard of the delete
//! must not bring the object back. The first that finds something to read is believed. A delete marker
//! alone ends nothing: another region may hold what was written after it.

use std::collections::BTreeMap;

use rhumb_types::{
    RegionId,
    planted::{self, Planted},
    record::{Cell, ObjectRecord, VersionVector},
};

/// What a region said, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It knows a version, perhaps a delete marker.
    Found(Box<ObjectRecord>),
    /// It knows none.
    Nothing,
    /// It did not answer.
    Silence {
        /// Whether it has told by now of transactions that are not applied here.
        ahead: bool,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is this version.
    Found(Box<ObjectRecord>),
    /// There is none: every region that may know one says so.
    NotThere,
    /// That region may know one, and cannot be reached.
    Unsure(RegionId),
}

/// One question to the other regions.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// Who has not answered, and whether they have told of more than is applied here.
    open: BTreeMap<RegionId, bool>,
    silent: Option<RegionId>,
}

impl Inquiry {
    /// Asks these regions; of each, whether it has told of transactions that are not applied here. All
    /// that another ever told is here: its silence hides nothing that was told.
    #[must_use]
    pub fn new(peers: impl IntoIterator<Item = (RegionId, bool)>) -> Self {
        Self { open: peers.into_iter().collect(), silent: None }
    }

    /// Who is to be asked.
    pub fn asked(&self) -> impl Iterator<Item = &RegionId> {
        self.open.keys()
    }

    /// The verdict, once there is one; to be asked at first, too, for there may be nobody to ask.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        if !self.open.is_empty() {
            return None;
        }
        let unsure = self.silent.clone().filter(|_| !planted::is(Planted::MissSilent));
        Some(unsure.map_or(Verdict::NotThere, Verdict::Unsure))
    }

    /// A region has answered, or not in time.
    pub fn on_answer(&mut self, from: &RegionId, heard: Heard) -> Option<Verdict> {
        let behind = self.open.remove(from)?;
        match heard {
            Heard::Found(record) if record.content.is_some() => {
                self.open.clear();
                return Some(Verdict::Found(record));
            }
            Heard::Silence { ahead } if behind || ahead => self.silent = Some(from.clone()),
            Heard::Found(_) | Heard::Nothing | Heard::Silence { .. } => {}
        }
        self.verdict()
    }
}

/// What of a cell the asker has not applied.
#[must_use]
pub fn unseen(mut cell: Cell, seen: &VersionVector) -> Cell {
    if !planted::is(Planted::AnswerDeleted) {
        cell.entries.retain(|entry| !seen.covers(entry.dot));
    }
    cell
}

#[cfg(test)]
mod tests {
    use rhumb_types::{
        Hlc, OriginId, UnixMillis,
        record::{Dot, Entry, Value},
    };

    use super::*;
    use crate::memory::{content, id};

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn record(held: bool) -> Heard {
        Heard::Found(Box::new(ObjectRecord {
            version: id(1),
            versioned: true,
            modified: UnixMillis(1),
            region: region("b"),
            content: held.then(|| content("x")),
        }))
    }

    #[test]
    fn a_marker_does_not_end_the_search_and_an_object_does() {
        let mut inquiry = Inquiry::new([(region("b"), true), (region("c"), true)]);
        assert_eq!(inquiry.on_answer(&region("b"), record(false)), None);
        let found = inquiry.on_answer(&region("c"), record(true));
        assert!(matches!(found, Some(Verdict::Found(_))));
        assert_eq!(inquiry.on_answer(&region("c"), Heard::Nothing), None, "it was answered");
    }

    #[test]
    fn only_the_silence_of_one_that_has_told_of_more_is_unsure() {
        let unsure = || Verdict::Unsure(region("b"));
        for (behind, ahead, verdict) in
            [(true, false, unsure()), (false, true, unsure()), (false, false, Verdict::NotThere)]
        {
            let mut inquiry = Inquiry::new([(region("b"), behind), (region("c"), true)]);
            assert_eq!(inquiry.on_answer(&region("b"), Heard::Silence { ahead }), None);
            assert_eq!(inquiry.on_answer(&region("c"), Heard::Nothing), Some(verdict));
        }
        assert_eq!(Inquiry::new([]).verdict(), Some(Verdict::NotThere));
    }

    #[test]
    fn what_the_asker_has_applied_and_does_not_find_was_deleted() {
        let origin = OriginId::new(7, rhumb_types::DomainId::EVERYWHERE);
        let entry = |version| Entry {
            dot: Dot { origin, version },
            hlc: Hlc::from_millis(UnixMillis(version)),
            value: Value::Unit,
            expiry: None,
        };
        let cell = Cell { entries: [entry(3), entry(9)].into_iter().collect(), ..Cell::default() };
        let mut seen = VersionVector::new();
        seen.raise(origin, 5);
        let left: Vec<u64> =
            unseen(cell, &seen).entries.iter().map(|entry| entry.dot.version).collect();
        assert_eq!(left, [9]);
    }
}
