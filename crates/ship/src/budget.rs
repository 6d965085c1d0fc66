//! A bound on the bytes that are in memory, shared by the one who reads and those who send.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{STAGED_BYTES_MAX, STAGED_BYTES_MIN};

/// Bytes of one permit.
const UNIT: usize = 1 << 10;

/// So many bytes may be held at a time.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.clamp(STAGED_BYTES_MIN, STAGED_BYTES_MAX);
        Self { units: Arc::new(Semaphore::new(units(bytes))) }
    }

    /// How many bytes are free.
    pub(crate) fn free(&self) -> usize {
        self.units.available_permits() * UNIT
    }

    /// Waits until so many bytes may be held.
    pub(crate) async fn hold(&self, bytes: usize) -> Held {
        let Ok(units) = u32::try_from(units(bytes)) else { return Held(None) };
        // The semaphore is never closed.
        Held(Arc::clone(&self.units).acquire_many_owned(units).await.ok())
    }
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |permit| permit.num_permits() * UNIT)
    }

    pub(crate) fn add(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(mine), Some(more)) => mine.merge(more),
            (None, more) => self.0 = more,
            (Some(_), None) => {}
        }
    }

    /// Parts with as much of it as these bytes take, or with all.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let wanted = units(bytes).min(self.bytes() / UNIT);
        Self(self.0.as_mut().and_then(|permit| permit.split(wanted)))
    }

    /// Gives back what is more than these bytes take.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let rest = self.bytes().saturating_sub(units(bytes) * UNIT);
        drop(self.split(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_given_back_in_parts() {
        let budget = Budget::new(STAGED_BYTES_MIN);
        let all = budget.units.available_permits();
        let mut held = budget.hold(10_000).await;
        assert_eq!(held.bytes(), 10 * UNIT);
        held.add(budget.hold(1).await);
        let part = held.split(4_000);
        assert_eq!((held.bytes(), part.bytes()), (7 * UNIT, 4 * UNIT));
        held.shrink(1_500);
        assert_eq!((held.bytes(), budget.units.available_permits()), (2 * UNIT, all - 6));
        drop((held, part));
        assert_eq!(budget.units.available_permits(), all);
        assert_eq!(Held::default().split(5).bytes(), 0);
    }
}
