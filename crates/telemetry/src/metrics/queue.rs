//! What a node knows of each queue.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::family::Family,
    registry::{Registry, Unit},
};
use rhumb_types::{RegionId, record::QueueName};

use super::{Count, Level, Measure};

/// Queues that are shown by name; the others are left out.
pub const QUEUES_SHOWN_MAX: usize = 256;

/// The places of a job that are shown.
pub const JOB_PLACES: [&str; 6] = ["ready", "delayed", "behind", "leased", "held", "dead"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueAndHome {
    queue: String,
    region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueHomeAndPlace {
    queue: String,
    region: String,
    place: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    queue: String,
}

/// How full a queue is, for one home.
#[derive(Debug, Clone)]
pub struct QueueDepth {
    places: [Level; JOB_PLACES.len()],
    oldest: Measure,
}

impl QueueDepth {
    /// Sets how many jobs are in each of the [`JOB_PLACES`], and how long the oldest ready one has
    /// waited, in seconds.
    pub fn set(&self, jobs: [u64; JOB_PLACES.len()], oldest_seconds: f64) {
        for (level, jobs) in self.places.iter().zip(jobs) {
            level.set(i64::try_from(jobs).unwrap_or(i64::MAX));
        }
        self.oldest.set(oldest_seconds);
    }
}

/// What this node did for a queue since its start.
#[derive(Debug, Clone)]
pub struct QueueWork {
    /// Jobs taken in, for whichever home.
    pub enqueued: Count,
    /// Jobs completed.
    pub completed: Count,
    /// Jobs that workers failed.
    pub failed: Count,
    /// Jobs that were sent to another region.
    pub spilled: Count,
}

#[derive(Debug)]
pub(super) struct Families {
    jobs: Family<QueueHomeAndPlace, Level>,
    oldest: Family<QueueAndHome, Measure>,
    enqueued: Family<Queue, Count>,
    completed: Family<Queue, Count>,
    failed: Family<Queue, Count>,
    spilled: Family<Queue, Count>,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            jobs: Family::default(),
            oldest: Family::default(),
            enqueued: Family::default(),
            completed: Family::default(),
            failed: Family::default(),
            spilled: Family::default(),
        };
        let help = "Jobs by queue, home region and place, as this node knows them";
        registry.register("queue_jobs", help, families.jobs.clone());
        registry.register_with_unit(
            "queue_oldest_age",
            "How long the oldest ready job has waited",
            Unit::Seconds,
            families.oldest.clone(),
        );
        let help = "Jobs that this node took in";
        registry.register("queue_enqueued", help, families.enqueued.clone());
        let help = "Jobs completed at this node";
        registry.register("queue_completed", help, families.completed.clone());
        let help = "Jobs that workers failed at this node";
        registry.register("queue_failed", help, families.failed.clone());
        let help = "Jobs that this node sent to another region";
        registry.register("queue_spilled", help, families.spilled.clone());
        families
    }

    pub(super) fn depth(&self, queue: &QueueName, home: &RegionId) -> QueueDepth {
        let (queue, region) = (queue.to_string(), home.to_string());
        let level = |place| {
            let (queue, region) = (queue.clone(), region.clone());
            self.jobs.get_or_create(&QueueHomeAndPlace { queue, region, place }).clone()
        };
        let places = JOB_PLACES.map(level);
        let oldest = self.oldest.get_or_create(&QueueAndHome { queue, region }).clone();
        QueueDepth { places, oldest }
    }

    pub(super) fn work(&self, queue: &QueueName) -> QueueWork {
        let label = Queue { queue: queue.to_string() };
        QueueWork {
            enqueued: self.enqueued.get_or_create(&label).clone(),
            completed: self.completed.get_or_create(&label).clone(),
            failed: self.failed.get_or_create(&label).clone(),
            spilled: self.spilled.get_or_create(&label).clone(),
        }
    }

    pub(super) fn forget(&self, queue: &QueueName, homes: &[RegionId]) {
        let label = Queue { queue: queue.to_string() };
        for counts in [&self.enqueued, &self.completed, &self.failed, &self.spilled] {
            counts.remove(&label);
        }
        for home in homes {
            let (queue, region) = (queue.to_string(), home.to_string());
            for place in JOB_PLACES {
                let (queue, region) = (queue.clone(), region.clone());
                self.jobs.remove(&QueueHomeAndPlace { queue, region, place });
            }
            self.oldest.remove(&QueueAndHome { queue, region });
        }
    }
}
