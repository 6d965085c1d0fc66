//! Every bound of events, in one place.

/// Most events of one batch.
pub const BATCH_MAX: usize = 100;
/// Longest name of an attribute, in bytes; the specification asks for at most 20.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest value of an attribute, in bytes.
pub const VALUE_BYTES_MAX: usize = 2_048;
/// Most attributes of an event.
pub const ATTRIBUTES_MAX: usize = 64;
