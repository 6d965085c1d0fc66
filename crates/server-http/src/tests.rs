//! The server on real sockets, over an engine on a store and groups in memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

mod harness;
mod health;
mod kv;
