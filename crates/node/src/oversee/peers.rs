//! From what the node sees of its peers to signs of their health.

use std::sync::Arc;

use rhumb_regions::{Capability, health::Sign};
use rhumb_types::{Ratio, RegionId, Timestamp};

use super::{Overseer, OverseerEffects};
use crate::status::{NodeStatus, PeerStatus};

/// What was last taken from a peer's status.
#[derive(Debug, Default)]
pub(super) struct Heard {
    heartbeats: u64,
    up: bool,
}

impl Overseer {
    pub(super) fn on_status(
        &mut self,
        now: Timestamp,
        status: Arc<NodeStatus>,
        out: &mut OverseerEffects,
    ) {
        for peer in &status.peers {
            let heard = self.heard.entry(peer.region.clone()).or_default();
            let beat = peer.heartbeats != heard.heartbeats;
            let lost = heard.up && !peer.up;
            *heard = Heard { heartbeats: peer.heartbeats, up: peer.up };
            if beat {
                self.sign(now, &peer.region, heartbeat(peer), out);
            }
            if lost {
                self.sign(now, &peer.region, Sign::Unreachable, out);
            }
        }
        self.heard.retain(|region, _| status.peers.iter().any(|peer| peer.region == *region));
        if self.has_been_frozen(now.mono) {
            self.blind_until = now.mono + self.config.health.ejection();
        }
        (self.status, self.status_at) = (status, now.mono);
        if self.is_opening() {
            self.publish_leases(now, out);
        }
    }

    /// Takes in a sign. What it changes for routing shows at once: nobody needs to agree.
    pub(super) fn sign(
        &mut self,
        now: Timestamp,
        region: &RegionId,
        sign: Sign,
        out: &mut OverseerEffects,
    ) {
        let mut changes = Vec::new();
        self.board.on_sign(now.mono, region, sign, &mut changes);
        if !changes.is_empty() {
            out.health(changes);
            self.refresh(now, out);
        }
    }

    pub(super) fn peer(&self, region: &RegionId) -> Option<&PeerStatus> {
        self.status.peers.iter().find(|peer| peer.region == *region)
    }
}

fn heartbeat(peer: &PeerStatus) -> Sign {
    // A name that is no capability here belongs to a newer release; nobody asks for it.
    let impaired = peer.impaired.iter().filter_map(|name| Capability::new(name).ok());
    Sign::Heartbeat {
        serving: peer.serving,
        impaired: impaired.collect(),
        utilisation: Ratio::clamped(peer.load),
    }
}
