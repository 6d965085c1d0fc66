//! Faults as they are written.

use std::fmt;

use rhumb_types::units::Spelled;

use super::{Fault, Planned};
use crate::text::Percent;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(region) => write!(f, "region {region} down"),
            Self::Killed(region) => write!(f, "region {region} killed"),
            Self::Freeze(region) => write!(f, "region {region} frozen"),
            Self::Isolated(region) => write!(f, "region {region} isolated"),
            Self::Mute(region) => write!(f, "region {region} mute"),
            Self::UplinkLoss(region, share) => {
                write!(f, "uplink {region} loss {}", Percent(*share))
            }
            Self::UplinkDelay(region, time) => {
                write!(f, "uplink {region} delay {}", Spelled(*time))
            }
            Self::Slow(region, share) => write!(f, "region {region} slow {}", Percent(*share)),
            Self::Cut(a, b) => write!(f, "link {a} - {b} cut"),
            Self::OneWay(from, to) => write!(f, "link {from} -> {to} cut"),
            Self::Loss(a, b, share) => write!(f, "link {a} - {b} loss {}", Percent(*share)),
            Self::Delay(a, b, time) => write!(f, "link {a} - {b} delay {}", Spelled(*time)),
            Self::SlowDisk(region, time) => write!(f, "disk {region} slow {}", Spelled(*time)),
            Self::FullDisk(region) => write!(f, "disk {region} full"),
            Self::FailingDisk(region) => write!(f, "disk {region} failing"),
            Self::Clock(region, millis) => {
                let sign = if *millis < 0 { '-' } else { '+' };
                let offset = std::time::Duration::from_millis(millis.unsigned_abs());
                write!(f, "clock {region} {sign}{}", Spelled(offset))
            }
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} {}", Spelled(self.at), self.fault)?;
        match self.lasting {
            Some(lasting) => write!(f, " for {}", Spelled(lasting)),
            None => Ok(()),
        }
    }
}
