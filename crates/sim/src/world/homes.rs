//! Who decides for keys on which all regions must agree (rule 10).

use std::{ops::Range, time::Duration};

use rhumb_regions::homes::home_of;

use super::{World, micros};
use crate::{check::Check, host::Host};

/// The keys that are looked at; each region is the home of some.
const KEYS: Range<u8> = 0..24;

impl World {
    /// At most one node may decide for a key, whatever each has heard of the members. A second one can
    /// only begin to when an overseer hands leases to its node, so it is enough to look then.
    pub(super) fn watch_homes(&mut self) {
        let now = self.now;
        for key in KEYS {
            let decides = |(_, host): &(usize, &Host)| decides(host, now, key);
            let deciding: Vec<usize> =
                self.hosts.iter().enumerate().filter(decides).map(|(nth, _)| nth).collect();
            if deciding.len() > 1 {
                let after = now / micros(Duration::from_millis(1));
                let what = format!("hosts {deciding:?} decide for key {key} after {after} ms");
                return self.checker.violated(Check::Homes, what);
            }
        }
    }
}

fn decides(host: &Host, now: u64, key: u8) -> bool {
    let Some(process) = &host.process else { return false };
    let Some(overseer) = &process.overseer else { return false };
    let homes = &overseer.view().homes;
    let tenure = home_of(homes, &[key]).ok().and_then(|home| process.leases.get(home));
    tenure.is_some_and(|tenure| tenure.decides(host.clock(now).mono, homes.version).is_some())
}
