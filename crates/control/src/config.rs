//! What a group is told at its start.

use std::time::Duration;

use rhumb_ports::peer::Service;
use rhumb_types::{NodeId, RegionId};

/// Most voters of a group (DESIGN, mechanism 6); further members are learners.
pub const VOTERS_MAX: usize = 5;
/// Entries that stay in the log behind a snapshot, so that a member that is a little behind does
/// not need the snapshot.
pub(crate) const ENTRIES_KEPT: u64 = 100;
/// Most entries in one message to a follower.
pub(crate) const REPLICATION_ENTRIES_MAX: u64 = 256;
/// Bytes in one part of a snapshot on its way to another node, in bytes.
pub(crate) const SNAPSHOT_CHUNK_BYTES: u64 = 256 << 10;

/// A group on one node.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The group's name, the same on every node.
    pub name: String,
    /// The service that carries its Raft messages. Forwarded calls use [`Service::Control`].
    pub service: Service,
    /// This node.
    pub node: NodeId,
    /// Where it is.
    pub region: RegionId,
    /// Whether this id has been in the group before. Its disk must hold the log then: the id has
    /// voted with what is gone from an empty one (rule 15).
    pub seated: bool,
    /// The regions whose nodes form the group, one to [`VOTERS_MAX`], the same list in the same
    /// order on every node, the best leader first: it forms the group, and the earlier a region
    /// stands, the earlier it offers itself when a leader is lost. Members beyond these are added
    /// with `set_member`.
    pub founders: Vec<RegionId>,
    /// How much it takes.
    pub limits: Limits,
    /// How long it waits.
    pub timing: Timing,
    /// Random bits, new at every start: they spread election time-outs and name what is created.
    pub seed: u64,
}

/// How much a group takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Largest command, in bytes.
    pub command_bytes_max: usize,
    /// Most commands that one node proposes, or has forwarded to it, at the same time.
    pub proposals_in_flight_max: usize,
    /// Most linearizable reads that one node answers at the same time.
    pub reads_in_flight_max: usize,
    /// How many commands the leader admits; no bound when `None`.
    pub rate: Option<Rate>,
    /// A snapshot replaces the log after so many entries.
    pub snapshot_entries: u64,
    /// A snapshot replaces the log when its entries exceed this, in bytes. The log is held in
    /// memory, so this bounds memory too.
    pub log_bytes_max: usize,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Commands per second in the long run.
    pub per_second: f64,
    /// Commands at once after a pause.
    pub burst: f64,
}

impl Limits {
    /// For the administrative group: few, important commands.
    #[must_use]
    pub const fn administrative() -> Self {
        Self {
            command_bytes_max: 256 << 10,
            proposals_in_flight_max: 64,
            reads_in_flight_max: 256,
            rate: None,
            snapshot_entries: 2_000,
            log_bytes_max: 16 << 20,
        }
    }

    /// For strong namespaces: bounded in size and rate, so that a storm of locks delays only
    /// itself.
    #[must_use]
    pub const fn strong() -> Self {
        Self {
            command_bytes_max: 64 << 10,
            proposals_in_flight_max: 512,
            reads_in_flight_max: 512,
            rate: Some(Rate { per_second: 2_000.0, burst: 1_000.0 }),
            snapshot_entries: 5_000,
            log_bytes_max: 16 << 20,
        }
    }
}

/// How long a group waits, derived from the largest round-trip time between its voters.
///
/// openraft 0.9 checks its timers once per *tick*, one and a half heartbeats. A follower first
/// waits out the leader's lease and then its own election time-out before it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time between heartbeats, and how long one message to a follower may take, its fsync
    /// included. openraft uses one number for both, and for the confirmation that a linearizable
    /// read waits for, so it must exceed the round trip.
    pub heartbeat: Duration,
    /// Shortest election time-out; each start draws one up to [`Timing::election_max`].
    pub election_min: Duration,
    /// Longest election time-out, and the leader's lease.
    pub election_max: Duration,
    /// How long a proposal, a read or a change of members is tried.
    pub patience: Duration,
    /// Pause between attempts while there is no leader.
    pub pause: Duration,
}

/// What a follower's disk may take to fsync within a heartbeat.
const FSYNC_ALLOWANCE: Duration = Duration::from_millis(100);
/// The election time-outs of two founders begin so many times as far apart as each is spread.
const PARTS_APART: u32 = 4;
/// Shortest time for which a call is tried.
const PATIENCE_MIN: Duration = Duration::from_secs(3);

