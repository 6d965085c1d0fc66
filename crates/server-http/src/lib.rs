//! The HTTP server of a node: state, routing, the change feed, administration, metrics.
//!
//! [`HttpServer`] listens on one address. Every request takes the same way: its route is looked up
//! in one constant table, its bearer is authenticated and held to the route's role, its body is
//! read within the route's bound, and the route's handler turns it into calls of the engine.
//!
//! - `routes` is the table; `dispatch` the way of a request through it.
//! - `auth` knows tokens, roles and scopes. Connections and rates are those of `rhumb-front`.
//! - `api` and `admin` hold the handlers, `problem` what goes wrong, in the words of RFC 9457.
//!
//! Deliberately absent: HTML, cookies, CORS (no browser of another site is meant to call this), and
//! any decision about state, routing or agreement, which is the engine's.

mod admin;
mod api;
mod auth;
mod config;
mod dispatch;
mod encode;
mod limits;
mod params;
mod problem;
mod request;
mod routes;
mod server;
mod session;
mod span;
mod surroundings;

#[cfg(test)]
mod tests;

pub use config::{HttpConfig, HttpError, StaticToken};
pub use rhumb_tls::{TlsError, TlsFiles};
pub use server::{HttpServer, ReloadError};
pub use surroundings::{
    AlarmLog, ConfigCheck, Invitation, InvitationError, Invitations, Invited, LinkView, Links,
    Surroundings, Workflows,
};
