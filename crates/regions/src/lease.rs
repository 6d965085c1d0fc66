//! Rule 7: agreed numbers turned into time, on each node's own clock.
//!
//! A clock may run at any rate within a factor of (1 + drift) of true time, either way. The holder
//! counts from before it sent the renewal that committed, and counts its own elapsed time times
//! (1 + drift); everybody else counts from the moment they saw that renewal, or from their start
//! if that is later, and waits the duration times (1 + drift). So the holder stops, in true time,
//! no later than anybody begins to take over:
//!
//! ```text
//! holder: elapsed * (1 + drift) < duration   =>  true time since sending < duration
//! others: elapsed >= duration * (1 + drift)  =>  true time since receipt >= duration
//! ```
//!
//! and a receipt is never before the sending. The takeover itself commits only if the numbers are
//! still those that were waited out, which the administrative machine checks.
//!
//! All times are [`MonoTime`]: a clock that never jumps and that counts suspend.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::{
    Epoch, MonoTime, NodeId, RegionId,
    control::{AdminCommand, RegionLease},
    planted::{self, Planted},
};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// How far a clock's rate may be from true time, in parts per million.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DriftBound(pub u32);

impl Default for DriftBound {
    /// One percent: twenty times what a bad quartz does, to leave room for virtual machines.
    fn default() -> Self {
        Self(10_000)
    }
}

impl DriftBound {
    /// A duration times (1 + drift), rounded up.
    #[must_use]
    pub fn stretch(self, duration: Duration) -> Duration {
        if planted::is(Planted::NoDriftMargin) {
            return duration;
        }
        let nanos = duration.as_nanos();
        let extra = (nanos * u128::from(self.0)).div_ceil(1_000_000);
        Duration::from_nanos(u64::try_from(nanos + extra).unwrap_or(u64::MAX))
    }

    /// The longest duration that, stretched, is not longer than this one.
    #[must_use]
    pub fn shrink(self, duration: Duration) -> Duration {
        let drift = if planted::is(Planted::NoDriftMargin) { 0 } else { self.0 };
        let whole = duration.as_nanos() * 1_000_000 / (1_000_000 + u128::from(drift));
        Duration::from_nanos(u64::try_from(whole).unwrap_or(u64::MAX))
    }
}

/// A lease under which this node may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    /// Its epoch.
    pub epoch: Epoch,
    /// The node must stop at this time of its own clock, unless it is renewed.
    pub until: MonoTime,
    /// Whether the node knows what a majority of the regions with data held before: only then may it
    /// act on what was acknowledged at `quorum` (rule 6).
    pub majority: bool,
    /// Which homes of keys it may decide by; nothing before it knows what those before them decided.
    pub homes: Option<Placed>,
}

/// Homes of keys by which a node may decide under a lease (rule 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The version of [`Homes`](rhumb_types::control::Homes) that the node has seen.
    pub version: u64,
    /// It must stop at this time of its own clock, unless a renewal is seen among what is agreed. One
    /// that was only answered may have been agreed after these homes had changed.
    pub until: MonoTime,
}

impl Tenure {
    /// The epoch under which the node may act at a time; checked before a commit and again before
    /// its answer (rule 4).
    #[must_use]
    pub fn at(&self, now: MonoTime) -> Option<Epoch> {
        (now < self.until).then_some(self.epoch)
    }

    /// The same, for what rests on all that was acknowledged at `quorum` (rules 6 and 10).
    #[must_use]
    pub fn at_quorum(&self, now: MonoTime) -> Option<Epoch> {
        self.at(now).filter(|_| self.majority)
    }

    /// The same, for a key whose home follows from a version of the homes (rule 10).
    #[must_use]
    pub fn decides(&self, now: MonoTime, version: u64) -> Option<Epoch> {
        let placed = self.homes.filter(|homes| homes.version == version)?;
        self.at_quorum(now).filter(|_| now < placed.until)
    }
}

/// The leases under which a node may act, by region.
pub type Leases = BTreeMap<RegionId, Tenure>;

/// A proposal under way. Its answer must come back with it, because its sending time is what the
/// tenure counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseAttempt {
    epoch: Epoch,
    renewal: u64,
    sent: MonoTime,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    epoch: Epoch,
    renewal: u64,
    from: MonoTime,
    duration: Duration,
}

/// One node's hold on one region's lease.
#[derive(Debug, Clone)]
pub struct LeaseHolder {
    node: NodeId,
    region: RegionId,
    duration: Duration,
    drift: DriftBound,
    tenure: Option<Held>,
    /// The last of it that is seen among what is agreed.
    seen: Option<Held>,
    /// The numbers that are.
    agreed: Option<(Epoch, u64)>,
    /// Tenures up to this one are over, whatever a late answer says.
    ended: Option<Epoch>,
    last_sent: Option<MonoTime>,
}

