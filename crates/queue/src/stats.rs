//! How full the queues are, in a few steps whatever their length, and where a job is.

use std::time::Duration;

use rhumb_types::{
    RegionId, UnixMillis,
    record::{JobKey, QueueName},
};

use crate::{
    index::{Place, Slot, age},
    queues::Queues,
    shard::Shard,
    words::{Stats, Whereabouts},
};

impl Queues {
    /// How full a queue is, over all homes or in one.
    #[must_use]
    pub fn stats(&self, name: &QueueName, home: Option<&RegionId>, now: UnixMillis) -> Stats {
        let Some(queue) = self.names.get(name).map(|id| self.queue(*id)) else {
            return Stats::default();
        };
        let shards = queue.shards.iter().map(|id| self.index.shard(*id));
        let shards = shards.filter(|shard| home.is_none_or(|home| shard.whose.home == *home));
        let mut stats = Stats { waiters: queue.waiters.len() as u64, ..Stats::default() };
        shards.for_each(|shard| self.add_stats(shard, now, &mut stats));
        stats
    }

    /// Where a job is; `None` when it is not there, or has ended.
    #[must_use]
    pub fn whereabouts(&self, key: &JobKey) -> Option<Whereabouts> {
        let slot = self.index.find(key.id)?;
        let shard = self.index.shard_of(slot);
        if self.queue(shard.queue).name != key.queue {
            return None;
        }
        let live = self.live.get(&slot);
        Some(Whereabouts {
            home: shard.whose.home.clone(),
            pinned: shard.whose.pinned,
            place: self.index.place(slot)?,
            worker: live.map(|live| (live.worker.clone(), live.ends)),
            attempts: u32::from(self.index.entry(slot).attempts),
        })
    }

    /// Jobs that have not ended, and bytes that the index takes for them, in bytes.
    #[must_use]
    pub fn footprint(&self) -> (usize, usize) {
        (self.index.len(), self.index.bytes())
    }

    /// How long the oldest of some jobs has waited.
    pub(crate) fn oldest_age(&self, jobs: impl Iterator<Item = Slot>, now: UnixMillis) -> Duration {
        let ages = jobs.map(|slot| age(now, self.index.entry(slot).enqueued_at));
        ages.max().unwrap_or_default()
    }

    pub(crate) fn add_stats(&self, shard: &Shard, now: UnixMillis, stats: &mut Stats) {
        let leasable = shard.leasable();
        stats.ready += leasable;
        stats.held += shard.counted(Place::Held) + shard.counted(Place::Ready) - leasable;
        stats.delayed += shard.counted(Place::Delayed);
        stats.behind += shard.counted(Place::Behind);
        stats.leased += shard.counted(Place::Leased) + shard.counted(Place::Busy);
        stats.dead += shard.counted(Place::Dead);
        stats.oldest_age = stats.oldest_age.max(self.oldest_age(shard.oldest(), now));
    }
}
