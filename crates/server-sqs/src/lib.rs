//! The SQS server: the queues of a node for the clients of Amazon SQS.
//!
//! [`SqsServer`] speaks AWS JSON 1.0, as botocore and the AWS SDKs do since 2023. Every request takes the
//! same way: `dispatch` finds its operation, `door` believes its signature or not, the body is read
//! within its bound, and the operation's handler turns it into calls of the engine.
//!
//! - `names`, `settings` and `message` say what addresses, attributes and messages are in SQS's words,
//!   and what they are in Rhumb's; they know no engine.
//! - `queues`, `send`, `receive` and `settle` are the operations.
//! - `fault` is what goes wrong, as clients name it.
//!
//! Deliberately absent: accounts, policies, encryption with keys of KMS, the older query protocol, and
//! any decision about jobs, which are those of `rhumb-queue`.

mod call;
mod dispatch;
mod door;
mod fault;
mod limits;
mod message;
mod names;
mod operation;
mod queues;
mod receive;
mod recent;
mod reply;
mod send;
mod server;
mod settings;
mod settle;
mod waiting;

pub use server::SqsServer;
