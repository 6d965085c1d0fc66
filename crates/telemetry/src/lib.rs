//! Logs and metrics of one node.
//!
//! [`logs`] sets up the process's subscriber; [`Metrics`] holds every metric as a typed handle.
//! A handle is resolved once, when its connection, region or command is set up; using it is an
//! atomic addition, without a lock or a look-up of labels. [`Metrics::render`] gives OpenMetrics
//! text.
//!
//! Deliberately absent: a global registry, the environment (the filter is a parameter), and labels
//! with values that a client chooses.

pub mod histogram;
pub mod logs;
pub mod metrics;

pub use histogram::Histogram;
pub use logs::{LogError, LogFormat, LogSettings};
pub use metrics::Metrics;
