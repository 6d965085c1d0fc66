//! The records that are stored and sent: cells, transactions, version vectors, owned rows, jobs,
//! objects.
//!
//! Plain data. What a change does to a cell, and which entry wins, is the business of
//! `rhumb-state`.

pub mod bucket;
pub mod cell;
pub mod cleared;
pub mod codec;
pub mod head;
pub mod index_key;
pub mod job;
pub mod object;
pub mod owned;
pub mod queue;
pub mod topic;
pub mod transaction;
pub mod vector;

pub use bucket::{
    BucketConsistency, BucketDefinition, BucketEntry, BucketName, LifecycleRule, Miss, Replication,
    Versioning,
};
pub use cell::{
    Amount, Cell, CellId, Decided, Delta, Dot, Entry, Field, Kind, ROW_BYTES_MAX, Space, Stamp,
    Term, Value,
};
pub use cleared::{Cleared, Removal};
pub use codec::{CodecError, Record, read};
pub use head::Head;
pub use index_key::IndexKey;
pub use job::{Ending, Job, JobAttribute, JobId, JobKey, Progress, Provenance};
pub use object::{
    BlobHash, BlobRef, Body, Checksums, Content, FenceRecord, HolderRecord, ObjectRecord,
    PartRecord, UploadRecord, VersionId,
};
pub use owned::{OwnedId, OwnedOp, OwnedRow, OwnedState};
pub use queue::{Frontier, FrontierKey, QueueDefinition, QueueEntry, QueueName};
pub use topic::{Subscription, Topic, TopicError, TopicPattern};
pub use transaction::{Change, Mark, Transaction, TransactionId};
pub use vector::VersionVector;
