//! The laws of the state machine, on random causal histories of several regions.
//!
//! `store` is a store in memory, `region` the system under test (a table, a draft and a store,
//! with the small operations that a server would offer), `model` the reference: what a set of
//! transactions means, computed from the definition. `history` makes the histories.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking; clippy allows this only inside test functions"
)]

mod history;
mod model;
mod region;
mod store;

mod convergence;
mod counters;
mod eviction;
mod examples;
mod snapshots;
