//! How full the queues are, in a few steps whatever their length.

use std::time::Duration;

use rhumb_types::UnixMillis;

use crate::{
    index::{Place, age},
    queues::Queues,
    shard::Shard,
    words::Stats,
};

impl Queues {
    /// How long the oldest ready job of a shard has waited.
    pub(crate) fn oldest_age(&self, shard: &Shard, now: UnixMillis) -> Duration {
        let ages = shard.oldest().map(|slot| age(now, self.index.entry(slot).enqueued_at));
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
        stats.oldest_age = stats.oldest_age.max(self.oldest_age(shard, now));
    }
}
