//! Segments: the files that frames are appended to.

use super::frame::{self, Missing, Record};
use super::seal::Flaw;

/// A segment of this size is closed and a new one started, in bytes. Small enough to be rewritten
/// at every start, large enough that few are needed.
pub(super) const SEGMENT_BYTES_MAX: usize = 4 << 20;
const NAME_PREFIX: &str = "segment-";

/// What is known of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its number, counted from 1.
    pub(super) number: u64,
    /// The highest index of its entries.
    pub(super) index_max: Option<u64>,
    /// Its size.
    pub(super) bytes: usize,
}

impl Segment {
    /// The file of a segment.
    pub(super) fn name(number: u64) -> String {
        format!("{NAME_PREFIX}{number:016x}")
    }

    /// The number that a file's name says.
    pub(super) fn number(name: &str) -> Option<u64> {
        let number = u64::from_str_radix(name.strip_prefix(NAME_PREFIX)?, 16).ok()?;
        (Self::name(number) == name).then_some(number)
    }
}

/// The records of a segment, and where they end.
#[derive(Debug)]
pub(super) struct Scan {
    /// Its records, without the first.
    pub(super) records: Vec<Record>,
    /// The sequence of its first frame.
    pub(super) sequence_first: u64,
    /// The sequence after its last frame.
    pub(super) sequence_next: u64,
    /// Where the whole frames end.
    pub(super) end: usize,
}

/// Reads a segment. The newest may end in an unfinished frame.
///
/// # Errors
/// When it is not whole.
pub(super) fn scan(salt: u64, number: u64, content: &[u8], newest: bool) -> Result<Scan, Flaw> {
    let mut frames = Frames { salt, content, at: 0, sequence: None };
    let Some(Record::Start { segment, .. }) = frames.next(false)? else {
        return Err(Flaw::Damaged("its first record is not the start of a segment".to_owned()));
    };
    if segment != number {
        return Err(Flaw::Damaged(format!("it is segment {segment} under a wrong name")));
    }
    let sequence_first = frames.sequence.unwrap_or_default() - 1;
    let mut records = Vec::new();
    while let Some(record) = frames.next(newest)? {
        records.push(record);
    }
    let sequence_next = frames.sequence.unwrap_or_default();
    Ok(Scan { records, sequence_first, sequence_next, end: frames.at })
}

struct Frames<'a> {
    salt: u64,
    content: &'a [u8],
    at: usize,
    /// What the next frame must have; the first may have any.
    sequence: Option<u64>,
}

impl Frames<'_> {
    /// The next record, or none at the end, which may be an unfinished frame when `may_end`.
    fn next(&mut self, may_end: bool) -> Result<Option<Record>, Flaw> {
        let found = match frame::decode(self.salt, self.content, self.at) {
            Ok(found) => found,
            Err(Missing::End) => return Ok(None),
            Err(missing) => return self.judge(missing, may_end).map(|()| None),
        };
        if self.sequence.is_some_and(|expected| expected != found.sequence) {
            return Err(self.damaged("is out of order"));
        }
        let record =
            postcard::from_bytes(found.body).map_err(|_| self.damaged("cannot be decoded"))?;
        self.at += found.length;
        self.sequence = Some(found.sequence + 1);
        Ok(Some(record))
    }

    fn judge(&self, missing: Missing, may_end: bool) -> Result<(), Flaw> {
        let later = self.sequence.unwrap_or_default();
        if frame::any_after(self.salt, self.content, self.at, later) {
            return Err(self.damaged("is flawed, and whole records follow it"));
        }
        match missing {
            Missing::Unfinished if may_end => Ok(()),
            Missing::Unfinished => Err(self.damaged("is cut off")),
            Missing::End | Missing::Wrong => Err(self.damaged("has a wrong checksum")),
        }
    }

    fn damaged(&self, what: &str) -> Flaw {
        Flaw::Damaged(format!("the record at byte {} {what}", self.at))
    }
}
