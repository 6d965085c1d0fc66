//! Whole regions of the shipped node under a virtual clock, network and disk.
//!
//! One seed is one run: hosts, links, disks, clients and faults all draw from one stream of
//! random numbers, so a run can be had again from its seed. The simulator calls
//! [`rhumb_node::Node::on_event`] itself; it holds no copy of what a node decides.
//!
//! - [`world`] keeps time and the queue of what will happen.
//! - [`host`] is one machine: a node, its disk, its clocks.
//! - [`network`] is the links between them.
//! - [`group`] is the agreement that overseers and leases rest on.
//! - [`traffic`] says when requests come, [`workload`] what clients do, [`fault`] what goes wrong, [`check`] what must hold.
//! - [`branch`] counts what is rare, [`history`] keeps the last events in words.
//! - [`shrink`] finds the few faults that a failure needs.
//!
//! Deliberately absent: threads, real time, real files.

pub mod branch;
pub mod check;
pub mod fault;
pub mod group;
pub mod history;
pub mod host;
pub mod network;
pub mod random;
mod reader;
pub mod run;
pub mod setup;
pub mod shrink;
mod size;
pub mod time;
mod trace;
pub mod traffic;
pub mod workload;
pub mod world;

pub use run::{Kind, Options, Outcome, run};
