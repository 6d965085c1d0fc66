//! Durable records: one atomic batch for log and views, reads beside it.

use bytes::Bytes;
use rhumb_types::{
    ErrorCode, Hlc, OriginId, UnixMillis,
    record::{Cell, Head, OwnedId, OwnedRow, ROW_BYTES_MAX, Space, VersionVector},
};

/// A space, and a table of owned rows, that stores keep for themselves.
pub const RESERVED_SPACE: u8 = 0xff;

/// What a caller may assume once a commit has returned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Durability {
    /// Visible to readers; survives a crash of the process, not of the machine.
    Buffered,
    /// Fsynced, with everything committed before it.
    Synced,
}

/// One write of a batch. `None` removes the row.
#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// A key's head.
    Head {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// The new row.
        head: Option<Head>,
    },
    /// A member's cell.
    Member {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// The field or member.
        member: Bytes,
        /// The new row.
        cell: Option<Cell>,
    },
    /// A row of a sorted set's score index, derived from the member's cell.
    Score {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// The score; never NaN.
        score: f64,
        /// The member.
        member: Bytes,
        /// Whether the row is there.
        present: bool,
    },
    /// A row of the expiry index, derived from the head.
    Expiry {
        /// When the key ceases to be visible.
        at: UnixMillis,
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// Whether the row is there.
        present: bool,
    },
    /// A transaction of an origin's log, encoded.
    ///
    /// It must follow the last version of the log, or, where the log keeps nothing, be higher
    /// than what was trimmed; the store refuses the whole batch otherwise. Who raises `Applied`
    /// past a log (a snapshot) trims that log through the same version in the same batch.
    Log {
        /// Whose log.
        origin: OriginId,
        /// Its version.
        version: u64,
        /// The transaction, as `Record::encode` wrote it.
        transaction: Bytes,
    },
    /// Forgets an origin's log up to a version, this included.
    LogTrim {
        /// Whose log.
        origin: OriginId,
        /// The highest version to forget.
        through: u64,
    },
    /// An owned row.
    Owned(OwnedRow),
    /// Forgets an owned row.
    OwnedDrop(OwnedId),
    /// An entry of the conflict journal.
    Conflict {
        /// Its place; grows by one.
        sequence: u64,
        /// The encoded entry.
        entry: Bytes,
    },
    /// Forgets the journal up to a place, this included.
    ConflictTrim {
        /// The highest place to forget.
        through: u64,
    },
    /// A small named record of the node itself.
    Meta {
        /// Its name.
        name: MetaName,
        /// Its bytes.
        value: Option<Bytes>,
    },
}

impl Write {
    /// Whether every store can hold the row. A store refuses a whole batch for one row that it
    /// cannot hold, so callers keep to the bounds before they commit.
    ///
    /// # Errors
    /// [`StoreError::Record`] when a key, or a member with its key, is longer than
    /// [`ROW_BYTES_MAX`], or lies in the [`RESERVED_SPACE`].
    pub fn check(&self) -> Result<(), StoreError> {
        let (table, space, bytes) = match self {
            Self::Head { space, key, .. } => ("heads", space.0, key.len()),
            Self::Member { space, key, member, .. } => {
                ("members", space.0, key.len().saturating_add(member.len()))
            }
            Self::Score { space, key, member, .. } => {
                ("scores", space.0, key.len().saturating_add(member.len()))
            }
            Self::Expiry { space, key, .. } => ("expiry", space.0, key.len()),
            Self::Owned(OwnedRow { id, .. }) | Self::OwnedDrop(id) => {
                ("owned", id.table, id.key.len())
            }
            _ => return Ok(()),
        };
        let refuse = |reason| Err(StoreError::Record { table, reason });
        if space == RESERVED_SPACE {
            return refuse(format!("{space} is the store's own"));
        }
        if bytes > ROW_BYTES_MAX {
            return refuse(format!("a name of {bytes} bytes is longer than {ROW_BYTES_MAX}"));
        }
        Ok(())
    }
}

/// Names of the node's own records.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MetaName {
    /// What this node has applied: an encoded `VersionVector`.
    Applied,
    /// The highest hybrid clock reading that may have been used, as 8 bytes big-endian.
    HlcCeiling,
    /// This node's own identity and origins; encoded by the node.
    Identity,
    /// Which regions wrote which origins; encoded by the node.
    Origins,
    /// The cached routing snapshot; encoded by the node.
    Snapshot,
    /// What FLUSHDB and its kin have covered in a space and the sweep has not yet taken out: an
    /// encoded `VersionVector` per prefix.
    Cleared(Space),
    /// Anything else, by name.
    Other(String),
}

