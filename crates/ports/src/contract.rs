//! What every implementation of a port must do, as suites that each of them runs.
//!
//! A suite is a macro that expands to tests; give it an expression that makes a fresh subject.

pub mod blobs;
pub mod control;
pub mod peer;
mod random;
pub mod store;

pub use blobs::BlobsFactory;
pub use store::StoreFactory;
