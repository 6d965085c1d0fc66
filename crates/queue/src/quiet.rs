//! A home whose duties are to move in order: nothing more of it is leased, and what is leased may end.
//!
//! Whoever moves them asks again and again until nothing is leased. A home about which nobody has asked
//! for a while is leased again, so that a move that was called off leaves nothing behind. Once nothing is
//! leased the frontiers say so, and the successor need not wait for what might have been.

use rhumb_types::{MonoTime, RegionId, Timestamp};

use crate::{
    index::{ShardId, Slot},
    limits::QUIET_FOR,
    queues::Queues,
    words::{Answer, Effects, Refused, RequestId},
};

impl Queues {
    pub(crate) fn hush(
        &mut self,
        now: Timestamp,
        request: RequestId,
        home: RegionId,
        out: &mut Effects,
    ) {
        if self.acts_for(&home, now.mono).is_none() {
            let why = format!("this region does not act for {home}");
            return out.answer(request, Err(Refused::Unavailable(why.into())));
        }
        let of_home = |slot: &&Slot| {
            let whose = &self.index.shard_of(**slot).whose;
            !whose.pinned && whose.home == home
        };
        let leased = self.live.keys().filter(of_home).count() as u64;
        if leased == 0 {
            self.each_shard(&home, |this, shard| this.retract(now, shard, out));
        }
        let waits = |shard: &ShardId| {
            let shard = self.index.shard(*shard);
            shard.whose.home == home && !shard.whose.pinned && shard.front.pending.is_some()
        };
        let writing = self.shard_ids().filter(waits).count() as u64;
        self.quiet.insert(home, now.mono + QUIET_FOR);
        out.answer(request, Ok(Answer::Leased(leased + writing)));
    }

    /// Whether the jobs of a shard are not to be leased for now.
    pub(crate) fn is_quiet(&self, shard: ShardId, now: MonoTime) -> bool {
        let whose = &self.index.shard(shard).whose;
        let until = self.quiet.get(&whose.home).filter(|_| !whose.pinned);
        until.is_some_and(|until| now < *until)
    }

    /// Homes about which nobody has asked for a while are leased again.
    pub(crate) fn end_quiet(&mut self, now: Timestamp) {
        let over =
            |(home, until): (&RegionId, &MonoTime)| (*until <= now.mono).then(|| home.clone());
        let over: Vec<RegionId> = self.quiet.iter().filter_map(over).collect();
        for home in over {
            self.quiet.remove(&home);
            self.each_shard(&home, |this, shard| {
                let queue = this.index.shard(shard).queue;
                this.dirty.insert(queue);
            });
        }
    }
}