/// An atomic set of writes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    /// In order; a later write of the same row wins.
    pub writes: Vec<Write>,
}

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. What was committed before stays readable.
    #[error("the disk under {path} is full: free space, then restart the node")]
    Full {
        /// The data directory.
        path: String,
    },
    /// An operation of the disk failed. After a failed fsync nothing unsynced can be trusted, and
    /// the store refuses further commits.
    #[error("the disk under {path} failed: {reason}")]
    Disk {
        /// The data directory.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A record is damaged, newer than this binary, or none that a store can take.
    #[error("a record of {table} cannot be used: {reason}")]
    Record {
        /// Which table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::Internal
    }
}

/// What a store found when it was opened.
///
/// A store that lost its newest commits says so at every open until the next commit; that commit
/// must already act on it, for the store then counts what it found as the truth.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    /// What the views have applied.
    pub applied: VersionVector,
    /// The first and last version kept of every log.
    pub logs: Vec<KeptLog>,
    /// The stored ceiling of the hybrid clock.
    pub hlc_ceiling: Hlc,
    /// What is damaged and was set aside; empty for a sound store.
    pub damage: Vec<Damage>,
}

impl Recovered {
    /// Compares what the views have applied with the extents of the logs, and sets aside the part
    /// of a log that cannot be right.
    ///
    /// Log and views change in one atomic batch, so `applied` and the end of a log are always
    /// equal in a sound store. A log that ends earlier has lost rows while the views kept their
    /// effect: the views stay, and the log is fetched again so that it can be served. A log that
    /// ends later has outlived its views: its tail is not counted, and its transactions are
    /// fetched and applied anew. An origin that is applied but has no extent came by a snapshot.
    #[must_use]
    pub fn judge(applied: VersionVector, hlc_ceiling: Hlc, extents: &[LogExtent]) -> Self {
        let mut recovered = Self { applied, hlc_ceiling, ..Self::default() };
        for extent in extents {
            let applied = recovered.applied.get(extent.origin);
            let last = extent.last.min(applied);
            if last >= extent.first {
                recovered.logs.push(KeptLog { origin: extent.origin, first: extent.first, last });
            }
            if extent.last != applied {
                recovered.damage.push(Damage {
                    table: "log",
                    row: format!("{} after version {last}", extent.origin),
                    reason: format!(
                        "the log ends at version {}, and the views have applied {applied}",
                        extent.last
                    ),
                    refetch: Some((extent.origin, last + 1)),
                });
            }
        }
        recovered
    }

    /// Adds that the store lost its newest commits although they were synced. What is left fits
    /// together, but every origin may have written more than it shows, this node's own first of
    /// all. Nothing is added when none was lost.
    #[must_use]
    pub fn rewound_by(mut self, lost_commits: u64) -> Self {
        if lost_commits == 0 {
            return self;
        }
        self.damage.push(Damage {
            table: "journal",
            row: format!("the newest {lost_commits} commits"),
            reason: "they were synced, and are gone".to_owned(),
            refetch: None,
        });
        let origins: Vec<_> = self.applied.iter().collect();
        self.damage.extend(origins.into_iter().map(|(origin, version)| Damage {
            table: "log",
            row: format!("{origin} after version {version}"),
            reason: "the store is rewound, and this origin may have written more".to_owned(),
            refetch: Some((origin, version + 1)),
        }));
        self
    }
}

/// Where a log begins and ends, as a store has recorded it beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogExtent {
    /// Whose log.
    pub origin: OriginId,
    /// The lowest version kept; one more than what was trimmed.
    pub first: u64,
    /// The highest version written, or trimmed where the log keeps nothing.
    pub last: u64,
}

impl LogExtent {
    /// The extent of a log that starts with a version.
    #[must_use]
    pub const fn starting(origin: OriginId, version: u64) -> Self {
        Self { origin, first: version, last: version.saturating_sub(1) }
    }

