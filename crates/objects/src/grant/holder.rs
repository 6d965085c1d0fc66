//! The holder's side: what is pinned, what was referred to, which tickets are good.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_types::{
    Epoch, MonoTime, RegionId,
    planted::{self, Planted},
    record::{BlobHash, Dot, VersionVector},
};

use super::{
    Ask, Authority, Grant, Holding, Memory, Outcome, References, Refusal, Told,
    limits::{
        LIKED_MAX, LOOKS_MAX, PIN_WAIT_MAX, PINS_MAX, REMOVALS_MAX, SILENCE, TICKET_TIME,
        TICKETS_MAX,
    },
};

#[cfg(test)]
mod tests;

/// What happens to a holder.
#[derive(Debug, Clone)]
pub enum HolderEvent<'a> {
    /// A transaction of domain 0 is durable here, and these are the blobs that its rows name.
    Applied {
        /// Which.
        dot: Dot,
        /// What it refers to.
        references: &'a [BlobHash],
    },
    /// More was applied than was told one by one: a snapshot came, or the peers know more of what this
    /// node once had.
    Covered(&'a VersionVector),
    /// A pin is kept until a transaction is applied here, and then let go.
    UnpinAfter(BlobHash, Dot),
    /// A home asks.
    Asked {
        /// Who.
        from: RegionId,
        /// What.
        ask: Ask,
    },
    /// The store was looked at, as [`HolderEffect::Look`] says.
    Looked {
        /// For what.
        hash: BlobHash,
        /// Which look.
        look: u64,
        /// Whether it is there; `None` when the store did not say.
        held: Option<bool>,
    },
    /// A home grants.
    Granted {
        /// Who.
        from: RegionId,
        /// What.
        grant: Grant,
    },
    /// A removal ended, as [`HolderEffect::Remove`] says.
    Removed {
        /// Of what.
        hash: BlobHash,
        /// Whether the blob is gone, and its row.
        gone: bool,
    },
    /// Time passed; once in a second while there is something to do.
    Tick,
}

/// What a holder wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HolderEffect {
    /// Look whether the store holds a blob.
    Look {
        /// Which blob.
        hash: BlobHash,
        /// Which look.
        look: u64,
    },
    /// Answer a home.
    Tell(RegionId, Told),
    /// Remove the holder's row of a blob, and then its bytes.
    Remove(BlobHash),
    /// Say what became of a grant.
    End(RegionId, Outcome),
}

/// What became of a wish to pin a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinning {
    /// It is pinned.
    Pinned,
    /// It is being removed: wait for the end of that and try again. What was to be written must be
    /// written then.
    Leaving,
    /// There are too many pins.
    Full,
}

/// How a holder behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HolderConfig {
    /// How many references it remembers.
    pub memory: Memory,
    /// How long it says nothing after its start. Shorter than two rounds is unsafe where homes move.
    pub silence: Duration,
}

impl Default for HolderConfig {
    fn default() -> Self {
        Self { memory: Memory::default(), silence: SILENCE }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket {
    number: u64,
    given: MonoTime,
}

#[derive(Debug, Clone)]
struct Look {
    number: u64,
    from: RegionId,
    ask: Ask,
}

#[derive(Debug, Clone)]
struct Leaving {
    home: RegionId,
    round: u64,
}

/// The region's side of rule 12.
#[derive(Debug, Clone)]
pub struct Holder {
    speaks_from: MonoTime,
    applied: VersionVector,
    references: References,
    pins: BTreeMap<BlobHash, u32>,
    /// Pins that wait for a transaction, and since when.
    pins_until: BTreeMap<Dot, Vec<(BlobHash, MonoTime)>>,
    pins_waiting: usize,
    next_number: u64,
    looks: BTreeMap<BlobHash, Look>,
    tickets: BTreeMap<BlobHash, Ticket>,
    by_age: BTreeSet<(MonoTime, BlobHash)>,
    leaving: BTreeMap<BlobHash, Leaving>,
    homes: u64,
    epochs: BTreeMap<RegionId, Epoch>,
    /// Copies that the policy does not ask for, and that are read here.
    liked: BTreeSet<BlobHash>,
}

impl Holder {
    /// A holder that starts, with what is applied and durable. Its tickets are numbered from
    /// `first_ticket`, which no earlier process may have used: a reading of the hybrid clock.
    #[must_use]
    pub fn new(
        config: HolderConfig,
        now: MonoTime,
        applied: &VersionVector,
        first_ticket: u64,
    ) -> Self {
        Self {
            speaks_from: now + config.silence,
            applied: applied.clone(),
            references: References::new(config.memory, applied),
            pins: BTreeMap::new(),
            pins_until: BTreeMap::new(),
            pins_waiting: 0,
            next_number: first_ticket,
            looks: BTreeMap::new(),
            tickets: BTreeMap::new(),
            by_age: BTreeSet::new(),
            leaving: BTreeMap::new(),
            homes: 0,
            epochs: BTreeMap::new(),
            liked: BTreeSet::new(),
        }
    }

    /// Pins a blob that is to be written, read or referred to. Pins count; each wants its
    /// [`unpin`](Self::unpin).
    pub fn pin(&mut self, hash: BlobHash) -> Pinning {
        if self.leaving.contains_key(&hash) && !planted::is(Planted::PinLeaving) {
            return Pinning::Leaving;
        }
        if let Some(count) = self.pins.get_mut(&hash) {
            *count = count.saturating_add(1);
            return Pinning::Pinned;
        }
        if self.pins.len() >= PINS_MAX {
            return Pinning::Full;
        }
        self.pins.insert(hash, 1);
        Pinning::Pinned
    }

    /// Lets a pin go.
    pub fn unpin(&mut self, hash: &BlobHash) {
        if let Some(count) = self.pins.get_mut(hash) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(hash);
            }
        }
    }

