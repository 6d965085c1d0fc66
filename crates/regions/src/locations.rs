//! Where the well-known cloud regions are, and how long a packet takes between two places.
//!
//! Coordinates are of the metropolitan area that a provider names, not of its buildings.
//!
//! A round trip between two places is an estimate, and is called so wherever it is shown: light in
//! fibre covers about 200 km in a millisecond (its refractive index is near 1.47), and cables are
//! longer than the great circle. [`PATH_INFLATION`] was fitted to well-known published medians
//! between cloud regions: it meets most of them within a fifth. Where cables leave the great circle
//! by more than that, [`PUBLISHED_RTT`] holds a rounded published median instead. A round trip that
//! was configured or measured always comes before either.
//!
//! Those are medians. How single packets differ from them says [`WAY_EXCESS`]; it is for simulations.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::locations_table::{Provider, WELL_KNOWN, WellKnown};

/// The mean radius of the earth (IUGG), in kilometres.
const EARTH_RADIUS_KM: f64 = 6_371.009;
/// How far light gets in fibre in a millisecond, in kilometres.
pub const FIBRE_KM_PER_MS: f64 = 200.0;
/// How much longer a cable path is than the great circle.
pub const PATH_INFLATION: f64 = 1.5;
/// What switching and the last kilometres add to every round trip, in milliseconds.
pub const RTT_FLOOR_MS: f64 = 1.0;

/// Rounded published medians of round trips, in milliseconds, for pairs that the formula misses
/// or that documents and tests name most often. Each pair is in the order of the alphabet.
pub const PUBLISHED_RTT: [(&str, &str, u64); 20] = [
    ("ap-northeast-1", "ap-southeast-1", 70),
    ("ap-northeast-1", "eu-central-1", 225),
    ("ap-northeast-1", "eu-west-1", 205),
    ("ap-northeast-1", "us-east-1", 150),
    ("ap-northeast-1", "us-west-2", 98),
    ("ap-southeast-1", "eu-central-1", 160),
    ("ap-southeast-1", "eu-west-1", 174),
    ("ap-southeast-1", "us-east-1", 220),
    ("ap-southeast-1", "us-west-2", 165),
    ("ap-southeast-2", "us-east-1", 200),
    ("ap-southeast-2", "us-west-2", 140),
    ("eu-central-1", "eu-west-1", 25),
    ("eu-central-1", "us-east-1", 92),
    ("eu-west-1", "sa-east-1", 180),
    ("eu-west-1", "us-east-1", 70),
    ("eu-west-1", "us-east-2", 82),
    ("eu-west-1", "us-west-2", 125),
    ("eu-west-2", "us-east-1", 76),
    ("us-east-1", "us-east-2", 13),
    ("us-east-1", "us-west-2", 65),
];

/// A million of packets.
const MILLION: u32 = 1_000_000;

/// How much longer a packet takes than the quickest on one way between two regions of a cloud: so many of a
/// million take no longer than so many microseconds; between two points the share grows evenly.
///
/// From a published series of pings between all pairs of sixteen AWS regions over the provider's network,
/// thirty to each, one a second (R. Imaoka, "Using ping to test AWS VPC network latency across different
/// regions", 2019). The mean of a pair is 0.1 ms over its quickest ping; the slowest of thirty is 0.4 ms over
/// it for half of the pairs, 1.6 ms for a quarter, 3.2 ms for a tenth, and 23 ms once. It is the same
/// for pairs that are 10 ms apart and for those at 340. Each way has half of what is usual, and
/// half of what is rare.
///
/// Those pings saw no congestion, loss or change of routes: where there is any, it is a fault.
pub const WAY_EXCESS: [(u32, u32); 10] = [
    (0, 0),
    (500_000, 50),
    (900_000, 80),
    (970_000, 130),
    (988_500, 300),
    (995_000, 1_600),
    (998_300, 3_200),
    (999_600, 6_200),
    (999_850, 10_000),
    (MILLION, 23_500),
];

