//! How often an address may try a password.
//!
//! Each try takes one from what the address has left, and a right password gives it back, so that
//! tries on many connections at once do not pass together. What is left comes back with time.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rhumb_types::MonoTime;

use crate::limits::{GUESSERS_MAX, PASSWORD_TRIES, PASSWORD_TRY_AGAIN};

/// What addresses have left. A lock, because an address may have many connections; it is held for
/// a look-up per password.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<BTreeMap<IpAddr, Left>>);

#[derive(Clone, Copy, Debug)]
struct Left {
    /// Tries, in parts.
    tries: f64,
    at: MonoTime,
}

impl Left {
    const FULL: f64 = PASSWORD_TRIES as f64;

    fn now(self, now: MonoTime) -> f64 {
        let since = now.saturating_since(self.at).as_secs_f64();
        (self.tries + since / PASSWORD_TRY_AGAIN.as_secs_f64()).min(Self::FULL)
    }
}

/// Of an IPv6 address the network, because one host owns all of it.
fn bearer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6((six.to_bits() & !u128::from(u64::MAX)).into()),
        four => four,
    }
}

impl Guesses {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one try; gives how long to wait when none is left.
    pub(crate) fn take(&self, address: IpAddr, now: MonoTime) -> Result<(), Duration> {
        let (mut kept, address) = (self.kept(), bearer(address));
        if kept.len() >= GUESSERS_MAX && !kept.contains_key(&address) {
            make_room(&mut kept, now);
        }
        let left = kept.entry(address).or_insert(Left { tries: Left::FULL, at: now });
        *left = Left { tries: left.now(now), at: now };
        if left.tries < 1.0 {
            return Err(PASSWORD_TRY_AGAIN.mul_f64(1.0 - left.tries));
        }
        left.tries -= 1.0;
        Ok(())
    }

    /// The password was right: that try does not count.
    pub(crate) fn give_back(&self, address: IpAddr) {
        if let Some(left) = self.kept().get_mut(&bearer(address)) {
            left.tries = (left.tries + 1.0).min(Left::FULL);
        }
    }
}

/// Forgets those who have everything left, or else the one that was away the longest.
fn make_room(kept: &mut BTreeMap<IpAddr, Left>, now: MonoTime) {
    kept.retain(|_, left| left.now(now) < Left::FULL);
    if kept.len() >= GUESSERS_MAX
        && let Some(oldest) = kept.iter().min_by_key(|(_, left)| left.at).map(|(who, _)| *who)
    {
        kept.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonoTime = MonoTime(0);

    fn host(nth: u32) -> IpAddr {
        IpAddr::V4(nth.into())
    }

    #[test]
    fn a_few_tries_pass_and_then_one_at_a_time() {
        let guesses = Guesses::default();
        for _ in 0..PASSWORD_TRIES {
            assert_eq!(guesses.take(host(1), NOW), Ok(()));
        }
        assert_eq!(guesses.take(host(1), NOW), Err(PASSWORD_TRY_AGAIN));
        assert_eq!(guesses.take(host(2), NOW), Ok(()), "another one is not held back");
        let later = NOW + PASSWORD_TRY_AGAIN;
        assert_eq!(guesses.take(host(1), later), Ok(()));
        assert!(guesses.take(host(1), later).is_err());
    }

    #[test]
    fn right_passwords_cost_nothing_and_restore_nothing() {
        let guesses = Guesses::default();
        for _ in 0..PASSWORD_TRIES * 3 {
            assert_eq!(guesses.take(host(1), NOW), Ok(()));
            guesses.give_back(host(1));
        }
        for _ in 0..PASSWORD_TRIES {
            assert_eq!(guesses.take(host(1), NOW), Ok(()));
        }
        assert!(guesses.take(host(1), NOW).is_err());
    }

    #[test]
    fn a_network_is_one_address_and_all_are_bounded() {
        let of = |text: &str| bearer(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        let guesses = Guesses::default();
        for nth in 0..u32::try_from(GUESSERS_MAX).unwrap() + 10 {
            let now = NOW + Duration::from_nanos(u64::from(nth));
            assert_eq!(guesses.take(host(nth), now), Ok(()));
        }
        assert_eq!(guesses.kept().len(), GUESSERS_MAX);
        assert!(!guesses.kept().contains_key(&host(0)));
    }
}
