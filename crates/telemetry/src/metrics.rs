//! Every metric of a node.
//!
//! Names follow Prometheus: a unit in the name, base units, `_total` for counters. The label
//! `region` is always the other region, `origin_region` the one whose writes are meant.

mod blobs;
mod cache;
mod command;
mod http;
pub mod queue;
mod region;
pub mod runners;

use std::sync::atomic::{AtomicI64, AtomicU64};

pub use blobs::BlobMeter;
pub use cache::Caches;
pub use command::{Command, Outcome};
pub use http::HttpRoute;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};
use queue::{QueueDepth, QueueWork};
pub use region::{HEALTH_STATES, Lease, Peer, Region, Replication};
use rhumb_types::{RegionId, record::QueueName};

use crate::Histogram;

/// A number that goes up, of whole things.
pub type Count = Counter<u64, AtomicU64>;
/// A number that goes up and down.
pub type Level = Gauge<i64, AtomicI64>;
/// A measured value that goes up and down.
pub type Measure = Gauge<f64, AtomicU64>;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    server: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    region: String,
}

/// The writing loop and its disk.
#[derive(Debug, Clone)]
pub struct Commits {
    /// From handing a batch to the committer until it is answered.
    pub seconds: Histogram,
    /// The commits of those that waited for the disk.
    pub synced_seconds: Histogram,
    /// How many rows a commit wrote.
    pub rows: Histogram,
    /// Commits that failed.
    pub failed: Count,
}

/// What waits in the node, and what it had to drop or settle.
#[derive(Debug, Clone, Default)]
pub struct Queues {
    /// Submits and waits for the acknowledgement of other regions.
    pub acks_waiting: Level,
    /// Received transactions that wait for what they depend on.
    pub received_waiting: Level,
    /// Their bytes.
    pub received_waiting_bytes: Level,
    /// Pub/sub messages dropped.
    pub published_dropped: Count,
}

/// Connections of one server.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Open now.
    pub open: Level,
    /// Accepted since the start.
    pub accepted: Count,
    /// Turned away: too many, or not allowed.
    pub refused: Count,
}

/// Every metric of a node; make one per process and hand out its handles.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    commands: command::Families,
    regions: region::Families,
    jobs: queue::Families,
    runners: runners::Runners,
    caches: Caches,
    conflicts: Family<Kind, Count>,
    open: Family<Server, Level>,
    accepted: Family<Server, Count>,
    refused: Family<Server, Count>,
    http: http::Families,
    /// The writing loop and its disk.
    pub commits: Commits,
    /// What waits in the node.
    pub queues: Queues,
    /// Whether this node serves: 0 while it starts, drains, or its disk or clock fails.
    pub serving: Level,
    /// How far this node's clock is from its peers' median, in seconds.
    pub clock_offset_seconds: Measure,
    /// Where the counts of the store of blobs are read.
    pub blobs: BlobMeter,
    /// Submissions that were answered "unconfirmed": applied here, not acknowledged in time.
    pub unconfirmed: Count,
}

impl Metrics {
    /// The metrics of a node of a region.
    #[must_use]
    pub fn new(version: &'static str, region: &RegionId) -> Self {
        let mut registry = Registry::with_prefix("rhumb");
        let build = Build { version, region: region.as_str().to_owned() };
        registry.register("build", "What runs, and where", Info::new(build));
        let commits = commits(&mut registry);
        let conflicts = Family::<Kind, Count>::default();
        registry.register("conflicts", "Concurrent writes that met, by kind", conflicts.clone());
        let open = Family::<Server, Level>::default();
        registry.register("connections", "Connections open now, by server", open.clone());
        let accepted = Family::<Server, Count>::default();
        registry.register("connections_accepted", "Connections accepted", accepted.clone());
        let refused = Family::<Server, Count>::default();
        registry.register("connections_refused", "Connections turned away", refused.clone());
        let serving = Level::default();
        registry.register("serving", "Whether this node serves", serving.clone());
        let clock_offset_seconds = Measure::default();
        registry.register_with_unit(
            "clock_offset",
            "Distance of this clock from the median of its peers",
            Unit::Seconds,
            clock_offset_seconds.clone(),
        );
        let unconfirmed = Count::default();
        let help = "Answers that said applied here and not acknowledged in time";
        registry.register("unconfirmed", help, unconfirmed.clone());
        Self {
            commands: command::Families::register(&mut registry),
            regions: region::Families::register(&mut registry),
            jobs: queue::Families::register(&mut registry),
            runners: runners::Runners::register(&mut registry),
            caches: Caches::register(&mut registry),
            http: http::Families::register(&mut registry),
            queues: queues(&mut registry),
            blobs: BlobMeter::register(&mut registry),
            registry,
            conflicts,
            open,
            accepted,
            refused,
            commits,
            serving,
            clock_offset_seconds,
            unconfirmed,
        }
    }