    /// Whether a copy that the policy does not ask for should stay, because it is read here and there is
    /// room. It goes all the same once nobody refers to it.
    pub fn like(&mut self, hash: BlobHash, likes: bool) {
        if !likes {
            self.liked.remove(&hash);
        } else if self.liked.len() < LIKED_MAX {
            self.liked.insert(hash);
        }
    }

    /// Whether a blob is being removed.
    #[must_use]
    pub fn is_leaving(&self, hash: &BlobHash) -> bool {
        self.leaving.contains_key(hash)
    }

    /// Takes in what happened.
    pub fn on_event(&mut self, now: MonoTime, event: HolderEvent<'_>, out: &mut Vec<HolderEffect>) {
        match event {
            HolderEvent::Applied { dot, references } => self.apply(dot, references),
            HolderEvent::Covered(vector) => self.cover(vector),
            HolderEvent::UnpinAfter(hash, dot) => self.unpin_after(now, hash, dot),
            HolderEvent::Asked { from, ask } => self.hear(now, from, ask, out),
            HolderEvent::Looked { hash, look, held } => self.tell(now, hash, look, held, out),
            HolderEvent::Granted { from, grant } => self.take(now, from, &grant, out),
            HolderEvent::Removed { hash, gone } => self.removed(&hash, gone, out),
            HolderEvent::Tick => self.expire(now),
        }
    }

    fn apply(&mut self, dot: Dot, references: &[BlobHash]) {
        self.applied.raise(dot.origin, dot.version);
        for hash in references {
            self.references.add(dot, hash);
        }
        let first = Dot { origin: dot.origin, version: 0 };
        let over: Vec<_> = self.pins_until.range(first..=dot).map(|(dot, _)| *dot).collect();
        self.let_go(over);
    }

    fn cover(&mut self, vector: &VersionVector) {
        self.applied.merge(vector);
        self.references.cover(vector);
        let covered = |dot: &Dot| self.applied.covers(*dot);
        let over: Vec<_> = self.pins_until.keys().copied().filter(covered).collect();
        self.let_go(over);
    }

    /// Lets pins go whose transactions are applied.
    fn let_go(&mut self, over: Vec<Dot>) {
        for dot in over {
            for (hash, _) in self.pins_until.remove(&dot).unwrap_or_default() {
                self.pins_waiting -= 1;
                self.unpin(&hash);
            }
        }
    }

    fn unpin_after(&mut self, now: MonoTime, hash: BlobHash, dot: Dot) {
        if self.applied.covers(dot) {
            return self.unpin(&hash);
        }
        // Past the bound the pin stays for as long as the process: safe, and rare.
        if self.pins_waiting < PINS_MAX {
            self.pins_waiting += 1;
            self.pins_until.entry(dot).or_default().push((hash, now));
        }
    }

    /// Whether a home is none that another has taken the place of; notes the newest.
    fn is_current(&mut self, authority: &Authority) -> bool {
        if planted::is(Planted::AnswerSuperseded) {
            return true;
        }
        let epoch = self.epochs.get(&authority.region).copied().unwrap_or_default();
        if authority.homes < self.homes || authority.epoch < epoch {
            return false;
        }
        self.homes = authority.homes;
        self.epochs.insert(authority.region.clone(), authority.epoch);
        true
    }

    fn hear(&mut self, now: MonoTime, from: RegionId, ask: Ask, out: &mut Vec<HolderEffect>) {
        let (hash, round) = (ask.hash, ask.round);
        let silent = if now < self.speaks_from {
            Some(Holding::Silent(Refusal::Starting))
        } else if !self.is_current(&ask.authority) {
            Some(Holding::Silent(Refusal::Superseded))
        } else if self.leaving.contains_key(&hash) {
            Some(Holding::Absent)
        } else if self.looks.len() >= LOOKS_MAX && !self.looks.contains_key(&hash) {
            Some(Holding::Silent(Refusal::Busy))
        } else {
            None
        };
        if let Some(state) = silent {
            return out.push(HolderEffect::Tell(from, Told { round, hash, state }));
        }
        // From here on no earlier ticket is good: what is found now stays until this one is used.
        self.drop_ticket(&hash);
        let look = self.number();
        self.looks.insert(hash, Look { number: look, from, ask });
        out.push(HolderEffect::Look { hash, look });
    }

