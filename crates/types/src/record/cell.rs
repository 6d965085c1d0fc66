//! The smallest replicated datum and what it holds.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{Epoch, Hlc, OriginId, UnixMillis};

/// Which view a key belongs to, so that users' keys and Rhumb's own never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Space(pub u8);

impl Space {
    /// Keys of users: RESP and `/v1/kv`.
    pub const USER: Self = Self(0);
    /// Rhumb's own replicated state.
    pub const SYSTEM: Self = Self(1);
    /// The index of objects.
    pub const OBJECTS: Self = Self(2);
    /// All of them.
    pub const ALL: [Self; 3] = [Self::USER, Self::SYSTEM, Self::OBJECTS];
}

/// Longest key, and longest member with its key, in bytes: a store keeps both in one row key of at
/// most 64 KiB, in which each byte of the key may take two.
pub const ROW_BYTES_MAX: usize = 32_000;

/// Where in a key's value a cell sits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Field {
    /// The key itself: its type, its time to live, and its value where that is a string.
    Head,
    /// A field of a hash, or a member of a set or of a sorted set.
    Member(Bytes),
}

/// The address of a cell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CellId {
    /// The view.
    pub space: Space,
    /// The key, as the client wrote it.
    pub key: Bytes,
    /// The part of the key's value.
    pub field: Field,
}

impl CellId {
    /// The head cell of a key.
    #[must_use]
    pub const fn head(space: Space, key: Bytes) -> Self {
        Self { space, key, field: Field::Head }
    }

    /// A member's cell.
    #[must_use]
    pub const fn member(space: Space, key: Bytes, member: Bytes) -> Self {
        Self { space, key, field: Field::Member(member) }
    }
}

/// One write, named by its origin and the version of the transaction that carried it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Dot {
    /// Who wrote.
    pub origin: OriginId,
    /// In which transaction.
    pub version: u64,
}

/// What orders concurrent entries: time first, then origin, so that no two are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// When it was written, by the writer's hybrid clock.
    pub hlc: Hlc,
    /// Who wrote.
    pub origin: OriginId,
}

/// The type of a key that is not a plain string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Fields with values.
    Hash,
    /// Members.
    Set,
    /// Members with scores.
    SortedSet,
}

/// Under what somebody decides for a key of a linearizable bucket (rule 10). Whoever decides next for the
/// same key has a greater one: between two versions of the homes the epoch of its home grows.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Term {
    /// The version of the homes.
    pub homes: u64,
    /// The epoch of the home's lease.
    pub epoch: Epoch,
}

/// What an entry holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    /// A string's or a hash field's bytes.
    Bytes(Bytes),
    /// Present, without more: a member of a set.
    Unit,
    /// A base score of a sorted set's member.
    Score(f64),
    /// In a head cell: the key is a collection of this type.
    Kind(Kind),
    /// What the one who decides for a row has decided. It is there since version 4 of the protocol, and
    /// above all that was written in an earlier term, or without one.
    Decided(Decided),
}

/// What somebody has decided about a row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decided {
    /// Under what.
    pub term: Term,
    /// What the row holds; `None`: there is none. That stays as an entry, for what was decided earlier
    /// may arrive later.
    pub row: Option<Bytes>,
}

impl Value {
    /// Bytes that were written as a whole: a string's, or a row that was decided about.
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Decided(decided) => decided.row.as_ref(),
            Self::Unit | Self::Score(_) | Self::Kind(_) => None,
        }
    }

    /// Under what it was decided.
    #[must_use]
    pub const fn term(&self) -> Option<Term> {
        match self {
            Self::Decided(decided) => Some(decided.term),
            Self::Bytes(_) | Self::Unit | Self::Score(_) | Self::Kind(_) => None,
        }
    }
}

/// One surviving write in a cell.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The write.
    pub dot: Dot,
    /// When it was written; with `dot.origin` this is its [`Stamp`].
    pub hlc: Hlc,
    /// What it holds.
    pub value: Value,
    /// When the key ceases to be visible. Only on head cells.
    pub expiry: Option<UnixMillis>,
}

impl Entry {
    /// What orders this entry among concurrent ones.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        Stamp { hlc: self.hlc, origin: self.dot.origin }
    }
}

/// A counter's amount. Whole and fractional increments add up apart, so that whole numbers stay
/// exact.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Amount {
    /// The sum of `INCRBY` and its kin.
    pub int: i64,
    /// The sum of `INCRBYFLOAT`, `ZINCRBY` and their kin.
    pub float: f64,
}

/// What one origin added to a cell, and how much of that a delete or an overwrite has seen.
///
/// Only `origin` moves `sum`; its contribution to the value is `sum - mark`. A **frame** is a run
/// of sums that build on each other; the origin starts a new one when everything of the old one
/// has been marked, so that the old one can be forgotten.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// Who adds.
    pub origin: OriginId,
    /// The version of the first addition of this frame.
    pub frame: u64,
    /// The version of the last addition included in `sum`.
    pub version: u64,
    /// The running sum of the frame.
    pub sum: Amount,
    /// The highest version that a delete or an overwrite saw; 0 when none did.
    pub mark_version: u64,
    /// The sum at `mark_version`.
    pub mark: Amount,
    /// Whether a removal of the whole key, or of a range of keys, covered `version`. Such a
    /// removal names no sums, so it takes the delta away as it stands; an addition that it did not
    /// see brings back `sum - mark`.
    pub cleared: bool,
    /// A write that marked or cleared `version`. Once the origin has applied it, no addition of
    /// this frame can follow, and the delta can be forgotten.
    pub marked_by: Option<Dot>,
}

/// The content of a cell: usually one entry, several while writes are concurrent.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Cell {
    /// Surviving writes, in order of their dots.
    pub entries: SmallVec<[Entry; 1]>,
    /// Additions per origin, in order of origins.
    pub deltas: Vec<Delta>,
}

impl Delta {
    /// Whether any of it still counts: neither marked nor cleared up to its last addition.
    #[must_use]
    pub const fn counts(&self) -> bool {
        !self.cleared && self.mark_version < self.version
    }
}

impl Cell {
    /// Whether nothing is left to store.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.entries.is_empty() && self.deltas.is_empty()
    }
}