/// The excess of the packet that so many of a million are quicker than, in microseconds: see [`WAY_EXCESS`].
#[must_use]
pub fn way_excess_micros(quicker: u32) -> u32 {
    let next = WAY_EXCESS.partition_point(|(share, _)| *share <= quicker);
    let point = |at: usize| WAY_EXCESS.get(at).copied().unwrap_or((MILLION, WAY_EXCESS[9].1));
    let ((from, least), (to, most)) = (point(next.saturating_sub(1)), point(next));
    let part = u64::from(quicker.min(to) - from) * u64::from(most - least);
    least + u32::try_from(part / u64::from((to - from).max(1))).unwrap_or(0)
}

/// A place on the globe, in degrees.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "(f64, f64)", into = "(f64, f64)")]
pub struct Location {
    latitude: f64,
    longitude: f64,
}

/// Why two numbers are not a place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "({latitude}, {longitude}) is not a place: use a latitude of -90 to 90 and a longitude of -180 to 180"
)]
pub struct LocationError {
    latitude: f64,
    longitude: f64,
}

impl Location {
    /// A checked place: degrees north of the equator, and east of Greenwich.
    ///
    /// # Errors
    /// When either is out of its range or not a number.
    pub fn new(latitude: f64, longitude: f64) -> Result<Self, LocationError> {
        if (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude) {
            Ok(Self { latitude, longitude })
        } else {
            Err(LocationError { latitude, longitude })
        }
    }

    pub(crate) const fn constant(latitude: f64, longitude: f64) -> Self {
        Self { latitude, longitude }
    }

    /// Degrees north of the equator.
    #[must_use]
    pub const fn latitude(self) -> f64 {
        self.latitude
    }

    /// Degrees east of Greenwich.
    #[must_use]
    pub const fn longitude(self) -> f64 {
        self.longitude
    }

    /// The great-circle distance in kilometres, by the haversine formula on a sphere (within
    /// 0.6 % of the ellipsoid).
    #[must_use]
    pub fn distance_km(self, other: Self) -> f64 {
        let (phi_a, phi_b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_phi = (phi_b - phi_a) / 2.0;
        let half_lambda = (other.longitude - self.longitude).to_radians() / 2.0;
        let chord = half_phi.sin().powi(2) + phi_a.cos() * phi_b.cos() * half_lambda.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }

    /// The estimated round trip to another place.
    ///
    /// Rounded to a tenth of a millisecond, so that the last bit of a platform's trigonometry does
    /// not reach an order of regions.
    #[must_use]
    pub fn estimated_rtt(self, other: Self) -> Duration {
        let path_km = self.distance_km(other) * PATH_INFLATION;
        let millis = RTT_FLOOR_MS + 2.0 * path_km / FIBRE_KM_PER_MS;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most half the circumference of the earth: below 10,000"
        )]
        let tenths = (millis * 10.0).round() as u64;
        Duration::from_micros(tenths * 100)
    }
}

impl TryFrom<(f64, f64)> for Location {
    type Error = LocationError;
    fn try_from((latitude, longitude): (f64, f64)) -> Result<Self, LocationError> {
        Self::new(latitude, longitude)
    }
}

impl From<Location> for (f64, f64) {
    fn from(place: Location) -> Self {
        (place.latitude, place.longitude)
    }
}

/// A well-known region by its name, such as `us-east-1`, `europe-west1` or `westeurope`.
#[must_use]
pub fn well_known(name: &str) -> Option<&'static WellKnown> {
    WELL_KNOWN.iter().find(|known| known.name == name)
}

/// A published round trip between two well-known regions, in either order.
#[must_use]
pub fn published_rtt(a: &str, b: &str) -> Option<Duration> {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    PUBLISHED_RTT
        .iter()
        .find(|(from, to, _)| *from == low && *to == high)
        .map(|(_, _, millis)| Duration::from_millis(*millis))
}

