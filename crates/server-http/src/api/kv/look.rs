//! What is under a key here, and writes that depend on it.

use std::sync::Arc;

use bytes::Bytes;
use rhumb_engine::{Answer, Request, WriteError, node::SubmitError};
use rhumb_state::{CellScan, Query, QueryError, Reply, visible};
use rhumb_types::{
    ErrorCode, RegionId, UnixMillis,
    record::{Cell, Dot, VersionVector},
};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::{problem::Problem, server::Shared};

/// A value, with what is known about its write.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) value: Bytes,
    /// Its entity tag: the same while the value is.
    pub(super) tag: String,
    /// The write that wins, as `ORIGIN:VERSION`.
    pub(super) version: Option<String>,
    /// Where that was written.
    pub(super) region: Option<RegionId>,
    pub(super) expires: Option<UnixMillis>,
    /// The fencing token of a key in a strong namespace.
    pub(super) fence: Option<u64>,
    /// The writes that make up the value.
    pub(super) seen: VersionVector,
}

/// Bytes of a digest that make a tag: enough that two states of one key never share it by chance.
const TAG_BYTES: usize = 12;

impl Shared {
    /// What this region has under a key.
    pub(super) fn look(&self, key: &Bytes) -> Result<Option<Found>, Problem> {
        let now = self.engine.clock().now().wall;
        // One moment for the value and for what is said about it.
        let snapshot = self.engine.snapshot();
        let query = Query::Get { key: key.clone() };
        let value = match rhumb_state::answer(&query, now, &snapshot) {
            Ok(Reply::Bytes(value)) => value,
            Ok(_) => return Ok(None),
            Err(QueryError::WrongType) => return Err(wrong_type()),
            Err(other) => return Err(other.into()),
        };
        let head = snapshot.head(key).map_err(QueryError::Scan)?.unwrap_or_default();
        let seen = dots(&head.cell).map(|dot| (dot.origin, dot.version)).collect();
        let newest = newest(&head.cell);
        Ok(Some(Found {
            value,
            tag: tag(&head.cell),
            version: newest.map(|dot| format!("{}:{}", dot.origin, dot.version)),
            region: newest.and_then(|dot| self.region_of(dot.origin)),
            expires: visible::expiry(&head.cell),
            fence: None,
            seen,
        }))
    }
}

/// The answer to a request for a value where a collection is.
pub(super) fn wrong_type() -> Problem {
    let detail = "the key holds a hash, a set or a sorted set, and not one value";
    Problem::new(ErrorCode::Conflict, detail).help("Read it with a Redis client.")
}

/// Every write that the value is made of.
fn dots(cell: &Cell) -> impl Iterator<Item = Dot> {
    let additions =
        cell.deltas.iter().map(|delta| Dot { origin: delta.origin, version: delta.version });
    cell.entries.iter().map(|entry| entry.dot).chain(additions)
}

/// The entry that wins; of a counter that was only added to, an addition.
fn newest(cell: &Cell) -> Option<Dot> {
    visible::winner(cell).map(|entry| entry.dot).or_else(|| dots(cell).last())
}

fn tag(cell: &Cell) -> String {
    let mut hasher = Sha256::new();
    for dot in dots(cell) {
        hasher.update(dot.origin.0.to_le_bytes());
        hasher.update(dot.version.to_le_bytes());
    }
    // Marks take from a counter without a new write of its own.
    for delta in &cell.deltas {
        hasher.update(delta.mark_version.to_le_bytes());
        hasher.update([u8::from(delta.cleared)]);
    }
    hasher.finalize().iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes when the key still has a tag.
///
/// Atomic in this region alone: another region may write at the same time, and then the later stamp
/// wins. Runs in a task of its own, so that the watch ends also when the client has gone.
pub(super) async fn write_if(
    shared: &Arc<Shared>,
    key: Bytes,
    tag: String,
    request: Request,
) -> Result<Answer, Problem> {
    let (answer, answered) = oneshot::channel();
    let worker = shared.clone();
    shared.engine.tasks().spawn(async move {
        let engine = &worker.engine;
        let connection = engine.connection();
        engine.watch(connection, vec![key.clone()]).await;
        let outcome = match worker.look(&key) {
            Ok(Some(found)) if found.tag == tag => {
                let request = Request { guard: Some(connection), ..request };
                engine.write(request).await.map_err(changed)
            }
            Ok(_) => Err(as_it_was_not()),
            Err(problem) => Err(problem),
        };
        engine.unwatch(connection).await;
        let _gone = answer.send(outcome);
    });
    let stopped = |_| Problem::new(ErrorCode::Unavailable, "this node is stopping");
    answered.await.map_err(stopped)?
}

fn changed(error: WriteError) -> Problem {
    match error {
        WriteError::Refused(SubmitError::Guarded) => as_it_was_not(),
        other => other.into(),
    }
}

pub(super) fn as_it_was_not() -> Problem {
    Problem::precondition("the key is not as it was")
}