/// A lease is renewed when this part of it has passed; two tries fit into what is left.
pub(crate) const RENEW_AFTER: u32 = 3;

impl LeaseHolder {
    /// A node that holds nothing yet. A restarted process starts here again: what it held before
    /// it died it must renew before it may act.
    #[must_use]
    pub const fn new(
        node: NodeId,
        region: RegionId,
        duration: Duration,
        drift: DriftBound,
    ) -> Self {
        Self {
            node,
            region,
            duration,
            drift,
            tenure: None,
            seen: None,
            agreed: None,
            ended: None,
            last_sent: None,
        }
    }

    /// How often a renewal is sent.
    #[must_use]
    pub fn renew_every(&self) -> Duration {
        self.duration / RENEW_AFTER
    }

    /// What to propose now, given the lease as last agreed: an acquisition, a renewal, or nothing
    /// while one is not due or another node holds it.
    ///
    /// The caller sends the command after this returns, never before.
    pub fn propose(
        &mut self,
        now: MonoTime,
        agreed: &RegionLease,
    ) -> Option<(AdminCommand, LeaseAttempt)> {
        if self.last_sent.is_some_and(|at| now.saturating_since(at) < self.renew_every()) {
            return None;
        }
        let (region, node) = (self.region.clone(), self.node);
        let (command, epoch, renewal) = match &agreed.holder {
            Some(party) if party.node == node => {
                let renewal = agreed.renewal.saturating_add(1);
                let epoch = agreed.epoch;
                (AdminCommand::RenewLease { region, node, epoch, renewal }, epoch, renewal)
            }
            Some(_) => return None,
            None => {
                let duration_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
                let epoch = agreed.epoch;
                let command = AdminCommand::AcquireLease { region, node, epoch, duration_ms };
                (command, epoch.next(), 0)
            }
        };
        self.last_sent = Some(now);
        Some((command, LeaseAttempt { epoch, renewal, sent: now }))
    }

    /// A takeover to propose, once a [`LeaseWatch`] allows it.
    pub fn take_over(
        &mut self,
        now: MonoTime,
        waited_out: &RegionLease,
    ) -> (AdminCommand, LeaseAttempt) {
        self.last_sent = Some(now);
        let command = AdminCommand::TakeOverLease {
            region: self.region.clone(),
            node: self.node,
            epoch: waited_out.epoch,
            renewal: waited_out.renewal,
            duration_ms: u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
        };
        (command, LeaseAttempt { epoch: waited_out.epoch.next(), renewal: 0, sent: now })
    }

    /// The attempt was agreed: the lease that its answer carries is counted from its sending, and
    /// not from now.
    ///
    /// Only the answer to the attempt itself may be given here. That the agreed state shows the
    /// same numbers is no proof: an earlier process of this node may have sent them earlier.
    pub fn on_granted(&mut self, now: MonoTime, attempt: LeaseAttempt, lease: &RegionLease) {
        let mine = lease.holder.as_ref().is_some_and(|party| party.node == self.node);
        let answers = (lease.epoch, lease.renewal) == (attempt.epoch, attempt.renewal);
        let newer = self
            .tenure
            .is_none_or(|held| (held.epoch, held.renewal) < (attempt.epoch, attempt.renewal));
        let over = self.ended.is_some_and(|ended| attempt.epoch <= ended);
        if mine && answers && newer && !over {
            let LeaseAttempt { epoch, renewal, sent } = attempt;
            let duration = lease.duration();
            let from = if planted::is(Planted::CountFromReceipt) { now } else { sent };
            self.tenure = Some(Held { epoch, renewal, from, duration });
            self.see();
        }
    }

    /// The attempt was refused, or its answer did not come: another may be sent at once.
    pub fn on_not_granted(&mut self, attempt: LeaseAttempt) {
        if self.last_sent == Some(attempt.sent) {
            self.last_sent = None;
        }
    }

    /// The lease as agreed. A tenure that another holds, or that was released, ends ours up to
    /// that epoch; a higher epoch of our own (a recovery) must be renewed before it counts.
    pub fn observe(&mut self, agreed: &RegionLease) {
        let mine = agreed.holder.as_ref().is_some_and(|party| party.node == self.node);
        if !mine {
            self.end(agreed.epoch);
        }
        if self.tenure.is_some_and(|held| held.epoch < agreed.epoch) {
            (self.tenure, self.seen) = (None, None);
        }
        self.agreed = mine.then_some((agreed.epoch, agreed.renewal));
        self.see();
    }

    /// Takes note of a renewal that was both answered and seen.
    fn see(&mut self) {
        let seen = |held: &Held| self.agreed >= Some((held.epoch, held.renewal));
        if let Some(held) = self.tenure.filter(seen) {
            self.seen = Some(held);
        }
    }

