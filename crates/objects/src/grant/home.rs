//! The home's side: asks, decides, grants.
//!
//! One machine per lease that a node holds. A round is about one blob. Of a blob without references,
//! each holder that answers is granted at once; of one with too many copies, the home decides when all
//! have answered, or when it has waited long enough.

use std::collections::{BTreeMap, VecDeque};

use rhumb_types::{
    MonoTime, RegionId,
    planted::{self, Planted},
    record::BlobHash,
};

use super::{
    Ask, Authority, Grant, Holding, Outcome, Told,
    limits::{ANSWERS_WAIT, CANDIDATES_MAX, ROUND_TIME, ROUNDS_MAX},
    walk::{Candidate, Cause},
};

/// What happens to a home.
#[derive(Debug, Clone)]
pub enum HomeEvent {
    /// It may act under a lease until a time, or not at all. To be told after every renewal.
    Lead(Option<(Authority, MonoTime)>),
    /// A walk found something. What does not fit is dropped; the next walk finds it again.
    Found(Candidate),
    /// A holder answered.
    Told {
        /// Who.
        from: RegionId,
        /// What.
        told: Told,
    },
    /// A holder has done what it was granted, or not.
    Ended {
        /// Who.
        from: RegionId,
        /// What.
        outcome: Outcome,
    },
    /// Time passed; once in a second while there is something to do.
    Tick,
}

/// What a home wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HomeEffect {
    /// Ask a holder.
    Ask(RegionId, Ask),
    /// Let a holder remove a blob.
    Grant(RegionId, Grant),
}

/// What happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HomeCounts {
    /// Rounds that were begun.
    pub rounds: u64,
    /// Removals that were granted.
    pub granted: u64,
    /// Removals that were done.
    pub removed: u64,
    /// Grants that were refused.
    pub refused: u64,
    /// Candidates for which there was no room.
    pub dropped: u64,
}

#[derive(Debug, Clone)]
struct Round {
    number: u64,
    began: MonoTime,
    candidate: Candidate,
    /// The answers; a holder that has not answered is not in it.
    told: BTreeMap<RegionId, Holding>,
    decided: bool,
    /// Grants without an outcome.
    open: usize,
}

/// The home of the hashes that belong to one region.
#[derive(Debug, Clone)]
pub struct Home {
    lead: Option<(Authority, MonoTime)>,
    next_round: u64,
    waiting: VecDeque<Candidate>,
    rounds: BTreeMap<BlobHash, Round>,
    counts: HomeCounts,
}

impl Home {
    /// A home that holds no lease. Its rounds are numbered from `first_round`, which no earlier process
    /// may have used: a reading of the hybrid clock.
    #[must_use]
    pub fn new(first_round: u64) -> Self {
        Self {
            lead: None,
            next_round: first_round,
            waiting: VecDeque::new(),
            rounds: BTreeMap::new(),
            counts: HomeCounts::default(),
        }
    }

    /// Takes in what happened.
    pub fn on_event(&mut self, now: MonoTime, event: HomeEvent, out: &mut Vec<HomeEffect>) {
        match event {
            HomeEvent::Lead(lead) => self.lead(lead),
            HomeEvent::Found(candidate) => self.find(candidate),
            HomeEvent::Told { from, told } => self.hear(now, from, &told, out),
            HomeEvent::Ended { from: _, outcome } => self.end(&outcome),
            HomeEvent::Tick => self.decide_late(now, out),
        }
        self.begin(now, out);
    }

    /// How many more candidates fit in.
    #[must_use]
    pub fn room(&self) -> usize {
        CANDIDATES_MAX.saturating_sub(self.waiting.len())
    }

