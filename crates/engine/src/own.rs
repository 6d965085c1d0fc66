//! Owned rows, for the machines of queues and the like: accepted through the loop (rules 4 and 5).

use std::{sync::atomic::Ordering, time::Duration};

use rhumb_node::{Event, RequestId, SubmitOwned, reads};
use rhumb_state::{RowId, owned::OwnedOp};
use rhumb_types::{
    AckLevel, RegionId,
    record::{OwnedRow, VersionVector},
};
use tokio::sync::oneshot;

use crate::{
    Engine, WriteError,
    driver::{Input, OwnedReply},
    limits,
};

/// Writes of owned rows: all of them, or none.
#[derive(Debug)]
pub struct OwnedRequest {
    /// The home of new rows.
    pub home: RegionId,
    /// What to do, in order.
    pub ops: Vec<OwnedOp>,
    /// What must be durable before the answer.
    pub ack: AckLevel,
    /// How long to wait for other regions.
    pub wait: Duration,
}

impl OwnedRequest {
    /// Ops that are durable here before they are answered.
    #[must_use]
    pub const fn new(home: RegionId, ops: Vec<OwnedOp>) -> Self {
        Self { home, ops, ack: AckLevel::Local, wait: limits::ACK_WAIT }
    }
}

/// What came of an [`OwnedRequest`].
#[derive(Clone, PartialEq, Debug)]
pub struct OwnedAnswer {
    /// The version of its row that each op made.
    pub rows: Vec<OwnedRow>,
    /// What was written.
    pub written: VersionVector,
}

impl Engine {
    /// Writes owned rows, under the leases of their homes, and waits for their acknowledgement.
    ///
    /// New rows are accepted without a lease too, and are pinned to this region then.
    /// Cancel-safe: dropping the future leaves the outcome unknown to the caller.
    ///
    /// # Errors
    /// [`WriteError`]; with [`SubmitError::Fenced`](rhumb_node::SubmitError::Fenced) and
    /// [`SubmitError::Unconfirmed`](rhumb_node::SubmitError::Unconfirmed) the rows stay and
    /// replicate.
    pub async fn own(&self, request: OwnedRequest) -> Result<OwnedAnswer, WriteError> {
        let OwnedRequest { home, ops, ack, wait } = request;
        let shared = self.shared();
        let rows = ops.iter().map(|op| RowId::Owned(op.id().clone()));
        let reads = reads::read_rows(shared.store.as_ref(), rows).map_err(WriteError::Store)?;
        let request = RequestId(shared.requests.fetch_add(1, Ordering::Relaxed));
        let deadline = shared.clock.now().mono + wait;
        let submit = SubmitOwned { request, home, ops, ack, deadline, reads };
        let (answer, answered) = oneshot::channel();
        let input = Input::Own(Event::Own(submit), request, OwnedReply::Caller(answer));
        shared.inputs.send(input).await.map_err(|_| WriteError::Stopped)?;
        answered.await.map_err(|_| WriteError::Stopped)?
    }
}