/// The round trip between two well-known regions: published where there is one, else estimated.
#[must_use]
pub fn rtt(a: &str, b: &str) -> Option<Duration> {
    published_rtt(a, b).or_else(|| {
        let (a, b) = (well_known(a)?, well_known(b)?);
        Some(a.location.estimated_rtt(b.location))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_places_are_on_the_globe() {
        let names: BTreeSet<_> = WELL_KNOWN.iter().map(|known| known.name).collect();
        assert_eq!(names.len(), WELL_KNOWN.len());
        for known in WELL_KNOWN {
            let place = known.location;
            assert!(Location::new(place.latitude, place.longitude).is_ok(), "{}", known.name);
            assert!(rhumb_types::RegionId::new(known.name).is_ok(), "{}", known.name);
        }
    }

    #[test]
    fn distances_are_those_of_an_atlas() {
        let place = |name| well_known(name).unwrap().location;
        let between = |a, b| place(a).distance_km(place(b));
        assert!((between("us-east-1", "eu-west-1") - 5_440.0).abs() < 60.0);
        assert!((between("eu-west-1", "ap-southeast-1") - 11_190.0).abs() < 60.0);
        assert!(between("us-east-1", "us-east-1") < 1e-6);
        let pole = Location::new(90.0, 0.0).unwrap();
        let antipode = Location::new(-90.0, 0.0).unwrap();
        assert!((pole.distance_km(antipode) - 20_015.0).abs() < 1.0);
    }

    #[test]
    fn the_formula_meets_most_published_medians_within_a_fifth() {
        let close = PUBLISHED_RTT.iter().filter(|(a, b, millis)| {
            let (a, b) = (well_known(a).unwrap(), well_known(b).unwrap());
            let estimate = a.location.estimated_rtt(b.location).as_secs_f64() * 1e3;
            (estimate / *millis as f64 - 1.0).abs() <= 0.2
        });
        assert!(close.count() * 2 > PUBLISHED_RTT.len());
    }

    #[test]
    fn no_published_round_trip_is_faster_than_light_in_fibre() {
        for (a, b, millis) in PUBLISHED_RTT {
            assert!(a < b, "{a} {b}");
            let (from, to) = (well_known(a).unwrap().location, well_known(b).unwrap().location);
            assert!(2.0 * from.distance_km(to) / FIBRE_KM_PER_MS < millis as f64, "{a} {b}");
        }
    }

    #[test]
    fn a_round_trip_is_the_same_both_ways() {
        assert_eq!(rtt("eu-west-1", "us-east-1"), Some(Duration::from_millis(70)));
        assert_eq!(rtt("us-east-1", "eu-west-1"), rtt("eu-west-1", "us-east-1"));
        assert_eq!(rtt("westeurope", "europe-west1"), rtt("europe-west1", "westeurope"));
        assert!(rtt("us-east-1", "moon-1").is_none());
    }

    #[test]
    fn single_packets_differ_as_in_the_published_series() {
        let mut state = 7_u64;
        let mut way = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            way_excess_micros(u32::try_from((state >> 33) % u64::from(MILLION)).unwrap())
        };
        let mut pair = || -> Vec<u32> { (0..30).map(|_| way() + way()).collect() };
        let pairs: Vec<Vec<u32>> = (0..2_000).map(|_| pair()).collect();
        let mut means: Vec<u32> = pairs.iter().map(|pair| pair.iter().sum::<u32>() / 30).collect();
        means.sort_unstable();
        assert!((80..160).contains(&means[1_000]), "{}", means[1_000]);
        let mut slowest: Vec<u32> =
            pairs.iter().filter_map(|pair| pair.iter().max().copied()).collect();
        slowest.sort_unstable();
        for (nth, wanted) in [(1_000, 300..600), (1_500, 1_200..2_100), (1_800, 2_600..4_200)] {
            assert!(wanted.contains(&slowest[nth]), "{nth}: {}", slowest[nth]);
        }
        assert_eq!(way_excess_micros(0), 0);
        assert_eq!(way_excess_micros(500_000), 50);
        assert_eq!(way_excess_micros(250_000), 25);
        assert_eq!([MILLION, u32::MAX].map(way_excess_micros), [23_500, 23_500]);
    }

    #[test]
    fn places_off_the_globe_are_refused() {
        for (latitude, longitude) in [(91.0, 0.0), (0.0, 181.0), (f64::NAN, 0.0)] {
            assert!(Location::new(latitude, longitude).is_err());
        }
    }
}
