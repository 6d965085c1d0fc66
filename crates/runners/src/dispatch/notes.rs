//! Starts and ends of runners in the audit chain.
//!
//! Runners come and go with every job, and the chain is agreed by all regions: a region says once in a
//! while which ones, in few entries. What a node knows when it falls, and did not say yet, is not in the
//! chain; the records of the jobs have it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rhumb_engine::Engine;
use rhumb_types::{
    NodeId, RegionId,
    control::{AdminCommand, NODE_ACTOR, limits::RUNNERS_NOTED_MAX},
};
use tokio::time::sleep;

use crate::{
    job::RunnerName,
    limits::{NOTES_INTERVAL, NOTES_MAX},
    status::Counts,
};

/// Why runners come and go, in the chain.
const REASON: &str = "as many runners as jobs that wait";

/// What is to be said. A lock, because every start counts, on any thread.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    waiting: Arc<Mutex<Waiting>>,
    counts: Arc<Counts>,
}

type Waiting = BTreeMap<String, Vec<(Deed, String)>>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    Started,
    Ended,
}

impl Notes {
    /// Says on the node's tasks what it is told, while the cluster agrees on anything.
    pub(super) fn start(
        engine: &Engine,
        node: NodeId,
        region: RegionId,
        counts: Arc<Counts>,
    ) -> Self {
        let notes = Self { waiting: Arc::default(), counts };
        let (own, engine) = (notes.clone(), engine.clone());
        let actor = format!("{NODE_ACTOR}{node}");
        engine.tasks().clone().spawn_until_stopped(async move {
            loop {
                sleep(NOTES_INTERVAL).await;
                own.say(&engine, &actor, &region).await;
            }
        });
        notes
    }

    pub(super) fn started(&self, set: &str, name: &RunnerName) {
        self.note(set, Deed::Started, name);
    }

    pub(super) fn ended(&self, set: &str, name: &RunnerName) {
        self.note(set, Deed::Ended, name);
    }

    fn note(&self, set: &str, deed: Deed, name: &RunnerName) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let deeds = waiting.entry(set.to_owned()).or_default();
        if deeds.len() < NOTES_MAX {
            deeds.push((deed, name.to_string()));
        } else {
            self.counts.add("not_noted");
        }
    }

    /// Says everything; what the cluster did not agree on waits for the next time.
    async fn say(&self, engine: &Engine, actor: &str, region: &RegionId) {
        let Some(admin) = engine.admin() else { return };
        while let Some((set, deeds)) = self.next() {
            let of = |deed| {
                let names = deeds.iter().filter(|(its, _)| *its == deed);
                names.map(|(_, name)| name.clone()).collect()
            };
            let command = AdminCommand::NoteRunners {
                region: region.clone(),
                set: set.clone(),
                started: of(Deed::Started),
                ended: of(Deed::Ended),
            };
            if let Err(error) = admin.propose(actor, REASON, command).await {
                // It may have been agreed nevertheless: an entry twice is better than none.
                tracing::debug!(%error, "starts and ends of runners are not noted yet");
                return self.put_back(set, deeds);
            }
        }
    }

    fn next(&self) -> Option<(String, Vec<(Deed, String)>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, mut deeds) = waiting.pop_first()?;
        if deeds.len() > RUNNERS_NOTED_MAX {
            let rest = deeds.split_off(RUNNERS_NOTED_MAX);
            waiting.insert(set.clone(), rest);
        }
        Some((set, deeds))
    }

    fn put_back(&self, set: String, mut deeds: Vec<(Deed, String)>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let later = waiting.entry(set).or_default();
        deeds.append(later);
        *later = deeds;
    }
}
