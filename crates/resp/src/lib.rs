//! RESP2 and RESP3, the protocols of Redis clients: bytes to requests and replies, and back.
//!
//! A server reads with [`RequestDecoder`] and writes with [`Writer`]; a client writes requests with
//! [`Writer::command`] and reads with [`ReplyDecoder`]. Decoders take bytes as they come, in pieces
//! of any size, and look at each byte a bounded number of times. What they give out shares the
//! read buffer's memory.
//!
//! Specification: <https://redis.io/docs/latest/develop/reference/protocol-spec/>. Error texts are
//! those of Redis, because clients and their users know them.
//!
//! Deliberately absent: what a command means, IO, and streamed types (`$?`), which Redis does not
//! send either.

mod double;
pub mod error;
pub mod frame;
mod inline;
pub mod limits;
mod number;
pub mod reply;
pub mod request;
pub mod writer;

pub use error::ProtocolError;
pub use frame::Frame;
pub use limits::Limits;
pub use reply::ReplyDecoder;
pub use request::{Request, RequestDecoder};
pub use writer::{Protocol, Writer};
