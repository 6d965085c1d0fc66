//! Messages to envelopes and back.
//!
//! An envelope names its kind and the protocol version that gave the kind its meaning, so that what
//! a newer node says is told apart from damage (rule 16). Payloads are protobuf messages of
//! `proto/peer.proto`; log batches and snapshot chunks are packed with zstd where that helps.
//!
//! Decoding never panics and never allocates more than [`MESSAGE_BYTES_MAX`] for a payload,
//! whatever the bytes say.

mod from_wire;
#[cfg(test)]
mod tests;
mod to_wire;

use bytes::Bytes;
use prost::Message;
use rhumb_ports::peer::{PROTOCOL_VERSION, PeerMessage};
use rhumb_types::{RegionId, record::CodecError};

use crate::{
    limits::{MESSAGE_BYTES_MAX, PACK_BYTES_MIN, PACK_INLINE_BYTES_MAX},
    pb::{self, Envelope, Kind, Packing},
};

/// zstd level for log and snapshots: the fastest; the link is seldom slower than level 3 would be.
const ZSTD_LEVEL: i32 = 1;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A newer node wrote it: the stream must be parked, not dropped.
    #[error(
        "message kind {kind} of protocol version {version} is unknown here (this node speaks \
         version {PROTOCOL_VERSION}): upgrade this node"
    )]
    Unknown {
        /// The kind's number.
        kind: u32,
        /// The version that gave it its meaning.
        version: u32,
    },
    /// A record inside is of a newer version: as [`WireError::Unknown`].
    #[error("message kind {kind} holds a record that is unknown here: {reason}")]
    NewerRecord {
        /// The kind's number.
        kind: u32,
        /// Which version was met.
        reason: String,
    },
    /// The message is larger than this node takes.
    #[error("a message of {bytes} bytes is past the limit of {MESSAGE_BYTES_MAX}")]
    TooLarge {
        /// What the envelope says.
        bytes: u64,
    },
    /// The bytes are damaged or against the schema.
    #[error("a message is damaged: {0}")]
    Damaged(String),
}

impl WireError {
    /// Whether an upgrade of this node would read it.
    #[must_use]
    pub const fn is_newer(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::NewerRecord { .. })
    }

    fn record(kind: Kind, error: &CodecError) -> Self {
        match error {
            CodecError::Newer { .. } => {
                Self::NewerRecord { kind: u32::from(kind), reason: error.to_string() }
            }
            CodecError::Empty | CodecError::Damaged(_) => Self::Damaged(error.to_string()),
        }
    }
}

impl From<prost::DecodeError> for WireError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<Kind> for u32 {
    fn from(kind: Kind) -> Self {
        (kind as i32).unsigned_abs()
    }
}

/// Encodes and, where it helps, packs a message.
///
/// # Errors
/// [`WireError::TooLarge`].
pub fn seal(message: &PeerMessage) -> Result<Envelope, WireError> {
    let (kind, payload) = to_wire::encode(message);
    let unpacked_bytes = payload.len() as u64;
    if payload.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLarge { bytes: unpacked_bytes });
    }
    let (packing, payload) = match packed(kind, &payload) {
        Some(small) => (Packing::Zstd, small),
        None => (Packing::None, payload),
    };
    Ok(Envelope {
        version: since(kind),
        kind: u32::from(kind),
        packing: (packing as i32).unsigned_abs(),
        unpacked_bytes,
        payload,
    })
}

/// The protocol version that gave a kind its present meaning. A receiver of that version or a later
/// one reads it.
const fn since(kind: Kind) -> u32 {
    match kind {
        Kind::Unspecified => u32::MAX,
        Kind::Hello
        | Kind::Heartbeat
        | Kind::HeartbeatReply
        | Kind::Follow
        | Kind::Unfollow
        | Kind::Log
        | Kind::Ack
        | Kind::Trimmed
        | Kind::SnapshotPull
        | Kind::Snapshot
        | Kind::Publish => 1,
    }
}

/// Unpacks and decodes a message.
///
/// # Errors
/// [`WireError`]: newer than this node, too large, or damaged.
pub fn open(envelope: &Envelope) -> Result<PeerMessage, WireError> {
    let unknown = WireError::Unknown { kind: envelope.kind, version: envelope.version };
    if envelope.version > u32::from(PROTOCOL_VERSION) {
        return Err(unknown);
    }
    let kind = i32::try_from(envelope.kind)
        .ok()
        .and_then(|number| Kind::try_from(number).ok())
        .filter(|kind| *kind != Kind::Unspecified)
        .ok_or(unknown)?;
    from_wire::decode(kind, unpacked(envelope)?)
}

/// Decodes the bytes of an envelope, as they stand in a frame.
///
/// # Errors
/// As [`open`].
pub fn decode(bytes: &[u8]) -> Result<PeerMessage, WireError> {
    open(&Envelope::decode(bytes)?)
}

/// Encodes a message into the bytes of an envelope.
///
/// # Errors
/// As [`seal`].
pub fn encode(message: &PeerMessage) -> Result<Bytes, WireError> {
    Ok(seal(message)?.encode_to_vec().into())
}

/// Whether sealing a message is quick enough for an async task.
pub(crate) fn seals_inline(weight: usize) -> bool {
    weight <= PACK_INLINE_BYTES_MAX
}

/// Whether opening an envelope is quick enough for an async task.
pub(crate) fn opens_inline(envelope: &Envelope) -> bool {
    envelope.unpacked_bytes <= PACK_INLINE_BYTES_MAX as u64
}

