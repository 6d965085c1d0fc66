//! A node's part of a group while the node does not run: looked at, and recovered by force.
//!
//! Forced recovery is for a group whose majority is lost for good. Everything in one survivor's log
//! counts as agreed from then on, and the survivor is the only member. The group gets a new lineage,
//! so that lost members that come back are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::Arc,
};

use bytes::Bytes;
use openraft::{CommittedLeaderId, LogId as RaftLogId, Membership, Vote};
use rhumb_ports::control::{GroupMember, Replicated};
use rhumb_types::{NodeId, RegionId};

use crate::{
    disk::Disk,
    log::{Identity, LogStore, OpenLogError},
    machine::Hosted,
    raft::{LogId, Seat, SnapshotMeta, StoredMembership},
    snapshot::Stored,
};

/// How far a recovery leaps ahead in the log. Indices are the fencing tokens of locks, and the lost
/// majority may have handed out tokens after this node's last entry; at the rate to which strong
/// namespaces are limited it would need weeks for as many.
pub const RECOVERY_LEAP: u64 = 1 << 32;

/// Whose part of which group it is.
#[derive(Debug, Clone)]
pub struct Part {
    /// The group's name.
    pub group: String,
    /// The node.
    pub node: NodeId,
    /// Where it is.
    pub region: RegionId,
    /// Random bits, new each time: they name what is created.
    pub seed: u64,
}

/// A group's log and machine on one node's disk. Holds the disk's lock, so that the node cannot
/// start.
pub struct Offline {
    part: Part,
    disk: Arc<dyn Disk>,
    log: LogStore,
    hosted: Hosted,
    /// The last entry that was found.
    last: Option<LogId>,
    term: u64,
}

/// What an offline log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineStatus {
    /// The last term that this node knew of.
    pub term: u64,
    /// The last entry, agreed or not; none in a log that holds nothing.
    pub last_index: Option<u64>,
    /// The members, after every entry.
    pub members: Vec<GroupMember>,
}

/// What a forced recovery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The last index of the log that it goes on from, if it held anything. What was agreed later,
    /// without this node, is lost.
    pub last_index: Option<u64>,
    /// The members that are no longer; each must join again under a new id.
    pub removed: Vec<GroupMember>,
}

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The log could not be changed.
    #[error("recover the group: the log cannot be written")]
    Write(#[source] io::Error),
}

impl fmt::Debug for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offline").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Offline {
    /// Opens a node's log, and brings the machine to its end: entries that were never agreed are
    /// taken for agreed.
    ///
    /// # Errors
    /// When what is on the disk cannot be used.
    pub async fn open(
        part: Part,
        machine: Box<dyn Replicated>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, OpenLogError> {
        let identity =
            Identity { group: part.group.clone(), node: part.node, salt: part.seed, seated: false };
        let log = LogStore::open(Arc::clone(&disk), &identity).await?;
        let mut hosted = Hosted::open(disk.as_ref(), machine).await?;
        log.check_snapshot(hosted.applied())?;
        for entry in log.entries_after(hosted.applied()) {
            hosted.apply(entry);
        }
        let voted = log.vote().await.leader_id.term;
        let last = hosted.applied();
        let term = last.map_or(voted, |last| last.leader_id.term.max(voted));
        Ok(Self { part, disk, log, hosted, last, term })
    }

    /// What the log says.
    #[must_use]
    pub fn status(&self) -> OfflineStatus {
        OfflineStatus {
            term: self.term,
            last_index: self.last.map(|last| last.index),
            members: self.members(),
        }
    }

    fn members(&self) -> Vec<GroupMember> {
        let membership = self.hosted.membership().membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let members = membership.nodes().filter_map(|(node, seat)| {
            let voter = voters.contains(node);
            Some(GroupMember { node: *node, region: seat.region.clone()?, voter })
        });
        members.collect()
    }

    /// Answers a query from what the log says.
    #[must_use]
    pub fn read(&self, query: &[u8]) -> Bytes {
        self.hosted.read(query)
    }

    /// Agrees on a command for the group after its recovery. Nothing is written before
    /// [`Offline::recover`].
    pub fn propose(&mut self, command: &[u8]) -> Bytes {
        let place = self.next();
        self.hosted.command(place, command)
    }

    /// Makes this node the only member of its group, also when it knows of none: a group that was
    /// never formed here would wait for its founders. Can be repeated when it was interrupted.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub async fn recover(self) -> Result<Recovered, RecoverError> {
        let place = self.next();
        let mut removed = self.members();
        removed.retain(|member| member.node != self.part.node);
        self.write(place).await.map_err(RecoverError::Write)?;
        Ok(Recovered { last_index: self.last.map(|last| last.index), removed })
    }

    /// The next place in the recovered log: in a term after every other, so that it outranks what
    /// lost voters may hold, and past every token that they may have handed out.
    fn next(&self) -> LogId {
        let leader = CommittedLeaderId::new(self.term + 1, self.part.node);
        let index = |place: Option<LogId>| place.map_or(0, |place| place.index);
        let leap = index(self.last).saturating_add(RECOVERY_LEAP);
        RaftLogId::new(leader, leap.max(index(self.hosted.applied()) + 1))
    }

    fn alone(&self) -> Membership<NodeId, Seat> {
        let seat = Seat { region: Some(self.part.region.clone()) };
        let voters = vec![BTreeSet::from([self.part.node])];
        Membership::new(voters, BTreeMap::from([(self.part.node, seat)]))
    }

    /// Makes a snapshot all there is: the log before it is of the old group.
    async fn write(&self, place: LogId) -> io::Result<()> {
        self.log.fork(self.part.seed.max(1)).await?;
        let meta = SnapshotMeta {
            last_log_id: Some(place),
            last_membership: StoredMembership::new(Some(place), self.alone()),
            snapshot_id: format!("{:x}-recovered", self.part.seed),
        };
        let stored = Stored { meta, data: self.hosted.snapshot() };
        stored.save(self.disk.as_ref()).await?;
        self.log.force(Vote::new(self.term + 1, self.part.node), place).await
    }
}
