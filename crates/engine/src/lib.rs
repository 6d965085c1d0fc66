//! The async driver of a node.
//!
//! One thread owns the [`rhumb_node::Node`]: it takes an event, calls the machine, and carries out
//! the effects. A second thread commits with fsync, a third reads rows for the node, so that the
//! loop never waits for the disk. Servers hold an [`Engine`]: writes go to the loop, reads go
//! straight to the store.
//!
//! Deliberately absent: decisions about state, which are the node's, and any adapter.

mod agreed;
mod agreement;
mod api;
mod clock;
mod driver;
mod forward;
mod held;
pub mod limits;
mod load;
mod log;
mod meter;
mod objects;
mod oversee;
mod own;
mod pubsub;
mod queues;
mod reader;
mod recent;
mod request;
mod rows;
mod start;
mod tasks;
mod world;

pub use agreed::{Agreeable, Agreed, AgreedBuckets, AgreedQueues, Expect, Shown, Versioned};
pub use agreement::{
    AdminClient, AdminError, Agreement, HostedAdmin, HostedStrong, StrongClient, StrongError,
    StrongRequest,
};
pub use api::{Engine, EngineConfig};
pub use clock::{OsEntropy, SystemClock};
pub use driver::Inlet;
pub use forward::{ChooseError, ForwardError, Forwarded};
pub use log::{LogCursorError, LogPage};
pub use objects::{
    About, ByteStream, CopyResult, Deleted, Digests, Done, Late, ObjectClient, ObjectError,
    ObjectService, ObjectsConfig, Opened, Put,
};
pub use oversee::{
    HookCall, HookRunner, OperateError, Operation, OversightConfig, RoutingError, Seat,
};
pub use own::{OwnedAnswer, OwnedRequest};
pub use pubsub::{Delivery, Subscription};
pub use queues::{
    DefineError, EnqueueRequest, Heartbeat, HomeChoice, JobSummary, JobView, QueueClient,
    QueueService, QueuesConfig, QueuesError, ReceiveRequest, Taken, WorkerInfo, random_id,
    random_ids,
};
pub use reader::Reader;
pub use request::{Answer, ReadError, Request, WriteError};
pub use rhumb_node as node;
pub use rhumb_objects as object;
pub use rhumb_queue as queue;
pub use rhumb_telemetry as telemetry;
pub use start::StartError;
pub use tasks::Tasks;
