//! What a node knows of each region.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::family::Family,
    registry::{Registry, Unit},
};
use rhumb_types::{Epoch, RegionId, control::AdminState};

use super::{Count, Level, Measure};
use crate::Histogram;

/// What a region's health can be shown as.
pub const HEALTH_STATES: [&str; 3] = ["healthy", "degraded", "down"];
const ADMIN_STATES: [&str; 3] = ["active", "draining", "disabled"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Other {
    region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Writer {
    origin_region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OtherState {
    region: String,
    state: &'static str,
}

/// The link to a region.
#[derive(Debug, Clone)]
pub struct Peer {
    /// 1 while the link is up.
    pub up: Level,
    /// How often it went down.
    pub lost: Count,
    /// Round trips of heartbeats.
    pub round_trip_seconds: Histogram,
    /// Bytes sent on it, compressed and before encryption.
    pub sent_bytes: Count,
    /// Bytes received from it.
    pub received_bytes: Count,
}

/// How far this node is behind a region's writes.
#[derive(Debug, Clone)]
pub struct Replication {
    /// How many of its transactions are known and not applied here.
    pub lag_transactions: Level,
    /// Its transactions applied here.
    pub applied: Count,
}

/// A region's lease, as far as this node knows.
#[derive(Debug, Clone)]
pub struct Lease {
    held: Level,
    epoch: Level,
}

impl Lease {
    /// Sets whether the lease holds now, and under which epoch.
    pub fn set(&self, held: bool, epoch: Epoch) {
        self.held.set(i64::from(held));
        self.epoch.set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
    }
}

/// The handles of one region.
#[derive(Debug, Clone)]
pub struct Region {
    /// The link to it.
    pub peer: Peer,
    /// What it writes.
    pub replication: Replication,
    /// Its lease.
    pub lease: Lease,
    /// Takeovers of its duties that this node has seen agreed.
    pub failovers: Count,
    /// This node's transactions that it has not acknowledged.
    pub unacknowledged: Level,
    /// For how long the oldest of those has been durable here, in seconds; 0 when there is none.
    pub unacknowledged_seconds: Measure,
    /// How full it is, as it says itself; 1 is full.
    pub utilisation: Measure,
    health: [Level; HEALTH_STATES.len()],
    admin: [Level; ADMIN_STATES.len()],
}

impl Region {
    /// Shows one of [`HEALTH_STATES`]; another word shows none.
    pub fn set_health(&self, state: &str) {
        for (gauge, name) in self.health.iter().zip(HEALTH_STATES) {
            gauge.set(i64::from(name == state));
        }
    }

    /// Shows what an operator wants of it.
    pub fn set_admin(&self, state: AdminState) {
        let wanted = match state {
            AdminState::Active => 0,
            AdminState::Draining => 1,
            AdminState::Disabled => 2,
        };
        for (place, gauge) in self.admin.iter().enumerate() {
            gauge.set(i64::from(place == wanted));
        }
    }
}

#[derive(Debug)]
pub(super) struct Families {
    up: Family<Other, Level>,
    lost: Family<Other, Count>,
    round_trip: Family<Other, Histogram, fn() -> Histogram>,
    sent: Family<Other, Count>,
    received: Family<Other, Count>,
    lag_transactions: Family<Writer, Level>,
    applied: Family<Writer, Count>,
    held: Family<Other, Level>,
    epoch: Family<Other, Level>,
    failovers: Family<Other, Count>,
    unacknowledged: Family<Other, Level>,
    unacknowledged_seconds: Family<Other, Measure>,
    utilisation: Family<Other, Measure>,
    health: Family<OtherState, Level>,
    admin: Family<OtherState, Level>,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let round_trip: fn() -> Histogram = Histogram::of_times;
        let families = Self {
            up: Family::default(),
            lost: Family::default(),
            round_trip: Family::new_with_constructor(round_trip),
            sent: Family::default(),
            received: Family::default(),
            lag_transactions: Family::default(),
            applied: Family::default(),
            held: Family::default(),
            epoch: Family::default(),
            failovers: Family::default(),
            unacknowledged: Family::default(),
            unacknowledged_seconds: Family::default(),
            utilisation: Family::default(),
            health: Family::default(),
            admin: Family::default(),
        };
        families.register_links(registry);
        families.register_states(registry);
        families
    }

    fn register_links(&self, registry: &mut Registry) {
        registry.register("peer_up", "Whether the link to a region is up", self.up.clone());
        registry.register("peer_lost", "How often the link went down", self.lost.clone());
        registry.register_with_unit(
            "peer_round_trip",
            "Round trips of heartbeats",
            Unit::Seconds,
            self.round_trip.clone(),
        );
        registry.register_with_unit(
            "peer_sent",
            "Sent to a region",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register_with_unit(
            "peer_received",
            "Received from a region",
            Unit::Bytes,
            self.received.clone(),
        );
        registry.register(
            "unacknowledged_transactions",
            "Transactions of this node that a region has not acknowledged",
            self.unacknowledged.clone(),
        );
        registry.register_with_unit(
            "unacknowledged",
            "For how long the oldest of them has been durable here",
            Unit::Seconds,
            self.unacknowledged_seconds.clone(),
        );
        registry.register(
            "replication_lag_transactions",
            "Transactions of a region that are known and not applied here",
            self.lag_transactions.clone(),
        );
        registry.register(
            "replication_applied_transactions",
            "Transactions of a region that were applied here",
            self.applied.clone(),
        );
    }

    fn register_states(&self, registry: &mut Registry) {
        registry.register("lease_held", "Whether a region's lease holds", self.held.clone());
        registry.register("lease_epoch", "The epoch of a region's lease", self.epoch.clone());
        registry.register("failovers", "Takeovers of a region's duties", self.failovers.clone());
        registry.register("region_health", "A region as seen from here", self.health.clone());
        registry.register_with_unit(
            "region_utilisation",
            "How full a region is, as it says itself",
            Unit::Ratios,
            self.utilisation.clone(),
        );
        registry.register("region_admin", "What is wanted of a region", self.admin.clone());
    }

    pub(super) fn region(&self, region: &RegionId) -> Region {
        let other = Other { region: region.as_str().to_owned() };
        let writer = Writer { origin_region: region.as_str().to_owned() };
        let state = |state| OtherState { region: region.as_str().to_owned(), state };
        Region {
            peer: Peer {
                up: self.up.get_or_create_owned(&other),
                lost: self.lost.get_or_create_owned(&other),
                round_trip_seconds: self.round_trip.get_or_create_owned(&other),
                sent_bytes: self.sent.get_or_create_owned(&other),
                received_bytes: self.received.get_or_create_owned(&other),
            },
            replication: Replication {
                lag_transactions: self.lag_transactions.get_or_create_owned(&writer),
                applied: self.applied.get_or_create_owned(&writer),
            },
            lease: Lease {
                held: self.held.get_or_create_owned(&other),
                epoch: self.epoch.get_or_create_owned(&other),
            },
            failovers: self.failovers.get_or_create_owned(&other),
            unacknowledged: self.unacknowledged.get_or_create_owned(&other),
            unacknowledged_seconds: self.unacknowledged_seconds.get_or_create_owned(&other),
            utilisation: self.utilisation.get_or_create_owned(&other),
            health: HEALTH_STATES.map(|name| self.health.get_or_create_owned(&state(name))),
            admin: ADMIN_STATES.map(|name| self.admin.get_or_create_owned(&state(name))),
        }
    }

    pub(super) fn forget(&self, region: &RegionId) {
        let other = Other { region: region.as_str().to_owned() };
        let writer = Writer { origin_region: region.as_str().to_owned() };
        self.up.remove(&other);
        self.lost.remove(&other);
        self.round_trip.remove(&other);
        self.sent.remove(&other);
        self.received.remove(&other);
        self.lag_transactions.remove(&writer);
        self.applied.remove(&writer);
        self.held.remove(&other);
        self.epoch.remove(&other);
        self.failovers.remove(&other);
        self.unacknowledged.remove(&other);
        self.unacknowledged_seconds.remove(&other);
        self.utilisation.remove(&other);
        for state in HEALTH_STATES {
            self.health.remove(&OtherState { region: other.region.clone(), state });
        }
        for state in ADMIN_STATES {
            self.admin.remove(&OtherState { region: other.region.clone(), state });
        }
    }
}
