//! Answering the other nodes of a group.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{error::RaftError, raft::AppendEntriesResponse};
use rhumb_ports::{
    BoxFuture,
    peer::{PeerService, Service},
};
use rhumb_types::{
    RegionId,
    planted::{self, Planted},
};
use tokio::time::Instant;

use super::{Group, Inner, route::Attempt};
use crate::wire::{self, Answer, Ask, Envelope, Request, WIRE_VERSION};

/// The groups of a node, as a service for its peers. The wiring hands it the requests of
/// [`Service::Control`] and of each group's own service.
#[derive(Debug, Clone, Default)]
pub struct Groups(Vec<Group>);

impl Groups {
    /// Answers for these groups.
    #[must_use]
    pub fn new(groups: impl IntoIterator<Item = Group>) -> Self {
        Self(groups.into_iter().collect())
    }

    async fn find_and_answer(&self, service: Service, request: &[u8]) -> Result<Bytes, String> {
        let envelope: Envelope = wire::decode(request)?;
        if envelope.version > WIRE_VERSION {
            return Err(format!("version {} of the message is not known here", envelope.version));
        }
        let group = self.0.iter().find(|group| group.0.config.name == envelope.group);
        let group = group.ok_or_else(|| format!("there is no group `{}` here", envelope.group))?;
        let raft = !matches!(envelope.request, Request::Probe | Request::Lead { .. });
        let expected = if raft { group.0.config.service } else { Service::Control };
        if service != expected {
            return Err(format!("the request does not belong to {service:?}"));
        }
        let inner = Arc::clone(&group.0);
        wire::encode(&inner.answer(envelope).await?)
    }
}

impl PeerService for Groups {
    fn answer(
        &self,
        _from: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { self.find_and_answer(service, &request).await })
    }
}

impl Inner {
    /// An `Err` says that nothing was done.
    async fn answer(&self, envelope: Envelope) -> Result<Answer, String> {
        let Envelope { to, lineage, request, .. } = envelope;
        let node = self.config.node;
        if to.is_some_and(|to| to != node) && !planted::is(Planted::AnswerForOther) {
            return Err(format!("the node here is {node} now"));
        }
        if let Request::Probe = request {
            return Ok(Answer::Probe { node, pristine: self.log.is_pristine().await });
        }
        self.check_lineage(lineage, &request).await?;
        match request {
            Request::Append(request) => {
                let answer = self.raft.append_entries(request).await.map_err(words)?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.heard.note();
                }
                Ok(Answer::Append(answer))
            }
            Request::Vote(request) => {
                self.raft.vote(request).await.map(Answer::Vote).map_err(words)
            }
            Request::Snapshot(request) => {
                let leader = request.vote;
                let answer = match self.raft.install_snapshot(request).await {
                    Ok(answer) => Ok(answer),
                    Err(RaftError::APIError(fault)) => Err(fault),
                    Err(RaftError::Fatal(fault)) => return Err(fault.to_string()),
                };
                if answer.as_ref().is_ok_and(|answer| answer.vote == leader) {
                    self.heard.note();
                }
                Ok(Answer::Snapshot(answer))
            }
            Request::Lead { ask, patience_ms } => Ok(self.answer_lead(ask, patience_ms).await),
            Request::Probe => Err("a probe was answered before".to_owned()),
        }
    }

    /// Raft's messages bring a lineage to a node that has none; nothing else crosses lineages.
    async fn check_lineage(&self, lineage: Option<u64>, request: &Request) -> Result<(), String> {
        let lineage = lineage.ok_or("the sender does not belong to the group yet")?;
        if let Request::Lead { .. } = request {
            let present = self.log.lineage();
            return if present == Some(lineage) {
                Ok(())
            } else {
                Err("the sender follows another lineage of the group".to_owned())
            };
        }
        self.log.follow(lineage).await.map_err(|fault| {
            format!(
                "{fault}, the message {lineage:x}; one of the two nodes was left behind by a \
                     forced recovery and must join again under a new id"
            )
        })
    }

    async fn answer_lead(&self, ask: Ask, patience_ms: u64) -> Answer {
        // A peer's patience is not trusted beyond one's own.
        let patience = Duration::from_millis(patience_ms).min(self.config.timing.patience);
        match self.lead(ask, Instant::now() + patience).await {
            Attempt::Done(answer) => Answer::Done(answer),
            Attempt::Again(reason) => Answer::Again(reason),
            Attempt::Failed(error) => Answer::Failed(error.into()),
        }
    }
}

fn words<E>(fault: RaftError<rhumb_types::NodeId, E>) -> String
where
    RaftError<rhumb_types::NodeId, E>: std::error::Error,
{
    fault.to_string()
}
