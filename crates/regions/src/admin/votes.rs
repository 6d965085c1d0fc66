//! Verdicts: what the ballots of other regions add up to.

use rhumb_types::{
    RegionId,
    control::{AdminOutcome, AdminRefusal, AdminRequest, Ballot, Verdict},
};

use super::agreed::{Agreed, Answer};
use crate::verdict::Electorate;

impl Agreed {
    pub(super) fn vote(
        &mut self,
        request: &AdminRequest,
        subject: &RegionId,
        voter: &RegionId,
        ballot: &Ballot,
    ) -> Answer {
        self.region(subject)?;
        let electorate = self.electorate();
        electorate
            .check(subject, voter, ballot, request.at)
            .map_err(|void| AdminRefusal::VoteVoid(void.to_string()))?;
        let ballots = self.ballots.entry(subject.clone()).or_default();
        ballots.insert(voter.clone(), ballot.clone());
        let tally = electorate.tally(subject, ballots, request.at);
        let may_condemn = self.keep_one_without(subject).is_ok();
        let status = self.region_mut(subject)?;
        if tally.is_down() && status.verdict.is_none() && may_condemn {
            status.verdict = Some(Verdict { at: request.at, by: tally.down.clone() });
        } else if tally.is_up() {
            status.verdict = None;
        }
        let verdict = status.verdict.is_some();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (down, needed) = (number(tally.down.len()), number(tally.needed));
        Ok(AdminOutcome::Vote { down, needed, verdict })
    }

    pub(super) fn lift_verdict(&mut self, region: &RegionId) -> Answer {
        let status = self.region_mut(region)?;
        if status.verdict.take().is_none() {
            return Ok(AdminOutcome::Unchanged);
        }
        // The old ballots would bring it back with the next vote.
        self.ballots.remove(region);
        Ok(AdminOutcome::Done)
    }

    /// Forgets what was said about a region, and what it said.
    pub(super) fn forget_ballots(&mut self, region: &RegionId) {
        self.ballots.remove(region);
        for ballots in self.ballots.values_mut() {
            ballots.remove(region);
        }
    }

    fn electorate(&self) -> Electorate {
        Electorate::new(
            self.regions.iter().map(|(name, status)| (name.clone(), status.verdict.is_some())),
        )
    }
}
