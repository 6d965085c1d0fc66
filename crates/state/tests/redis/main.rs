//! Operations and queries against the semantics of Redis, through a table that evicts, a store in
//! memory, and a second region that applies the same transactions.

mod examples;
mod harness;
mod model;
mod strong;
