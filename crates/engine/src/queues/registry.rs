//! Who works for the queues of this region: what spillover and operators count.
//!
//! A worker that sends heartbeats is there until it falls silent. One that only asks for jobs, such as a
//! client of SQS, is there while it asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rhumb_types::{
    MonoTime, RegionId, UnixMillis,
    record::{JobId, QueueName},
};
use serde::{Deserialize, Serialize};

use crate::limits::{WORKER_JOBS_TOLD_MAX, WORKER_SILENCE_MAX, WORKERS_MAX};

/// A sign of life of a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Its name.
    pub worker: Arc<str>,
    /// The queue that it works for.
    pub queue: QueueName,
    /// How many jobs it takes at once.
    pub concurrency: u32,
    /// What it works on.
    pub active: Vec<JobId>,
    /// Whether it takes no more jobs, and ends once these are done.
    pub stopping: bool,
}

/// A worker, as the region that it speaks to knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its name.
    pub worker: String,
    /// The region that it speaks to.
    pub region: RegionId,
    /// The queues that it works for.
    pub queues: BTreeSet<QueueName>,
    /// How many jobs it takes at once.
    pub concurrency: u32,
    /// What it said it works on.
    pub active: Vec<JobId>,
    /// Whether it takes no more jobs.
    pub stopping: bool,
    /// When it was heard first, and last.
    pub since: UnixMillis,
    /// See `since`.
    pub seen: UnixMillis,
    /// Whether it sends heartbeats; otherwise it is known by its asking for jobs.
    pub heartbeats: bool,
}

#[derive(Debug)]
struct Known {
    info: WorkerInfo,
    heard: MonoTime,
}

/// The workers of this region.
#[derive(Debug)]
pub(super) struct Registry {
    region: RegionId,
    workers: BTreeMap<Arc<str>, Known>,
}

/// A moment on both clocks.
pub(super) type Now = rhumb_types::Timestamp;

impl Registry {
    pub(super) const fn new(region: RegionId) -> Self {
        Self { region, workers: BTreeMap::new() }
    }

    /// A worker says that it is there.
    pub(super) fn heartbeat(&mut self, now: Now, beat: Heartbeat) {
        let Heartbeat { worker, queue, concurrency, mut active, stopping } = beat;
        active.truncate(WORKER_JOBS_TOLD_MAX);
        let Some(known) = self.heard(now, &worker) else { return };
        known.info.queues.insert(queue);
        known.info.concurrency = concurrency;
        known.info.active = active;
        known.info.stopping = stopping;
        known.info.heartbeats = true;
    }

    /// A worker asks for jobs.
    pub(super) fn asked(
        &mut self,
        now: Now,
        worker: &Arc<str>,
        queue: &QueueName,
        jobs_max: usize,
    ) {
        let jobs_max = u32::try_from(jobs_max).unwrap_or(u32::MAX);
        let Some(known) = self.heard(now, worker) else { return };
        if !known.info.queues.contains(queue) {
            known.info.queues.insert(queue.clone());
        }
        if !known.info.heartbeats {
            known.info.concurrency = known.info.concurrency.max(jobs_max);
        }
    }

    fn heard(&mut self, now: Now, worker: &Arc<str>) -> Option<&mut Known> {
        if !self.workers.contains_key(worker) {
            if self.workers.len() >= WORKERS_MAX {
                return None;
            }
            let info = WorkerInfo {
                worker: worker.to_string(),
                region: self.region.clone(),
                queues: BTreeSet::new(),
                concurrency: 0,
                active: Vec::new(),
                stopping: false,
                since: now.wall,
                seen: now.wall,
                heartbeats: false,
            };
            self.workers.insert(worker.clone(), Known { info, heard: now.mono });
        }
        let known = self.workers.get_mut(worker)?;
        (known.heard, known.info.seen) = (now.mono, now.wall);
        Some(known)
    }

    /// Forgets who has been silent for too long.
    pub(super) fn expire(&mut self, now: MonoTime) {
        let silent = |known: &Known| now.saturating_since(known.heard);
        self.workers.retain(|_, known| silent(known) < WORKER_SILENCE_MAX);
    }

    /// How many jobs the workers take at once, together.
    pub(super) fn executors(&self) -> u64 {
        let takes = |known: &&Known| !known.info.stopping;
        self.workers.values().filter(takes).map(|known| u64::from(known.info.concurrency)).sum()
    }

    pub(super) fn workers(&self) -> Vec<WorkerInfo> {
        self.workers.values().map(|known| known.info.clone()).collect()
    }
}

// A worker that asks with the longest wait of a poll is not silent.
const _: () = assert!(WORKER_SILENCE_MAX.as_secs() > POLL_MAX.as_secs());
/// The longest poll of any protocol here.
const POLL_MAX: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { wall: UnixMillis(seconds * 1_000), mono: MonoTime(seconds * 1_000_000) }
    }

    #[test]
    fn who_is_silent_is_forgotten_and_who_stops_takes_no_more() {
        let queue = QueueName::new("q").unwrap();
        let mut registry = Registry::new(RegionId::new("us").unwrap());
        let beat = |worker: &str, stopping| Heartbeat {
            worker: worker.into(),
            queue: queue.clone(),
            concurrency: 4,
            active: vec![JobId([1; 16])],
            stopping,
        };
        registry.heartbeat(at(0), beat("a", false));
        registry.asked(at(0), &"b".into(), &queue, 10);
        assert_eq!(registry.executors(), 14);
        registry.heartbeat(at(20), beat("a", true));
        assert_eq!(registry.executors(), 10);
        registry.expire(at(40).mono);
        let names: Vec<String> = registry.workers().into_iter().map(|it| it.worker).collect();
        assert_eq!((names, registry.executors()), (vec!["a".to_owned()], 0));
    }
}
