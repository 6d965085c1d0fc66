//! How often somebody may ask: a token bucket per bearer.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rhumb_types::MonoTime;

use crate::limits::BEARERS_MAX;

/// Whose requests are counted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bearer {
    /// Those of a token.
    Token(Arc<str>),
    /// Those of an address without one.
    Address(IpAddr),
}

impl Bearer {
    /// An address; of an IPv6 address the network, because one host owns all of it.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(six) => {
                let network = six.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            four => four,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: MonoTime,
}

/// Buckets of one kind. A lock, because requests on all threads share them for a few instructions.
#[derive(Debug)]
pub struct Buckets {
    per_second: f64,
    burst: f64,
    buckets: Mutex<BTreeMap<Bearer, Bucket>>,
}

impl Buckets {
    /// Buckets that start full.
    #[must_use]
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Takes one request out of a bearer's bucket.
    ///
    /// # Errors
    /// How long to wait, when it is empty.
    pub fn take(&self, bearer: Bearer, now: MonoTime) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BEARERS_MAX && !buckets.contains_key(&bearer) {
            self.make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(bearer).or_insert(Bucket { level: self.burst, at: now });
        bucket.level = self.level(bucket, now);
        bucket.at = now;
        if bucket.level >= 1.0 {
            bucket.level -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.level) / self.per_second))
    }

    fn level(&self, bucket: &Bucket, now: MonoTime) -> f64 {
        let since = now.saturating_since(bucket.at).as_secs_f64();
        since.mul_add(self.per_second, bucket.level).min(self.burst)
    }

    /// Forgets those who would find a full bucket anyway, or else the quarter that was away the
    /// longest; so many at a time, that making room costs little per request.
    fn make_room(&self, buckets: &mut BTreeMap<Bearer, Bucket>, now: MonoTime) {
        buckets.retain(|_, bucket| self.level(bucket, now) < self.burst);
        if buckets.len() < BEARERS_MAX {
            return;
        }
        let mut times: Vec<MonoTime> = buckets.values().map(|bucket| bucket.at).collect();
        let quarter = times.len() / 4;
        let (_, oldest, _) = times.select_nth_unstable(quarter);
        let oldest = *oldest;
        let mut left = quarter + 1;
        buckets.retain(|_, bucket| {
            let goes = bucket.at <= oldest && left > 0;
            left -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn host(n: u32) -> Bearer {
        Bearer::address(IpAddr::V4(n.into()))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (buckets, now) = (Buckets::new(2.0, 3.0), MonoTime(0));
        for _ in 0..3 {
            assert_eq!(buckets.take(host(1), now), Ok(()));
        }
        assert_eq!(buckets.take(host(1), now), Err(Duration::from_millis(500)));
        assert_eq!(buckets.take(host(2), now), Ok(()), "another one is not held back");
        assert_eq!(buckets.take(host(1), now + SECOND), Ok(()));
        assert_eq!(buckets.take(host(1), now + SECOND), Ok(()));
        assert!(buckets.take(host(1), now + SECOND).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_busy_stay() {
        let (buckets, mut now) = (Buckets::new(1e-6, 2.0), MonoTime(0));
        let remembered = |bearer| buckets.buckets.lock().unwrap().contains_key(&bearer);
        for n in 1..=u32::try_from(BEARERS_MAX).unwrap() * 3 {
            now = now + Duration::from_micros(1);
            let _taken = buckets.take(host(0), now);
            let _taken = buckets.take(host(n), now);
        }
        assert!(buckets.buckets.lock().unwrap().len() <= BEARERS_MAX);
        assert!(remembered(host(0)) && !remembered(host(1)));
        assert!(buckets.take(host(0), now).is_err(), "and is still held back");
    }

    #[test]
    fn full_buckets_are_forgotten_first() {
        let buckets = Buckets::new(1.0, 2.0);
        for n in 1..=u32::try_from(BEARERS_MAX).unwrap() {
            buckets.take(host(n), MonoTime(0)).unwrap();
        }
        buckets.take(host(0), MonoTime(0) + SECOND * 100).unwrap();
        assert_eq!(buckets.buckets.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_network_is_one_bearer() {
        let of = |text: &str| Bearer::address(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
