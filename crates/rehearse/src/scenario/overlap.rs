//! Faults that cannot be at the same time.
//!
//! - The same thing does not fail twice at once: a region that is down cannot go down, and of two
//!   losses on one link it could not be said which holds.
//! - Nothing that happens to a process can begin while there is none: no freeze, no slowness, no
//!   fault of disk or clock of a region that is down. What began before goes on when it is back, but
//!   for a freeze, which ends with the process: freezes and outages of a region exclude each other.
//! - Nothing can be lost or delayed on a link that is cut, and what is isolated is cut off already.
//!
//! A loss and a delay of one link or uplink, or a slow disk that also fills up, are two faults at once.

use std::time::Duration;

use rhumb_types::{RegionId, units::Spelled};

use super::{Fault, Planned, Scenario};
use crate::text::{Mistake, Place};

/// What is refused of a scenario, in the order of its times.
pub(super) fn refusals(planned: &[(Planned, Place)]) -> Vec<Mistake> {
    let mut refusals = Vec::new();
    for (nth, (later, place)) in planned.iter().enumerate() {
        let earlier = planned.iter().take(nth).filter(|(it, _)| it.holds_at(later.at));
        let against = earlier.filter_map(|it| Some((it, why_not(&it.0.fault, &later.fault)?)));
        if let Some(((earlier, there), why)) = against.into_iter().next() {
            let message = refusal(earlier, there, later, &why);
            refusals.push(Mistake { place: place.clone(), message });
        }
    }
    refusals
}

/// Whether all faults of a scenario can be, in the order of their times.
#[must_use]
pub fn possible(scenario: &Scenario) -> bool {
    let nowhere = || Place { source: String::new(), line: 0, column: 0 };
    let mut faults: Vec<(Planned, Place)> =
        scenario.faults.iter().map(|planned| (planned.clone(), nowhere())).collect();
    faults.sort_by_key(|(planned, _)| planned.at);
    refusals(&faults).is_empty()
}

fn refusal(earlier: &Planned, there: &Place, later: &Planned, why: &str) -> String {
    let (until, instead) = match earlier.end() {
        Some(end) => {
            let end = Spelled(end);
            (format!("until {end}"), format!("let this begin at {end} or later"))
        }
        None => ("to the end".to_owned(), "give that an end with `for`".to_owned()),
    };
    format!(
        "`{}` cannot be at {}: {why} from {} {until} ({}:{}); {instead}",
        later.fault,
        Spelled(later.at),
        Spelled(earlier.at),
        there.source,
        there.line,
    )
}

impl Planned {
    /// When it is mended.
    #[must_use]
    pub fn end(&self) -> Option<Duration> {
        self.lasting.and_then(|lasting| self.at.checked_add(lasting))
    }

    fn holds_at(&self, time: Duration) -> bool {
        self.at <= time && self.end().is_none_or(|end| time < end)
    }
}

/// Why the second cannot begin while the first holds.
fn why_not(holds: &Fault, begins: &Fault) -> Option<String> {
    use Fault::{
        Clock, Cut, Delay, Down, FailingDisk, Freeze, FullDisk, Isolated, Killed, Loss, Mute,
        OneWay, Slow, SlowDisk, UplinkDelay, UplinkLoss,
    };
    match (holds, begins) {
        (
            Down(down) | Killed(down),
            Down(it)
            | Killed(it)
            | Freeze(it)
            | Slow(it, _)
            | SlowDisk(it, _)
            | FullDisk(it)
            | FailingDisk(it)
            | Clock(it, _),
        ) if down == it => Some(format!("{down} is down")),
        (Freeze(frozen), Down(it) | Killed(it) | Freeze(it)) if frozen == it => {
            Some(format!("{it} is frozen"))
        }
        (Isolated(a), Isolated(b) | Mute(b) | UplinkLoss(b, _) | UplinkDelay(b, _)) if a == b => {
            Some(format!("{a} is isolated"))
        }
        (Mute(a), Mute(b) | Isolated(b)) if a == b => Some(format!("{a} is mute")),
        (UplinkLoss(a, _), UplinkLoss(b, _)) if a == b => {
            Some(format!("the uplink of {a} loses packets"))
        }
        (UplinkDelay(a, _), UplinkDelay(b, _)) if a == b => {
            Some(format!("the uplink of {a} is delayed"))
        }
        (Isolated(alone), Cut(a, b) | OneWay(a, b) | Loss(a, b, _) | Delay(a, b, _))
            if alone == a || alone == b =>
        {
            Some(format!("{alone} is isolated"))
        }
        (Cut(a, b), Cut(c, d) | OneWay(c, d) | Loss(c, d, _) | Delay(c, d, _))
            if same_link((a, b), (c, d)) =>
        {
            Some("that link is cut".to_owned())
        }
        (OneWay(a, b), OneWay(c, d)) if (a, b) == (c, d) => {
            Some("that direction is cut".to_owned())
        }
        (OneWay(a, b), Cut(c, d)) if same_link((a, b), (c, d)) => {
            Some("one direction of that link is cut".to_owned())
        }
        (Loss(a, b, _), Loss(c, d, _)) if same_link((a, b), (c, d)) => {
            Some("that link loses packets".to_owned())
        }
        (Delay(a, b, _), Delay(c, d, _)) if same_link((a, b), (c, d)) => {
            Some("that link is delayed".to_owned())
        }
        (Slow(a, _), Slow(b, _)) if a == b => Some(format!("{a} is slow")),
        (SlowDisk(a, _), SlowDisk(b, _)) if a == b => Some(format!("the disk of {a} is slow")),
        (FullDisk(a) | FailingDisk(a), FullDisk(b) | FailingDisk(b)) if a == b => {
            Some(format!("nothing reaches the disk of {a}"))
        }
        (Clock(a, _), Clock(b, _)) if a == b => Some(format!("the clock of {a} is off")),
        _ => None,
    }
}

fn same_link(one: (&RegionId, &RegionId), other: (&RegionId, &RegionId)) -> bool {
    one == other || one == (other.1, other.0)
}
