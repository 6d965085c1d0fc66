//! The S3 server: the objects of a node for the clients of Amazon S3.
//!
//! Every request takes the same way. `declared` reads what its head says of the body; `door` believes
//! its signature or not, before any of the body is read; `intake` takes the body out of its framing and
//! holds it against its signatures, hashes and checksums as it streams; `strip` takes all of that off, so
//! that the codec of the protocol (the `s3s` crate) sees a plain request; `access` says whether the
//! operation is allowed; and a handler turns it into calls of the engine.
//!
//! - `names`, `tags`, `conditions` and `about` say what keys, tags, conditions and headers are in S3's words
//!   and in Rhumb's; [`chunked`] is the framing. They know no engine.
//! - `buckets`, `settings`, `tagging`, `listings`, `get`, `attributes`, `put`, `copy`, `delete` and `multipart`
//!   are the operations, `service` what the codec calls.
//! - `fault` is what goes wrong, as clients name it.
//!
//! Deliberately absent: accounts, ACLs, CORS, object lock, forms that are posted by browsers, signatures of
//! version 2 and of browsers' forms, and any decision about objects, which are those of `rhumb-objects`.

mod about;
mod access;
mod attributes;
mod buckets;
pub mod chunked;
mod conditions;
mod copy;
mod declared;
mod delete;
mod dispatch;
mod door;
mod fault;
mod get;
mod intake;
mod lent;
mod limits;
mod listings;
mod multipart;
mod names;
mod policies;
mod put;
mod server;
mod service;
mod settings;
mod strip;
mod tagging;
mod tags;

use about::{checksums_of, with_checksums};
pub use server::S3Server;
