//! What this node knows of each peer, and from whom it pulls which log.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rhumb_ports::peer::{Hello, PeerMessage};
use rhumb_types::{
    DomainId, MonoTime, OriginId, RegionId,
    planted::{self, Planted},
    record::VersionVector,
};

use crate::{
    event::{Effect, Effects, Member},
    identity::Origins,
    limits::HEARTBEATS_UNANSWERED_MAX,
    status::Report,
};

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) member: Member,
    pub(crate) up: bool,
    /// What it said of itself when the link came up; `None` until then.
    pub(crate) said_hello: bool,
    /// What it held when it last said.
    pub(crate) durable: Option<VersionVector>,
    /// What it had received besides as it said hello.
    pub(crate) received: VersionVector,
    pub(crate) heard: MonoTime,
    /// Whether it has sent nothing for longer than a live peer does, although its link stands.
    pub(crate) silent: bool,
    pub(crate) serving: bool,
    pub(crate) load: f64,
    pub(crate) impaired: Vec<String>,
    pub(crate) hears: Vec<RegionId>,
    pub(crate) heartbeats_sent: u64,
    pub(crate) heartbeats_heard: u64,
    pub(crate) heartbeat_at: MonoTime,
    pub(crate) round_trip_micros: Option<u64>,
    /// When the last of our heartbeats was sent that it has answered.
    pub(crate) answered: Option<MonoTime>,
    pub(crate) report: Option<Arc<Report>>,
    /// Heartbeats that an answer may still come to, by number, with when they were sent.
    unanswered: VecDeque<(u64, MonoTime)>,
    following: BTreeSet<OriginId>,
}

impl Peer {
    /// What it has of every log, if it has said so over this link.
    pub(crate) fn answer(&self) -> Option<VersionVector> {
        let mut known = self.durable.clone().filter(|_| self.said_hello)?;
        known.merge(&self.received);
        Some(known)
    }

    fn new(member: Member) -> Self {
        Self {
            member,
            up: false,
            said_hello: false,
            durable: None,
            received: VersionVector::new(),
            heard: MonoTime(0),
            silent: false,
            serving: true,
            load: 0.0,
            impaired: Vec::new(),
            hears: Vec::new(),
            heartbeats_sent: 0,
            heartbeats_heard: 0,
            heartbeat_at: MonoTime(0),
            round_trip_micros: None,
            answered: None,
            report: None,
            unanswered: VecDeque::new(),
            following: BTreeSet::new(),
        }
    }

    /// The heartbeat of the present number is on its way.
    pub(crate) fn note_heartbeat(&mut self, now: MonoTime) {
        if self.unanswered.len() >= HEARTBEATS_UNANSWERED_MAX {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((self.heartbeats_sent, now));
    }

    /// When the heartbeat was sent that is answered now. Links keep order, so those before it stay
    /// without an answer.
    pub(crate) fn heartbeat_answered(&mut self, number: u64) -> Option<MonoTime> {
        let at = self.unanswered.iter().position(|(sent, _)| *sent == number)?;
        self.unanswered.drain(..=at).next_back().map(|(_, sent)| sent)
    }

    pub(crate) const fn is_data(&self) -> bool {
        !self.member.witness
    }

    /// Whether it holds the data of a domain.
    pub(crate) fn carries(&self, domain: DomainId) -> bool {
        let all = planted::is(Planted::CarryAll) || domain == DomainId::EVERYWHERE;
        self.is_data() && (all || self.member.domains.contains(&domain))
    }
}

/// Every peer, in order of regions.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<RegionId, Peer>,
}

impl Peers {
    /// Takes the members; gives those that are gone.
    pub(crate) fn set_members(&mut self, own: &RegionId, members: Vec<Member>) -> Vec<RegionId> {
        let keep: BTreeSet<RegionId> = members.iter().map(|member| member.region.clone()).collect();
        let gone = self.peers.keys().filter(|region| !keep.contains(region)).cloned().collect();
        self.peers.retain(|region, _| keep.contains(region));
        for member in members.into_iter().filter(|member| member.region != *own) {
            match self.peers.get_mut(&member.region) {
                Some(peer) => peer.member = member,
                None => {
                    self.peers.insert(member.region.clone(), Peer::new(member));
                }
            }
        }
        gone
    }

    pub(crate) fn get(&self, region: &RegionId) -> Option<&Peer> {
        self.peers.get(region)
    }

    pub(crate) fn get_mut(&mut self, region: &RegionId) -> Option<&mut Peer> {
        self.peers.get_mut(region)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RegionId, &Peer)> {
        self.peers.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&RegionId, &mut Peer)> {
        self.peers.iter_mut()
    }

    pub(crate) fn data(&self) -> impl Iterator<Item = (&RegionId, &Peer)> + Clone {
        self.peers.iter().filter(|(_, peer)| peer.is_data())
    }

