//! Parts whose upload has ended: what a crash left, or a region that took a part meanwhile.
//!
//! A part is written only where its upload's row is, so an upload whose parts were seen, and whose row
//! is not there afterwards, has ended.

use std::collections::BTreeSet;

use bytes::Bytes;
use rhumb_types::record::{IndexKey, VersionId};

use super::LEFTOVERS_MAX;
use crate::rows::{Change, Failed, Never, Rows};

/// How many uploads are looked for in one pass over the uploads' rows.
const SUSPECTS_MAX: usize = 10_000;
/// How many rows one step reads.
const STEP: usize = 1_000;

/// A walk over all parts of a region that takes those away whose upload has ended.
#[derive(Debug, Clone, Default)]
pub struct Orphans {
    phase: Phase,
    /// The last part that was looked at.
    part: Option<Bytes>,
    /// The last upload that was looked at.
    upload: Option<Bytes>,
    /// Uploads that have parts, and whose row was not seen yet.
    suspects: BTreeSet<VersionId>,
    /// Whether all parts were looked at.
    is_last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// Which uploads have parts.
    #[default]
    Parts,
    /// Which of them have a row.
    Uploads,
    /// The parts of the others go.
    Take,
    Done,
}

/// What one step comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanStep {
    /// Rows of parts that are to go; often none.
    pub change: Change,
    /// Whether the walk is over.
    pub done: bool,
}

impl Orphans {
    /// Reads at most a thousand rows, or ranges. A change that is not carried out is found again by the
    /// next walk.
    ///
    /// # Errors
    /// Refuses nothing; rows may be damaged, or not be readable.
    pub fn step<S: Rows>(&mut self, source: &S) -> Result<OrphanStep, Failed<Never, S::Error>> {
        let mut change = Change::default();
        match self.phase {
            Phase::Parts => self.collect(source)?,
            Phase::Uploads => self.clear(source)?,
            Phase::Take => self.take(source, &mut change)?,
            Phase::Done => (),
        }
        Ok(OrphanStep { change, done: self.phase == Phase::Done })
    }

    fn collect<S: Rows>(&mut self, source: &S) -> Result<(), Failed<Never, S::Error>> {
        for _ in 0..STEP {
            let after = self.part.as_deref();
            let next = source.rows(IndexKey::ALL_PARTS, after, 1).map_err(Failed::Rows)?.pop();
            self.is_last = next.is_none();
            if let Some((row, _)) = next {
                let upload = match IndexKey::decode(&row) {
                    Ok(IndexKey::Part { upload, .. }) => upload,
                    Ok(_) => continue,
                    Err(source) => return Err(Failed::Damaged { row, source }),
                };
                self.suspects.insert(upload);
                // One part of each upload is enough.
                self.part = Some(IndexKey::Part { upload, number: u16::MAX }.encode());
            }
            if self.is_last || self.suspects.len() >= SUSPECTS_MAX {
                self.upload = None;
                self.phase = Phase::Uploads;
                return Ok(());
            }
        }
        Ok(())
    }

    fn clear<S: Rows>(&mut self, source: &S) -> Result<(), Failed<Never, S::Error>> {
        let after = self.upload.as_deref();
        let page = source.rows(IndexKey::ALL_UPLOADS, after, STEP).map_err(Failed::Rows)?;
        let last = page.len() < STEP;
        for (row, _) in page {
            match IndexKey::decode(&row) {
                Ok(IndexKey::Upload { upload, .. }) => {
                    self.suspects.remove(&upload);
                }
                Ok(_) => (),
                Err(source) => return Err(Failed::Damaged { row, source }),
            }
            self.upload = Some(row);
        }
        if last || self.suspects.is_empty() {
            self.phase = Phase::Take;
            self.end_if_clear();
        }
        Ok(())
    }

    fn take<S: Rows>(
        &mut self,
        source: &S,
        change: &mut Change,
    ) -> Result<(), Failed<Never, S::Error>> {
        let Some(upload) = self.suspects.first().copied() else {
            self.end_if_clear();
            return Ok(());
        };
        let rows =
            source.rows(&IndexKey::parts_of(upload), None, LEFTOVERS_MAX).map_err(Failed::Rows)?;
        if rows.len() < LEFTOVERS_MAX {
            self.suspects.pop_first();
        }
        rows.into_iter().for_each(|(row, _)| change.take(row));
        self.end_if_clear();
        Ok(())
    }

    fn end_if_clear(&mut self) {
        if self.suspects.is_empty() {
            self.phase = if self.is_last { Phase::Done } else { Phase::Parts };
        }
    }
}
