//! Traffic as it is told.

use std::fmt;

use rhumb_types::{AckLevel, Ratio};

use super::Traffic;
use crate::text::Percent;

/// When writers hear yes.
pub(crate) const fn acknowledged(ack: AckLevel) -> &'static str {
    match ack {
        AckLevel::Memory => "acknowledged before they are fsynced",
        AckLevel::Local => "acknowledged once fsynced in one region",
        AckLevel::OneRemote => "acknowledged once fsynced in two regions",
        AckLevel::Quorum => "acknowledged once fsynced in a majority of regions",
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {} of them write, ", self.shape, Percent(self.writes))?;
        match self.acks.as_slice() {
            [(ack, _)] => f.write_str(acknowledged(*ack))?,
            several => {
                for (nth, (ack, share)) in several.iter().enumerate() {
                    let comma = if nth == 0 { "" } else { ", " };
                    write!(f, "{comma}{} {}", Percent(*share), acknowledged(*ack))?;
                }
            }
        }
        if self.hot > Ratio::ZERO {
            write!(f, "; {} want one and the same key", Percent(self.hot))?;
        }
        Ok(())
    }
}
