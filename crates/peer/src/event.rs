//! What the driver hears from the adapter.

use std::sync::Arc;

use rhumb_ports::peer::PeerMessage;
use rhumb_types::{NodeId, RegionId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::session::Session;

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// Its queue was full: the peer or the way is slower than what is sent.
    #[error("its queue was full")]
    Full,
    /// The same peer opened another.
    #[error("the peer opened another")]
    Replaced,
    /// The peer is no longer a member.
    #[error("the peer is no longer a member")]
    Removed,
    /// This node is shutting down.
    #[error("this node is shutting down")]
    Shutdown,
    /// The peer closed it.
    #[error("the peer closed it")]
    Closed,
    /// The connection was lost.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The peer sent what it must not.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
}

/// What the driver hears.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerEvent {
    /// A link is open, in both directions. Nothing sent before this event was taken goes out on it.
    Up {
        /// The peer's region.
        region: RegionId,
        /// The peer, as its certificate says.
        node: NodeId,
    },
    /// The link is gone, and with it everything that was under way on it. No message of it follows.
    Down {
        /// The peer's region.
        region: RegionId,
        /// Why.
        reason: DownReason,
    },
    /// The peer said something that only a newer version of this program understands. The link is
    /// open but no longer read (rule 16): raise an alarm, upgrade this node.
    Parked {
        /// The peer's region.
        region: RegionId,
        /// What was not understood.
        reason: String,
    },
    /// A message. Heartbeats and their replies come on a connection of their own, and so may come
    /// before `Up` and after `Down`.
    Message {
        /// From where.
        from: RegionId,
        /// What.
        message: PeerMessage,
    },
}

#[derive(Debug)]
pub(crate) enum Heard {
    Up(Arc<Session>),
    Event(PeerEvent),
    Message { from: RegionId, message: PeerMessage, room: OwnedSemaphorePermit },
}

/// Events in order, per link. Bounded: a driver that does not take them slows the peers down.
#[derive(Debug)]
pub struct PeerEvents {
    pub(crate) bulk: mpsc::Receiver<Heard>,
    pub(crate) heartbeats: mpsc::Receiver<Heard>,
    pub(crate) stop: CancellationToken,
}

impl PeerEvents {
    /// The next event, heartbeats first; `None` once the adapter has shut down. Dropping the future
    /// loses nothing.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        tokio::select! {
            biased;
            Some(heard) = self.heartbeats.recv() => Some(heard.take()),
            Some(heard) = self.bulk.recv() => Some(heard.take()),
            () = self.stop.cancelled() => None,
        }
    }

    /// The next event if there is one now.
    pub fn try_next(&mut self) -> Option<PeerEvent> {
        let heard = self.heartbeats.try_recv().or_else(|_| self.bulk.try_recv()).ok()?;
        Some(heard.take())
    }

    /// The next heartbeat or reply alone, for a driver that must hear them while it does not take
    /// anything else.
    pub async fn next_heartbeat(&mut self) -> Option<PeerEvent> {
        tokio::select! {
            biased;
            heard = self.heartbeats.recv() => heard.map(Heard::take),
            () = self.stop.cancelled() => None,
        }
    }
}

impl Heard {
    fn take(self) -> PeerEvent {
        match self {
            Self::Up(session) => {
                session.open();
                PeerEvent::Up { region: session.region().clone(), node: session.node() }
            }
            Self::Event(event) => event,
            Self::Message { from, message, room } => {
                drop(room);
                PeerEvent::Message { from, message }
            }
        }
    }
}
