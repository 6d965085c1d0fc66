//! The queues' metrics: shown once a second, of a bounded number of queues.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_queue::{Definitions, Enqueued, Refused, Stats};
use rhumb_telemetry::metrics::queue::{QUEUES_SHOWN_MAX, QueueDepth, QueueWork};
use rhumb_types::{RegionId, record::QueueName};

use crate::meter::Meter;

#[derive(Debug)]
struct Handles {
    work: QueueWork,
    depths: BTreeMap<RegionId, QueueDepth>,
}

/// What is shown, with handles that were resolved once.
#[derive(Debug)]
pub(super) struct Shown {
    meter: Meter,
    queues: BTreeMap<QueueName, Handles>,
}

impl Shown {
    pub(super) const fn new(meter: Meter) -> Self {
        Self { meter, queues: BTreeMap::new() }
    }

    /// Follows which queues there are.
    pub(super) fn define(&mut self, definitions: &Definitions) {
        let Some(metrics) = self.meter.metrics() else { return };
        self.queues.retain(|name, handles| {
            let stays = definitions.contains_key(name);
            if !stays {
                let homes: Vec<RegionId> = handles.depths.keys().cloned().collect();
                metrics.forget_queue(name, &homes);
            }
            stays
        });
        for name in definitions.keys() {
            if self.queues.len() < QUEUES_SHOWN_MAX && !self.queues.contains_key(name) {
                let handles = Handles { work: metrics.queue(name), depths: BTreeMap::new() };
                self.queues.insert(name.clone(), handles);
            }
        }
    }

    /// Counts what was taken in, or sent on.
    pub(super) fn taken_in(&self, queue: &QueueName, results: &[Result<Enqueued, Refused>]) {
        let Some(work) = self.work(queue) else { return };
        for result in results {
            match result {
                Ok(Enqueued::Created { .. }) => {
                    work.enqueued.inc();
                }
                Ok(Enqueued::Forward { .. }) => {
                    work.spilled.inc();
                }
                Ok(Enqueued::Duplicate { .. }) | Err(_) => {}
            }
        }
    }

    /// Shows how full every queue is.
    pub(super) fn depths(
        &mut self,
        homes: &BTreeSet<RegionId>,
        stats: impl Fn(&QueueName, &RegionId) -> Stats,
    ) {
        let Some(metrics) = self.meter.metrics() else { return };
        for (name, handles) in &mut self.queues {
            for home in homes {
                let Stats { ready, delayed, behind, leased, held, dead, oldest_age, .. } =
                    stats(name, home);
                let depth = match handles.depths.get(home) {
                    Some(depth) => depth,
                    None => {
                        let depth = metrics.queue_depth(name, home);
                        handles.depths.entry(home.clone()).or_insert(depth)
                    }
                };
                let jobs = [ready, delayed, behind, leased, held, dead];
                depth.set(jobs, oldest_age.as_secs_f64());
            }
        }
    }

    pub(super) fn work(&self, queue: &QueueName) -> Option<&QueueWork> {
        self.queues.get(queue).map(|handles| &handles.work)
    }
}
