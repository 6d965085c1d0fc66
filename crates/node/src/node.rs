//! The node: its parts, and which of them an event concerns.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rhumb_ports::{
    peer::OriginInfo,
    store::{MetaName, Write},
};
use rhumb_state::{
    ConflictKind, ConflictSink, HlcClock, Namespaces, Stability, Table, TableLimits,
};
use rhumb_types::{
    ClusterId, DomainId, Hlc, MonoTime, NodeId, OriginId, RegionId, Timestamp,
    planted::{self, Planted},
    record::{Record, VersionVector},
};

use crate::{
    acks::{Acks, Wait},
    answer::Fence,
    bootstrap::Bootstrap,
    clock::{ClockChange, PeerClocks},
    event::{Alarm, ConnectionId, Effect, Effects, Event, Member, Ticket, WaitAcks},
    identity::{Boot, Identity, Origins, Proof, prove},
    lag::DurableTimes,
    limits,
    outgoing::Outgoing,
    oversee::Leases,
    peers::Peers,
    publish::Waiting,
    receive::Received,
    retention::{LogAges, Retention},
    status::Phase,
    sweep::Sweeps,
    watch::Watches,
    write::Writing,
};

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// Whether it only votes and holds no data.
    pub witness: bool,
    /// The residency domains that this region carries, beside that of every region.
    pub domains: BTreeSet<DomainId>,
    /// Policies by key prefix.
    pub namespaces: Namespaces,
    /// How long logs are kept.
    pub retention: Retention,
    /// Time between two heartbeats to each peer.
    pub heartbeat_interval: Duration,
    /// The members, this node's own region included.
    pub members: Vec<Member>,
}

/// A node. See the crate's documentation.
#[derive(Debug)]
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) phase: Phase,
    pub(crate) identity: Identity,
    identity_dirty: bool,
    started: Timestamp,
    pub(crate) origins: Origins,
    origins_dirty: bool,
    pub(crate) hlc: HlcClock,
    pub(crate) peer_clocks: PeerClocks,
    pub(crate) table: Table,
    pub(crate) conflicts: ConflictSink,
    pub(crate) writing: Writing,
    /// Applied here, including what is not yet committed.
    pub(crate) applied: VersionVector,
    /// Applied and fsynced here.
    pub(crate) durable: VersionVector,
    pub(crate) outgoing: Outgoing,
    pub(crate) peers: Peers,
    pub(crate) received: Received,
    pub(crate) acks: Acks,
    /// Under which this node may act as owner.
    pub(crate) leases: Arc<Leases>,
    pub(crate) watches: Watches,
    pub(crate) published: Waiting,
    pub(crate) ages: LogAges,
    pub(crate) sweeps: Sweeps,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) durable_times: DurableTimes,
    pub(crate) load: f64,
    pub(crate) impaired: Vec<String>,
    /// Whether everything works that the operator called vital.
    pub(crate) well: bool,
    stability_at: MonoTime,
    retained_at: MonoTime,
    tickets: u64,
    entropy: u64,
}

