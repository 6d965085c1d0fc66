//! What happens to a node, and what it wants done.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use rhumb_ports::{
    peer::{PeerMessage, Published},
    store::{Batch, Durability, MetaName, StoreError},
};
use rhumb_state::{ReadSet, Reply, RowId};
use rhumb_types::{
    OriginId, RegionId, UnixMillis,
    record::{Cell, Head, OwnedId, OwnedRow, Space, VersionVector},
};

pub use crate::{
    alarm::Alarm,
    submit::{Submit, SubmitError, SubmitOwned, WaitAcks},
};
use crate::{oversee::Leases, status::NodeStatus};

/// Names a request of the driver, so that its answer finds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// Names a client's connection, for `WATCH`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Names a read that the node asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// Time has passed. At least every [`TICK`](Event::TICK).
    Tick,
    /// No other event is at hand: what has gathered may be committed.
    Flush,
    /// A client's writes.
    Submit(Submit),
    /// A machine's writes of owned rows.
    Own(SubmitOwned),
    /// Owned rows that are done, and that nobody needs any more: this node forgets them with its next
    /// commit. Nothing is logged; every region drops its own. A row that is not done stays.
    DropOwned(Vec<OwnedId>),
    /// The leases under which this node may act from now on. The driver hands them over before the
    /// next event, so that no answer rests on a lease that was given up.
    Leases(Arc<Leases>),
    /// `WAIT`.
    WaitAcks(WaitAcks),
    /// The rows of an [`Effect::Fetch`].
    Fetched {
        /// Which fetch.
        ticket: Ticket,
        /// The rows.
        reads: Result<ReadSet, StoreError>,
    },
    /// The end of an [`Effect::Commit`]: the number that the store gave it.
    Committed {
        /// Which commit.
        batch: u64,
        /// The store's commit number, or why nothing was committed.
        result: Result<u64, StoreError>,
    },
    /// The end of an [`Effect::Sync`].
    Synced {
        /// Whether everything committed before the request is durable now.
        result: Result<(), StoreError>,
    },
    /// A link to a peer stands.
    PeerUp {
        /// Whose.
        region: RegionId,
    },
    /// A link is gone.
    PeerDown {
        /// Whose.
        region: RegionId,
    },
    /// A peer said something.
    Peer {
        /// Who.
        from: RegionId,
        /// What.
        message: PeerMessage,
    },
    /// The rows of an [`Effect::ReadLog`].
    LogRead {
        /// Who follows.
        to: RegionId,
        /// Whose log.
        origin: OriginId,
        /// The version asked after.
        after: u64,
        /// What the store holds after it.
        rows: Result<Vec<(u64, Bytes)>, StoreError>,
    },
    /// The rows of an [`Effect::ReadSnapshot`].
    SnapshotRead {
        /// Who asked.
        to: RegionId,
        /// The chunk without its vector and origins, or why there is none.
        chunk: Result<SnapshotPart, StoreError>,
    },
    /// The local rows of an [`Effect::ReadRange`].
    RangeRead {
        /// The transfer it belongs to.
        transfer: u64,
        /// The local keys of the chunk's range.
        part: Result<SnapshotPart, StoreError>,
    },
    /// The rows of an [`Effect::ReadDue`].
    DueRead {
        /// Keys whose expiry or sweep is due.
        due: Result<Vec<(UnixMillis, Space, Bytes)>, StoreError>,
    },
    /// The rows of an [`Effect::ReadMembers`].
    MembersRead {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// The members, after those of the last step.
        rows: Result<Rows<Cell>, StoreError>,
    },
    /// The rows of an [`Effect::ReadKeys`].
    KeysRead {
        /// The view.
        space: Space,
        /// What the keys start with.
        prefix: Bytes,
        /// The heads, after those of the last step.
        rows: Result<Rows<Head>, StoreError>,
    },
    /// A client publishes.
    Publish {
        /// The channel.
        channel: Bytes,
        /// The message.
        payload: Bytes,
    },
    /// A connection watches keys from now on.
    Watch {
        /// Who.
        connection: ConnectionId,
        /// Which keys.
        keys: Vec<Bytes>,
    },
    /// A connection watches nothing any more.
    Unwatch {
        /// Who.
        connection: ConnectionId,
    },
    /// The members of the cluster, as configured or agreed.
    Members {
        /// Every region that carries data or votes.
        members: Vec<Member>,
    },
    /// Keep a record of the driver's own for the next start; it goes into the next commit.
    Remember {
        /// Which record.
        name: MetaName,
        /// What it holds.
        value: Bytes,
    },
    /// What this node knows of itself; goes into heartbeats.
    Observed {
        /// How loaded it is, from 0 to 1.
        load: f64,
        /// What its region cannot do.
        impaired: Vec<String>,
        /// Whether everything works that its operator called vital. State is served in any case.
        well: bool,
    },
}

impl Event {
    /// The longest time between two ticks, in milliseconds.
    pub const TICK_MILLIS: u64 = 10;
}

