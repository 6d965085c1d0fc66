//! The slow, irreversible half of failure detection: a quorum of other regions agrees that a
//! region is down.
//!
//! "I cannot see it" is not "it is down": a region's vote counts only while the voter itself hears
//! a majority of the cluster, is not overloaded, and is under no verdict. Whether the last active
//! region may be condemned is not decided here but where the verdict is pronounced: never.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_types::{
    RegionId, UnixMillis,
    control::{Ballot, limits::VOTE_AGE_MAX},
};

/// Who may vote, and who is condemned already.
#[derive(Debug, Clone, Default)]
pub struct Electorate {
    regions: BTreeSet<RegionId>,
    condemned: BTreeSet<RegionId>,
}

/// Why a ballot does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoidBallot {
    /// A region cannot vote about itself.
    #[error("a region does not vote about itself")]
    OwnCase,
    /// The voter is no region of the cluster.
    #[error("the voter is not a region of this cluster")]
    Stranger,
    /// The voter is under a verdict itself.
    #[error("the voter is under a verdict itself")]
    Condemned,
    /// The voter is overloaded, so what it does not hear says little.
    #[error("the voter is overloaded")]
    Overloaded,
    /// The voter hears no majority: it may be the one that is cut off.
    #[error("the voter itself does not hear a majority")]
    CutOff,
    /// The ballot is too old, or from a clock too far ahead.
    #[error("the ballot is stale")]
    Stale,
}

/// The count of the ballots about one region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Voters that count and say that it is down.
    pub down: Vec<RegionId>,
    /// Voters that count and say that it is up.
    pub up: Vec<RegionId>,
    /// How many of either decide: a majority of all other regions, silent ones included.
    pub needed: usize,
}

impl Tally {
    /// Whether the others agree that it is down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.down.len() >= self.needed
    }

    /// Whether the others agree that it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.len() >= self.needed
    }
}

impl Electorate {
    /// The regions of the cluster, witnesses included, each with whether it is condemned.
    pub fn new(regions: impl IntoIterator<Item = (RegionId, bool)>) -> Self {
        let mut electorate = Self::default();
        for (region, condemned) in regions {
            if condemned {
                electorate.condemned.insert(region.clone());
            }
            electorate.regions.insert(region);
        }
        electorate
    }

    /// Whether a ballot counts at a time.
    ///
    /// # Errors
    /// The first reason why it does not.
    pub fn check(
        &self,
        subject: &RegionId,
        voter: &RegionId,
        ballot: &Ballot,
        now: UnixMillis,
    ) -> Result<(), VoidBallot> {
        let age = now.saturating_since(ballot.at).max(ballot.at.saturating_since(now));
        let heard = ballot.hears.iter().collect::<BTreeSet<_>>();
        let heard = heard.iter().filter(|&&r| r != voter && self.regions.contains(r)).count();
        match () {
            () if voter == subject => Err(VoidBallot::OwnCase),
            () if !self.regions.contains(voter) => Err(VoidBallot::Stranger),
            () if self.condemned.contains(voter) => Err(VoidBallot::Condemned),
            () if ballot.overloaded => Err(VoidBallot::Overloaded),
            () if (heard + 1) * 2 <= self.regions.len() => Err(VoidBallot::CutOff),
            () if age > VOTE_AGE_MAX => Err(VoidBallot::Stale),
            () => Ok(()),
        }
    }

    /// Counts the ballots about a region at a time.
    #[must_use]
    pub fn tally(
        &self,
        subject: &RegionId,
        ballots: &BTreeMap<RegionId, Ballot>,
        now: UnixMillis,
    ) -> Tally {
        let others = self.regions.iter().filter(|region| *region != subject).count();
        let mut tally = Tally { needed: others / 2 + 1, ..Tally::default() };
        for (voter, ballot) in ballots {
            if self.check(subject, voter, ballot, now).is_ok() {
                let side = if ballot.down { &mut tally.down } else { &mut tally.up };
                side.push(voter.clone());
            }
        }
        tally
    }
}