    /// Stops to act, and gives the command that lets others know, for as long as the agreed lease
    /// still names this node: the last one may have been lost, or this process started after the
    /// one that held the lease.
    pub fn release(&mut self, agreed: &RegionLease) -> Option<AdminCommand> {
        let mine = agreed.holder.as_ref().is_some_and(|party| party.node == self.node);
        let held = self.tenure.map(|tenure| tenure.epoch);
        let epoch = held.max(mine.then_some(agreed.epoch))?;
        self.end(epoch);
        let (region, node) = (self.region.clone(), self.node);
        Some(AdminCommand::ReleaseLease { region, node, epoch })
    }

    fn end(&mut self, epoch: Epoch) {
        self.ended = self.ended.max(Some(epoch));
        if self.tenure.is_some_and(|held| held.epoch <= epoch) {
            (self.tenure, self.seen) = (None, None);
        }
    }

    /// The epoch under which this node may act now; `None` when it may not.
    ///
    /// Checked before a commit and again before its answer (rule 4).
    #[must_use]
    pub fn may_act(&self, now: MonoTime) -> Option<Epoch> {
        let held = self.tenure.as_ref()?;
        let elapsed = now.saturating_since(held.from);
        (self.drift.stretch(elapsed) < held.duration).then_some(held.epoch)
    }

    /// When the renewal that counts was asked for.
    #[must_use]
    pub fn asked(&self) -> Option<MonoTime> {
        self.tenure.map(|held| held.from)
    }

    /// How long this node may still act, on its own clock, if nothing is renewed.
    #[must_use]
    pub fn remaining(&self, now: MonoTime) -> Duration {
        self.tenure.map_or(Duration::ZERO, |held| self.left(now, held))
    }

    /// The same, by the last renewal that is seen among what is agreed: whatever was agreed before it is
    /// known here.
    #[must_use]
    pub fn remaining_seen(&self, now: MonoTime) -> Duration {
        self.seen.map_or(Duration::ZERO, |held| self.left(now, held))
    }

    fn left(&self, now: MonoTime, held: Held) -> Duration {
        self.drift.shrink(held.duration).saturating_sub(now.saturating_since(held.from))
    }
}

/// Whether a renewal counts for nothing: only where that fault is planted.
fn is_passed_over(epoch: Epoch, lease: &RegionLease) -> bool {
    planted::is(Planted::IgnoreRenewals) && epoch == lease.epoch
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sighting {
    epoch: Epoch,
    renewal: u64,
    at: MonoTime,
}

/// One node's watch over all leases that it does not hold.
#[derive(Debug, Clone)]
pub struct LeaseWatch {
    drift: DriftBound,
    seen: BTreeMap<RegionId, Sighting>,
}

impl LeaseWatch {
    /// A watch that has seen nothing.
    #[must_use]
    pub const fn new(drift: DriftBound) -> Self {
        Self { drift, seen: BTreeMap::new() }
    }

    /// The leases as this node has applied them; to be called after every change of them, after a
    /// restored snapshot, and at the start. What is seen for the first time is counted from now.
    pub fn observe(&mut self, now: MonoTime, agreed: &BTreeMap<RegionId, RegionLease>) {
        self.seen.retain(|region, _| agreed.contains_key(region));
        for (region, lease) in agreed {
            let fresh = Sighting { epoch: lease.epoch, renewal: lease.renewal, at: now };
            match self.seen.get_mut(region) {
                Some(last) if (last.epoch, last.renewal) == (lease.epoch, lease.renewal) => {}
                Some(last) if is_passed_over(last.epoch, lease) => last.renewal = lease.renewal,
                Some(last) => *last = fresh,
                None => {
                    self.seen.insert(region.clone(), fresh);
                }
            }
        }
    }

    /// How long this node must still wait before it may propose to take over a lease; zero when it
    /// may, `None` when it has not seen these numbers.
    #[must_use]
    pub fn remaining(
        &self,
        now: MonoTime,
        region: &RegionId,
        agreed: &RegionLease,
    ) -> Option<Duration> {
        let last = self.seen.get(region)?;
        if (last.epoch, last.renewal) != (agreed.epoch, agreed.renewal) {
            return None;
        }
        if agreed.holder.is_none() {
            return Some(Duration::ZERO);
        }
        let wait = self.drift.stretch(agreed.duration());
        Some(wait.saturating_sub(now.saturating_since(last.at)))
    }

    /// Whether this node has waited a lease out.
    #[must_use]
    pub fn may_take_over(&self, now: MonoTime, region: &RegionId, agreed: &RegionLease) -> bool {
        self.remaining(now, region, agreed) == Some(Duration::ZERO)
    }
}
