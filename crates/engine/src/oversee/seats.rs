//! Carrying the agreed members over into the seats of the consensus groups.

use std::sync::Arc;

use rhumb_node::oversee::seat_changes;
use rhumb_ports::control::Control;
use rhumb_types::{NodeId, control::ControlView};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{Engine, limits::SEATS_INTERVAL};

impl Engine {
    /// Keeps the seats of both groups in line with the agreed members, whenever this node leads.
    pub(super) fn keep_seats(&self, node: NodeId) {
        let (Some(views), Some(admin), Some(strong)) = (self.agreed(), self.admin(), self.strong())
        else {
            return;
        };
        for (name, group) in [("admin", admin.group()), ("strong", strong.group())] {
            let keeper = Keeper { name, group, views: views.clone(), node };
            self.tasks().spawn_until_stopped(keeper.run());
        }
    }
}

struct Keeper {
    name: &'static str,
    group: Arc<dyn Control>,
    views: watch::Receiver<Arc<ControlView>>,
    node: NodeId,
}

impl Keeper {
    /// The interval alone decides when it looks: a change that failed is due again then, and
    /// members change rarely.
    async fn run(self) {
        let mut looks = interval(SEATS_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let status = self.group.status();
        let view = self.views.borrow().clone();
        if status.leader != Some(self.node) || view.cluster.is_none() {
            return;
        }
        for change in seat_changes(&view, &status.members) {
            let (name, node, voter) = (self.name, change.node, change.voter);
            match self.group.set_member(node, change.region, voter).await {
                Ok(()) => tracing::info!(group = name, %node, ?voter, "a seat was changed"),
                // The next look sees what came of it.
                Err(error) => {
                    tracing::warn!(group = name, %node, ?voter, %error, "a seat was not changed");
                }
            }
        }
    }
}