impl Node {
    /// A node on what its disk holds. The first event should be a tick.
    #[must_use]
    pub fn new(config: NodeConfig, boot: Boot, now: Timestamp) -> Self {
        let Boot { recovered, identity, origins, entropy, commit, cleared, conflicts } = boot;
        let fresh = identity.is_none();
        let hlc = HlcClock::resume(recovered.hlc_ceiling);
        let identity = identity.unwrap_or_else(|| Identity {
            cluster: config.cluster,
            node: config.node,
            region: config.region.clone(),
            incarnation: incarnation(entropy),
            minted: Hlc::from_millis(now.wall).max(recovered.hlc_ceiling),
        });
        let mut table = Table::new(TableLimits {
            rows_max: limits::TABLE_ROWS_MAX,
            bytes_max: limits::TABLE_BYTES_MAX,
            hash_seed: entropy.rotate_left(32),
        });
        table.restore(commit, recovered.applied.clone(), cleared);
        let mut node = Self {
            phase: if fresh || config.witness { Phase::Running } else { Phase::Proving },
            identity_dirty: fresh,
            identity,
            started: now,
            origins,
            origins_dirty: false,
            hlc,
            peer_clocks: PeerClocks::default(),
            table,
            conflicts: ConflictSink::resume(conflicts),
            writing: Writing::default(),
            applied: recovered.applied.clone(),
            durable: recovered.applied,
            outgoing: Outgoing::default(),
            peers: Peers::default(),
            received: Received::default(),
            acks: Acks::default(),
            leases: Arc::default(),
            watches: Watches::default(),
            published: Waiting::default(),
            ages: LogAges::default(),
            sweeps: Sweeps::default(),
            bootstrap: Bootstrap::default(),
            durable_times: DurableTimes::default(),
            load: 0.0,
            impaired: Vec::new(),
            well: true,
            stability_at: now.mono,
            retained_at: now.mono,
            tickets: 0,
            entropy,
            config,
        };
        let members = node.config.members.clone();
        node.peers.set_members(&node.config.region, members);
        node.learn_own_origins();
        node
    }

    /// Whether this region holds the data of an origin's domain (rule 3).
    pub(crate) fn carries(&self, origin: OriginId) -> bool {
        carries(&self.config, origin)
    }

