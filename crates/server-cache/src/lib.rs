//! The cache server: buckets that are caches, for the builds of Bazel, ccache and their like.
//!
//! [`CacheServer`] speaks the HTTP protocol of Bazel's remote cache: what an action came to is under
//! `/ac/`, what it made under `/cas/`, each by a SHA-256. Every request takes the same way: `path` says
//! what it names, `door` who asks, `get` and `put` do it.
//!
//! - What is stored under a hash has that hash: a body that has not leaves nothing, and an entry that
//!   came another way, over S3 perhaps, is not served unless its SHA-256 was checked when it came.
//! - [`action`] reads action results and what they name. None is served when something that it names
//!   cannot be read any more: a build that is told of it would fail, and a miss only costs time.
//!
//! Deliberately absent: what is held and what goes first (`rhumb_engine`, `rhumb_objects::want::cache`),
//! the gRPC protocol of remote execution, and compression on the way.

pub mod action;
mod dispatch;
mod door;
mod fault;
mod get;
mod limits;
mod path;
mod put;
mod server;

pub use server::CacheServer;
