//! The front of every HTTP server: what they share before they know what is asked.
//!
//! - [`Listener`] says where a server listens and what protects it there, and [`Entrance`] takes
//!   connections at that address, as many as there are places, until the node stops.
//! - [`serve`] carries one connection, with or without TLS, over HTTP/1.1 or HTTP/2; it bounds the head,
//!   the streams, silence, and clients that do not read.
//! - [`Buckets`] say how often somebody may ask.
//! - [`linger`] ends a request that is refused unread, so that its sender sees why.
//! - [`Keys`] say whose signature a request carries, and a [`Grant`] what its bearer may do; [`token`] is how
//!   bearers of tokens show them.
//! - [`is_local_host`] says whether a request was meant for this machine by its very address, and
//!   [`is_foreign_page`] whether it comes from some web site in a browser of this machine.
//!
//! Deliberately absent: routes, bodies, and what somebody may do.

mod connection;
mod entrance;
mod keys;
mod limits;
mod linger;
mod listener;
mod local;
mod rate;
pub mod token;

pub use connection::{ConnectionError, Spawner, serve};
pub use entrance::{Entrance, Group};
pub use keys::{AccessKey, Doubt, Grant, KeyTwice, Keys, SignedConfig, SignedError, with_request};
pub use linger::linger;
pub use listener::{Listener, ListenerError};
pub use local::{is_foreign_page, is_local_host};
pub use rate::{Bearer, Buckets};