impl Timing {
    /// Timing for voters of which the two farthest have this round-trip time.
    #[must_use]
    pub fn for_round_trip(round_trip_max: Duration) -> Self {
        let heartbeat = round_trip_max * 3 / 2 + FSYNC_ALLOWANCE;
        let tick = heartbeat * 3 / 2;
        let mut timing = Self {
            heartbeat,
            election_min: tick * 2,
            election_max: tick * 3,
            patience: Duration::ZERO,
            pause: (heartbeat / 4).max(Duration::from_millis(10)),
        };
        timing.patience = (timing.failover_max() * 2).max(PATIENCE_MIN);
        timing
    }

    /// How often time-outs are looked at.
    #[must_use]
    pub fn tick(&self) -> Duration {
        self.heartbeat * 3 / 2
    }

    /// From when to when the election time-out of a founder is drawn, which is its leader's lease
    /// too: the parts of founders lie apart by three times their length, and the first has the
    /// shortest, so that the vote of one arrives before another stands as well. Who is none of them
    /// has a time-out like the last.
    #[must_use]
    pub fn stands(&self, region: &RegionId, founders: &[RegionId]) -> (Duration, Duration) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let last = count(founders.len().saturating_sub(1));
        let place = founders.iter().position(|founder| founder == region).map_or(last, count);
        let parts = last.saturating_mul(PARTS_APART).saturating_add(1);
        let part = self.election_max.saturating_sub(self.election_min) / parts;
        let least = self.election_min + part * (place * PARTS_APART);
        (least, least + part)
    }

    /// How long after a leader's death there is a new one, when the first election succeeds; a
    /// region lease must be longer (rule 7).
    #[must_use]
    pub fn failover_max(&self) -> Duration {
        let tick = self.tick();
        // The lease, the time-out, the ticks that each ends on, two rounds of messages.
        self.election_max * 2 + tick * 2 + self.heartbeat * 2
    }
}

/// Why a configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody, or too many, to form the group.
    #[error("a group is formed by 1 to {VOTERS_MAX} regions, and {0} are listed")]
    Founders(usize),
    /// A region is listed twice.
    #[error("region {0} is listed twice among the founders")]
    Twice(RegionId),
    /// Time-outs that contradict each other.
    #[error(
        "the election time-outs ({min:?} to {max:?}) must rise and exceed two ticks of one and a \
         half heartbeats ({heartbeat:?})"
    )]
    Timing {
        /// The shortest time-out.
        min: Duration,
        /// The longest.
        max: Duration,
        /// The heartbeat.
        heartbeat: Duration,
    },
}

impl GroupConfig {
    /// Checks what contradicts itself.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=VOTERS_MAX).contains(&self.founders.len()) {
            return Err(ConfigError::Founders(self.founders.len()));
        }
        let mut sorted = self.founders.clone();
        sorted.sort();
        if let Some(pair) = sorted.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(ConfigError::Twice(pair.first().cloned().unwrap_or(self.region.clone())));
        }
        let Timing { heartbeat, election_min: min, election_max: max, .. } = self.timing;
        if min < heartbeat * 3 || max < min || heartbeat.is_zero() {
            return Err(ConfigError::Timing { min, max, heartbeat });
        }
        Ok(())
    }

    /// This node's election time-out, drawn by its seed; as long is the lease that it gives a leader.
    pub(crate) fn election(&self) -> Duration {
        let (least, most) = self.timing.stands(&self.region, &self.founders);
        let spread = u64::try_from((most - least).as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.seed % spread.saturating_add(1))
    }

    /// openraft's configuration.
    pub(crate) fn raft(&self) -> openraft::Config {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let election = millis(self.election());
        openraft::Config {
            cluster_name: self.name.clone(),
            // As a range of one, so that a run can be repeated.
            election_timeout_min: election,
            election_timeout_max: election + 1,
            heartbeat_interval: millis(self.timing.heartbeat),
            install_snapshot_timeout: millis(self.timing.patience),
            max_payload_entries: REPLICATION_ENTRIES_MAX,
            replication_lag_threshold: self.limits.snapshot_entries * 2,
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.limits.snapshot_entries),
            snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
            max_in_snapshot_log_to_keep: ENTRIES_KEPT.min(self.limits.snapshot_entries / 2),
            purge_batch_size: 1,
            enable_tick: true,
            enable_heartbeat: true,
            enable_elect: true,
            ..openraft::Config::default()
        }
    }
}
