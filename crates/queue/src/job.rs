//! New jobs, and what names them.

use std::time::Duration;

use bytes::Bytes;
use rhumb_types::{
    RegionId, UnixMillis,
    record::{Job, JobAttribute, JobId, Provenance, QueueName},
};

use crate::{
    limits::{JOB_BYTES_MAX, NAME_BYTES_MAX},
    words::Attributes,
};

/// A job that is to be taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewJob {
    /// Its id if it has no key: random, 16 bytes. The given id of a job that was forwarded.
    pub id: JobId,
    /// What the worker gets.
    pub body: Bytes,
    /// Named values beside it.
    pub attributes: Attributes,
    /// 0 to 9; higher runs first.
    pub priority: u8,
    /// Jobs of one group run one after the other.
    pub group: Option<String>,
    /// Whose job it is.
    pub tenant: Option<String>,
    /// What belongs together and stays in one region.
    pub workflow: Option<String>,
    /// The idempotency key.
    pub key: Option<String>,
    /// How long it waits at least; the queue's own delay without.
    pub delay: Option<Duration>,
    /// Whether a job with the same key is taken for the same, whatever its parameters (SQS).
    pub key_alone: bool,
    /// Which region sent it here, and why.
    pub spilled: Option<(RegionId, String)>,
    /// Whether its id was drawn at random for this request, and nobody was sent it yet.
    pub drawn: bool,
    /// What it is compared by, once that was worked out; see [`NewJob::hash`].
    pub hashes: Option<Hashes>,
}

/// The hashes of a job's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hashes {
    /// Of body and attributes.
    parameters: [u8; 16],
    /// Of the body alone.
    body: [u8; 16],
}

impl NewJob {
    /// A job with a body.
    #[must_use]
    pub const fn new(id: JobId, body: Bytes, attributes: Attributes) -> Self {
        Self {
            id,
            body,
            attributes,
            priority: 0,
            group: None,
            tenant: None,
            workflow: None,
            key: None,
            delay: None,
            key_alone: false,
            spilled: None,
            drawn: false,
            hashes: None,
        }
    }

    /// Hashes its content, if it is compared by that: call this on the caller's thread, for the queues hash
    /// what is missing on theirs. Body and attributes stay as they are afterwards.
    pub fn hash(&mut self, content_dedup: bool) {
        if self.key.is_some() || content_dedup {
            self.hashes();
        }
    }

    fn hashes(&mut self) -> Hashes {
        let (body, attributes) = (&self.body, &self.attributes);
        *self.hashes.get_or_insert_with(|| Hashes::of(body, attributes))
    }

    /// Its bytes, as far as they are bounded together.
    pub(crate) fn bytes(&self) -> usize {
        let attribute = |it: &JobAttribute| it.name.len() + it.kind.len() + it.value.len();
        self.body.len() + self.attributes.iter().map(attribute).sum::<usize>()
    }

