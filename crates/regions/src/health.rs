//! The fast, reversible half of failure detection: what one node observes of the others.
//!
//! A peer is *in* or *out*. It goes out at once on silence (phi-accrual over heartbeats), on
//! errors in a row, on a lost link, on its own word that it does not serve, or on failing checks;
//! nobody needs to agree. It comes back only after a hold-down, which doubles with every flap up to
//! a cap, and after good signs in a row. A part that fails takes away a capability, not the region.
//!
//! Being out is not being down. A node holds that a peer is down ([`HealthBoard::opinion`]), and
//! votes so, only when the cause has lasted for the configured detection time. A node that was
//! itself late, because it was overloaded or paused, discounts that time from every silence, and
//! says in its ballots that it was overloaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_types::{
    MonoTime, Ratio, RegionId, Timestamp,
    control::{AdminCommand, Ballot, ControlView, limits::VOTE_AGE_MAX},
};

mod checks;
mod config;
mod errors;
mod peer;
mod phi;

#[cfg(test)]
mod tests;

pub use checks::{Check, Checks};
pub use config::{Contradiction, HealthConfig};
pub use peer::{Assessment, OutReason};
pub use phi::PhiAccrual;

use peer::Peer;

use crate::registry::Capability;

/// Most peers that one node watches.
pub const PEERS_MAX: usize = rhumb_types::control::limits::REGIONS_MAX;
/// Most named checks of a region.
pub const CHECKS_MAX: usize = 64;

/// What a node learns of a peer.
#[derive(Debug, Clone, PartialEq)]
pub enum Sign {
    /// A heartbeat came.
    Heartbeat {
        /// Whether the peer says that it works at all.
        serving: bool,
        /// What the peer says it cannot do now.
        impaired: BTreeSet<Capability>,
        /// How full the peer says it is.
        utilisation: Ratio,
    },
    /// Something that was sent there for a client ended well, or not.
    Outcome {
        /// Whether it ended well; an error of the client's own making is well.
        ok: bool,
    },
    /// A connection broke or was refused.
    Unreachable,
    /// A check that is run on purpose ended.
    Checked {
        /// Which.
        check: Check,
        /// Whether it passed, within its time.
        passed: bool,
    },
}

/// What changed for a peer, for the routing snapshot, the log and the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthChange {
    /// It went out.
    Out {
        /// Which peer.
        region: RegionId,
        /// Why.
        reason: OutReason,
        /// It stays out at least this long.
        hold: Duration,
    },
    /// It came back.
    In {
        /// Which peer.
        region: RegionId,
    },
    /// Its share of errors crossed a bound.
    Degraded {
        /// Which peer.
        region: RegionId,
        /// Whether it is degraded now.
        degraded: bool,
    },
    /// What it cannot do changed.
    Lost {
        /// Which peer.
        region: RegionId,
        /// All that it cannot do now.
        lost: BTreeSet<Capability>,
    },
}

/// The health of all peers, as one node sees it.
#[derive(Debug, Clone)]
pub struct HealthBoard {
    here: RegionId,
    config: HealthConfig,
    peers: BTreeMap<RegionId, Peer>,
    last_tick: Option<MonoTime>,
    overloaded_until: MonoTime,
    /// What was last voted about each peer, and when.
    voted: BTreeMap<RegionId, (bool, MonoTime)>,
}

/// How often a vote is repeated while it is not decided: three times within its age.
const VOTE_EVERY: Duration = Duration::from_secs(VOTE_AGE_MAX.as_secs() / 3);

