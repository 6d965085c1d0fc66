//! Node to node: ordered links, calls and identities over gRPC with mutual TLS.
//!
//! [`Peer`] implements the ports `PeerLink` and `PeerCall`, and answers with a `PeerService`. What
//! goes over the wire stands in `proto/peer.proto`.
//!
//! - A node has several connections with each peer: one for bulk, one for heartbeats, and one for
//!   each service that it calls. None can delay another.
//! - Of two nodes the one whose region's name sorts first dials bulk and heartbeats; both directions
//!   share the stream. Calls are dialled by the caller.
//! - Connections are TLS 1.3 with certificates of the cluster's own authority; see [`identity`].
//!
//! Invariants:
//!
//! 1. A link delivers in order and without gaps, or it ends.
//! 2. `send` never waits: a full queue ends the link.
//! 3. A driver that does not take its events slows its peers down, and costs no memory.
//! 4. What a newer version says is parked with an alarm, never guessed (rule 16).
//!
//! Deliberately absent: what messages mean. Retries of calls and time-outs are the caller's.

pub mod event;
pub mod identity;
pub mod join;
pub mod limits;
pub mod member;
pub mod peer;
pub mod renew;
pub mod shape;
pub mod token;
pub mod wire;

mod call;
mod connect;
mod link;
mod pb;
mod server;
mod session;
mod tls;

pub use event::{DownReason, PeerEvent, PeerEvents};
pub use identity::{ClusterAuthority, ClusterSecret, Identities, Identity, Validity};
pub use join::{JoinDesk, Newcomer, Registrar, Seat, join};
pub use member::Member;
pub use peer::{LinkStatus, Peer, PeerConfig, StartError};
pub use shape::Shape;
pub use token::JoinToken;
