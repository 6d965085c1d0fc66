//! The home of a key among the agreed homes (rule 10).
//!
//! It follows from them and from the key alone. Failures, drains, ramps and weights do not move it, as
//! they move [`RoutingSnapshot::home`](crate::RoutingSnapshot::home): of two nodes one may not have heard
//! of such a step, and both would decide. What moves then is the lease, which has one holder at a time.
//! Members that join or leave do move it, and then nobody decides for a while (ADR 0012).

use std::collections::BTreeSet;

use rhumb_types::{RegionId, control::Homes};

use crate::affinity::rendezvous;

/// Why a key has no home now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// No cluster is formed, as far as is known here.
    #[error("no region is the home of keys yet")]
    Nowhere,
    /// Members joined or left, and nobody decides until the old home has certainly stopped.
    #[error("the home of the key moves from {from} to {to}: try again in a moment")]
    Moving {
        /// The home that is in force.
        from: RegionId,
        /// The one that is announced.
        to: RegionId,
    },
}

/// The home of a key: who holds its lease decides between changes, as long as
/// [`Tenure::decides`](crate::lease::Tenure::decides) says so for the version of these homes.
///
/// # Errors
/// When nobody may decide for the key now.
pub fn home_of<'h>(homes: &'h Homes, key: &[u8]) -> Result<&'h RegionId, HomeError> {
    let from = among(&homes.regions, key).ok_or(HomeError::Nowhere)?;
    match homes.announced.as_ref().and_then(|announced| among(announced, key)) {
        Some(to) if to != from => Err(HomeError::Moving { from: from.clone(), to: to.clone() }),
        _ => Ok(from),
    }
}

/// The home of a key among some regions; `None` where there are none.
#[must_use]
pub fn among<'h>(regions: &'h BTreeSet<RegionId>, key: &[u8]) -> Option<&'h RegionId> {
    rendezvous(key, regions.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u16 = 300;

    fn named(names: &[&str]) -> BTreeSet<RegionId> {
        names.iter().map(|name| RegionId::new(name).unwrap()).collect()
    }

    fn homes(regions: &[&str], announced: &[&str]) -> Homes {
        let announced = Some(named(announced)).filter(|announced| !announced.is_empty());
        Homes { regions: named(regions), announced, ..Homes::default() }
    }

    #[test]
    fn before_a_cluster_is_formed_nothing_has_a_home() {
        assert_eq!(home_of(&Homes::default(), b"key"), Err(HomeError::Nowhere));
    }

    #[test]
    fn only_keys_that_move_have_no_home_meanwhile_and_about_one_in_n_does() {
        for (from, to, moved) in [
            (["us", "eu"].as_slice(), ["us", "eu", "ap"].as_slice(), "ap"),
            (&["us", "eu", "ap"], &["us", "ap"], "eu"),
        ] {
            let (before, meanwhile, after) = (homes(from, &[]), homes(from, to), homes(to, &[]));
            let mut moving = 0;
            for key in 0..KEYS {
                let key = key.to_be_bytes();
                let (old, new) = (home_of(&before, &key).unwrap(), home_of(&after, &key).unwrap());
                match home_of(&meanwhile, &key) {
                    Ok(home) => assert!(home == old && home == new),
                    Err(HomeError::Moving { from, to }) => {
                        assert!(from == *old && to == *new && from != to);
                        assert!([from.as_str(), to.as_str()].contains(&moved));
                        moving += 1;
                    }
                    Err(HomeError::Nowhere) => panic!("there are homes"),
                }
            }
            assert!((KEYS / 5..KEYS / 2).contains(&moving), "{moving} of {KEYS} keys move");
        }
    }
}