/// About how many bytes a message holds; for bounds, not for buffers.
pub(crate) fn weight(message: &PeerMessage) -> usize {
    const FIXED: usize = 128;
    const PER_ENTRY: usize = 24;
    let body = match message {
        PeerMessage::Log(batch) => batch.transactions.iter().map(|t| t.len() + PER_ENTRY).sum(),
        PeerMessage::Snapshot(chunk) => snapshot_weight(chunk),
        PeerMessage::Publish(published) => published.channel.len() + published.payload.len(),
        PeerMessage::Ack { durable } => durable.len() * PER_ENTRY,
        PeerMessage::Heartbeat(beat) => (beat.heads.len() + beat.durable.len()) * PER_ENTRY,
        PeerMessage::Hello(hello) => (hello.durable.len() + 4 * hello.origins.len()) * PER_ENTRY,
        PeerMessage::HeartbeatReply(_)
        | PeerMessage::Follow { .. }
        | PeerMessage::Unfollow { .. }
        | PeerMessage::Trimmed { .. }
        | PeerMessage::SnapshotPull { .. } => 0,
    };
    FIXED + body
}

fn snapshot_weight(chunk: &rhumb_ports::peer::SnapshotChunk) -> usize {
    const PER_ENTRY: usize = 96;
    let keys: usize = chunk
        .keys
        .iter()
        .map(|key| {
            let members: usize = key
                .members
                .iter()
                .map(|(member, cell)| member.len() + cell_weight(cell) + PER_ENTRY)
                .sum();
            key.key.len() + cell_weight(&key.head.cell) + members + PER_ENTRY
        })
        .sum();
    let owned: usize = chunk.owned.iter().map(|row| row.payload.len() + PER_ENTRY).sum();
    keys + owned + chunk.vector.len() * PER_ENTRY
}

fn cell_weight(cell: &rhumb_types::record::Cell) -> usize {
    const PER_ENTRY: usize = 64;
    let values: usize = cell
        .entries
        .iter()
        .map(|entry| match &entry.value {
            rhumb_types::record::Value::Bytes(bytes) => bytes.len() + PER_ENTRY,
            _ => PER_ENTRY,
        })
        .sum();
    values + cell.deltas.len() * PER_ENTRY
}

fn packed(kind: Kind, payload: &Bytes) -> Option<Bytes> {
    let worthwhile = matches!(kind, Kind::Log | Kind::Snapshot) && payload.len() >= PACK_BYTES_MIN;
    if !worthwhile {
        return None;
    }
    // At least a tenth must be saved: unpacking costs the receiver as well. A destination that is
    // too small makes zstd give up, so that incompressible data costs no more memory.
    let mut small = vec![0; payload.len() - payload.len() / 10];
    let written = zstd::bulk::compress_to_buffer(payload, small.as_mut_slice(), ZSTD_LEVEL).ok()?;
    small.truncate(written);
    Some(small.into())
}

fn unpacked(envelope: &Envelope) -> Result<Bytes, WireError> {
    if envelope.unpacked_bytes > MESSAGE_BYTES_MAX as u64 {
        return Err(WireError::TooLarge { bytes: envelope.unpacked_bytes });
    }
    let length = usize::try_from(envelope.unpacked_bytes)
        .map_err(|_| WireError::TooLarge { bytes: envelope.unpacked_bytes })?;
    let payload = match i32::try_from(envelope.packing).ok().map(Packing::try_from) {
        Some(Ok(Packing::None)) => envelope.payload.clone(),
        Some(Ok(Packing::Zstd)) => zstd::bulk::decompress(&envelope.payload, length)
            .map_err(|error| WireError::Damaged(format!("zstd: {error}")))?
            .into(),
        _ => return Err(WireError::Unknown { kind: envelope.kind, version: envelope.version }),
    };
    if payload.len() == length {
        Ok(payload)
    } else {
        Err(WireError::Damaged(format!("{} bytes where {length} were announced", payload.len())))
    }
}

fn region(name: &str) -> Result<RegionId, WireError> {
    RegionId::new(name).map_err(|error| WireError::Damaged(error.to_string()))
}

/// The number of a service on the wire.
pub(crate) fn service_number(service: rhumb_ports::peer::Service) -> u32 {
    use rhumb_ports::peer::Service;
    let number = match service {
        Service::ControlRaft => pb::Service::ControlRaft,
        Service::StrongRaft => pb::Service::StrongRaft,
        Service::Control => pb::Service::Control,
        Service::Forward => pb::Service::Forward,
        Service::Join => pb::Service::Join,
        Service::Queue => pb::Service::Queue,
        Service::Objects => pb::Service::Objects,
    };
    (number as i32).unsigned_abs()
}

/// The service of a number; `None` for one that this binary does not know.
pub(crate) fn service_of(number: u32) -> Option<rhumb_ports::peer::Service> {
    use rhumb_ports::peer::Service;
    match pb::Service::try_from(i32::try_from(number).ok()?).ok()? {
        pb::Service::Unspecified => None,
        pb::Service::ControlRaft => Some(Service::ControlRaft),
        pb::Service::StrongRaft => Some(Service::StrongRaft),
        pb::Service::Control => Some(Service::Control),
        pb::Service::Forward => Some(Service::Forward),
        pb::Service::Join => Some(Service::Join),
        pb::Service::Queue => Some(Service::Queue),
        pb::Service::Objects => Some(Service::Objects),
    }
}
