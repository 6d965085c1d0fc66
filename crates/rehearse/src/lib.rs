//! Rehearses outages: a user's own configuration and traffic under a scenario, in simulation.
//!
//! What decides is what is shipped: regions of [`rhumb_node::Node`] with their overseers, routed to
//! by the snapshots that those publish, in the world of [`rhumb_sim`]; and, where jobs are rehearsed,
//! [`rhumb_queue::Queues`] beside each node, and where objects are, `rhumb_objects`. What is modelled is
//! the rest: clients and their resolvers, how many requests a region serves per second, workers, and prices.
//!
//! - [`rehearsal`] is all that goes in: regions, clients, [`traffic`], [`jobs`], [`objects`],
//!   [`scenario`], [`prices`].
//! - [`run`](mod@run) is one run, [`clients`], [`capacity`] and [`paths`] say what is modelled in it.
//! - [`outcome`] is what came out of one seed, [`report`] what many seeds say together.
//! - [`objectives`] hold a report against what was asked for.
//!
//! Deliberately absent: files, threads, the command line. A run is a function of its input and seed.

mod books;
pub mod capacity;
pub mod clients;
mod condition;
pub mod extent;
pub mod html;
pub mod jobs;
pub mod objectives;
pub mod objects;
pub mod outcome;
pub mod paths;
pub mod prices;
pub mod rehearsal;
pub mod report;
pub mod run;
mod safety;
pub mod scenario;
pub mod search;
mod table;
pub mod text;
pub mod traffic;

use rhumb_sim::{
    time,
    traffic::{arrivals, chance},
};

pub use run::{Run, RunError, run};