impl HealthBoard {
    /// A board of a node in a region, with a configuration that was validated.
    #[must_use]
    pub const fn new(here: RegionId, config: HealthConfig) -> Self {
        Self {
            here,
            config,
            peers: BTreeMap::new(),
            last_tick: None,
            overloaded_until: MonoTime(0),
            voted: BTreeMap::new(),
        }
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &HealthConfig {
        &self.config
    }

    /// Watches exactly these peers from now on, up to [`PEERS_MAX`]; a new one is in until it has
    /// been silent for too long.
    pub fn set_peers(&mut self, now: MonoTime, peers: impl IntoIterator<Item = RegionId>) {
        let here = &self.here;
        let wanted: BTreeSet<_> = peers.into_iter().filter(|r| r != here).take(PEERS_MAX).collect();
        self.peers.retain(|region, _| wanted.contains(region));
        for region in wanted {
            self.peers.entry(region).or_insert_with(|| Peer::new(now, &self.config));
        }
    }

    /// Takes in what was learned of a peer; of one that is not watched, nothing.
    pub fn on_sign(
        &mut self,
        now: MonoTime,
        region: &RegionId,
        sign: Sign,
        out: &mut Vec<HealthChange>,
    ) {
        if let Some(peer) = self.peers.get_mut(region) {
            peer.on_sign(now, sign, &self.config);
            peer.settle(now, &self.config);
            peer.report(region, out);
        }
    }

    /// Lets time pass; to be called at the heartbeat interval. `overloaded`: this node is so late
    /// with its own work that it may have missed signs of life.
    pub fn on_tick(&mut self, now: MonoTime, overloaded: bool, out: &mut Vec<HealthChange>) {
        let gap = self.last_tick.map_or(Duration::ZERO, |last| now.saturating_since(last));
        self.last_tick = Some(now);
        let late = gap.saturating_sub(self.config.tick_late_max());
        if overloaded || !late.is_zero() {
            self.overloaded_until = now + self.config.detection;
        }
        for (region, peer) in &mut self.peers {
            // What this node slept through, nobody else can be blamed for.
            if !late.is_zero() {
                peer.discount(now, gap);
            }
            peer.settle(now, &self.config);
            peer.report(region, out);
        }
    }

    /// What routing should know of a peer; `None` when it is not watched.
    #[must_use]
    pub fn assess(&self, now: MonoTime, region: &RegionId) -> Option<Assessment> {
        self.peers.get(region).map(|peer| peer.assess(now))
    }

    /// Whether this node holds that a peer is down: `Some(true)` once what put it out has lasted
    /// for the detection time, `Some(false)` while it is in and was heard, `None` otherwise.
    #[must_use]
    pub fn opinion(&self, now: MonoTime, region: &RegionId) -> Option<bool> {
        self.peers.get(region)?.opinion(now, &self.config)
    }

    /// The peers from which a heartbeat came within the detection time.
    pub fn hears(&self, now: MonoTime) -> impl Iterator<Item = &RegionId> {
        let heard = self.peers.iter().filter(move |(_, peer)| peer.is_heard(now, &self.config));
        heard.map(|(region, _)| region)
    }

    /// This node's vote about a peer, when it has an opinion.
    #[must_use]
    pub fn ballot(&self, now: Timestamp, region: &RegionId) -> Option<Ballot> {
        Some(Ballot {
            down: self.opinion(now.mono, region)?,
            hears: self.hears(now.mono).cloned().collect(),
            overloaded: now.mono < self.overloaded_until,
            at: now.wall,
        })
    }

    /// The votes that are due: about each peer of which this node holds something else than was
    /// agreed. They are repeated until it is agreed, or this node changes its mind; an overloaded
    /// node casts none, because none would count.
    pub fn votes(&mut self, now: Timestamp, view: &ControlView) -> Vec<AdminCommand> {
        let mut votes = Vec::new();
        for (region, status) in &view.regions {
            let Some(ballot) = self.ballot(now, region) else { continue };
            if ballot.down == status.verdict.is_some() {
                self.voted.remove(region);
                continue;
            }
            let again = self.voted.get(region).is_some_and(|(down, at)| {
                *down == ballot.down && now.mono.saturating_since(*at) < VOTE_EVERY
            });
            if !again && !ballot.overloaded {
                self.voted.insert(region.clone(), (ballot.down, now.mono));
                let (subject, voter) = (region.clone(), self.here.clone());
                votes.push(AdminCommand::Vote { subject, voter, ballot });
            }
        }
        self.voted.retain(|region, _| view.regions.contains_key(region));
        votes
    }

    /// A vote did not reach the control plane: it is due again at once.
    pub fn forget_vote(&mut self, region: &RegionId) {
        self.voted.remove(region);
    }
}