    /// Whether no version is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.last < self.first
    }

    /// Takes in the next version.
    ///
    /// # Errors
    /// [`StoreError::Record`] when the version would leave a gap or be there twice.
    pub fn append(&mut self, version: u64) -> Result<(), StoreError> {
        if self.is_empty() && version > self.last {
            self.first = version;
        } else if version != self.last.saturating_add(1) {
            return Err(StoreError::Record {
                table: "log",
                reason: format!(
                    "version {version} of {} cannot follow version {}: logs have no gaps",
                    self.origin, self.last
                ),
            });
        }
        self.last = version;
        Ok(())
    }

    /// Forgets up to a version, this included; past the end the log continues after it.
    pub const fn trim(&mut self, through: u64) {
        if through >= self.first {
            self.first = through.saturating_add(1);
        }
        if through > self.last {
            self.last = through;
        }
    }
}

/// Which part of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLog {
    /// Whose log.
    pub origin: OriginId,
    /// The lowest version kept.
    pub first: u64,
    /// The highest version kept.
    pub last: u64,
}

/// One damaged part of a store, and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Which table.
    pub table: &'static str,
    /// Which row, in words.
    pub row: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whose log must be fetched again from a peer, and from which version on.
    pub refetch: Option<(OriginId, u64)>,
}

/// Which rows of a range to read, and how many at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Range<T> {
    /// Start after this row; from the first when `None`.
    pub after: Option<T>,
    /// Read at most this many rows.
    pub limit: usize,
}

/// Which scores to read from a sorted set, in order of (score, member).
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRange {
    /// The lowest score, included.
    pub min: f64,
    /// The highest score, included.
    pub max: f64,
    /// Start after this (score, member) in the direction of reading.
    pub after: Option<(f64, Bytes)>,
    /// Read from the highest down.
    pub reverse: bool,
    /// Read at most this many rows.
    pub limit: usize,
}

/// Reads. Implemented by the store itself (each call sees the newest commit) and by its snapshots
/// (every call sees the same commit).
pub trait ReadStore: Send + Sync {
    /// The number of a commit that every read of this source includes. Read it before the rows:
    /// the rows are at least as new.
    fn commit_number(&self) -> u64;
    /// A key's head.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails or the row is damaged; so for every read below.
    fn head(&self, space: Space, key: &[u8]) -> Result<Option<Head>, StoreError>;
    /// A member's cell.
    fn member(&self, space: Space, key: &[u8], member: &[u8]) -> Result<Option<Cell>, StoreError>;
    /// Members of a key, in order of their bytes.
    fn members(
        &self,
        space: Space,
        key: &[u8],
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Cell)>, StoreError>;
    /// A sorted set's index.
    fn scores(
        &self,
        space: Space,
        key: &[u8],
        range: ScoreRange,
    ) -> Result<Vec<(f64, Bytes)>, StoreError>;
    /// Keys that start with a prefix, in order of their bytes.
    fn keys(
        &self,
        space: Space,
        prefix: &[u8],
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Head)>, StoreError>;
    /// Keys whose expiry is at or before a time, oldest first.
    fn expired(
        &self,
        until: UnixMillis,
        limit: usize,
    ) -> Result<Vec<(UnixMillis, Space, Bytes)>, StoreError>;
    /// An origin's transactions after a version, in order and without gaps, until `bytes_max` is
    /// reached; at least one when there is one. Starts later than asked when the log was trimmed.
    fn log(
        &self,
        origin: OriginId,
        after: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError>;
    /// An owned row.
    fn owned(&self, id: &OwnedId) -> Result<Option<OwnedRow>, StoreError>;
    /// Owned rows of a table, in order of their keys.
    fn owned_rows(&self, table: u8, range: Range<Bytes>) -> Result<Vec<OwnedRow>, StoreError>;
    /// Entries of the conflict journal, newest first.
    fn conflicts(&self, limit: usize) -> Result<Vec<(u64, Bytes)>, StoreError>;
    /// A record of the node itself.
    fn meta(&self, name: &MetaName) -> Result<Option<Bytes>, StoreError>;
}

/// Durable records of one node. Calls block; drivers keep them off their event loop.
pub trait Store: ReadStore + 'static {
    /// A view that stays as it is.
    type Snapshot: ReadStore + 'static;

    /// Commits a batch atomically, and gives its number. Numbers grow by one.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of the batch is visible then, and after a failed fsync every later
    /// commit fails too.
    fn commit(&self, batch: &Batch, durability: Durability) -> Result<u64, StoreError>;
    /// Makes everything committed so far durable.
    ///
    /// # Errors
    /// [`StoreError`] as for a commit.
    fn sync(&self) -> Result<(), StoreError>;
    /// A consistent view of the newest commit.
    fn snapshot(&self) -> Self::Snapshot;
    /// What was found when the store was opened.
    fn recovered(&self) -> &Recovered;
}
