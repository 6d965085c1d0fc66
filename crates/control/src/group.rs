//! A consensus group, seen from one of its nodes.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use openraft::ServerState;
use rhumb_ports::{
    BoxFuture,
    control::{Control, ControlError, GroupMember, GroupStatus, Replicated},
    peer::PeerCall,
};
use rhumb_types::{NodeId, RegionId};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{ConfigError, GroupConfig},
    disk::Disk,
    group::{admission::Admission, formation::Formation, overdue::Heard},
    log::{Identity, LogStore, OpenLogError},
    machine::Machine,
    network::Network,
    raft::Raft,
    wire::Ask,
};

mod admission;
mod answer;
mod formation;
mod lead;
mod members;
mod overdue;
mod route;

pub use answer::Groups;

/// A group on one node. Clones are the same group.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    config: GroupConfig,
    raft: Raft,
    log: LogStore,
    machine: Machine,
    network: Network,
    admission: Admission,
    formation: Formation,
    heard: Heard,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.0.config.name)
            .field("node", &self.0.config.node)
            .finish_non_exhaustive()
    }
}

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("start the group: {0}")]
    Config(#[from] ConfigError),
    /// The log or the snapshot cannot be used.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// openraft did not start.
    #[error("start the group: {0}")]
    Raft(String),
}

impl Group {
    /// Starts a node's part in a group: opens its log, restores the machine, and joins in. A
    /// node with an empty log waits until the group is formed, or forms it (see `GroupStatus`).
    ///
    /// # Errors
    /// When the configuration or what is on the disk cannot be used.
    pub async fn start(
        config: GroupConfig,
        machine: Box<dyn Replicated>,
        disk: Arc<dyn Disk>,
        call: Arc<dyn PeerCall>,
    ) -> Result<Self, StartError> {
        config.check()?;
        let identity = Identity {
            group: config.name.clone(),
            node: config.node,
            salt: config.seed,
            seated: config.seated,
        };
        let log = LogStore::open(Arc::clone(&disk), &identity).await?;
        let machine = Machine::open(disk, machine, config.seed).await?;
        log.check_snapshot(machine.applied())?;
        log.cover_with(machine.reach());
        let network = Network {
            call,
            log: log.clone(),
            group: config.name.clone(),
            service: config.service,
            pause: config.timing.pause,
        };
        let raft = Raft::new(
            config.node,
            Arc::new(config.raft()),
            network.clone(),
            log.clone(),
            machine.clone(),
        )
        .await
        .map_err(|fault| StartError::Raft(fault.to_string()))?;
        let group = Self(Arc::new(Inner {
            admission: Admission::new(&config.limits),
            formation: Formation::default(),
            heard: Heard::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            config,
            raft,
            log,
            machine,
            network,
        }));
        group.spawn_formation();
        group.spawn_compaction();
        group.spawn_overdue();
        Ok(group)
    }

    /// Stops this node's part and waits for what is being written. The log stays as it is.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        // The only error is that the loop panicked, and then it has stopped too.
        let _ = self.0.raft.shutdown().await;
        self.0.tasks.wait().await;
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.config.node
    }

    /// Which forming or forced recovery of the group this node follows; none before it has met the
    /// group.
    #[must_use]
    pub fn lineage(&self) -> Option<u64> {
        self.0.log.lineage()
    }

    /// Whether this node leads and has lately heard from a majority.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0.leads()
    }

    /// Replaces the log by a snapshot when its entries take too much memory; openraft itself
    /// only counts entries.
    fn spawn_compaction(&self) {
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            let mut metrics = inner.raft.metrics();
            loop {
                tokio::select! {
                    biased;
                    () = inner.stop.cancelled() => return,
                    changed = metrics.changed() => if changed.is_err() { return },
                }
                let behind = {
                    let now = metrics.borrow_and_update();
                    now.last_applied > now.snapshot
                };
                if behind && inner.log.bytes() > inner.config.limits.log_bytes_max {
                    // openraft ignores it while a snapshot is being built.
                    let _ = inner.raft.trigger().snapshot().await;
                }
            }
        });
    }
}

impl Inner {
    /// The fault that stopped the group on this node.
    fn fault(&self) -> Option<String> {
        if let Some(what) = self.log.broken() {
            return Some(what.to_owned());
        }
        let metrics = self.raft.metrics();
        let state = metrics.borrow().running_state.clone();
        state.err().map(|fault| fault.to_string())
    }

    /// Whether this node leads, and a majority said so no longer ago than a leader's lease. An
    /// openraft 0.9 leader that is cut off goes on believing in itself.
    fn leads(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let lease = self.config.timing.election_max + self.config.timing.tick();
        metrics.running_state.is_ok()
            && metrics.state == ServerState::Leader
            && metrics
                .millis_since_quorum_ack
                .is_none_or(|age| u128::from(age) <= lease.as_millis())
    }

    /// The leader that this node believes in.
    fn leader(&self) -> Option<NodeId> {
        let leader = self.raft.metrics().borrow().current_leader?;
        (leader != self.config.node || self.leads()).then_some(leader)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timing.patience
    }

    fn status(&self) -> GroupStatus {
        // Asked before the metrics are held: who holds them and asks again waits for openraft, which
        // waits to publish new ones.
        let (leader, fault) = (self.leader(), self.fault());
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        // What formation said last is old once there are members.
        let formed = membership.nodes().next().is_some();
        let waits = (!formed).then(|| self.formation.waits_for());
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let members = membership.nodes().filter_map(|(node, seat)| {
            let voter = voters.contains(node);
            Some(GroupMember { node: *node, region: seat.region.clone()?, voter })
        });
        GroupStatus {
            leader,
            term: metrics.current_term,
            applied: metrics.last_applied.map_or(0, |applied| applied.index),
            members: members.collect(),
            trouble: fault.or_else(|| waits.flatten()),
        }
    }
}

impl Control for Group {
    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>> {
        Box::pin(self.0.route(Ask::Propose(command)))
    }

    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>> {
        Box::pin(self.0.route(Ask::Read(query)))
    }

    fn read_local(&self, query: &[u8]) -> Bytes {
        self.0.machine.read(query)
    }

    fn status(&self) -> GroupStatus {
        self.0.status()
    }

    fn set_member(
        &self,
        node: NodeId,
        region: RegionId,
        voter: Option<bool>,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(async move {
            let ask = Ask::SetMember { node, region, voter };
            self.0.route(ask).await.map(|_| ())
        })
    }
}
