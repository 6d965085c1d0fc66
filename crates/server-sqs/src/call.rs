//! A request whose sender is known, on its way to its handler.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use rhumb_engine::QueueClient;
use rhumb_front::Grant;
use rhumb_types::{
    control::{AdminCommand, QueueAct},
    record::{QueueDefinition, QueueEntry, QueueName},
};
use serde::de::DeserializeOwned;

use crate::{
    door::check_queue,
    fault::{Code, Fault},
    names,
    server::Shared,
};

/// Why queues change, in the audit chain: SQS has no words for it.
const AUDIT_REASON: &str = "asked for over SQS";

/// A request whose sender is known.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) grant: Grant,
    pub(crate) client: SocketAddr,
    /// Scheme and host that the client has called, for addresses of queues.
    pub(crate) origin: String,
    pub(crate) body: Bytes,
}

/// A queue that the client may use.
pub(crate) struct Queue {
    pub(crate) name: QueueName,
    pub(crate) entry: QueueEntry,
    pub(crate) version: u64,
}

impl Queue {
    pub(crate) const fn definition(&self) -> &QueueDefinition {
        &self.entry.definition
    }
}

impl Call {
    /// What is asked. Members that nobody here knows are left out of account, as SQS does.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| {
            let message = format!("The request cannot be read: {error}.");
            Fault::new(Code::Serialization, message)
        })
    }

    pub(crate) fn queues(&self) -> Result<QueueClient, Fault> {
        self.shared.engine.queues().ok_or_else(Fault::starting)
    }

    /// The queue of an address.
    pub(crate) fn queue(&self, url: &str) -> Result<Queue, Fault> {
        self.queue_named(&names::of_url(url)?)
    }

    /// The queue of a name.
    pub(crate) fn queue_named(&self, name: &QueueName) -> Result<Queue, Fault> {
        check_queue(&self.grant, name)?;
        let agreed = self.queues()?.agreed();
        let agreed = agreed.borrow();
        let found = agreed.entries.get(name).ok_or_else(Fault::no_queue)?;
        Ok(Queue { name: name.clone(), entry: found.entry.clone(), version: found.version })
    }

    /// Notes in the audit chain what is about to be done to a queue.
    pub(crate) async fn note(&self, queue: &QueueName, act: QueueAct) -> Result<(), Fault> {
        let admin = self.shared.engine.admin().ok_or_else(Fault::starting)?;
        let command = AdminCommand::NoteQueue { queue: queue.clone(), act };
        admin.propose(self.grant.name(), AUDIT_REASON, command).await?;
        Ok(())
    }

    pub(crate) fn url(&self, queue: &QueueName) -> String {
        names::url(&self.origin, queue)
    }
}
