//! Jobs from the options of a command line.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::RegionId;

use super::Takes;
use crate::{
    extent,
    text::{self, Mistake, Source, Word},
    traffic::{self, Shape, peak_and_sum},
};

/// Most jobs per second: each is simulated by itself, because the thresholds of spillover count jobs.
pub const RATE_MAX: f64 = 500.0;
/// Most workers of a region.
pub const WORKERS_MAX: u32 = 5_000;

const TAKES: &str = "write 2s, 1s..5s, or about:2s for an average";

/// Reads how long a job takes: `2s`, `1s..5s`, `about:2s`.
///
/// # Errors
/// What is wrong with it.
pub fn takes(source: Source<'_>) -> Result<Takes, Vec<Mistake>> {
    extent::read(source, TAKES, some)
}

fn some(word: &Word<'_>) -> Result<Duration, Mistake> {
    let time = text::duration(word)?;
    if time.is_zero() {
        return Err(word.mistake(format!("`{}` is no time; write at least 1ms", word.text)));
    }
    Ok(time)
}

/// Reads how many workers regions have: `50` for each, or `us-east-1=50,eu-west-1=20`. Regions that are
/// not named keep what they have.
///
/// # Errors
/// Everything that is wrong with it.
pub fn workers(
    source: Source<'_>,
    regions: &[RegionId],
) -> Result<BTreeMap<RegionId, u32>, Vec<Mistake>> {
    if !source.text.contains('=') {
        let all = traffic::only(source, "write 50, or us-east-1=50", whole)?;
        return Ok(regions.iter().map(|region| (region.clone(), all)).collect());
    }
    traffic::by_regions(source, regions, "has no workers; write us-east-1=50", whole)
}

fn whole(word: &Word<'_>) -> Result<u32, Mistake> {
    let number = word.text.parse::<u32>().ok().filter(|it| *it <= WORKERS_MAX);
    number.ok_or_else(|| {
        word.mistake(format!("`{}` is no number of workers; write 0 to {WORKERS_MAX}", word.text))
    })
}

/// The most jobs per second, when that is more than is simulated.
#[must_use]
pub fn peak_is_too_high(shape: &Shape, lasting: Duration) -> Option<f64> {
    let (peak, _) = peak_and_sum(shape, lasting);
    (peak > RATE_MAX).then_some(peak)
}
