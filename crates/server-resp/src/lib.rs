//! The RESP server: Redis clients on a node's engine.
//!
//! One task per connection. Of a pipeline, consecutive writes go to the engine as one request, and
//! reads are answered from the store in place, after the connection's own earlier writes.
//!
//! - [`mod@command`] turns words into typed steps, or into what concerns the connection itself.
//! - `connection` reads, gathers, executes, and answers in order.
//! - `cursors` keeps the places of scans, for all connections.
//! - `acl` decides who may do what.
//!
//! Deliberately absent: what a command means, which is `rhumb-state`'s.

mod acl;
mod command;
mod connection;
mod cursors;
mod execute;
mod explain;
mod greet;
mod guesses;
mod info;
mod limits;
mod meters;
mod render;
mod server;
mod subscribe;
mod transaction;

pub use acl::{UserConfig, UserError};
pub use rhumb_tls::{TlsError, TlsFiles};
pub use server::{RespConfig, RespError, RespServer};
