//! What a worker does with leased jobs.
//!
//! [`Worker`] is a machine: it says when to ask for jobs, when to renew a lease, when to end a
//! command and how to settle its job. It knows no clock, process or network. [`Running`] runs one
//! command in a process group of its own, with the job's body on its standard input.
//!
//! What holds:
//! - no more commands run than were asked for, and nothing is asked for while stopping;
//! - a lease is renewed long before it ends, and a command whose lease is lost is ended, because
//!   another worker has its job by then;
//! - whatever was leased is settled once, or its lease is known to be lost.
//!
//! Deliberately absent: HTTP, nodes and their order, signals of the process itself; they are the
//! caller's.

mod command;
pub mod limits;
mod machine;

pub use command::{Ended, Running, StartError, Work};
pub use machine::{Effect, Effects, Event, LostBy, Settings, TaskId, Verdict, Way, Worker};
