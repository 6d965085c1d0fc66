//! Traffic as it is told.

use std::fmt;

use rhumb_types::{AckLevel, Ratio};

use super::Traffic;
use crate::text::Percent;

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ack = match self.ack {
            AckLevel::Memory => "acknowledged before they are fsynced",
            AckLevel::Local => "acknowledged once fsynced in one region",
            AckLevel::OneRemote => "acknowledged once fsynced in two regions",
            AckLevel::Quorum => "acknowledged once fsynced in a majority of regions",
        };
        write!(f, "{}; {} of them write, {ack}", self.shape, Percent(self.writes))?;
        if self.hot > Ratio::ZERO {
            write!(f, "; {} want one and the same key", Percent(self.hot))?;
        }
        Ok(())
    }
}
