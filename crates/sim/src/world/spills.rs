//! That no home begins and ends to send work away faster than its limits allow.
//!
//! Counted here once more from what the queues show, by the clock of the host that decides: it begins after
//! [`Limits::enter_held`], ends after the calm that is asked for, and that doubles with every early return.

use std::{collections::BTreeMap, time::Duration};

use rhumb_regions::spillover::{CALM_MAX, Limits, REENTRY_WINDOWS};
use rhumb_types::{MonoTime, RegionId};

use super::World;
use crate::{check::Check, setup};

/// What is known of each host's homes, since its process started.
#[derive(Debug, Default)]
pub(super) struct Spills(BTreeMap<(usize, RegionId), Swing>);

/// Since when a home keeps its work, or sends some away.
#[derive(Clone, Debug)]
struct Swing {
    spills: bool,
    since: MonoTime,
    /// Whether it has sent any away before.
    returned: bool,
    calm_needed: Duration,
}

impl Swing {
    const fn calm(since: MonoTime, limits: &Limits) -> Self {
        Self { spills: false, since, returned: false, calm_needed: limits.leave_held }
    }

    /// Takes in what a home does now; says what is too soon.
    fn change(&mut self, now: MonoTime, spills: bool, limits: &Limits) -> Result<(), String> {
        if spills == self.spills {
            return Ok(());
        }
        let after = now.saturating_since(self.since);
        let (wanted, what) = if spills {
            let again = self.returned && after < self.calm_needed.saturating_mul(REENTRY_WINDOWS);
            let doubled = self.calm_needed.saturating_mul(2).min(CALM_MAX.max(limits.leave_held));
            self.calm_needed = if again { doubled } else { limits.leave_held };
            (limits.enter_held, "begins to send work away")
        } else {
            self.returned = true;
            (self.calm_needed, "keeps its work again")
        };
        (self.spills, self.since) = (spills, now);
        if after < wanted {
            return Err(format!("{what} after {after:?}, and not after {wanted:?}"));
        }
        Ok(())
    }
}

impl World {
    /// The queues of a host start anew.
    pub(super) fn forget_spills(&mut self, host: usize) {
        self.spills.0.retain(|(of, _), _| *of != host);
    }

    /// Looks at what a host's homes do with new work.
    pub(super) fn check_spills(&mut self, host: usize) {
        let Some(machine) = self.hosts.get(host) else { return };
        let now = machine.clock(self.now).mono;
        let Some(beside) = machine.process.as_ref().and_then(|it| it.queues.as_ref()) else {
            return;
        };
        let limits = setup::spillover();
        let mut swung = Vec::new();
        for home in self.hosts.iter().map(|host| &host.config.region) {
            let of = (host, home.clone());
            let swing = self.spills.0.entry(of).or_insert_with(|| Swing::calm(now, &limits));
            if let Err(what) = swing.change(now, beside.machine.is_spilling(home), &limits) {
                swung.push(format!("host {host}: {home} {what}"));
            }
        }
        for what in swung {
            self.checker.violated(Check::Swings, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_changes_too_soon_is_found() {
        let limits = Limits::default();
        let at = |seconds: u64| MonoTime(seconds * 1_000_000);
        let mut swing = Swing::calm(at(0), &limits);
        assert!(swing.change(at(5), false, &limits).is_ok(), "nothing has changed");
        assert!(swing.clone().change(at(9), true, &limits).is_err());
        swing.change(at(10), true, &limits).unwrap();
        assert!(swing.clone().change(at(69), false, &limits).is_err());
        swing.change(at(70), false, &limits).unwrap();
        // Soon again: the calm that is asked for doubles.
        swing.change(at(100), true, &limits).unwrap();
        assert!(swing.clone().change(at(219), false, &limits).is_err());
        swing.change(at(220), false, &limits).unwrap();
        // Long after: it begins anew.
        swing.change(at(2_000), true, &limits).unwrap();
        assert!(swing.change(at(2_060), false, &limits).is_ok());
    }
}
