//! Answers that wait for other regions (rule 13).
//!
//! A waiter is answered when enough data regions have fsynced what it wrote, or at its deadline.
//! Witnesses never count.

use std::collections::{BTreeMap, VecDeque};

use rhumb_types::planted::{self, Planted};
use rhumb_types::{MonoTime, RegionId, record::VersionVector};

use crate::{
    answer::{Answer, Fence},
    event::{Effect, Effects, RequestId, SubmitError},
};

/// A submit whose answer waits for `regions` other regions.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) request: RequestId,
    pub(crate) answer: Answer,
    pub(crate) written: VersionVector,
    pub(crate) regions: usize,
    pub(crate) deadline: MonoTime,
}

/// A `WAIT`.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) request: RequestId,
    pub(crate) written: VersionVector,
    pub(crate) regions: usize,
    pub(crate) deadline: MonoTime,
}

/// What every data peer has fsynced, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    durable: BTreeMap<RegionId, VersionVector>,
    waiters: BTreeMap<usize, VecDeque<Waiter>>,
    waits: Vec<Wait>,
}

impl Acks {
    /// What a data region has fsynced, as far as it has told.
    pub(crate) fn durable(&self, region: &RegionId) -> Option<&VersionVector> {
        self.durable.get(region)
    }

    /// A data region tells what it has fsynced. Replaces what it told before: a region that
    /// returns from a restore has less.
    pub(crate) fn told(
        &mut self,
        region: &RegionId,
        durable: VersionVector,
        fence: Fence<'_>,
        out: &mut Effects,
    ) {
        self.durable.insert(region.clone(), durable);
        self.settle(fence, out);
    }

    pub(crate) fn removed(&mut self, region: &RegionId) {
        self.durable.remove(region);
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.values().map(VecDeque::len).sum::<usize>() + self.waits.len()
    }

    pub(crate) fn wait_for_answer(&mut self, waiter: Waiter, fence: Fence<'_>, out: &mut Effects) {
        self.waiters.entry(waiter.regions).or_default().push_back(waiter);
        self.settle(fence, out);
    }

    pub(crate) fn wait(&mut self, wait: Wait, fence: Fence<'_>, out: &mut Effects) {
        self.waits.push(wait);
        self.settle(fence, out);
    }

    /// Answers from the front of each queue: what was written later is acknowledged later.
    fn settle(&mut self, fence: Fence<'_>, out: &mut Effects) {
        let durable = &self.durable;
        let holders = |written: &VersionVector| holders(durable, written);
        for (wanted, queue) in &mut self.waiters {
            while queue.front().is_some_and(|waiter| holders(&waiter.written) >= *wanted) {
                let Some(waiter) = queue.pop_front() else { break };
                out.push(waiter.answer.done(waiter.request, waiter.written, fence));
            }
        }
        self.waits.retain(|wait| {
            let regions = holders(&wait.written);
            if regions >= wait.regions {
                out.push(Effect::Acked { request: wait.request, regions });
            }
            regions < wait.regions
        });
    }

    /// Gives up on what has waited past its deadline.
    pub(crate) fn expire(&mut self, now: MonoTime, fence: Fence<'_>, out: &mut Effects) {
        let durable = &self.durable;
        let holders = |written: &VersionVector| holders(durable, written);
        for (wanted, queue) in &mut self.waiters {
            if !queue.iter().any(|waiter| waiter.deadline <= now) {
                continue;
            }
            queue.retain_mut(|waiter| {
                if waiter.deadline > now {
                    return true;
                }
                let had = holders(&waiter.written);
                let late = SubmitError::Unconfirmed { wanted: *wanted, had };
                let (request, written) = (waiter.request, std::mem::take(&mut waiter.written));
                out.push(if planted::is(Planted::ConfirmLate) {
                    let answer = std::mem::replace(&mut waiter.answer, Answer::Owned(Vec::new()));
                    answer.done(request, written, fence)
                } else {
                    waiter.answer.failed(request, written, late)
                });
                false
            });
        }
        self.waits.retain(|wait| {
            if wait.deadline > now {
                return true;
            }
            out.push(Effect::Acked { request: wait.request, regions: holders(&wait.written) });
            false
        });
    }
}

/// How many other data regions have fsynced all of a vector.
fn holders(durable: &BTreeMap<RegionId, VersionVector>, written: &VersionVector) -> usize {
    durable.values().filter(|durable| durable.includes(written)).count()
}

#[cfg(test)]
mod tests {
    use rhumb_types::OriginId;

    use super::*;
    use crate::oversee::Leases;

    fn vector(version: u64) -> VersionVector {
        [(OriginId(0x10_0000), version)].into_iter().collect()
    }

    #[test]
    fn answers_when_enough_regions_have_it_and_gives_up_at_the_deadline() {
        let mut acks = Acks::default();
        let mut out = Effects::new();
        let waiter = |request, version, regions| Waiter {
            request: RequestId(request),
            answer: Answer::Replies(vec![]),
            written: vector(version),
            regions,
            deadline: MonoTime(100),
        };
        let leases = Leases::new();
        let fence = Fence::new(&leases, MonoTime(0));
        acks.wait_for_answer(waiter(1, 1, 1), fence, &mut out);
        acks.wait_for_answer(waiter(2, 2, 2), fence, &mut out);
        assert!(out.is_empty());
        acks.told(&RegionId::new("b").unwrap(), vector(2), fence, &mut out);
        assert!(matches!(
            out.pop(),
            Some(Effect::Reply { request: RequestId(1), result: Ok(_), .. })
        ));
        assert!(out.is_empty());
        acks.expire(MonoTime(100), fence, &mut out);
        assert!(matches!(
            out.pop(),
            Some(Effect::Reply {
                request: RequestId(2),
                result: Err(SubmitError::Unconfirmed { wanted: 2, had: 1 }),
                ..
            })
        ));
        assert_eq!(acks.len(), 0);
    }
}
