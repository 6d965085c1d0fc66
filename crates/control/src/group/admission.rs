//! How much a node takes at once.

use std::sync::{Arc, Mutex, PoisonError};

use rhumb_ports::control::ControlError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::config::{Limits, Rate};

/// Bounds on what is in flight, and on the rate.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    proposals: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    bucket: Option<Mutex<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        let bucket = |rate: Rate| Bucket { rate, tokens: rate.burst, filled: Instant::now() };
        Self {
            limits: *limits,
            proposals: Arc::new(Semaphore::new(limits.proposals_in_flight_max)),
            reads: Arc::new(Semaphore::new(limits.reads_in_flight_max)),
            bucket: limits.rate.map(|rate| Mutex::new(bucket(rate))),
        }
    }

    /// Refuses a command that is too large; every node checks, so that it does not travel.
    pub(super) fn check_size(&self, command: &[u8]) -> Result<(), ControlError> {
        let (size, max) = (command.len(), self.limits.command_bytes_max);
        if size <= max {
            return Ok(());
        }
        Err(ControlError::Invalid(format!("it has {size} bytes, and {max} are allowed")))
    }

    /// A place among the proposals in flight, within the rate.
    pub(super) fn proposal(&self) -> Result<OwnedSemaphorePermit, ControlError> {
        let place = Self::place(&self.proposals, "proposals")?;
        let Some(bucket) = &self.bucket else { return Ok(place) };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.take(Instant::now()) {
            return Ok(place);
        }
        let rate = bucket.rate.per_second;
        Err(ControlError::Overloaded(format!("more than {rate} commands per second")))
    }

    /// A place among the reads in flight.
    pub(super) fn read(&self) -> Result<OwnedSemaphorePermit, ControlError> {
        Self::place(&self.reads, "reads")
    }

    fn place(places: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, ControlError> {
        Arc::clone(places)
            .try_acquire_owned()
            .map_err(|_| ControlError::Overloaded(format!("too many {what} in flight")))
    }
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let earned =
            now.saturating_duration_since(self.filled).as_secs_f64() * self.rate.per_second;
        self.tokens = (self.tokens + earned).min(self.rate.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn admits_the_burst_and_then_the_rate() {
        let rate = Rate { per_second: 10.0, burst: 3.0 };
        let start = Instant::now();
        let mut bucket = Bucket { rate, tokens: 3.0, filled: start };
        let admitted = (0..100).filter(|n| bucket.take(start + Duration::from_millis(10 * n)));
        // 3 at once, and about one per 100 ms in the second that follows.
        assert_eq!(admitted.count(), 12);
    }

    #[test]
    fn counts_what_is_in_flight() {
        let limits = Limits { proposals_in_flight_max: 1, rate: None, ..Limits::strong() };
        let admission = Admission::new(&limits);
        let place = admission.proposal().unwrap();
        assert!(matches!(admission.proposal(), Err(ControlError::Overloaded(_))));
        drop(place);
        assert!(admission.proposal().is_ok());
    }

    #[test]
    fn refuses_a_command_that_is_too_large() {
        let limits = Limits { command_bytes_max: 3, ..Limits::strong() };
        let admission = Admission::new(&limits);
        assert!(admission.check_size(b"abc").is_ok());
        assert!(matches!(admission.check_size(b"abcd"), Err(ControlError::Invalid(_))));
    }
}
