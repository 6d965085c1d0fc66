//! What webhooks did not bring: deliveries that failed are repeated, jobs that wait unheard are taken.
//!
//! One region does this, the one that acts for a fixed key's home; GitHub remembers deliveries for three
//! days. A delivery is repeated at most [`REPEATS_MAX`] times, ever more seldom.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rhumb_engine::Engine;
use rhumb_regions::Key;
use rhumb_types::{MonoTime, UnixMillis};
use tokio::time::sleep;

use crate::{
    github::{GitHub, Hook, ListedDelivery, Outside},
    intake::{Intake, Queued},
    limits::{FIRST_RECONCILIATION, QUEUED_AGE_MAX, UNHEARD_AFTER},
    status::Counts,
};

/// Whose region reconciles.
const KEY: &[u8] = b"rhumb:runners:reconciliation";
/// How often one delivery is repeated.
const REPEATS_MAX: u32 = 5;
/// Deliveries whose repeats are remembered.
const REMEMBERED_MAX: usize = 4_096;
/// How far a look goes back behind the last one: clocks differ, and lists are late.
const OVERLAP: Duration = Duration::from_secs(3_600);

/// What reconciles.
#[derive(Debug)]
pub(crate) struct Reconciliation {
    /// The node.
    pub(crate) engine: Engine,
    /// GitHub.
    pub(crate) github: GitHub,
    /// What takes jobs.
    pub(crate) intake: Intake,
    /// The webhooks whose deliveries are looked at.
    pub(crate) hooks: Vec<Hook>,
    /// Clocks and randomness.
    pub(crate) outside: Outside,
    /// What is counted.
    pub(crate) counts: Arc<Counts>,
    /// How often it looks.
    pub(crate) every: Duration,
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Until when the deliveries of each hook were looked at.
    looked: BTreeMap<Hook, UnixMillis>,
    repeats: BTreeMap<String, Repeat>,
}

#[derive(Clone, Copy, Debug)]
struct Repeat {
    times: u32,
    next: MonoTime,
    last: UnixMillis,
}

impl Reconciliation {
    /// Starts it on the node's tasks.
    pub(crate) fn start(self) {
        let tasks = self.engine.tasks().clone();
        tasks.spawn_until_stopped(async move {
            let mut memory = Memory::default();
            sleep(self.every.min(FIRST_RECONCILIATION)).await;
            loop {
                if self.is_mine() {
                    self.look(&mut memory).await;
                }
                let tenth = self.every.as_millis() / 10;
                let tenth = u64::try_from(tenth).unwrap_or(u64::MAX).max(1);
                let jitter = Duration::from_millis((self.outside.random)() % tenth);
                sleep(self.every + jitter).await;
            }
        });
    }

    fn is_mine(&self) -> bool {
        let home = self.engine.home(&Key::new(KEY), &[]);
        home.is_ok_and(|home| self.engine.may_act(&home).is_some())
    }

    async fn look(&self, memory: &mut Memory) {
        self.counts.add("reconciled");
        for hook in &self.hooks {
            self.repeat_failed(hook, memory).await;
        }
        self.take_unheard().await;
    }

