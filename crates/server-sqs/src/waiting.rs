//! Who waits for messages, and how many may.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rhumb_front::Bearer;

use crate::limits::{WAITING_MAX, WAITING_PER_KEY_MAX};

/// Requests that wait. A lock, because those of all connections share it for a few instructions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_bearer: BTreeMap<Bearer, usize>,
}

/// A place among those who wait; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Waiting,
    bearer: Bearer,
}

impl Waiting {
    /// A place for a bearer, if there is one.
    pub(crate) fn place(&self, bearer: &Bearer) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.by_bearer.get(bearer).copied().unwrap_or_default();
        if counts.all >= WAITING_MAX || own >= WAITING_PER_KEY_MAX {
            return None;
        }
        counts.all += 1;
        counts.by_bearer.insert(bearer.clone(), own + 1);
        Some(Place { waiting: self.clone(), bearer: bearer.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        let own = counts.by_bearer.get(&self.bearer).copied().unwrap_or_default();
        if own <= 1 {
            counts.by_bearer.remove(&self.bearer);
        } else {
            counts.by_bearer.insert(self.bearer.clone(), own - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_leaves_places_for_others() {
        let waiting = Waiting::default();
        let bearer = |name: &str| Bearer::Token(name.into());
        let mut places: Vec<Place> =
            (0..WAITING_PER_KEY_MAX).filter_map(|_| waiting.place(&bearer("a"))).collect();
        assert_eq!(places.len(), WAITING_PER_KEY_MAX);
        assert!(waiting.place(&bearer("a")).is_none());
        assert!(waiting.place(&bearer("b")).is_some());
        places.pop();
        assert!(waiting.place(&bearer("a")).is_some());
        drop(places);
        let counts = waiting.0.lock().unwrap();
        assert!(counts.all == 0 && counts.by_bearer.is_empty());
    }
}
