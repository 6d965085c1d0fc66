//! A job, as it lies in its owned row.
//!
//! What a job may do and when is the business of `rhumb-queue`; the order of the variants of an enum
//! and of a struct's fields is frozen (rule 16).

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{CodecError, OwnedId, queue::QueueName};
use crate::{RegionId, UnixMillis};

/// The table of jobs.
pub const JOBS: u8 = 2;
/// What ends a queue's name in a row's key; no name holds it, so that a queue is a range of keys.
const NAME_END: u8 = 0;
/// Bytes of an id.
const ID_BYTES: usize = 16;

/// A job's id: a hash of what names it for a job with a key, else random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub [u8; ID_BYTES]);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At once, and not byte by byte: ids are written for every job that is sent and leased.
        write!(f, "{:0digits$x}", u128::from_be_bytes(self.0), digits = 2 * ID_BYTES)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl JobId {
    /// The id that [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * ID_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }
}

/// Where a job's row lies: its queue, then its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct JobKey {
    /// The queue.
    pub queue: QueueName,
    /// The job.
    pub id: JobId,
}

impl JobKey {
    /// The id of the row.
    #[must_use]
    pub fn row(&self) -> OwnedId {
        let mut key = Vec::with_capacity(self.queue.as_str().len() + 1 + ID_BYTES);
        key.extend_from_slice(self.queue.as_str().as_bytes());
        key.push(NAME_END);
        key.extend_from_slice(&self.id.0);
        OwnedId { table: JOBS, key: key.into() }
    }

    /// The job whose row has an id.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when it is no job's row.
    pub fn of_row(row: &OwnedId) -> Result<Self, CodecError> {
        let damaged = || CodecError::Damaged("the key names no job".to_owned());
        let ends = row.key.iter().position(|byte| *byte == NAME_END).ok_or_else(damaged)?;
        let name = row.key.get(..ends).and_then(|name| std::str::from_utf8(name).ok());
        let queue = name.and_then(|name| QueueName::new(name).ok()).ok_or_else(damaged)?;
        let id = row.key.get(ends + 1..).and_then(|id| id.try_into().ok()).ok_or_else(damaged)?;
        if row.table == JOBS { Ok(Self { queue, id: JobId(id) }) } else { Err(damaged()) }
    }
}

/// A named value beside the body, as SQS has them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobAttribute {
    /// Its name.
    pub name: String,
    /// Its type, in the client's words.
    pub kind: String,
    /// Its value.
    pub value: Bytes,
}

/// How far a job has come.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Progress {
    /// It waits to be run, or runs; leases are not in the row.
    #[default]
    Waiting,
    /// It is over, and will not run again. The row is `Done`.
    Ended {
        /// When.
        at: UnixMillis,
        /// How.
        how: Ending,
    },
    /// It failed too often, and waits for a person in its own queue.
    Dead {
        /// Since when.
        at: UnixMillis,
        /// What went wrong last.
        why: String,
    },
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ending {
    /// A worker completed it.
    Completed,
    /// The queue was emptied, or dropped.
    Purged,
    /// It was older than its queue keeps jobs.
    Expired,
    /// It goes on as another job: in the dead letters, back from them, or in another region.
    Moved {
        /// As which.
        to: JobKey,
        /// Which region runs that, if another one does.
        region: Option<RegionId>,
        /// Why.
        why: String,
    },
}

/// Why a job is where it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The region that sent it away, if one did; it is never sent on (one hop).
    pub spilled_from: Option<RegionId>,
    /// The queue and job that it was before, if it was moved.
    pub moved_from: Option<JobKey>,
    /// The decision in words.
    pub why: String,
}

