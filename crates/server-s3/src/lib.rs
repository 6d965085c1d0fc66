//! The S3 server: the objects of a node for the clients of Amazon S3.
//!
//! Every request takes the same way. `declared` reads what its head says of the body; `door` believes
//! its signature or not, before any of the body is read; `intake` takes the body out of its framing and
//! holds it against its signatures, hashes and checksums as it streams; `strip` takes all of that off, so
//! that the codec of the protocol (the `s3s` crate) sees a plain request; `access` says whether the
//! operation is allowed; and a handler turns it into calls of the engine.
//!
//! - `names`, `checksum` and `chunked` are S3's words; they know no engine.
//!
//! Deliberately absent: accounts, ACLs, CORS, object lock, forms that are posted by browsers, signatures of
//! version 2 and of browsers' forms, and any decision about objects, which are those of `rhumb-objects`.

#![expect(dead_code, reason = "the operations over the engine use the rest")]

mod access;
mod checksum;
mod chunked;
mod config;
mod declared;
mod dispatch;
mod door;
mod intake;
mod limits;
mod names;
mod server;
mod service;
mod strip;

pub use config::{AccessKey, S3Config, S3ServerError};
pub use server::S3Server;