    /// Whether nothing is under way or waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.rounds.is_empty()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> HomeCounts {
        self.counts
    }

    /// Rounds of another lease are over, and so is what a walk found under it.
    fn lead(&mut self, lead: Option<(Authority, MonoTime)>) {
        let same = match (&self.lead, &lead) {
            (Some((before, _)), Some((after, _))) => {
                (&before.region, before.epoch) == (&after.region, after.epoch)
                    && before.homes <= after.homes
            }
            _ => false,
        };
        if !same {
            self.rounds.clear();
            self.waiting.clear();
        }
        self.lead = lead;
    }

    fn find(&mut self, candidate: Candidate) {
        let known = self.rounds.contains_key(&candidate.hash);
        if known || self.waiting.len() >= CANDIDATES_MAX {
            self.counts.dropped += 1;
        } else {
            self.waiting.push_back(candidate);
        }
    }

    /// The authority under which it may act now.
    fn authority(&self, now: MonoTime) -> Option<&Authority> {
        let (authority, until) = self.lead.as_ref()?;
        (now < *until).then_some(authority)
    }

    fn begin(&mut self, now: MonoTime, out: &mut Vec<HomeEffect>) {
        let Some(authority) = self.authority(now).cloned() else { return };
        while self.rounds.len() < ROUNDS_MAX
            && let Some(candidate) = self.waiting.pop_front()
        {
            if self.rounds.contains_key(&candidate.hash) {
                self.counts.dropped += 1;
                continue;
            }
            let number = self.next_round;
            self.next_round += 1;
            self.counts.rounds += 1;
            for holder in &candidate.holders {
                let (hash, vector) = (candidate.hash, candidate.vector.clone());
                let surplus = candidate.cause != Cause::Unreferenced;
                let authority = authority.clone();
                let ask = Ask { authority, round: number, hash, vector, surplus };
                out.push(HomeEffect::Ask(holder.clone(), ask));
            }
            let told = BTreeMap::new();
            let hash = candidate.hash;
            let round = Round { number, began: now, candidate, told, decided: false, open: 0 };
            self.rounds.insert(hash, round);
        }
    }

    fn hear(&mut self, now: MonoTime, from: RegionId, told: &Told, out: &mut Vec<HomeEffect>) {
        let authority = self.authority(now).cloned();
        let Some(round) = self.rounds.get_mut(&told.hash) else { return };
        let asked = round.number == told.round
            && round.candidate.holders.contains(&from)
            && now.saturating_since(round.began) < ROUND_TIME;
        if !asked || round.decided || round.told.contains_key(&from) {
            return;
        }
        round.told.insert(from.clone(), told.state);
        let all = round.told.len() == round.candidate.holders.len();
        if let Some(authority) = authority {
            match round.candidate.cause {
                Cause::Unreferenced => {
                    let granted = round.grant(&from, &authority, out);
                    self.counts.granted += u64::from(granted);
                    round.decided = all;
                }
                Cause::Surplus { .. } if all => {
                    self.counts.granted += round.decide(&authority, out)
                }
                Cause::Surplus { .. } => {}
            }
        }
        self.forget_ended(&told.hash);
    }

    fn end(&mut self, outcome: &Outcome) {
        match outcome.result {
            Ok(()) => self.counts.removed += 1,
            Err(_) => self.counts.refused += 1,
        }
        let Some(round) = self.rounds.get_mut(&outcome.hash) else { return };
        if round.number == outcome.round {
            round.open = round.open.saturating_sub(1);
            self.forget_ended(&outcome.hash);
        }
    }

    fn forget_ended(&mut self, hash: &BlobHash) {
        if self.rounds.get(hash).is_some_and(|round| round.decided && round.open == 0) {
            self.rounds.remove(hash);
        }
    }

    /// Decides what has waited long enough, and forgets what is over.
    fn decide_late(&mut self, now: MonoTime, out: &mut Vec<HomeEffect>) {
        let authority = self.authority(now).cloned();
        let mut granted = 0;
        for round in self.rounds.values_mut() {
            let waited = now.saturating_since(round.began);
            if round.decided || waited < ANSWERS_WAIT || waited >= ROUND_TIME {
                continue;
            }
            match (&round.candidate.cause, &authority) {
                (Cause::Surplus { .. }, Some(authority)) => {
                    granted += round.decide(authority, out);
                }
                // Who has not answered is asked again after the next walk.
                (Cause::Unreferenced, _) => round.decided = true,
                (Cause::Surplus { .. }, None) => {}
            }
        }
        self.counts.granted += granted;
        self.rounds.retain(|_, round| {
            let ended = round.decided && round.open == 0;
            !ended && now.saturating_since(round.began) < ROUND_TIME
        });
    }
}

impl Round {
    /// Grants one holder, if it holds a copy that may go. No round is older than [`ROUND_TIME`] here.
    fn grant(&mut self, to: &RegionId, authority: &Authority, out: &mut Vec<HomeEffect>) -> bool {
        let Some(Holding::Held { ticket, kept: None, .. }) = self.told.get(to) else {
            return false;
        };
        if !self.candidate.ripe.contains(to) {
            return false;
        }
        self.open += 1;
        let grant = Grant {
            authority: authority.clone(),
            round: self.number,
            hash: self.candidate.hash,
            ticket: *ticket,
            vector: self.candidate.vector.clone(),
        };
        out.push(HomeEffect::Grant(to.clone(), grant));
        true
    }

    /// Grants surplus copies, so that enough of those that may be counted on are left. Says how many.
    fn decide(&mut self, authority: &Authority, out: &mut Vec<HomeEffect>) -> u64 {
        self.decided = true;
        let Cause::Surplus { keep, copies } = &self.candidate.cause else { return 0 };
        let counts = |region: &&RegionId| match self.told.get(*region) {
            Some(Holding::Held { caught_up, .. }) => {
                *caught_up || planted::is(Planted::CountBehind)
            }
            _ => planted::is(Planted::CountRows),
        };
        let mut sure: Vec<_> = self.candidate.holders.iter().filter(counts).collect();
        // Those that ought to hold it, then those that would refuse anyway, then by name.
        sure.sort_by_key(|region| {
            let kept = matches!(self.told.get(*region), Some(Holding::Held { kept: Some(_), .. }));
            (!keep.contains(region), !kept)
        });
        let least = usize::from((*copies).max(1));
        let least = if planted::is(Planted::GrantLast) { 0 } else { least };
        if sure.len() < least {
            return 0;
        }
        let stays = |region: &&RegionId| {
            keep.contains(region) || sure.iter().take(least).any(|sure| sure == region)
        };
        let going: Vec<_> =
            self.candidate.holders.iter().filter(|region| !stays(region)).cloned().collect();
        let granted = going.iter().filter(|region| self.grant(region, authority, out)).count();
        u64::try_from(granted).unwrap_or(u64::MAX)
    }
}
