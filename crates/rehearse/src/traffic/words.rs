//! Traffic as it is told.

use std::fmt;

use rhumb_types::{AckLevel, Ratio, units::Spelled};

use super::{Shape, Traffic};
use crate::text::Percent;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat(rate) => write!(f, "{rate} requests per second"),
            Self::Daily { least, most, day } => {
                write!(f, "{least} to {most} requests per second over {}", Spelled(*day))
            }
            Self::Burst { base, burst, at, lasting } => {
                let (at, lasting) = (Spelled(*at), Spelled(*lasting));
                write!(f, "{base} requests per second, {burst} for {lasting} at {at}")
            }
            Self::Measured(points) => {
                let most = points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
                write!(f, "as measured, up to {most} requests per second")
            }
        }
    }
}

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
