//! Routing and ownership, for servers: answered from what is here, without asking anybody.

use std::sync::Arc;

use bytes::Bytes;
use rhumb_node::oversee::{Leases, OverseerConfig, OverseerEvent};
use rhumb_ports::store::MetaName;
use rhumb_regions::{
    Key, PlanRecord, Request, ResidencyTag, RouteError, RoutingSnapshot, failover::Duty,
    health::Check, lease::Tenure,
};
use rhumb_types::{
    Epoch, ErrorCode, Ratio, RegionId,
    control::{ControlView, Digest},
    record::Record,
};
use tokio::sync::watch;

use super::{OversightConfig, Surroundings, start};
use crate::Engine;

/// Why there is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// The overseer does not run.
    #[error("this node does not route yet: its overseer is not started")]
    Off,
    /// No region may serve it.
    #[error(transparent)]
    Route(#[from] RouteError),
}

impl RoutingError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::Unavailable
    }
}

impl Engine {
    /// Starts the overseer, once the groups are attached: from here on this node watches its
    /// peers, votes, owns under leases, and routes; at first on what it remembers.
    ///
    /// # Panics
    /// Without the groups, a second time, or when the configured regions contradict each other.
    pub fn oversee(&self, config: OversightConfig) {
        let admin = self.admin_handle();
        assert!(admin.is_some(), "the consensus groups are attached before the overseer starts");
        let Some(admin) = admin else { return };
        let shared = self.shared();
        let around = Surroundings {
            admin,
            clock: shared.clock.clone(),
            status: shared.status.clone(),
            inputs: shared.inputs.clone(),
            leases: shared.leases.clone(),
            alarms: shared.alarms.clone(),
            meter: shared.meter.clone(),
            tasks: shared.tasks.clone(),
            engine: self.clone(),
        };
        let OverseerConfig { node, region, facts, .. } = &config.overseer;
        let own = facts.regions.iter().find(|facts| facts.region.id == *region);
        let (node, capacity) = (*node, own.map(|facts| facts.region.capacity).unwrap_or_default());
        let oversight = start(config, self.remembered_view(), around);
        assert!(oversight.is_some(), "the configured regions make a routing snapshot");
        if let Some(oversight) = oversight {
            let fresh = shared.oversight.set(oversight).is_ok();
            assert!(fresh, "the overseer is started once");
        }
        self.keep_seats(node);
        self.watch_load(capacity);
    }

    /// What the last run remembered of the agreed state.
    fn remembered_view(&self) -> Option<ControlView> {
        let bytes: Bytes = match self.shared().store.meta(&MetaName::Snapshot) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::warn!(%error, "the remembered view cannot be read");
                return None;
            }
        };
        let view = ControlView::decode(&bytes);
        view.inspect_err(|error| tracing::warn!(%error, "the remembered view is passed over")).ok()
    }

    /// Everything that routing knows, frozen; `None` while the overseer does not run.
    #[must_use]
    pub fn routing(&self) -> Option<Arc<RoutingSnapshot>> {
        self.shared().oversight.get().map(|oversight| oversight.routing.borrow().clone())
    }

    /// Every new snapshot, at once.
    #[must_use]
    pub fn routings(&self) -> Option<watch::Receiver<Arc<RoutingSnapshot>>> {
        self.shared().oversight.get().map(|oversight| oversight.routing.clone())
    }

    /// What is agreed, as this node knows it: from the group, and until that answers from what the
    /// last run remembered. `None` while the overseer does not run.
    #[must_use]
    pub fn agreed(&self) -> Option<watch::Receiver<Arc<ControlView>>> {
        self.shared().oversight.get().map(|oversight| oversight.views.clone())
    }

    /// What routing uses, whenever it changes. `None` while the overseer does not run.
    #[must_use]
    pub fn routes(&self) -> Option<watch::Receiver<Arc<RoutingSnapshot>>> {
        self.shared().oversight.get().map(|oversight| oversight.routing.clone())
    }

    /// Tells the overseer that this node shows another certificate from now on.
    pub async fn renewed(&self, fingerprint: Digest) {
        let Some(oversight) = self.shared().oversight.get() else { return };
        // A node that has stopped hears nothing more.
        let _stopped = oversight.events.send(OverseerEvent::Renewed(fingerprint)).await;
    }

    /// Where a request goes, and why, in words that can be kept.
    ///
    /// # Errors
    /// [`RoutingError`].
    pub fn plan(&self, request: &Request<'_>) -> Result<PlanRecord, RoutingError> {
        let snapshot = self.routing().ok_or(RoutingError::Off)?;
        Ok(snapshot.select(request)?.to_record())
    }

    /// The home region of a key: the same on every node with the same agreed state.
    ///
    /// # Errors
    /// [`RoutingError`].
    pub fn home(
        &self,
        key: &Key<'_>,
        residency: &[ResidencyTag],
    ) -> Result<RegionId, RoutingError> {
        let snapshot = self.routing().ok_or(RoutingError::Off)?;
        let home = snapshot.home(key, residency)?;
        Ok(snapshot.id(home).clone())
    }

    /// The epoch under which this node may act as owner for a region now; checked before a commit
    /// and again before its answer (rule 4).
    #[must_use]
    pub fn may_act(&self, region: &RegionId) -> Option<Epoch> {
        self.tenure(region)?.at(self.clock().now().mono)
    }

    /// The same, for a key whose home is that region by a version of the homes (rule 10).
    pub(crate) fn may_decide(&self, region: &RegionId, version: u64) -> Option<Epoch> {
        self.tenure(region)?.decides(self.clock().now().mono, version)
    }

    fn tenure(&self, region: &RegionId) -> Option<Tenure> {
        self.shared().oversight.get()?.leases.borrow().get(region).copied()
    }

    /// The leases under which this node acts, whenever they change.
    #[must_use]
    pub fn leases(&self) -> Option<watch::Receiver<Arc<Leases>>> {
        self.shared().oversight.get().map(|oversight| oversight.leases.clone())
    }

    /// Something that was sent to another region for a client ended well, or not. Passive: what
    /// does not fit into the queue is left out.
    pub fn outcome(&self, region: &RegionId, ok: bool) {
        let _full = self.observe(OverseerEvent::Outcome { region: region.clone(), ok });
    }

    /// A check ended, of another region or of this one; what comes of the latter is told to the
    /// peers with every heartbeat.
    pub fn checked(&self, region: &RegionId, check: Check, passed: bool) {
        let _full = self.observe(OverseerEvent::Checked { region: region.clone(), check, passed });
    }

    /// How full this node is; told to the peers with every heartbeat. Says whether it was noted.
    pub(crate) fn utilised(&self, utilisation: Ratio) -> bool {
        self.observe(OverseerEvent::Utilised(utilisation))
    }

    /// What a region does now and another could, for failovers and their dry runs.
    pub async fn set_duties(&self, region: &RegionId, duties: Vec<Duty>) {
        let Some(oversight) = self.shared().oversight.get() else { return };
        oversight.duties.send_modify(|all| {
            all.insert(region.clone(), duties.clone());
        });
        let event = OverseerEvent::Duties { region: region.clone(), duties };
        let _stopped = oversight.events.send(event).await;
    }

    fn observe(&self, event: OverseerEvent) -> bool {
        let oversight = self.shared().oversight.get();
        oversight.is_some_and(|oversight| oversight.events.try_send(event).is_ok())
    }
}
