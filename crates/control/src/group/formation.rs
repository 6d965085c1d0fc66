//! Forming the group (rule 15).
//!
//! The founder that is listed first asks all the others. Only when each of them answers, and each
//! is empty, does it form the group. Any other node waits for the group to reach it. A node that
//! lost its disk finds the others not empty, and waits to be added under its new id.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rhumb_ports::peer::Service;
use rhumb_types::{
    NodeId, RegionId,
    planted::{self, Planted},
};
use tokio::time::{sleep, timeout};

use super::{Group, Inner};
use crate::{
    raft::Seat,
    wire::{self, Answer, Request},
};

/// What forming the group waits for.
#[derive(Debug, Default)]
pub(super) struct Formation(Mutex<Option<String>>);

impl Formation {
    /// In words; `None` once the node is in the group.
    pub(super) fn waits_for(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, what: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

impl Group {
    pub(super) fn spawn_formation(&self) {
        self.0.formation.set(Some("the group is not formed yet".to_owned()));
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            let pause = inner.config.timing.heartbeat;
            while !inner.is_formed() {
                let waits = inner.try_to_form().await.err();
                inner.formation.set(waits);
                tokio::select! {
                    biased;
                    () = inner.stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
            }
            inner.formation.set(None);
        });
    }
}

impl Inner {
    /// Whether this node knows the members.
    fn is_formed(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().nodes().next().is_some()
    }

    /// Forms the group, or says what that waits for.
    async fn try_to_form(&self) -> Result<(), String> {
        let first = self.config.founders.first();
        if first != Some(&self.config.region) {
            let first = first.map_or("nobody", RegionId::as_str);
            return Err(format!(
                "waits until {first} forms the group, or until a member adds this node"
            ));
        }
        if !self.log.is_pristine().await {
            return Err("waits for the group that it was in".to_owned());
        }
        let mut members = BTreeMap::from([(self.config.node, self.config.region.clone())]);
        for region in &self.config.founders {
            if *region == self.config.region {
                continue;
            }
            let answer = match self.ask(region).await {
                Err(_) if planted::is(Planted::FormUnanswered) => continue,
                other => other?,
            };
            let node = empty(region, &answer)?;
            if let Some(other) = members.insert(node, region.clone()) {
                return Err(format!("{other} and {region} both say that they are {node}"));
            }
        }
        self.form(members).await
    }

    /// Asks a founder who it is, and whether it is empty.
    async fn ask(&self, region: &RegionId) -> Result<Answer, String> {
        let envelope = self.network.envelope(None, Request::Probe)?;
        let call = self.network.call.call(region.clone(), Service::Control, envelope);
        let answer = timeout(self.probe_patience(), call)
            .await
            .map_err(|_| format!("waits for {region}, which does not answer"))?
            .map_err(|fault| format!("waits for {region}: {fault}"))?;
        wire::decode(&answer)
    }

    fn probe_patience(&self) -> Duration {
        self.config.timing.heartbeat * 2
    }

    async fn form(&self, members: BTreeMap<NodeId, RegionId>) -> Result<(), String> {
        // Zero would be a lineage like any other; it is avoided so that logs read better.
        let lineage = self.config.seed.max(1);
        self.log.follow(lineage).await.map_err(|fault| fault.to_string())?;
        let seats: BTreeMap<NodeId, Seat> = members
            .into_iter()
            .map(|(node, region)| (node, Seat { region: Some(region) }))
            .collect();
        tracing::info!(group = %self.config.name, members = seats.len(), "forming the group");
        self.raft.initialize(seats).await.map_err(|fault| fault.to_string())
    }
}

/// The founder that answered, when it is empty.
fn empty(region: &RegionId, answer: &Answer) -> Result<NodeId, String> {
    match *answer {
        Answer::Probe { node, pristine } if pristine || planted::is(Planted::FormOverOthers) => {
            Ok(node)
        }
        Answer::Probe { node, .. } => Err(format!(
            "{region} ({node}) is in a group already; waits until a member adds this node"
        )),
        _ => Err(format!("{region} gave an answer of another kind")),
    }
}
