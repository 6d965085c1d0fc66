//! One peer, in or out.

use std::{collections::BTreeSet, fmt, time::Duration};

use rhumb_types::{
    MonoTime, Ratio, RegionId,
    planted::{self, Planted},
};

use super::{
    CHECKS_MAX, Check, Checks, HealthChange, HealthConfig, PhiAccrual, Sign, errors::ErrorWindow,
};
use crate::{registry::Capability, status::Health};

/// Why a peer is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutReason {
    /// Its heartbeats have been missing for surprisingly long.
    Silent,
    /// Requests to it failed one after the other.
    Errors,
    /// A connection to it broke or was refused.
    Unreachable,
    /// It says itself that it does not serve.
    NotServing,
    /// The checks of its node or link fail.
    Checks,
}

impl OutReason {
    /// Whether that may go on while heartbeats come.
    const fn is_with_heartbeats(self) -> bool {
        matches!(self, Self::NotServing | Self::Checks)
    }
}

impl fmt::Display for OutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "no heartbeats",
            Self::Errors => "errors in a row",
            Self::Unreachable => "unreachable",
            Self::NotServing => "does not serve",
            Self::Checks => "checks fail",
        })
    }
}

/// What routing should know of a peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Healthy, degraded, or down for this node.
    pub health: Health,
    /// Why it is out, and until when at least.
    pub out: Option<(OutReason, MonoTime)>,
    /// What it cannot do.
    pub lost: BTreeSet<Capability>,
    /// How full it says it is.
    pub utilisation: Ratio,
    /// How surprising its silence is.
    pub phi: f64,
    /// Ejections since it was last stable.
    pub flaps: u32,
}

#[derive(Debug, Clone, Copy)]
struct Out {
    reason: OutReason,
    since: MonoTime,
    until: MonoTime,
    /// Since when it is heard and of no use all the same.
    useless_since: Option<MonoTime>,
    good_signs: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Peer {
    phi: PhiAccrual,
    /// Whether any heartbeat ever came.
    heard: bool,
    errors: ErrorWindow,
    checks: Checks,
    serving: bool,
    impaired: BTreeSet<Capability>,
    utilisation: Ratio,
    unreachable: bool,
    out: Option<Out>,
    flaps: u32,
    /// Since when it is in.
    stable_since: MonoTime,
    degraded: bool,
    reported: Reported,
}

/// What was last told, so that only changes are.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reported {
    out: Option<(OutReason, MonoTime)>,
    degraded: bool,
    lost: BTreeSet<Capability>,
}

impl Peer {
    pub(super) fn new(now: MonoTime, config: &HealthConfig) -> Self {
        Self {
            phi: PhiAccrual::new(now, config.heartbeat_every, config.deviation_min),
            heard: false,
            errors: ErrorWindow::new(config.error_window),
            checks: Checks::default(),
            serving: true,
            impaired: BTreeSet::new(),
            utilisation: Ratio::ZERO,
            unreachable: false,
            out: None,
            flaps: 0,
            stable_since: now,
            degraded: false,
            reported: Reported::default(),
        }
    }

    pub(super) fn on_sign(&mut self, now: MonoTime, sign: Sign, config: &HealthConfig) {
        match sign {
            Sign::Heartbeat { serving, impaired, utilisation } => {
                let was_outage = self.phi.phi(now) >= config.phi_max;
                self.phi.record(now, was_outage);
                self.heard = true;
                self.serving = serving;
                self.impaired = impaired.into_iter().take(CHECKS_MAX).collect();
                self.utilisation = utilisation;
                self.unreachable = false;
                if serving {
                    self.good_sign();
                }
            }
            Sign::Outcome { ok } => {
                self.errors.record(now, ok);
                if !ok {
                    self.bad_sign();
                }
            }
            Sign::Unreachable => {
                self.unreachable = true;
                self.bad_sign();
            }
            Sign::Checked { check, passed } => self.on_check(check, passed, config),
        }
    }

    fn on_check(&mut self, check: Check, passed: bool, config: &HealthConfig) {
        let vital = check.is_vital();
        self.checks.record(check, passed, config);
        match (vital, passed) {
            (true, true) => self.good_sign(),
            (true, false) => self.bad_sign(),
            (false, _) => {}
        }
    }

    fn good_sign(&mut self) {
        if let Some(out) = &mut self.out {
            out.good_signs = out.good_signs.saturating_add(1);
        }
    }

    fn bad_sign(&mut self) {
        if let Some(out) = &mut self.out {
            out.good_signs = 0;
        }
    }

