//! Objects: what a request does to their index, and where their bytes are (ADR 0010).
//!
//! The index is rows under [`IndexKey`](rhumb_types::record::IndexKey)s. A rule of [`index`]
//! or [`multipart`] reads the rows that a request rests on from a [`Rows`], and gives the answer with
//! one [`Change`]: a compare-and-set of rows. Whoever drives it carries the change out, and asks the
//! rule anew when a row is no longer what was read. [`ask`] is such a change as a value, [`list`] reads
//! rows a page at a time, and [`miss`] says what is answered about an object that is not known here.
//!
//! Where bytes are is the business of [`place`] (which regions), [`copies`] (how many), [`upload`] and [`transfer`] (how they
//! get there, and how fast), [`refer`] (which rows need them), [`want`] (what is missing here), [`pace`] (how much of that
//! comes at once), [`scrub`] (whether it is sound) and
//! [`grant`] (what may go).
//!
//! Deliberately absent: IO, a clock, randomness, who may do what by signature, and the protocol.

pub mod ask;
pub mod checksum;
pub mod condition;
pub mod copies;
pub mod etag;
pub mod grant;
pub mod index;
pub mod lifecycle;
pub mod list;
pub mod miss;
pub mod multipart;
pub mod pace;
pub mod place;
pub mod policy;
pub mod refer;
pub mod rows;
pub mod scrub;
pub mod terms;
pub mod transfer;
pub mod upload;
pub mod want;

#[cfg(test)]
mod memory;

pub use rows::{Change, Failed, Rows};
