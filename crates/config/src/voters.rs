//! Who votes in the control plane, and how far the voters are from each other.

use std::time::Duration;

use rhumb_regions::{Location, locations};
use rhumb_types::{RegionId, control::limits::VOTERS_MAX};

use crate::Settings;

/// The round trip that is assumed where neither the file nor the names tell: half way round the
/// globe.
pub(crate) const ROUND_TRIP_ASSUMED: Duration = Duration::from_millis(250);

/// The regions whose nodes vote, the best leader first: data before witnesses, then by how soon a
/// majority can answer, then by name.
///
/// All of them, or of more than the control plane takes: the witnesses, then the first by priority
/// and name.
pub(crate) fn voters(settings: &Settings) -> Vec<RegionId> {
    let mut by_rank: Vec<_> = settings.regions.iter().collect();
    by_rank.sort_by_key(|(id, region)| (!region.witness, region.priority, *id));
    let mut voters: Vec<RegionId> =
        by_rank.into_iter().take(VOTERS_MAX).map(|(id, _)| id.clone()).collect();
    let all = voters.clone();
    voters.sort_by_cached_key(|id| {
        let witness = settings.regions.get(id).is_some_and(|region| region.witness);
        (witness, reach(settings, id, &all), id.clone())
    });
    voters
}

/// How long a leader in a region waits for a majority, and for all.
fn reach(settings: &Settings, leader: &RegionId, voters: &[RegionId]) -> (Duration, Duration) {
    let others = voters.iter().filter(|id| *id != leader);
    let mut trips: Vec<Duration> = others.map(|id| round_trip(settings, leader, id)).collect();
    trips.sort();
    // With itself a majority: half of all voters are other ones.
    let majority = (voters.len() / 2).checked_sub(1).and_then(|nth| trips.get(nth));
    (majority.copied().unwrap_or_default(), trips.last().copied().unwrap_or_default())
}

/// The longest round trip between any two of some regions.
pub(crate) fn round_trip_max(settings: &Settings, regions: &[RegionId]) -> Duration {
    let pairs = regions.iter().flat_map(|a| regions.iter().map(move |b| (a, b)));
    pairs.filter(|(a, b)| a < b).map(|(a, b)| round_trip(settings, a, b)).max().unwrap_or_default()
}

/// The round trip between two regions: as the file says, else as published, else estimated from
/// where they are.
fn round_trip(settings: &Settings, a: &RegionId, b: &RegionId) -> Duration {
    let is_meant = |between: &[RegionId; 2]| between.contains(a) && between.contains(b);
    if let Some(given) = settings.round_trips.iter().find(|trip| is_meant(&trip.between)) {
        return given.time.0;
    }
    let moved = |id| settings.regions.get(id).is_some_and(|region| region.location.is_some());
    let published = locations::published_rtt(a.as_str(), b.as_str());
    if let Some(published) = published.filter(|_| !moved(a) && !moved(b)) {
        return published;
    }
    match (place(settings, a), place(settings, b)) {
        (Some(a), Some(b)) => a.estimated_rtt(b),
        _ => ROUND_TRIP_ASSUMED,
    }
}

fn place(settings: &Settings, id: &RegionId) -> Option<Location> {
    match settings.regions.get(id)?.location {
        Some(own) => Location::new(own.latitude, own.longitude).ok(),
        None => locations::well_known(id.as_str()).map(|known| known.location),
    }
}
