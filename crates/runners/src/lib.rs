//! CI runners in the right region: GitHub's webhooks in, self-hosted runners out.
//!
//! - `signature`, `payload` and `webhook` say what a delivery is, and refuse what is none.
//! - `labels` and `place` say which runners can take a job, and in which region.
//! - [`capacity`] is the machine of a region: as many runners as there are jobs that wait for one.

pub mod capacity;
pub mod dispatch;
pub mod executor;
pub mod github;
pub mod intake;
mod job;
mod labels;
pub mod limits;
pub mod local;
mod payload;
mod place;
mod reconcile;
pub mod record;
mod service;
mod signature;
pub mod status;
mod web;
mod webhook;

pub use job::{Action, JobRef, JobRefError, RUNNER_PREFIX, RunnerName, WorkflowJob};
pub use labels::{LabelSet, LabelSetError, QUEUE_PREFIX, REGION_LABEL, region_of, set_for};
pub use payload::{JobEvent, PayloadError, RunnerSeen, job_event, unix_millis};
pub use place::{Accounts, OriginError, home, origin, wish};
pub use service::{ExecutorConfig, Here, Runners, RunnersConfig, SetConfig, StartError};
pub use signature::{Secrets, SecretsError, SignatureError};
pub use web::{Place, PlaceError, WebError};
pub use webhook::{Delivery, Head, Nothing, Rejected, Seen, read};