    /// The handle of a command, by its name in lower case. Names are part of the program, so their
    /// number is bounded.
    #[must_use]
    pub fn command(&self, name: &'static str) -> Command {
        self.commands.command(name)
    }

    /// The handles of a region.
    #[must_use]
    pub fn region(&self, region: &RegionId) -> Region {
        self.regions.region(region)
    }

    /// The counter of a kind of conflict.
    #[must_use]
    pub fn conflicts(&self, kind: &'static str) -> Count {
        self.conflicts.get_or_create_owned(&Kind { kind })
    }

    /// The handles of a server's connections, such as `resp`.
    #[must_use]
    pub fn connections(&self, server: &'static str) -> Connections {
        let labels = Server { server };
        Connections {
            open: self.open.get_or_create_owned(&labels),
            accepted: self.accepted.get_or_create_owned(&labels),
            refused: self.refused.get_or_create_owned(&labels),
        }
    }

    /// The handle of a route of the HTTP server, by its method and pattern. Both are part of the
    /// program, so their number is bounded.
    #[must_use]
    pub fn http_route(&self, method: &'static str, route: &'static str) -> HttpRoute {
        self.http.route(method, route)
    }

    /// The counter of HTTP requests whose bearer was refused for a reason.
    #[must_use]
    pub fn http_refused(&self, reason: &'static str) -> Count {
        self.http.refused(reason)
    }

    /// Forgets a region that left the cluster, so that it is not shown any more.
    pub fn forget_region(&self, region: &RegionId) {
        self.regions.forget(region);
    }

    /// The counts of a queue.
    #[must_use]
    pub fn queue(&self, queue: &QueueName) -> QueueWork {
        self.jobs.work(queue)
    }

    /// How full a queue is for a home.
    #[must_use]
    pub fn queue_depth(&self, queue: &QueueName, home: &RegionId) -> QueueDepth {
        self.jobs.depth(queue, home)
    }

    /// Shows nothing more of a queue that is no more.
    pub fn forget_queue(&self, queue: &QueueName, homes: &[RegionId]) {
        self.jobs.forget(queue, homes);
    }

    /// The metrics of CI runners.
    #[must_use]
    pub fn runners(&self) -> runners::Runners {
        self.runners.clone()
    }

    /// The metrics of caches.
    #[must_use]
    pub fn caches(&self) -> Caches {
        self.caches.clone()
    }

    /// Everything as OpenMetrics text; see [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => unreachable!("writing into a string: {error}"),
        }
    }
}

fn queues(registry: &mut Registry) -> Queues {
    let queues = Queues::default();
    let help = "Submits and waits for the acknowledgement of other regions";
    registry.register("acks_waiting", help, queues.acks_waiting.clone());
    let help = "Received transactions that wait for what they depend on";
    registry.register("received_waiting", help, queues.received_waiting.clone());
    let (help, bytes) = ("Bytes of the received transactions that wait", Unit::Bytes);
    let waiting = queues.received_waiting_bytes.clone();
    registry.register_with_unit("received_waiting", help, bytes, waiting);
    registry.register("published_dropped", "Messages dropped", queues.published_dropped.clone());
    queues
}

fn commits(registry: &mut Registry) -> Commits {
    let seconds = Histogram::of_times();
    let help = "Time of a commit, from the hand-over to the answer";
    registry.register_with_unit("commit", help, Unit::Seconds, seconds.clone());
    let synced_seconds = Histogram::of_times();
    let help = "Time of a commit that waited for the disk";
    registry.register_with_unit("commit_synced", help, Unit::Seconds, synced_seconds.clone());
    let rows = Histogram::of_counts();
    registry.register("commit_rows", "Rows written by a commit", rows.clone());
    let failed = Count::default();
    registry.register("commits_failed", "Commits that failed", failed.clone());
    Commits { seconds, synced_seconds, rows, failed }
}

#[cfg(test)]
mod tests;
