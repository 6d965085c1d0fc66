//! What `proto/peer.proto` compiles to.

#![allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::unwrap_used,
    clippy::wildcard_imports,
    clippy::too_many_lines,
    clippy::excessive_nesting,
    clippy::allow_attributes_without_reason,
    reason = "generated; the schema carries the comments"
)]

tonic::include_proto!("rhumb.peer.v1");
