//! What must not move without a reason: homes of keys, peers that were put out, duties; and that
//! everything agreed leaves its trace.

use std::time::Duration;

use rhumb_regions::{Key, RegionFacts, RoutingSnapshot, health::HealthChange};
use rhumb_types::{
    RegionId,
    control::{AdminAnswer, AdminCommand, AdminRequest, FailoverKind},
    record::Record,
};

use super::{World, micros};
use crate::check::Check;

/// Keys whose homes are watched.
const KEYS_WATCHED: u64 = 16;
/// So long after everything was mended nobody is held for down any more.
const CALM_AFTER: Duration = Duration::from_secs(8);
/// A link that was down for so long was missed at both its ends: several times the fast profile's
/// ejection.
const MISSED_AFTER: Duration = Duration::from_millis(2_500);

impl World {
    /// Everything is mended from now on, or no longer.
    pub(crate) fn mended(&mut self, mended: bool) {
        self.mended_at = mended.then_some(self.now);
    }

    /// A node routes by other facts from now on. A key's home may change only where something did
    /// that decides on homes: at the home before, or at the one after.
    pub(super) fn check_homes(&mut self, host: usize, next: &RoutingSnapshot) {
        let Some(before) = self.process(host).and_then(|process| process.routing.clone()) else {
            return;
        };
        for nth in 0..KEYS_WATCHED {
            let (old, new) = (home(&before, nth), home(next, nth));
            if old == new {
                continue;
            }
            let same = |region: &Option<RegionId>| {
                region.as_ref().is_some_and(|it| decides(&before, it) == decides(next, it))
            };
            if same(&old) && same(&new) && before.facts().rules == next.facts().rules {
                let what = format!(
                    "host {host} moves key {nth} from {old:?} to {new:?}, and nothing changed there"
                );
                self.checker.violated(Check::Stable, what);
            }
        }
    }

    /// A node holds a peer for out, or for back: not before its hold-down has passed.
    pub(super) fn check_hold(&mut self, host: usize, change: &HealthChange) {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let clock = machine.clock(now).mono;
        let hold = machine.oversight.as_ref().map(|config| config.health.hold_down);
        let Some(seen) = machine.process.as_mut().map(|process| &mut process.seen) else { return };
        match change {
            HealthChange::Out { region, .. } => {
                seen.out.insert(region.clone(), clock);
            }
            HealthChange::In { region } => {
                let since = seen.out.remove(region);
                let out_for = since.map(|since| clock.saturating_since(since));
                if out_for.zip(hold).is_some_and(|(out_for, hold)| out_for < hold) {
                    let what = format!("host {host} has {region} back after {out_for:?}");
                    self.checker.violated(Check::Steady, what);
                }
            }
            _ => {}
        }
    }

    /// A node proposes to give a region its duties back: it must have been well, seen from there,
    /// for as long as is configured.
    pub(super) fn check_return(&mut self, host: usize, command: &AdminCommand) {
        let AdminCommand::StartFailover { plan } = command else { return };
        if plan.kind != FailoverKind::FailBack {
            return;
        }
        let config = self.hosts.get(host).and_then(|machine| machine.oversight.as_ref());
        let after = config.and_then(|config| config.failover.failback_after);
        let other = self.host_of(&plan.region).filter(|other| *other != host);
        let (Some(after), Some(other)) = (after, other) else { return };
        let now = self.now;
        let link = self.network.link(host, other);
        let missed = link.up_since.saturating_sub(link.down_at) >= micros(MISSED_AFTER);
        // A tenth is left to the fastest clock that may be.
        if missed && link.up && now - link.up_since < micros(after) * 9 / 10 {
            let what = format!("host {host} gives {} back at once", plan.region);
            self.checker.violated(Check::Steady, what);
        }
    }

    /// Something was agreed on, and done or refused.
    pub(super) fn check_agreed(&mut self, request: &[u8], done: bool) {
        let Some(mended) = self.mended_at.filter(|_| done) else { return };
        let Ok(request) = AdminRequest::decode(request) else { return };
        let AdminCommand::StartFailover { plan } = request.command else { return };
        let calm = self.now - mended > micros(CALM_AFTER);
        if calm && plan.kind == FailoverKind::Failover {
            let seconds = Duration::from_micros(self.now - mended).as_secs_f64();
            let what = format!("{} fails over {seconds:.3} s after all was mended", plan.region);
            self.checker.violated(Check::Steady, what);
        }
    }
}

fn home(snapshot: &RoutingSnapshot, nth: u64) -> Option<RegionId> {
    let name = nth.to_be_bytes();
    let at = snapshot.home(&Key::new(&name), &[]).ok()?;
    Some(snapshot.region(at).region.id.clone())
}

/// What of a region decides on homes.
fn decides(snapshot: &RoutingSnapshot, region: &RegionId) -> Option<impl PartialEq + use<>> {
    let facts: &RegionFacts = snapshot.facts().regions.iter().find(|it| it.region.id == *region)?;
    Some((facts.region.clone(), facts.admin, facts.ramp))
}

/// Whether a command that was agreed left fewer entries in the audit chain than it must. Renewals
/// and signed heads leave none; of several commands together each does, and a refusal leaves one.
pub(super) fn unaudited(command: &[u8], answer: &[u8], entries: u64) -> Option<String> {
    let request = AdminRequest::decode(command).ok()?;
    let done = AdminAnswer::decode(answer).ok()?.0.is_ok();
    let silent = |command: &AdminCommand| {
        use AdminCommand as C;
        matches!(command, C::RenewLease { .. } | C::PublishHead { .. })
    };
    let wanted = match (&request.command, done) {
        (AdminCommand::Together { commands }, true) => {
            commands.iter().filter(|command| !silent(command)).count() as u64
        }
        (command, true) => u64::from(!silent(command)),
        (_, false) => 1,
    };
    (entries < wanted).then(|| {
        format!("{:?} left {entries} entries in the audit chain, not {wanted}", request.command)
    })
}
