//! Signs of life, and what they carry: clocks, load, what is durable, who hears whom.

use std::sync::Arc;

use rhumb_ports::peer::{Heartbeat, HeartbeatReply, PeerMessage};
use rhumb_types::{DomainId, MonoTime, RegionId, Timestamp, record::VersionVector};

use crate::{
    event::{Effect, Effects},
    limits::SILENT_AFTER,
    node::Node,
    status::{NodeStatus, PeerStatus, Phase, Report},
};

impl Node {
    /// Sends a heartbeat to every peer whose turn it is.
    pub(crate) fn heartbeat(&mut self, now: Timestamp, out: &mut Effects) {
        let interval = self.config.heartbeat_interval;
        let hears: Vec<RegionId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.up && now.mono.saturating_since(peer.heard) < interval * 3)
            .map(|(region, _)| region.clone())
            .collect();
        let own = self.identity.incarnation;
        let heads: VersionVector =
            self.durable.iter().filter(|(origin, _)| origin.incarnation() == own).collect();
        let serving = self.phase == Phase::Running && !self.peer_clocks.is_far() && self.well;
        for (to, peer) in self.peers.iter_mut() {
            peer.silent = now.mono.saturating_since(peer.heard) >= interval * SILENT_AFTER;
            let due = now.mono.saturating_since(peer.heartbeat_at) >= interval;
            if !peer.up || !(due || peer.heartbeats_sent == 0) {
                continue;
            }
            peer.heartbeats_sent += 1;
            peer.heartbeat_at = now.mono;
            peer.note_heartbeat(now.mono);
            let message = PeerMessage::Heartbeat(Heartbeat {
                sequence: peer.heartbeats_sent,
                wall: now.wall,
                heads: heads.clone(),
                durable: self.durable.clone(),
                load: self.load,
                serving,
                impaired: self.impaired.clone(),
                hears: hears.clone(),
            });
            out.push(Effect::Send { to: to.clone(), message });
        }
    }

    /// A peer's heartbeat.
    pub(crate) fn heard(
        &mut self,
        now: Timestamp,
        from: &RegionId,
        heartbeat: Heartbeat,
        out: &mut Effects,
    ) {
        let Heartbeat { sequence, durable, load, serving, impaired, hears, .. } = heartbeat;
        if let Some(peer) = self.peers.get_mut(from) {
            peer.heartbeats_heard += 1;
            peer.load = load;
            peer.serving = serving;
            peer.impaired = impaired;
            peer.hears = hears;
            // Its answers come before it on the same connection.
            if let Some(asked) = peer.answered {
                peer.report = Some(Arc::new(Report { asked, durable: durable.clone() }));
            }
        }
        let reply = HeartbeatReply { sequence, wall: now.wall };
        out.push(Effect::Send { to: from.clone(), message: PeerMessage::HeartbeatReply(reply) });
        self.acknowledged(now, from, durable, out);
        self.assign(out);
    }

    /// The answer to one of our last heartbeats: on a long way several are under way at once.
    pub(crate) fn heard_back(&mut self, now: Timestamp, from: &RegionId, reply: &HeartbeatReply) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        let Some(sent) = peer.heartbeat_answered(reply.sequence) else { return };
        let round_trip = now.mono.saturating_since(sent);
        peer.answered = Some(sent);
        peer.round_trip_micros = u64::try_from(round_trip.as_micros()).ok();
        let millis = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
        if peer.is_data() {
            self.peer_clocks.sample(from, now.mono, now.wall, reply.wall, millis);
        }
    }

    pub(crate) fn durable_at(&mut self, now: MonoTime) {
        let origin = self.own_origin(DomainId::EVERYWHERE);
        self.durable_times.mark(self.durable.get(origin), now);
    }

    pub(crate) fn note_lag(&mut self) {
        let origin = self.own_origin(DomainId::EVERYWHERE);
        let acks = &self.acks;
        let everywhere = self
            .peers
            .data()
            .map(|(region, _)| acks.durable(region).map_or(0, |durable| durable.get(origin)))
            .min();
        if let Some(everywhere) = everywhere {
            self.durable_times.forget(everywhere);
        }
    }

    /// The node, as it sees itself.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> NodeStatus {
        let origin = self.own_origin(DomainId::EVERYWHERE);
        NodeStatus {
            phase: self.phase,
            clock_ok: !self.peer_clocks.is_far(),
            origin,
            applied: self.applied.clone(),
            durable: self.durable.clone(),
            peers: self.peers.iter().map(|(region, _)| self.peer_status(region, now)).collect(),
            received_waiting: self.received.len(),
            received_bytes: self.received.bytes(),
            acks_waiting: self.acks.len() + self.writing.waiting(),
            conflicts: self.conflicts_total(),
            published_dropped: self.published.dropped(),
            bootstrapping: self.bootstrap.is_loading(),
        }
    }

    fn peer_status(&self, region: &RegionId, now: Timestamp) -> PeerStatus {
        let own = self.own_origin(DomainId::EVERYWHERE);
        let acknowledged = self.acks.durable(region).map_or(0, |durable| durable.get(own));
        let peer = self.peers.get(region);
        // Of hundreds of origins that have ended nothing is missing: they are passed over first.
        let known = peer.and_then(|peer| peer.durable.as_ref());
        let missing = known.into_iter().flat_map(|durable| durable.beyond(&self.applied));
        let theirs = missing.filter(|(origin, _)| {
            self.origins.region(*origin) == Some(region) && self.carries(*origin)
        });
        let ahead: u64 = theirs.map(|(_, more)| more).sum();
        PeerStatus {
            region: region.clone(),
            witness: peer.is_some_and(|peer| !peer.is_data()),
            up: peer.is_some_and(|peer| peer.up && peer.said_hello),
            round_trip_micros: peer.and_then(|peer| peer.round_trip_micros),
            heartbeats: peer.map_or(0, |peer| peer.heartbeats_heard),
            silent_micros: peer.map_or(u64::MAX, |peer| now.mono.0.saturating_sub(peer.heard.0)),
            clock_offset_millis: self.peer_clocks.offset(region),
            behind_transactions: self.durable.get(own).saturating_sub(acknowledged),
            behind_millis: self.durable_times.behind_millis(acknowledged, now.mono),
            ahead_transactions: ahead,
            serving: peer.is_some_and(|peer| peer.serving),
            load: peer.map_or(0.0, |peer| peer.load),
            impaired: peer.map(|peer| peer.impaired.clone()).unwrap_or_default(),
            hears: peer.map(|peer| peer.hears.clone()).unwrap_or_default(),
            report: peer.and_then(|peer| peer.report.clone()),
        }
    }
}
