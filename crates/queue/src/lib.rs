//! Queues: jobs that are taken in once, leased to workers, and survive their region.
//!
//! [`Queues`] is an index over owned rows, beside the node (ADR 0008). It is told of every row of its
//! tables that the node applies, of the leases under which the node acts, and of what callers ask; it
//! asks for writes of owned rows, and answers a caller once the write that the answer rests on was
//! answered. It holds no bodies.
//!
//! What its driver must keep to:
//! - [`Event::Rows`] come in the order of commits, and those of a write before its [`Event::Owned`];
//! - [`Event::Leases`] come after the rows that the opening of a lease waited for;
//! - a write is asked of the node in the order of [`Effect::Own`], and answered once;
//! - a [`Effect::Fetch`] reads what is committed.
//!
//! What it promises: what is answered with a yes is written, at the queue's level; of a job no two leases
//! are live at once, in whichever regions and over restarts; only the receipt of the live lease counts;
//! the jobs of a group run one after the other, in their order; a key names one row. Execution is at
//! least once.
//!
//! Deliberately absent: IO, a clock, randomness, bodies, who a job's home is, and the protocols.

mod applied;
mod change;
mod chores;
mod enqueue;
mod front;
mod index;
mod job;
pub mod limits;
pub mod promises;
mod queues;
mod quiet;
mod receive;
mod settle;
mod shard;
mod spill;
mod stats;
mod walk;
mod words;

pub use index::Place;
pub use job::{Hashes, NewJob};
pub use queues::{Config, Queues};
pub use spill::Advert;
pub use words::{
    Answer, Ask, Attributes, Definitions, Effect, Effects, Enqueue, Enqueued, Event, Finished,
    Leased, Receipt, Receive, Refused, RequestId, Retry, Stats, Token, Whereabouts, WriteError,
};
