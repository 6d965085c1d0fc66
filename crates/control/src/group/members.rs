//! Changing the members.
//!
//! Every step leads towards the wanted state whatever was done before, so a change that was
//! interrupted is simply asked for again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::{
    ChangeMembers, Membership,
    error::{ChangeMembershipError, ClientWriteError, RaftError},
};
use rhumb_ports::control::ControlError;
use rhumb_types::{NodeId, RegionId};
use tokio::time::{Instant, timeout_at};

use super::{Inner, route::Attempt};
use crate::{config::VOTERS_MAX, raft::Seat};

/// A change, or its end.
type Step = Result<(), Attempt>;

impl Inner {
    /// Brings a node to where it is wanted.
    pub(super) async fn lead_member(
        &self,
        node: NodeId,
        region: RegionId,
        voter: Option<bool>,
        deadline: Instant,
    ) -> Attempt {
        let change = async {
            self.finish_joint().await?;
            match voter {
                Some(true) => self.make_voter(node, region, deadline).await,
                Some(false) => self.make_learner(node, region).await,
                None => self.remove(node).await,
            }
        };
        match timeout_at(deadline, change).await {
            Ok(Ok(())) => Attempt::Done(Bytes::new()),
            Ok(Err(attempt)) => attempt,
            Err(_) => ControlError::Unknown.into(),
        }
    }

    fn membership(&self) -> Membership<NodeId, Seat> {
        self.raft.metrics().borrow().membership_config.membership().clone()
    }

    /// A leader that was lost in the middle of a change leaves two configurations in force.
    async fn finish_joint(&self) -> Step {
        if self.membership().get_joint_config().len() < 2 {
            return Ok(());
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), true).await
    }

    async fn make_voter(&self, node: NodeId, region: RegionId, deadline: Instant) -> Step {
        let voters: BTreeSet<NodeId> = self.membership().voter_ids().collect();
        if voters.contains(&node) {
            return self.check_region(node, &region);
        }
        if voters.len() >= VOTERS_MAX {
            let what = format!("there are {VOTERS_MAX} voters already; add {node} as a learner");
            return Err(ControlError::Membership(what).into());
        }
        self.add(node, region).await?;
        // Leaves time to say so.
        let patience = deadline - self.config.timing.pause;
        timeout_at(patience, self.caught_up(node)).await.unwrap_or_else(|_| {
            let what = format!("{node} is a learner now and has not caught up yet; ask again");
            Err(ControlError::Membership(what).into())
        })?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node])), true).await
    }

    async fn make_learner(&self, node: NodeId, region: RegionId) -> Step {
        if self.membership().voter_ids().any(|voter| voter == node) {
            self.check_region(node, &region)?;
            self.check_last(node)?;
            return self.change(ChangeMembers::RemoveVoters(BTreeSet::from([node])), true).await;
        }
        self.add(node, region).await
    }

    async fn remove(&self, node: NodeId) -> Step {
        let membership = self.membership();
        if membership.voter_ids().any(|voter| voter == node) {
            self.check_last(node)?;
            // Others stay what they are: only this one is neither voter nor learner afterwards.
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([node])), true).await?;
        }
        if membership.get_node(&node).is_none() {
            return Ok(());
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node])), true).await
    }

    /// Adds a node that does not vote.
    async fn add(&self, node: NodeId, region: RegionId) -> Step {
        if self.membership().get_node(&node).is_some() {
            return self.check_region(node, &region);
        }
        let seat = Seat { region: Some(region) };
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(node, seat)])), true).await
    }

    /// Waits until a node has what the log held when it was asked; a voter that has nothing
    /// would count for majorities that it cannot help to form.
    async fn caught_up(&self, node: NodeId) -> Step {
        let mut metrics = self.raft.metrics();
        let target = metrics.borrow().last_log_index;
        loop {
            {
                let now = metrics.borrow_and_update();
                let Some(replication) = &now.replication else {
                    return Err(Attempt::Again("the leader changed".to_owned()));
                };
                let matched = replication.get(&node).copied().flatten();
                if matched.map(|matched| matched.index) >= target {
                    return Ok(());
                }
            }
            if metrics.changed().await.is_err() {
                return Err(Attempt::Again("the group has stopped".to_owned()));
            }
        }
    }

    fn check_region(&self, node: NodeId, region: &RegionId) -> Step {
        let membership = self.membership();
        let present = membership.get_node(&node).and_then(|seat| seat.region.clone());
        if present.as_ref() == Some(region) {
            return Ok(());
        }
        let present = present.map_or_else(|| "no region".to_owned(), |present| present.to_string());
        let what = format!("{node} is a member in {present}, not in {region}");
        Err(ControlError::Membership(what).into())
    }

    fn check_last(&self, node: NodeId) -> Step {
        if self.membership().voter_ids().count() > 1 {
            return Ok(());
        }
        Err(ControlError::Membership(format!("{node} is the last voter")).into())
    }

    async fn change(&self, change: ChangeMembers<NodeId, Seat>, retain: bool) -> Step {
        match self.raft.change_membership(change, retain).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(Attempt::Again("the leader changed".to_owned()))
            }
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_),
            ))) => Err(Attempt::Again("another change of members is under way".to_owned())),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Err(ControlError::Membership(error.to_string()).into())
            }
            Err(RaftError::Fatal(fault)) => Err(self.fatal(&fault)),
        }
    }
}
