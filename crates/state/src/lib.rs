//! The state machine of Rhumb's data: cells and their merge laws, the loop's table of rows, the
//! draft of the open transaction, and the application of received ones.
//!
//! Pure: rows come in, changes are applied, rows go out. Time, clocks' readings and rows are
//! parameters.
//!
//! - [`cell`] holds the laws, [`visible`] what a reader sees of a cell.
//! - [`Table`] caches rows for the one writing loop; [`Draft`] edits them for a local transaction
//!   and [`apply()`] for a received one.
//! - [`Op`] is a typed write, evaluated by [`execute()`]; [`Query`] a typed read, evaluated by
//!   [`answer`] over anything that can scan cells.
//! - A removal of a whole key or of a range of keys takes effect at once and is carried out on
//!   the rows by the sweep, chunk by chunk.
//!
//! Deliberately absent: reading a store, the log, acknowledgements, and who is whose peer.

pub mod apply;
pub mod cell;
pub mod clock;
pub mod conflict;
pub mod context;
pub mod draft;
mod edit;
pub mod execute;
pub mod forget;
pub mod glob;
pub mod namespace;
pub mod number;
pub mod op;
pub mod owned;
pub mod prefixes;
pub mod query;
pub mod rehearsal;
pub mod reply;
pub mod row;
pub mod snapshot;
pub mod strong;
pub mod sweep;
pub mod table;
pub mod visible;

pub use apply::{Readiness, apply, readiness};
pub use clock::HlcClock;
pub use conflict::{ConflictEntry, ConflictKind, ConflictSink};
pub use context::Context;
pub use draft::{Draft, DraftContext};
pub use execute::{execute, execute_with_ttl};
pub use forget::Stability;
pub use namespace::{Namespace, NamespacePolicy, Namespaces};
pub use op::{Op, OpError};
pub use prefixes::{ClearedPrefix, ClearedPrefixes};
pub use query::{CellScan, Choice, Query, QueryError, answer, lower};
pub use rehearsal::Rehearsal;
pub use reply::{Page, Reply};
pub use row::{Missing, ReadSet, RowId, RowRef, RowWrite, Touched, rows_of};
pub use snapshot::{KeyRows, Side, merge_cell, merge_key};
pub use strong::StrongMachine;
pub use sweep::{SweepChunk, SweepProgress};
pub use table::{Table, TableLimits};
pub use visible::{KeyType, MEMBERS_UNKNOWN, Text};