    /// Moves the peer out or in, as what is known and the time demand.
    pub(super) fn settle(&mut self, now: MonoTime, config: &HealthConfig) {
        self.errors.trim(now);
        self.settle_degraded(config);
        let cause = self.cause(now, config);
        match (self.out, cause) {
            (None, Some(reason)) => self.eject(now, reason, config),
            (None, None) => {
                if now.saturating_since(self.stable_since) >= config.hold_down_max {
                    self.flaps = 0;
                }
            }
            (Some(out), None) => {
                let held = now >= out.until && out.good_signs >= config.success_threshold;
                if held || planted::is(Planted::ForgetHold) {
                    self.out = None;
                    self.stable_since = now;
                }
            }
            (Some(_), Some(reason)) => {
                self.bad_sign();
                self.blame(now, reason);
            }
        }
    }

    /// Who is out, is heard again, and says that it does not serve, is useless from then on: a node
    /// that starts again and cannot work would never be held for down otherwise.
    fn blame(&mut self, now: MonoTime, reason: OutReason) {
        if let Some(out) = self.out.as_mut().filter(|_| reason.is_with_heartbeats()) {
            out.useless_since.get_or_insert(now);
        }
    }

    /// What speaks against it now, the clearest first.
    fn cause(&self, now: MonoTime, config: &HealthConfig) -> Option<OutReason> {
        if self.unreachable {
            Some(OutReason::Unreachable)
        } else if !self.serving {
            Some(OutReason::NotServing)
        } else if self.phi.phi(now) >= config.phi_max {
            Some(OutReason::Silent)
        } else if self.errors.in_row() >= config.errors_in_row_max {
            Some(OutReason::Errors)
        } else if self.checks.is_out() {
            Some(OutReason::Checks)
        } else {
            None
        }
    }

    fn eject(&mut self, now: MonoTime, reason: OutReason, config: &HealthConfig) {
        let doubled = config.hold_down.saturating_mul(1 << self.flaps.min(31));
        let until = now + doubled.min(config.hold_down_max);
        self.flaps = self.flaps.saturating_add(1);
        let useless_since = reason.is_with_heartbeats().then_some(now);
        self.out = Some(Out { reason, since: now, until, useless_since, good_signs: 0 });
        // While it is out nothing is sent there that could end the row; new errors start anew.
        self.errors.forget_row();
    }

    fn settle_degraded(&mut self, config: &HealthConfig) {
        let bound = config.degraded_errors.get();
        let bound = if self.degraded { bound / 2.0 } else { bound };
        self.degraded =
            self.errors.share(config.degraded_samples_min).is_some_and(|share| share > bound);
    }

    pub(super) fn discount(&mut self, now: MonoTime, by: Duration) {
        self.phi.discount(now, by);
        if let Some(out) = &mut self.out {
            let later = |since: MonoTime| (since + by).min(now).max(since);
            out.useless_since = out.useless_since.map(later);
            out.since = (out.since + by).min(now).max(out.since);
        }
    }

    /// Whether a heartbeat came within the detection time; a start is no heartbeat.
    pub(super) fn is_heard(&self, now: MonoTime, config: &HealthConfig) -> bool {
        self.heard && self.phi.silence(now) < config.detection
    }

    pub(super) fn opinion(&self, now: MonoTime, config: &HealthConfig) -> Option<bool> {
        let Some(out) = &self.out else { return self.heard.then_some(false) };
        let lasting = |since: Duration| since >= config.detection;
        // Errors and a broken connection alone are no proof while heartbeats come.
        let useless = out.useless_since.filter(|_| self.cause(now, config).is_some());
        let useless = useless.is_some_and(|since| lasting(now.saturating_since(since)));
        (useless || lasting(self.phi.silence(now))).then_some(true)
    }

    pub(super) fn assess(&self, now: MonoTime) -> Assessment {
        Assessment {
            health: match (self.out, self.degraded) {
                (Some(_), _) => Health::Down,
                (None, true) => Health::Degraded,
                (None, false) => Health::Healthy,
            },
            out: self.out.map(|out| (out.reason, out.until)),
            lost: self.lost(),
            utilisation: self.utilisation,
            phi: self.phi.phi(now),
            flaps: self.flaps,
        }
    }

    fn lost(&self) -> BTreeSet<Capability> {
        self.impaired.iter().cloned().chain(self.checks.lost()).collect()
    }

    /// Tells what changed since the last time.
    pub(super) fn report(&mut self, region: &RegionId, changes: &mut Vec<HealthChange>) {
        let region = || region.clone();
        let out = self.out.map(|out| (out.reason, out.until));
        if out != self.reported.out {
            changes.push(match self.out {
                Some(Out { reason, since, until, .. }) => {
                    let hold = until.saturating_since(since);
                    HealthChange::Out { region: region(), reason, hold }
                }
                None => HealthChange::In { region: region() },
            });
        }
        if self.degraded != self.reported.degraded {
            changes.push(HealthChange::Degraded { region: region(), degraded: self.degraded });
        }
        let lost = self.lost();
        if lost != self.reported.lost {
            changes.push(HealthChange::Lost { region: region(), lost: lost.clone() });
        }
        self.reported = Reported { out, degraded: self.degraded, lost };
    }
}
