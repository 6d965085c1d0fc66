//! The server on real sockets, over an engine on a store and groups in memory.

mod access;
mod admin;
mod buckets;
mod connections;
mod feed;
mod harness;
mod health;
mod kv;
mod queues;