    fn tell(
        &mut self,
        now: MonoTime,
        hash: BlobHash,
        look: u64,
        held: Option<bool>,
        out: &mut Vec<HolderEffect>,
    ) {
        if self.looks.get(&hash).is_none_or(|it| it.number != look) {
            return;
        }
        let Some(Look { from, ask, .. }) = self.looks.remove(&hash) else { return };
        let state = match held {
            Some(true) if self.tickets.len() < TICKETS_MAX => {
                let ticket = self.number();
                self.tickets.insert(hash, Ticket { number: ticket, given: now });
                self.by_age.insert((now, hash));
                let caught_up = self.applied.includes(&ask.vector);
                let liked = ask.surplus && self.liked.contains(&hash);
                let kept = self.keeps(&hash, &ask.vector).err();
                let kept = kept.or(liked.then_some(Refusal::Liked));
                Holding::Held { ticket, caught_up, kept }
            }
            Some(true) => Holding::Silent(Refusal::Busy),
            Some(false) => Holding::Absent,
            None => Holding::Silent(Refusal::Failed),
        };
        out.push(HolderEffect::Tell(from, Told { round: ask.round, hash, state }));
    }

    /// Whether anything speaks against removing a blob, whoever asks.
    fn keeps(&self, hash: &BlobHash, vector: &VersionVector) -> Result<(), Refusal> {
        if self.pins.contains_key(hash) && !planted::is(Planted::RemovePinned) {
            return Err(Refusal::Pinned);
        }
        self.references.check(hash, vector)
    }

    fn take(&mut self, now: MonoTime, from: RegionId, grant: &Grant, out: &mut Vec<HolderEffect>) {
        let (hash, round) = (grant.hash, grant.round);
        match self.judge(now, grant) {
            Ok(()) => {
                self.drop_ticket(&hash);
                self.looks.remove(&hash);
                self.leaving.insert(hash, Leaving { home: from, round });
                out.push(HolderEffect::Remove(hash));
            }
            // A grant that comes twice.
            Err(_) if self.leaving.get(&hash).is_some_and(|it| it.round == round) => {}
            Err(refusal) => {
                let outcome = Outcome { round, hash, result: Err(refusal) };
                out.push(HolderEffect::End(from, outcome));
            }
        }
    }

    fn judge(&mut self, now: MonoTime, grant: &Grant) -> Result<(), Refusal> {
        if self.leaving.contains_key(&grant.hash) {
            return Err(Refusal::Stale);
        }
        if !planted::is(Planted::AnyTicket) {
            let ticket = self.tickets.get(&grant.hash);
            let ticket = ticket.filter(|it| it.number == grant.ticket).ok_or(Refusal::Stale)?;
            if now.saturating_since(ticket.given) >= TICKET_TIME {
                return Err(Refusal::Expired);
            }
        }
        if !self.is_current(&grant.authority) {
            return Err(Refusal::Superseded);
        }
        if self.leaving.len() >= REMOVALS_MAX {
            return Err(Refusal::Busy);
        }
        self.keeps(&grant.hash, &grant.vector)
    }

    fn removed(&mut self, hash: &BlobHash, gone: bool, out: &mut Vec<HolderEffect>) {
        if let Some(Leaving { home, round }) = self.leaving.remove(hash) {
            self.liked.remove(hash);
            let result = if gone { Ok(()) } else { Err(Refusal::Failed) };
            out.push(HolderEffect::End(home, Outcome { round, hash: *hash, result }));
        }
    }

    fn expire(&mut self, now: MonoTime) {
        while let Some((given, hash)) = self.by_age.first().copied()
            && now.saturating_since(given) >= TICKET_TIME
        {
            self.by_age.pop_first();
            self.tickets.remove(&hash);
        }
        let mut over = Vec::new();
        self.pins_until.retain(|_, pins| {
            pins.retain(|(hash, since)| {
                let stays = now.saturating_since(*since) < PIN_WAIT_MAX;
                if !stays {
                    over.push(*hash);
                }
                stays
            });
            !pins.is_empty()
        });
        for hash in over {
            self.pins_waiting -= 1;
            self.unpin(&hash);
        }
    }

    fn drop_ticket(&mut self, hash: &BlobHash) {
        if let Some(ticket) = self.tickets.remove(hash) {
            self.by_age.remove(&(ticket.given, *hash));
        }
    }

    const fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}
