//! Links with peers: what is said when one comes up, and what each message is for.

use rhumb_ports::peer::{Hello, PROTOCOL_VERSION, PeerMessage};
use rhumb_types::{
    RegionId, Timestamp,
    planted::{self, Planted},
    record::VersionVector,
};

use crate::{
    answer::Fence,
    event::{Alarm, Effect, Effects, Member},
    limits,
    node::{Node, carries},
    status::Phase,
};

impl Node {
    pub(crate) fn peer_up(&mut self, region: &RegionId, now: Timestamp, out: &mut Effects) {
        let Some(peer) = self.peers.get_mut(region) else { return };
        peer.up = true;
        peer.heard = now.mono;
        let hello = self.own_hello(now);
        out.push(Effect::Send { to: region.clone(), message: PeerMessage::Hello(hello) });
    }

    fn own_hello(&self, now: Timestamp) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            cluster: self.config.cluster,
            node: self.config.node,
            region: self.config.region.clone(),
            witness: self.config.witness,
            durable: self.durable.clone(),
            received: self.received_of(),
            origins: self.origins.iter().cloned().collect(),
            wall: now.wall,
            namespaces: self.config.namespaces.fingerprint(),
        }
    }

    /// What this node has of each origin and has not fsynced, a snapshot that it was loading
    /// included: all of it may be on its disk one day.
    fn received_of(&self) -> VersionVector {
        if planted::is(Planted::HideReceived) {
            return VersionVector::new();
        }
        let mut received = self.bootstrap.merged().clone();
        received.merge(&self.applied);
        for origin in self.received.origins() {
            received.raise(origin, self.received.cursor(origin, &self.applied));
        }
        received.iter().filter(|(origin, version)| *version > self.durable.get(*origin)).collect()
    }

    /// Says hello again to everybody: there are origins that peers may not know of.
    pub(crate) fn announce(&self, now: Timestamp, out: &mut Effects) {
        // A peer whose own hello is still on its way has had ours, without these origins.
        for to in self.peers.linked() {
            let message = PeerMessage::Hello(self.own_hello(now));
            out.push(Effect::Send { to: to.clone(), message });
        }
    }

    pub(crate) fn peer_down(&mut self, region: &RegionId, out: &mut Effects) {
        self.peers.down(region);
        self.outgoing.peer_gone(region);
        self.bootstrap_peer_gone(region);
        self.assign(out);
    }

    pub(crate) fn set_members(&mut self, members: Vec<Member>, out: &mut Effects) {
        for gone in self.peers.set_members(&self.config.region, members) {
            self.acks.removed(&gone);
            self.outgoing.peer_gone(&gone);
        }
        self.assign(out);
    }

    pub(crate) fn peer_message(
        &mut self,
        now: Timestamp,
        from: &RegionId,
        message: PeerMessage,
        out: &mut Effects,
    ) {
        if let Some(peer) = self.peers.get_mut(from) {
            peer.heard = now.mono;
            peer.silent = false;
        } else {
            return;
        }
        match message {
            PeerMessage::Hello(hello) => self.hello(now, from, &hello, out),
            PeerMessage::Heartbeat(heartbeat) => self.heard(now, from, heartbeat, out),
            PeerMessage::HeartbeatReply(reply) => self.heard_back(now, from, &reply),
            PeerMessage::Follow { origin, after } => {
                // Whoever does not carry a domain gets nothing of it (rule 3).
                if self.peers.get(from).is_some_and(|peer| peer.carries(origin.domain())) {
                    self.outgoing.follow(from.clone(), origin, after);
                    self.outgoing.pump(&self.durable, out);
                }
            }
            PeerMessage::Unfollow { origin } => self.outgoing.unfollow(from, origin),
            PeerMessage::Log(batch) => self.log_batch(now, from, batch, out),
            PeerMessage::Ack { durable } => self.acknowledged(now, from, durable, out),
            PeerMessage::Trimmed { origin, .. } => {
                self.peers.not_following(from, origin);
                self.start_bootstrap(from, out);
            }
            PeerMessage::SnapshotPull { transfer, after } => {
                self.snapshot_pull(from, transfer, after, out);
            }
            PeerMessage::Snapshot(chunk) => self.snapshot_chunk(from, chunk, out),
            PeerMessage::Publish(message) => {
                self.published.receive(now.mono, message, &self.durable, out);
            }
        }
    }

    fn hello(&mut self, now: Timestamp, from: &RegionId, hello: &Hello, out: &mut Effects) {
        if hello.cluster != self.config.cluster || hello.region != *from {
            out.push(Effect::Alarm(Alarm::ForeignCluster { region: from.clone() }));
            return;
        }
        if hello.namespaces != 0 && hello.namespaces != self.config.namespaces.fingerprint() {
            out.push(Effect::Alarm(Alarm::Namespaces { region: from.clone() }));
        }
        self.peers.said_hello(now.mono, from, hello);
        let known = self.origins.len();
        for info in &hello.origins {
            if self.origins.len() >= limits::ORIGINS_MAX {
                out.push(Effect::Alarm(Alarm::Limit("this node knows the most origins it may")));
                break;
            }
            self.learn_origin(info);
        }
        if self.origins.len() > known {
            self.announce(now, out);
        }
        if !hello.witness {
            self.acknowledged(now, from, hello.durable.clone(), out);
        }
        if self.phase == Phase::Proving {
            self.weigh_proof(now, out);
        }
        self.assign(out);
    }

    pub(crate) fn acknowledged(
        &mut self,
        now: Timestamp,
        from: &RegionId,
        durable: VersionVector,
        out: &mut Effects,
    ) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        if !peer.is_data() {
            return;
        }
        peer.durable = Some(durable.clone());
        self.outgoing.acknowledged(from, &durable);
        self.outgoing.pump(&self.durable, out);
        self.acks.told(from, durable, Fence::new(&self.leases, now.mono), out);
        self.note_lag();
    }

    /// Tells every peer what is durable here.
    pub(crate) fn acknowledge(&self, out: &mut Effects) {
        for to in self.peers.up() {
            let message = PeerMessage::Ack { durable: self.durable.clone() };
            out.push(Effect::Send { to: to.clone(), message });
        }
    }

    /// Decides anew from whom each log is pulled.
    pub(crate) fn assign(&mut self, out: &mut Effects) {
        if self.config.witness {
            return;
        }
        let (received, applied, config) = (&self.received, &self.applied, &self.config);
        let incarnation = self.identity.incarnation;
        self.peers.assign(
            &self.origins,
            |origin| origin.incarnation() == incarnation,
            |origin| carries(config, origin),
            |origin| received.cursor(origin, applied),
            out,
        );
    }
}