    pub(crate) fn linked(&self) -> impl Iterator<Item = &RegionId> {
        self.peers.iter().filter(|(_, peer)| peer.up).map(|(region, _)| region)
    }

    pub(crate) fn up(&self) -> impl Iterator<Item = &RegionId> {
        self.peers.iter().filter(|(_, peer)| peer.up && peer.said_hello).map(|(region, _)| region)
    }

    pub(crate) fn said_hello(&mut self, now: MonoTime, region: &RegionId, hello: &Hello) {
        if let Some(peer) = self.peers.get_mut(region) {
            peer.said_hello = true;
            peer.heard = now;
            peer.durable = Some(hello.durable.clone());
            peer.received = hello.received.clone();
        }
    }

    pub(crate) fn down(&mut self, region: &RegionId) {
        if let Some(peer) = self.peers.get_mut(region) {
            peer.up = false;
            peer.said_hello = false;
            peer.following.clear();
            peer.hears.clear();
        }
    }

    /// A stream has ended on the other side, or must be asked for anew.
    pub(crate) fn not_following(&mut self, region: &RegionId, origin: OriginId) {
        if let Some(peer) = self.peers.get_mut(region) {
            peer.following.remove(&origin);
        }
    }

    /// From whom an origin's log is pulled: its own region where that is up and heard, else the reachable
    /// region that holds most of it. A link to a machine that is gone stands until its keep-alive runs
    /// out, and meanwhile what others write waits here for what only they have of it. `None` when
    /// nobody has more than we do.
    fn provider(&self, origin: OriginId, writer: Option<&RegionId>, have: u64) -> Option<RegionId> {
        let standing = |peer: &Peer| peer.up && !peer.silent && peer.said_hello && peer.is_data();
        if let Some(writer) = writer
            && self.peers.get(writer).is_some_and(standing)
        {
            return Some(writer.clone());
        }
        let holds = |peer: &Peer| peer.durable.as_ref().map_or(0, |durable| durable.get(origin));
        // A stream in place is kept while its holder is not behind the best.
        self.peers
            .iter()
            .filter(|(_, peer)| standing(peer) && holds(peer) > have)
            .max_by_key(|(region, peer)| {
                (holds(peer), peer.following.contains(&origin), std::cmp::Reverse(*region))
            })
            .map(|(region, _)| region.clone())
    }

    /// Starts and ends streams so that every origin of a carried domain is pulled from one peer.
    pub(crate) fn assign(
        &mut self,
        origins: &Origins,
        own: impl Fn(OriginId) -> bool,
        carries: impl Fn(OriginId) -> bool,
        cursor: impl Fn(OriginId) -> u64,
        out: &mut Effects,
    ) {
        for info in origins.iter() {
            let origin = info.origin;
            if own(origin) || !carries(origin) {
                continue;
            }
            let after = cursor(origin);
            let provider = self.provider(origin, Some(&info.region), after);
            for (region, peer) in &mut self.peers {
                let wanted = provider.as_ref() == Some(region);
                let message = match (wanted, peer.following.contains(&origin)) {
                    (true, false) => {
                        peer.following.insert(origin);
                        PeerMessage::Follow { origin, after }
                    }
                    // A stream from a stand-in runs on until its writer's region is back.
                    (false, true) if provider.is_some() => {
                        peer.following.remove(&origin);
                        PeerMessage::Unfollow { origin }
                    }
                    _ => continue,
                };
                out.push(Effect::Send { to: region.clone(), message });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: OriginId = OriginId(0x10_0000);

    #[test]
    fn the_log_of_a_region_that_fell_silent_is_asked_of_who_has_more_of_it() {
        let [own, writer, other] = ["own", "writer", "other"].map(|it| RegionId::new(it).unwrap());
        let member = |region: &RegionId| Member {
            region: region.clone(),
            witness: false,
            domains: Default::default(),
        };
        let mut peers = Peers::default();
        peers.set_members(&own, vec![member(&writer), member(&other)]);
        for peer in peers.peers.values_mut() {
            (peer.up, peer.said_hello) = (true, true);
            peer.durable = Some([(ORIGIN, 7)].into_iter().collect());
        }
        let provider = |peers: &Peers, have| peers.provider(ORIGIN, Some(&writer), have);
        assert_eq!(provider(&peers, 5), Some(writer.clone()));
        peers.peers.get_mut(&writer).unwrap().silent = true;
        assert_eq!(provider(&peers, 5), Some(other));
        assert_eq!(provider(&peers, 7), None, "nobody has more, so nothing changes");
        peers.peers.get_mut(&writer).unwrap().silent = false;
        assert_eq!(provider(&peers, 7), Some(writer.clone()), "it speaks again");
    }
}