    async fn repeat_failed(&self, hook: &Hook, memory: &mut Memory) {
        let now = (self.outside.now)();
        let span = u64::try_from(QUEUED_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        let oldest = UnixMillis(now.wall.0.saturating_sub(span));
        let overlap = u64::try_from(OVERLAP.as_millis()).unwrap_or(0);
        let looked = memory.looked.get(hook).map_or(0, |at| at.0.saturating_sub(overlap));
        let deliveries = match self.github.deliveries(hook, oldest.max(UnixMillis(looked))).await {
            Ok(deliveries) => deliveries,
            Err(error) => {
                self.counts.add(error.name());
                tracing::warn!(%error, ?hook, "the deliveries of a webhook are not read");
                return;
            }
        };
        let failed = memory.due(&deliveries, now.mono);
        let mut all = true;
        for delivery in failed {
            match self.github.redeliver(hook, delivery.id).await {
                Ok(()) => {
                    self.counts.add("redelivered");
                    memory.repeated(&delivery, now.mono, self.every);
                }
                Err(error) => {
                    all = false;
                    self.counts.add(error.name());
                    tracing::warn!(%error, ?hook, "a delivery is not repeated");
                }
            }
        }
        // What still fails is looked at again, back to its beginning.
        if all && memory.repeats.is_empty() {
            memory.looked.insert(hook.clone(), now.wall);
        }
    }

    /// Jobs that GitHub calls queued and no queue has.
    async fn take_unheard(&self) {
        for repository in self.intake.repositories() {
            let organisation = repository.organisation.as_deref();
            let queued =
                self.github.queued(&repository.name, organisation, repository.installation);
            let queued = match queued.await {
                Ok(queued) => queued,
                Err(error) => {
                    self.counts.add(error.name());
                    tracing::warn!(%error, repository = repository.name, "jobs that wait are not read");
                    continue;
                }
            };
            let now = (self.outside.now)().wall;
            let waits = |at: UnixMillis| now.saturating_since(at) >= self.every.min(UNHEARD_AFTER);
            for listed in queued.iter().filter(|it| it.job.created_at.is_none_or(waits)) {
                match self.intake.enqueue(&listed.job).await {
                    Ok(Queued::Taken { duplicate: false, .. }) => {
                        self.counts.add("found_queued");
                        tracing::info!(job = %listed.job.job, "a job that no webhook told of is taken");
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "a job that was found is not taken"),
                }
            }
        }
    }
}

impl Memory {
    /// The deliveries that are to be repeated now: the newest try of each that never had a yes.
    pub(crate) fn due(&mut self, listed: &[ListedDelivery], now: MonoTime) -> Vec<ListedDelivery> {
        let mut tries: BTreeMap<&str, Vec<&ListedDelivery>> = BTreeMap::new();
        for delivery in listed.iter().filter(|it| it.event == "workflow_job") {
            tries.entry(&delivery.guid).or_default().push(delivery);
        }
        let mut due = Vec::new();
        for (guid, tries) in tries {
            if tries.iter().any(|delivery| delivery.ok) {
                self.repeats.remove(guid);
                continue;
            }
            let newest = tries.into_iter().max_by_key(|delivery| (delivery.at, delivery.id));
            let waits = |repeat: &Repeat| repeat.times >= REPEATS_MAX || now < repeat.next;
            if let Some(newest) = newest.filter(|_| !self.repeats.get(guid).is_some_and(waits)) {
                due.push(newest.clone());
            }
        }
        // In the order in which they were sent.
        due.sort_by_key(|delivery| (delivery.at, delivery.id));
        due
    }

    fn repeated(&mut self, delivery: &ListedDelivery, now: MonoTime, every: Duration) {
        if self.repeats.len() >= REMEMBERED_MAX && !self.repeats.contains_key(&delivery.guid) {
            let oldest = self.repeats.iter().min_by_key(|(_, repeat)| repeat.last);
            if let Some(oldest) = oldest.map(|(guid, _)| guid.clone()) {
                self.repeats.remove(&oldest);
            }
        }
        let fresh = Repeat { times: 0, next: now, last: delivery.at };
        let repeat = self.repeats.entry(delivery.guid.clone()).or_insert(fresh);
        repeat.next = now + every * (1 << repeat.times.min(8));
        repeat.times += 1;
        repeat.last = delivery.at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(300);

    fn delivery(id: u64, guid: &str, ok: bool) -> ListedDelivery {
        let event = "workflow_job".to_owned();
        ListedDelivery { id, guid: guid.to_owned(), at: UnixMillis(id * 1_000), ok, event }
    }

    fn ids(memory: &mut Memory, listed: &[ListedDelivery], at: u64) -> Vec<u64> {
        memory.due(listed, MonoTime(at * 1_000_000)).iter().map(|it| it.id).collect()
    }

    #[test]
    fn what_never_had_a_yes_is_repeated_by_its_newest_try() {
        let push = ListedDelivery { event: "push".to_owned(), ..delivery(9, "c", false) };
        let listed = [
            delivery(1, "a", false),
            delivery(4, "b", false),
            delivery(5, "a", true),
            push,
            delivery(6, "b", false),
        ];
        assert_eq!(ids(&mut Memory::default(), &listed, 0), [6]);
    }

    #[test]
    fn repeats_are_ever_more_seldom_and_end() {
        let mut memory = Memory::default();
        let listed = [delivery(1, "a", false)];
        let mut at = 0;
        let mut times = Vec::new();
        while at < 7 * 24 * 3_600 {
            for due in memory.due(&listed, MonoTime(at * 1_000_000)) {
                memory.repeated(&due, MonoTime(at * 1_000_000), EVERY);
                times.push(at);
            }
            at += 60;
        }
        let interval = EVERY.as_secs();
        assert_eq!(times, [0, 1, 3, 7, 15].map(|it| it * interval));
        assert_eq!(
            ids(&mut memory, &[delivery(2, "a", true), delivery(1, "a", false)], at),
            Vec::<u64>::new()
        );
        assert!(memory.repeats.is_empty());
    }
}