    /// What is against a limit.
    pub(crate) fn check(&self, fifo: bool) -> Result<(), &'static str> {
        let names = [&self.group, &self.tenant, &self.workflow, &self.key];
        let long =
            |name: &&Option<String>| name.as_ref().is_some_and(|it| it.len() > NAME_BYTES_MAX);
        let rules = [
            ("a job has at most 1 MiB with its attributes", self.bytes() <= JOB_BYTES_MAX),
            ("keys, groups, tenants and workflows have at most 512 bytes", !names.iter().any(long)),
            ("a priority is 0 to 9", self.priority < rhumb_types::record::queue::PRIORITIES),
            ("every job of a FIFO queue needs a group", !fifo || self.group.is_some()),
            ("only jobs of a FIFO queue have a group", fifo || self.group.is_none()),
            ("a FIFO queue has no priorities", !fifo || self.priority == 0),
            ("a FIFO queue has one delay for all", !fifo || self.delay.is_none()),
            (
                "a delay is at most 12 h",
                self.delay <= Some(rhumb_types::record::queue::VISIBILITY_MAX),
            ),
        ];
        rules.iter().find(|(_, kept)| !kept).map_or(Ok(()), |(rule, _)| Err(*rule))
    }

    /// Whether no row can have its id.
    pub(crate) const fn is_unseen(&self) -> bool {
        self.drawn && self.key.is_none() && self.spilled.is_none()
    }

    /// The key, or what stands for one.
    pub(crate) fn take_key(&mut self, content_dedup: bool) {
        if self.key.is_none() && content_dedup {
            self.key = Some(JobId(self.hashes().body).to_string());
        }
    }

    /// The row's content.
    pub(crate) fn into_job(mut self, now: UnixMillis, order: u64, delay: Duration) -> Job {
        let compared = self.key.is_some() && !self.key_alone;
        let digest = if compared { self.hashes().parameters } else { [0; 16] };
        let delay = self.delay.unwrap_or(delay);
        let not_before = if delay.is_zero() { UnixMillis(0) } else { now.saturating_add(delay) };
        let (spilled_from, why) = self.spilled.unzip();
        Job {
            body: self.body,
            attributes: self.attributes,
            priority: self.priority,
            group: self.group,
            tenant: self.tenant,
            workflow: self.workflow,
            key: self.key,
            digest,
            enqueued_at: now,
            order,
            not_before,
            provenance: Provenance { spilled_from, moved_from: None, why: why.unwrap_or_default() },
            ..Job::default()
        }
    }
}

impl Hashes {
    fn of(body: &[u8], attributes: &Attributes) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("rhumb 2026 queue parameters");
        hash_part(&mut hasher, body);
        for JobAttribute { name, kind, value } in attributes {
            for part in [name.as_bytes(), kind.as_bytes(), value] {
                hash_part(&mut hasher, part);
            }
        }
        let body = first_half(&blake3::hash(body));
        Self { parameters: first_half(&hasher.finalize()), body }
    }
}

/// Whether two jobs with the same key are the same.
pub(crate) fn same_parameters(left: &Job, right: &Job) -> bool {
    let unsaid = [0; 16];
    left.digest == right.digest || left.digest == unsaid || right.digest == unsaid
}

fn first_half(hash: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    half
}

fn hash_part(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

/// Which window of a key's lifetime a time lies in.
pub(crate) fn window(at: UnixMillis, kept: Duration) -> u64 {
    let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    at.0 / kept.max(1)
}

/// The id of the job that a key names when it is enqueued in a window. The hash is part of the
/// contract between versions.
pub(crate) fn id_of_key(queue: &QueueName, key: &str, window: u64) -> JobId {
    derive("rhumb 2026 queue key", &[queue.as_str().as_bytes(), key.as_bytes()], window)
}

/// The id of the job that another goes on as.
pub(crate) fn id_of_move(from: &QueueName, id: JobId, to: &QueueName) -> JobId {
    derive("rhumb 2026 queue move", &[from.as_str().as_bytes(), to.as_str().as_bytes(), &id.0], 0)
}

/// The id under which a job with a key runs in a region that it was sent to.
pub(crate) fn id_of_spill(id: JobId, to: &RegionId) -> JobId {
    derive("rhumb 2026 queue spill", &[to.as_str().as_bytes(), &id.0], 0)
}

fn derive(context: &str, parts: &[&[u8]], number: u64) -> JobId {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    parts.iter().for_each(|part| hash_part(&mut hasher, part));
    hasher.update(&number.to_le_bytes());
    JobId(first_half(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two releases that disagree on an id run a job twice (rule 16).
    #[test]
    fn ids_are_frozen() {
        let queue = QueueName::new("jobs").unwrap();
        let id = id_of_key(&queue, "key", 7);
        assert_eq!(id.to_string(), "2e566ea7267388455775a9c4e75893f1");
        assert_ne!(id, id_of_key(&queue, "key", 8));
    }
}
