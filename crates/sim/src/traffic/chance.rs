//! What is drawn of traffic.

use super::exact::ln;
use crate::{
    random::Random,
    time::{Micros, of_seconds},
};

/// Two to the power of 53: as many bits as a double holds.
const BITS: f64 = 9_007_199_254_740_992.0;

/// A number from 0 to 1, and never 1.
pub fn unit(random: &mut Random) -> f64 {
    (random.bits() >> 11) as f64 / BITS
}

/// The time to the next of events that come at a rate per second, each by itself. Never, when the
/// rate is zero.
pub fn exponential(random: &mut Random, per_second: f64) -> Micros {
    let point = 1.0 - unit(random);
    if per_second > 0.0 { of_seconds(-ln(point) / per_second) } else { Micros::MAX }
}
