//! What only the leader does.

use bytes::Bytes;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, RaftError};
use rhumb_ports::control::ControlError;
use tokio::time::{Instant, timeout_at};

use super::{Inner, route::Attempt};
use crate::{raft::Command, wire::Ask};

impl Inner {
    /// Does it, when this node leads.
    pub(super) async fn lead(&self, ask: Ask, deadline: Instant) -> Attempt {
        if !self.leads() {
            return Attempt::Again(format!("{} does not lead", self.config.node));
        }
        match ask {
            Ask::Propose(command) => self.lead_proposal(command, deadline).await,
            Ask::Read(query) => self.lead_read(&query, deadline).await,
            Ask::SetMember { node, region, voter } => {
                self.lead_member(node, region, voter, deadline).await
            }
        }
    }

    async fn lead_proposal(&self, command: Bytes, deadline: Instant) -> Attempt {
        let place =
            match self.admission.check_size(&command).and_then(|()| self.admission.proposal()) {
                Ok(place) => place,
                Err(error) => return error.into(),
            };
        let (command, appended) = Command::new(command);
        let answer = match self.raft.client_write_ff(command).await {
            Ok(answer) => answer,
            Err(fault) => return ControlError::Storage(fault.to_string()).into(),
        };
        // The place is kept until openraft is done with the command, also when the caller has
        // gone, so that the bound holds for what openraft queues.
        let answer = self.tasks.spawn(async move {
            let answer = answer.await;
            drop(place);
            answer
        });
        match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(Ok(agreed)))) => Attempt::Done(agreed.data),
            Ok(Ok(Ok(Err(ClientWriteError::ChangeMembershipError(error))))) => {
                ControlError::Membership(error.to_string()).into()
            }
            // It is still queued, or in the log.
            Err(_) => ControlError::Unknown.into(),
            // A later leader cut it off, or the loop ended; it may survive on another node.
            _ if appended.get() => ControlError::Unknown.into(),
            Ok(Ok(Ok(Err(ClientWriteError::ForwardToLeader(_))))) => {
                Attempt::Again(format!("{} no longer leads", self.config.node))
            }
            Ok(Ok(Err(_)) | Err(_)) => ControlError::Storage(self.why_stopped()).into(),
        }
    }

    async fn lead_read(&self, query: &[u8], deadline: Instant) -> Attempt {
        let _place = match self.admission.read() {
            Ok(place) => place,
            Err(error) => return error.into(),
        };
        match timeout_at(deadline, self.raft.ensure_linearizable()).await {
            Ok(Ok(_)) => Attempt::Done(self.machine.read(query)),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => {
                Attempt::Again(format!("{} no longer leads", self.config.node))
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(fault)))) => {
                Attempt::Again(fault.to_string())
            }
            Ok(Err(RaftError::Fatal(fault))) => self.fatal(&fault),
            Err(_) => Attempt::Again("no majority confirmed the leader in time".to_owned()),
        }
    }

    /// The group has stopped on this node.
    pub(super) fn fatal(&self, fault: &Fatal<rhumb_types::NodeId>) -> Attempt {
        ControlError::Storage(self.fault().unwrap_or_else(|| fault.to_string())).into()
    }

    fn why_stopped(&self) -> String {
        self.fault().unwrap_or_else(|| "the group has stopped on this node".to_owned())
    }
}
