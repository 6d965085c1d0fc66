//! Failover as a run-book (DESIGN mechanism 3).
//!
//! ```text
//! detect -> stop routing -> drain -> fence -> take over -> watch
//! detect (caught up) ------------> fence -> take over -> fail back (1, 10, 50, 100 %)
//! ```
//!
//! [`Failover`] is one run. It asks for things through [`Effect`]s, is told through [`Event`]s how
//! they went, and writes a line of the agreed record before each thing it does, so that another
//! node can [`Failover::resume`] it from the record. Everything it asks for may be asked for twice.
//!
//! What comes after a step is a table ([`table`]). Two rules stand above it: a lease is never taken
//! over before its fence, and what was taken over is not undone but failed back.
//!
//! Deliberately absent: who runs it, and how hooks are executed.

mod config;
mod plan;
mod run;
pub mod table;
mod words;

#[cfg(test)]
mod tests;

pub use config::{FailoverConfig, FailoverConfigError, Hook};
pub use plan::{DryRun, Duty, Survivor, dry_run, on_verdict};
pub use run::Failover;
pub use words::{Effect, Event, Part, Ticket};
