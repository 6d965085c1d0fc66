//! A node as a machine: events in, effects out.
//!
//! [`Node::on_event`] is the whole of a node's decisions about state: it executes operations,
//! groups them into transactions, ships and receives logs, answers at the acknowledgement level
//! asked for, and keeps watch over its peers. A driver (the engine, or the simulator) selects an
//! event, calls the machine, and carries out the effects.
//!
//! Invariants held here, by number of the design's rules: nothing leaves before fsync (1), reads
//! come with the event (2), residency domains (3), fencing at acceptance, and a logged transaction is
//! never refused (4), pinned work (5),
//! clocks (8), acknowledgements (13), publish after apply (14), unknown versions (16).
//!
//! Deliberately absent: IO, a clock, threads, randomness, and reads for clients, which go to the
//! store beside the node.

mod acks;
mod alarm;
mod answer;
mod apply;
mod bootstrap;
mod clock;
mod event;
mod heartbeat;
mod identity;
mod lag;
pub mod limits;
mod links;
mod node;
mod outgoing;
pub mod oversee;
mod own;
pub mod part;
mod peers;
mod publish;
pub mod reads;
mod receive;
mod retention;
mod status;
mod submit;
mod sweep;
#[cfg(test)]
mod trials;
mod watch;
mod write;

pub use event::{
    Alarm, ConnectionId, Effect, Effects, Event, Member, RequestId, Rows, SnapshotPart, Submit,
    SubmitError, SubmitOwned, Ticket, WaitAcks,
};
pub use identity::{Boot, Identity, Origins};
pub use node::{Node, NodeConfig};
pub use retention::Retention;
pub use status::{NodeStatus, PeerStatus, Phase};
