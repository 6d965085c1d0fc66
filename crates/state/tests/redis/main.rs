//! Operations and queries against the semantics of Redis, through a table that evicts, a store in
//! memory, and a second region that applies the same transactions.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking; clippy allows this only inside test functions"
)]

mod harness;
mod model;

mod commands;
mod concurrent;
mod examples;
mod ranges;
mod rehearsed;
mod strong;
