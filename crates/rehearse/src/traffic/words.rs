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
        let ack = acknowledged(self.ack);
        write!(f, "{}; {} of them write, {ack}", self.shape, Percent(self.writes))?;
        if self.hot > Ratio::ZERO {
            write!(f, "; {} want one and the same key", Percent(self.hot))?;
        }
        Ok(())
    }
}
