//! Raft's messages over the `PeerCall` port.

use std::{io, iter, sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest,
        InstallSnapshotResponse, VoteRequest, VoteResponse,
    },
};
use rhumb_ports::peer::{PeerCall, Service};
use rhumb_types::{NodeId, RegionId};

use crate::{
    log::LogStore,
    raft::{Seat, TypeConfig},
    wire::{self, Answer, Envelope, Request, WIRE_VERSION},
};

/// Reaches the other nodes of a group.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) call: Arc<dyn PeerCall>,
    pub(crate) log: LogStore,
    pub(crate) group: String,
    pub(crate) service: Service,
    /// Pause after a node could not be reached.
    pub(crate) pause: Duration,
}

impl Network {
    /// Wraps a request for a node, or for whoever answers in a region.
    pub(crate) fn envelope(&self, to: Option<NodeId>, request: Request) -> Result<Bytes, String> {
        let lineage = self.log.lineage();
        let group = self.group.clone();
        wire::encode(&Envelope { version: WIRE_VERSION, group, to, lineage, request })
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &Seat) -> Link {
        Link { network: self.clone(), target, region: node.region.clone() }
    }
}

/// The way to one member.
pub(crate) struct Link {
    network: Network,
    target: NodeId,
    region: Option<RegionId>,
}

/// openraft's error for a call that can fail in `E` at the other end.
type CallFault<E = openraft::error::Infallible> = RPCError<NodeId, Seat, RaftError<NodeId, E>>;

impl Link {
    async fn ask<E>(&self, request: Request) -> Result<Answer, CallFault<E>>
    where
        RaftError<NodeId, E>: std::error::Error,
    {
        self.try_ask(request)
            .await
            .map_err(|what| RPCError::Unreachable(Unreachable::new(&io::Error::other(what))))
    }

    async fn try_ask(&self, request: Request) -> Result<Answer, String> {
        let region = self.region.clone().ok_or("the member has no region")?;
        let envelope = self.network.envelope(Some(self.target), request)?;
        let answer = self.network.call.call(region, self.network.service, envelope).await;
        wire::decode(&answer.map_err(|fault| fault.to_string())?)
    }

    fn odd<E>(&self) -> CallFault<E>
    where
        RaftError<NodeId, E>: std::error::Error,
    {
        let what = format!("{} gave an answer of another kind", self.target);
        RPCError::Unreachable(Unreachable::new(&io::Error::other(what)))
    }
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, CallFault> {
        match self.ask(Request::Append(rpc)).await? {
            Answer::Append(answer) => Ok(answer),
            _ => Err(self.odd()),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, CallFault<InstallSnapshotError>> {
        match self.ask(Request::Snapshot(rpc)).await? {
            Answer::Snapshot(Ok(answer)) => Ok(answer),
            Answer::Snapshot(Err(fault)) => {
                let fault = RemoteError::new(self.target, RaftError::APIError(fault));
                Err(RPCError::RemoteError(fault))
            }
            _ => Err(self.odd()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, CallFault> {
        match self.ask(Request::Vote(rpc)).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(self.odd()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(iter::repeat(self.network.pause))
    }
}