    /// The origin under which this node writes in a domain.
    pub(crate) const fn own_origin(&self, domain: DomainId) -> OriginId {
        self.identity.origin(domain)
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Handles one event.
    pub fn on_event(&mut self, now: Timestamp, event: Event, out: &mut Effects) {
        match event {
            Event::Tick => self.tick(now, out),
            Event::Flush => {
                self.apply_received(now, out);
                self.flush(now, out);
            }
            Event::Submit(submit) => self.submit(now, submit, out),
            Event::Own(submit) => self.own(now, submit, out),
            Event::DropOwned(ids) => self.drop_owned(ids),
            Event::Leases(leases) => self.leases = leases,
            Event::WaitAcks(wait) => self.wait_acks(now, wait, out),
            Event::Fetched { ticket, reads } => self.fetched(now, ticket, reads, out),
            Event::Committed { batch, result } => self.committed(now, batch, result, out),
            Event::Synced { result } => self.synced(now, result, out),
            Event::PeerUp { region } => self.peer_up(&region, now, out),
            Event::PeerDown { region } => self.peer_down(&region, out),
            Event::Peer { from, message } => self.peer_message(now, &from, message, out),
            Event::LogRead { to, origin, after, rows } => match rows {
                Ok(rows) => {
                    self.outgoing.log_read(&to, origin, after, rows, &self.durable, out);
                }
                Err(error) => out.push(Effect::Alarm(Alarm::Disk(error))),
            },
            Event::SnapshotRead { to, chunk } => self.snapshot_read(&to, chunk, out),
            Event::RangeRead { transfer, part } => self.range_read(transfer, part, out),
            Event::DueRead { due } => self.due_read(due, out),
            Event::MembersRead { space, key, rows } => self.members_read(space, key, rows, out),
            Event::KeysRead { space, prefix, rows } => self.keys_read(space, prefix, rows, out),
            Event::Publish { channel, payload } => self.publish(channel, payload, out),
            Event::Watch { connection, keys } => self.watches.watch(connection, keys),
            Event::Unwatch { connection } => self.watches.unwatch(connection),
            Event::Members { members } => self.set_members(members, out),
            Event::Remember { name, value } => {
                self.writing.extra(Write::Meta { name, value: Some(value) });
            }
            Event::Observed { load, impaired, well } => {
                self.load = load;
                self.impaired = impaired;
                self.well = well;
            }
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Effects) {
        if self.phase == Phase::Proving {
            self.weigh_proof(now, out);
        }
        self.acks.expire(now.mono, Fence::new(&self.leases, now.mono), out);
        self.sync_if_due(now.mono, out);
        self.published.settle(now.mono, &self.durable, out);
        self.weigh_clock(now, out);
        self.heartbeat(now, out);
        self.sweep_tick(now, out);
        self.bootstrap_step(out);
        if now.mono.saturating_since(self.retained_at) >= limits::RETENTION_INTERVAL {
            self.retained_at = now.mono;
            self.retain(now);
        }
        if now.mono.saturating_since(self.stability_at) >= limits::STABILITY_INTERVAL {
            self.stability_at = now.mono;
            self.note_stability();
        }
        out.push(Effect::Status(Box::new(self.status(now))));
    }

    fn weigh_clock(&mut self, now: Timestamp, out: &mut Effects) {
        let peers = self.peers.data().count();
        match self.peer_clocks.weigh(now.mono, peers) {
            Some(ClockChange::Far(offset_millis)) => {
                out.push(Effect::Alarm(Alarm::Clock { offset_millis }));
            }
            Some(ClockChange::Near) => out.push(Effect::Alarm(Alarm::ClockRecovered)),
            None => {}
        }
    }

    fn retain(&mut self, now: Timestamp) {
        self.ages.sample(now.mono, self.config.retention, &self.durable);
        let acks = &self.acks;
        let members = self.peers.data().map(|(region, _)| acks.durable(region));
        let trims = self.ages.trim(now.mono, self.config.retention, &self.durable, members);
        for (origin, through) in trims {
            self.writing.extra(Write::LogTrim { origin, through });
        }
    }

    pub(crate) fn wait_acks(&mut self, now: Timestamp, wait: WaitAcks, out: &mut Effects) {
        let WaitAcks { request, written, regions, deadline } = wait;
        let written = written.unwrap_or_else(|| self.own_versions());
        let fence = Fence::new(&self.leases, now.mono);
        self.acks.wait(Wait { request, written, regions, deadline }, fence, out);
    }

    /// Everything that this node has written under its present incarnation.
    fn own_versions(&self) -> VersionVector {
        let own = self.identity.incarnation;
        self.applied.iter().filter(|(origin, _)| origin.incarnation() == own).collect()
    }

    /// The next reading of the hybrid clock; a raised ceiling goes into the next commit.
    pub(crate) fn tick_hlc(&mut self, now: Timestamp) -> Hlc {
        let tick = self.hlc.tick(now.wall);
        if let Some(ceiling) = tick.ceiling {
            let value = Some(bytes::Bytes::copy_from_slice(&ceiling.0.to_be_bytes()));
            self.writing.extra(Write::Meta { name: MetaName::HlcCeiling, value });
        }
        tick.hlc
    }

    // --- The proof that the log is whole (rule 1) ---

    pub(crate) fn weigh_proof(&mut self, now: Timestamp, out: &mut Effects) {
        let answers: Vec<Option<VersionVector>> =
            self.peers.data().map(|(_, peer)| peer.answer()).collect();
        let late = now.mono.saturating_since(self.started.mono) >= limits::PROVE_WAIT_MAX;
        let reason = match prove(
            self.identity.incarnation,
            &self.durable,
            answers.iter().map(Option::as_ref),
        ) {
            Proof::Whole => None,
            _ if planted::is(Planted::ReuseVersions) => None,
            Proof::Rewound => Some("a peer holds more of this node's log than this node"),
            Proof::Open if late => Some("not every peer confirmed this node's log in time"),
            Proof::Open => return,
        };
        self.phase = Phase::Running;
        if let Some(reason) = reason {
            self.mint(now, reason, out);
        }
    }

    fn mint(&mut self, now: Timestamp, reason: &'static str, out: &mut Effects) {
        let old = self.own_origin(DomainId::EVERYWHERE);
        // Another random number than the last incarnation's, which came from the same source.
        self.identity.incarnation = incarnation(self.entropy);
        self.identity.minted = self.tick_hlc(now);
        self.identity_dirty = true;
        // The versions of the new log start anew.
        self.durable_times = DurableTimes::default();
        self.writing.require_sync();
        self.learn_own_origins();
        let new = self.own_origin(DomainId::EVERYWHERE);
        out.push(Effect::Alarm(Alarm::OriginMinted { old: Some(old), new, reason }));
        self.announce(now, out);
        self.assign(out);
    }

    fn learn_own_origins(&mut self) {
        if self.config.witness {
            return;
        }
        let domains: Vec<DomainId> = self.config.domains.iter().copied().collect();
        for domain in domains.into_iter().chain([DomainId::EVERYWHERE]) {
            let info = self.identity.info(domain);
            self.origins_dirty |= self.origins.learn(&info);
        }
    }

    /// Adds changed records about this node itself to a commit.
    pub(crate) fn persist_registry(&mut self, writes: &mut Vec<Write>) {
        if std::mem::take(&mut self.identity_dirty) {
            let value = Some(self.identity.encode());
            writes.push(Write::Meta { name: MetaName::Identity, value });
        }
        if std::mem::take(&mut self.origins_dirty) {
            let value = Some(self.origins.encode());
            writes.push(Write::Meta { name: MetaName::Origins, value });
        }
    }

    pub(crate) fn note_touched(&mut self) {
        if self.watches.is_empty() {
            return;
        }
        let touched = self.table.touched();
        for (_, key) in &touched.keys {
            self.watches.changed(key);
        }
        for (_, prefix) in &touched.prefixes {
            self.watches.changed_prefix(prefix);
        }
    }

    /// Whether a key that a connection watches has changed, in the open batch included.
    pub(crate) fn has_watched_change(&mut self, connection: ConnectionId) -> bool {
        self.note_touched();
        self.watches.has_changed(connection)
    }

    /// Adds new entries of the conflict journal to a commit.
    pub(crate) fn journal_writes(&mut self, writes: &mut Vec<Write>) {
        let journal = self.conflicts.take();
        writes.extend(
            journal
                .entries
                .into_iter()
                .map(|(sequence, entry)| Write::Conflict { sequence, entry: entry.encode() }),
        );
        writes.extend(journal.trim.map(|through| Write::ConflictTrim { through }));
    }

    /// How many conflicts were settled since the start.
    pub(crate) fn conflicts_total(&self) -> u64 {
        ConflictKind::ALL.iter().map(|kind| self.conflicts.count(*kind)).sum()
    }

    /// Whether the disk has failed, so that this process only serves reads.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.phase == Phase::Failed
    }

    /// Whether nothing of this node's waits for a commit; what a sweep changed is in no log.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.writing.is_settled() && !self.table.has_writes()
    }

