//! Time and randomness.

use rhumb_types::Timestamp;

/// Where a driver reads the time that it hands to machines.
pub trait Clock: Send + Sync + 'static {
    /// Both clocks, read together.
    fn now(&self) -> Timestamp;
}

/// Where a driver draws randomness for machines.
pub trait Entropy: Send + Sync + 'static {
    /// Sixty-four unpredictable bits.
    fn next_u64(&self) -> u64;
}