/// One region of the cluster, as replication sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its region.
    pub region: RegionId,
    /// Whether it only votes.
    pub witness: bool,
    /// The residency domains that it carries beside the one of every region.
    pub domains: Vec<rhumb_types::DomainId>,
}

/// Keys of a range of a snapshot.
#[derive(Debug, Default)]
pub struct SnapshotPart {
    /// The transfer.
    pub transfer: u64,
    /// What the source contains.
    pub vector: VersionVector,
    /// The range starts after this.
    pub after: Option<(Space, Bytes)>,
    /// The range ends here; the last one when `None`.
    pub through: Option<(Space, Bytes)>,
    /// The keys.
    pub keys: Vec<rhumb_ports::peer::SnapshotKey>,
    /// Owned rows, with the last part.
    pub owned: Vec<rhumb_types::record::OwnedRow>,
    /// The commit number of the source.
    pub commit: u64,
}

/// A page of rows in order.
#[derive(Debug, Default)]
pub struct Rows<R> {
    /// The rows.
    pub rows: Vec<(Bytes, R)>,
    /// Whether these are the last.
    pub last: bool,
    /// A commit that the rows are at least as new as.
    pub commit: u64,
}

impl<R> Rows<R> {
    /// A page that was read with a limit.
    #[must_use]
    pub fn page(commit: u64, rows: Vec<(Bytes, R)>, limit: usize) -> Self {
        Self { last: rows.len() < limit, rows, commit }
    }
}

/// Something to be done.
#[derive(Debug)]
pub enum Effect {
    /// Commit atomically, then [`Event::Committed`]. At most one at a time.
    Commit {
        /// Names the commit.
        batch: u64,
        /// What to write.
        writes: Batch,
        /// Whether to fsync.
        durability: Durability,
    },
    /// Fsync everything committed, then [`Event::Synced`]. At most one at a time, never during a
    /// commit.
    Sync,
    /// Answer a submit.
    Reply {
        /// Which.
        request: RequestId,
        /// A reply per op.
        result: Result<Vec<Reply>, SubmitError>,
        /// The dots that the submit wrote, as versions per origin, for later waits; empty when it
        /// wrote nothing.
        written: VersionVector,
    },
    /// Answer a [`SubmitOwned`].
    Owned {
        /// Which.
        request: RequestId,
        /// The version of its row that each op made. Those that are not pinned were accepted under
        /// the lease of their home in the row's epoch, which lasted until now.
        result: Result<Vec<OwnedRow>, SubmitError>,
        /// The dots that were written; empty when nothing was.
        written: VersionVector,
    },
    /// Answer a [`WaitAcks`].
    Acked {
        /// Which.
        request: RequestId,
        /// How many other regions have it fsynced.
        regions: usize,
    },
    /// Read rows, then [`Event::Fetched`].
    Fetch {
        /// Names the fetch.
        ticket: Ticket,
        /// Which rows.
        rows: Vec<RowId>,
    },
    /// Send a message; a failure comes back as [`Event::PeerDown`].
    Send {
        /// To whom.
        to: RegionId,
        /// What.
        message: PeerMessage,
    },
    /// Read a log from the store, then [`Event::LogRead`].
    ReadLog {
        /// For whom.
        to: RegionId,
        /// Whose log.
        origin: OriginId,
        /// After which version.
        after: u64,
        /// How many bytes.
        bytes_max: usize,
    },
    /// Read a part of a snapshot, then [`Event::SnapshotRead`]. The first part of a transfer
    /// opens a consistent view that the driver keeps until the last part or until
    /// [`Effect::EndSnapshot`].
    ReadSnapshot {
        /// For whom.
        to: RegionId,
        /// The transfer.
        transfer: u64,
        /// After which key.
        after: Option<(Space, Bytes)>,
    },
    /// Forget a transfer's view.
    EndSnapshot {
        /// For whom.
        to: RegionId,
        /// The transfer.
        transfer: u64,
    },
    /// Read the local keys of a range, then [`Event::RangeRead`].
    ReadRange {
        /// The transfer.
        transfer: u64,
        /// After which key.
        after: Option<(Space, Bytes)>,
        /// Up to which key.
        through: Option<(Space, Bytes)>,
    },
    /// Read keys whose expiry or sweep is due, then [`Event::DueRead`].
    ReadDue {
        /// Until when.
        until: UnixMillis,
        /// How many.
        limit: usize,
    },
    /// Read members of a key, then [`Event::MembersRead`].
    ReadMembers {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
        /// After which member.
        after: Option<Bytes>,
        /// How many.
        limit: usize,
    },
    /// Read heads of keys, then [`Event::KeysRead`].
    ReadKeys {
        /// The view.
        space: Space,
        /// What the keys start with.
        prefix: Bytes,
        /// After which key.
        after: Option<Bytes>,
        /// How many.
        limit: usize,
    },
    /// Give a message to the subscribers of this node.
    Deliver(Published),
    /// Tell the operator.
    Alarm(Alarm),
    /// The status has changed; replaces the last.
    Status(Box<NodeStatus>),
}

/// What one event wants done, in order.
#[derive(Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
}

impl Effects {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }

    /// Takes the next.
    pub fn pop(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
