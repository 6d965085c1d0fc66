//! Queues and objects on shipped engines: on their loops, threads and stores, in one region and in several.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail loudly")]

mod cluster;
mod objects;
mod one;
mod regions;
