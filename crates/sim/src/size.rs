//! How large messages are on the wire.
//!
//! What is encoded once and sent as it is, is counted to the byte: the transactions of logs, and the
//! rows of snapshots. Of the rest the size is known within a few bytes. Not counted: TLS records,
//! TCP and IP headers, and what is sent again.

use rhumb_ports::peer::PeerMessage;
use rhumb_types::record::{Record, VersionVector};

/// What frames every message: the gRPC prefix, an HTTP/2 frame, and the message's own fields.
pub(crate) const MESSAGE: u64 = 32;
/// An origin with a version.
const VECTOR_ENTRY: u64 = 16;
/// A region's name with its tag and length.
const NAME: u64 = 16;
/// A message of the group: its term, its place, and an average command.
pub(crate) const GROUP: u64 = 160;

fn vector(vector: &VersionVector) -> u64 {
    vector.len() as u64 * VECTOR_ENTRY
}

/// The bytes of logs in a message, and the others.
pub(crate) fn of(message: &PeerMessage) -> (u64, u64) {
    match message {
        PeerMessage::Log(batch) => {
            let bytes = batch.transactions.iter().map(|bytes| bytes.len() as u64).sum();
            (bytes, MESSAGE + VECTOR_ENTRY)
        }
        PeerMessage::Hello(hello) => (
            0,
            MESSAGE
                + vector(&hello.durable)
                + vector(&hello.received)
                + hello.origins.len() as u64 * (VECTOR_ENTRY + NAME),
        ),
        PeerMessage::Heartbeat(beat) => {
            let names = (beat.hears.len() + beat.impaired.len()) as u64 * NAME;
            (0, MESSAGE + vector(&beat.heads) + vector(&beat.durable) + names)
        }
        PeerMessage::Ack { durable } => (0, MESSAGE + vector(durable)),
        PeerMessage::Snapshot(chunk) => {
            let keys = chunk.keys.iter().map(|key| {
                let members = key.members.iter();
                let members = members.map(|(name, cell)| name.len() + cell.encode().len());
                (key.key.len() + key.head.encode().len() + members.sum::<usize>()) as u64
            });
            let owned = chunk.owned.iter().map(|row| row.encode().len() as u64);
            (0, MESSAGE + vector(&chunk.vector) + keys.sum::<u64>() + owned.sum::<u64>())
        }
        PeerMessage::Publish(message) => {
            (0, MESSAGE + (message.channel.len() + message.payload.len()) as u64)
        }
        PeerMessage::HeartbeatReply(_)
        | PeerMessage::Follow { .. }
        | PeerMessage::Unfollow { .. }
        | PeerMessage::Trimmed { .. }
        | PeerMessage::SnapshotPull { .. } => (0, MESSAGE),
    }
}