/// What a job's row is about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// What the worker gets. Empty once the job has ended.
    pub body: Bytes,
    /// Named values beside it.
    pub attributes: Vec<JobAttribute>,
    /// 0 to 9; higher runs first.
    pub priority: u8,
    /// Jobs of one group run one after the other, in their order.
    pub group: Option<String>,
    /// Whose job it is.
    pub tenant: Option<String>,
    /// What belongs together and stays in one region.
    pub workflow: Option<String>,
    /// The idempotency key.
    pub key: Option<String>,
    /// A hash of the parameters, for jobs with a key: the same key with others is an error.
    pub digest: [u8; ID_BYTES],
    /// When it was taken in, by the clock of who took it.
    pub enqueued_at: UnixMillis,
    /// Its place among the jobs of its home; grows.
    pub order: u64,
    /// It is not run before this.
    pub not_before: UnixMillis,
    /// How often it failed, as far as was written.
    pub attempts: u32,
    /// What went wrong last.
    pub last_failure: String,
    /// A lease given under this version may last so long after it was written, in milliseconds; 0
    /// when only the lease frontier speaks of its leases.
    pub held_ms: u64,
    /// How far it has come.
    pub progress: Progress,
    /// Every region drops the row after this time, once the job has ended.
    pub keep_until: UnixMillis,
    /// Why it is where it is.
    pub provenance: Provenance,
}

impl Job {
    /// What is left of the job once it has ended: all but what only a worker needs.
    #[must_use]
    pub fn ended(mut self, at: UnixMillis, how: Ending, keep_until: UnixMillis) -> Self {
        self.strip();
        self.held_ms = 0;
        self.progress = Progress::Ended { at, how };
        self.keep_until = keep_until;
        self
    }

    /// Drops what only a worker needs.
    pub fn strip(&mut self) {
        self.body = Bytes::new();
        self.attributes = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn job() -> Job {
        Job {
            body: Bytes::from_static(b"body"),
            attributes: vec![JobAttribute {
                name: "n".to_owned(),
                kind: "String".to_owned(),
                value: Bytes::from_static(b"v"),
            }],
            priority: 9,
            group: Some("g".to_owned()),
            tenant: Some("t".to_owned()),
            workflow: Some("w".to_owned()),
            key: Some("k".to_owned()),
            digest: [7; 16],
            enqueued_at: UnixMillis(300),
            order: 1,
            not_before: UnixMillis(2),
            attempts: 3,
            last_failure: "f".to_owned(),
            held_ms: 4,
            progress: Progress::Waiting,
            keep_until: UnixMillis(5),
            provenance: Provenance {
                spilled_from: Some(RegionId::new("us").unwrap()),
                moved_from: None,
                why: "x".to_owned(),
            },
        }
    }

    /// A row that reads differently in the next release is a lost job (rule 16).
    #[test]
    fn the_encoding_is_frozen() {
        let written = hex(&job().encode());
        let frozen = "0104626f647901016e06537472696e6701760901016701017401017701016b\
                      07070707070707070707070707070707ac02010203016604000501027573000178";
        assert_eq!(written, frozen);
        let key = JobKey { queue: QueueName::new("q").unwrap(), id: JobId([9; 16]) };
        let ended = job().ended(
            UnixMillis(6),
            Ending::Moved { to: key, region: None, why: "y".to_owned() },
            UnixMillis(8),
        );
        assert_eq!(Job::decode(&ended.encode()).unwrap(), ended);
        assert_eq!(Job::decode(&job().encode()).unwrap(), job());
    }

    #[test]
    fn keys_of_a_queue_are_a_range() {
        let key = JobKey { queue: QueueName::new("jobs.fifo").unwrap(), id: JobId([0; 16]) };
        assert_eq!(JobKey::of_row(&key.row()).unwrap(), key);
        assert!(key.row().key.starts_with(b"jobs.fifo\0"));
        let mut other = key.row();
        other.key = Bytes::from_static(b"jobs.fifo\0short");
        assert!(JobKey::of_row(&other).is_err());
        let id = JobId([0xab; 16]);
        assert_eq!(JobId::parse(&id.to_string()), Some(id));
        assert_eq!(JobId::parse("+b"), None);
    }
}
