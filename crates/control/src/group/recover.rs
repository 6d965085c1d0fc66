//! Forced recovery: going on with one survivor when the majority is lost for good.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use openraft::{CommittedLeaderId, EntryPayload, LogId as RaftLogId, Membership, Vote};
use rhumb_types::NodeId;

use super::Group;
use crate::{
    config::GroupConfig,
    disk::Disk,
    log::{Identity, LogStore, OpenLogError},
    raft::{Entry, Seat},
    snapshot::Stored,
};

/// What a forced recovery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The last index of the log that it goes on from. What was agreed later, without this node,
    /// is lost.
    pub last_index: u64,
    /// The members that are no longer; each must join again under a new id.
    pub removed: Vec<NodeId>,
}

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The log or the snapshot cannot be used.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// There is nothing to go on from.
    #[error("recover the group: this node's log is empty")]
    Empty,
    /// The log could not be changed.
    #[error("recover the group: the log cannot be written")]
    Write(#[source] io::Error),
}

impl Group {
    /// Makes this node the only voter of its group, offline. For `control recover --force`, when
    /// the majority of the voters is lost for good.
    ///
    /// Everything in this node's log counts as agreed from then on. The group gets a new lineage,
    /// so that lost voters that come back are refused. Can be repeated when it was interrupted.
    ///
    /// # Errors
    /// When there is no usable log, or it cannot be written.
    pub async fn recover(
        config: &GroupConfig,
        disk: Arc<dyn Disk>,
    ) -> Result<Recovered, RecoverError> {
        let identity =
            Identity { group: config.name.clone(), node: config.node, salt: config.seed };
        let log = LogStore::open(Arc::clone(&disk), &identity).await?;
        let stored = Stored::load(disk.as_ref()).await?;
        let snapshot = stored.map(|stored| stored.meta).unwrap_or_default();
        log.check_snapshot(snapshot.last_log_id)?;
        let last = log.last().max(snapshot.last_log_id).ok_or(RecoverError::Empty)?;
        let mut members: BTreeSet<NodeId> =
            snapshot.last_membership.nodes().map(|(node, _)| *node).collect();
        members.extend(log.members());
        members.remove(&config.node);

        log.fork(config.seed.max(1)).await.map_err(RecoverError::Write)?;
        // A term after every other, so that the entry outranks what lost voters may hold.
        let term = last.leader_id.term.max(log.vote().await.leader_id.term) + 1;
        let leader = CommittedLeaderId::new(term, config.node);
        let vote = Vote::new(term, config.node);
        let seat = Seat { region: Some(config.region.clone()) };
        let membership = Membership::new(
            vec![BTreeSet::from([config.node])],
            BTreeMap::from([(config.node, seat)]),
        );
        let entry = Entry {
            log_id: RaftLogId::new(leader, last.index + 1),
            payload: EntryPayload::Membership(membership),
        };
        log.force(vote, snapshot.last_log_id, entry).await.map_err(RecoverError::Write)?;
        Ok(Recovered { last_index: last.index, removed: members.into_iter().collect() })
    }
}
