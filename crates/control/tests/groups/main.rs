//! Whole groups: on real files, and simulated.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "these are tests, in helpers too"
)]

mod common;
mod files;
mod members;
mod processes;
mod simulated;
