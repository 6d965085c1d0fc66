//! What a node needs from the world.
//!
//! Each module is one port: its messages, its errors and its trait. Adapters implement them, the
//! simulator implements them again, and the suite under `contract` holds both to the same words.
//! The feature `contract` adds those suites and `memory`, a store without a disk.
//!
//! Deliberately absent: any runtime. Where a port must wait, it returns a boxed future.

use std::{future::Future, pin::Pin};

pub mod blobs;
pub mod clock;
#[cfg(feature = "contract")]
pub mod contract;
pub mod control;
#[cfg(feature = "contract")]
pub mod memory;
pub mod peer;
pub mod store;

/// A future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