    pub(crate) fn learn_origin(&mut self, info: &OriginInfo) {
        self.origins_dirty |= self.origins.learn(info);
    }

    /// Tells the table what every origin's node has applied, so that it can forget dead deltas.
    fn note_stability(&mut self) {
        let acked = self.origins.iter().filter_map(|info| {
            let acked = self.acks.durable(&info.region)?;
            Some((info.origin, acked.clone()))
        });
        let own = self.identity.incarnation;
        let own = self.applied.iter().filter(|(origin, _)| origin.incarnation() == own);
        let own = own.map(|(origin, _)| (origin, self.applied.clone()));
        let stability = Stability {
            acked: acked.chain(own).collect(),
            ended: std::collections::BTreeMap::new(),
            applied: self.applied.clone(),
        };
        self.table.set_stability(stability);
    }
}

/// A random incarnation that is never zero, which is the cache's.
const fn incarnation(entropy: u64) -> u64 {
    (entropy | (1 << 16)) & !0xffff
}

pub(crate) fn carries(config: &NodeConfig, origin: OriginId) -> bool {
    let all = planted::is(Planted::CarryAll) && !config.witness;
    all || carries_domain(config, origin.domain())
}

/// Whether a region holds the data of a domain (rule 3).
pub(crate) fn carries_domain(config: &NodeConfig, domain: DomainId) -> bool {
    !config.witness && (domain == DomainId::EVERYWHERE || config.domains.contains(&domain))
}

#[cfg(test)]
mod tests;
