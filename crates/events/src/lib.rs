//! Events: CloudEvents 1.0 as they come over HTTP, and as jobs of queues.
//!
//! - [`read`] holds the modes of the HTTP binding: structured, batch and binary.
//! - [`Event`] is one event with the topic that it was published to; it becomes a job's attributes and
//!   body, and comes back from them.
//! - [`subscribers`] says which queues get an event.
//!
//! An event is named by its source and id: what comes twice is one job of each queue, because both name
//! the same key.
//!
//! Deliberately absent: HTTP itself, queues, and when anything is delivered.

mod event;
pub mod limits;
pub mod read;

pub use event::{Delivery, Event, subscribers};
pub use read::Malformed;
