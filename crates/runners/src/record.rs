//! What is known of a job beyond its queue: replicated, so that whoever acts for its region knows it.
//!
//! A job has one hash under [`PREFIX`], with a field for each thing that can happen. Fields are only ever
//! added, so it does not matter in which region, how often or in which order events arrive: what is known
//! is the union. A job that is being enqueued, leased or taken over meets what came before it.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_engine::{Engine, ReadError, Request, WriteError};
use rhumb_state::{
    Op, Query, Reply,
    op::{Deadline, ExpireWhen, Presence, SetExpiry},
};
use rhumb_types::{AckLevel, RegionId, UnixMillis};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    job::{JobRef, RunnerName},
    limits::{KEPT, STATUS_KEPT},
    status::RegionStatus,
};

/// What all keys of runners begin with.
pub const PREFIX: &str = "rhumb:runners:";

const RUNNING: &str = "running";
const ENDED: &str = "ended";
const RUNNER: &str = "runner.";

/// Everything that is known of a job.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Record {
    /// Who has it.
    pub running: Option<Running>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// The runners that were started for it, by number.
    pub runners: BTreeMap<u32, Claim>,
}

/// A runner has the job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Running {
    /// The runner's name, whosever it is.
    pub runner: Option<String>,
    /// When that was heard.
    pub at: UnixMillis,
}

/// The job ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// How, in GitHub's words.
    pub conclusion: Option<String>,
    /// When that was heard.
    pub at: UnixMillis,
}

/// A runner is about to be started for the job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Its name.
    pub name: RunnerName,
    /// In which region.
    pub region: RegionId,
    /// When that was decided.
    pub at: UnixMillis,
}

/// Why a record is not there.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be written.
    #[error("the record is not written: {0}")]
    Write(#[from] WriteError),
    /// It was refused.
    #[error("the record is refused: {0}")]
    Refused(String),
    /// It cannot be read.
    #[error("the record is not read: {0}")]
    Read(#[from] ReadError),
}

/// The records, in the state of a node.
#[derive(Clone, Debug)]
pub struct Records {
    engine: Engine,
}

impl Records {
    /// The records that a node has.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// What is known of a job.
    ///
    /// # Errors
    /// [`RecordError::Read`].
    pub fn read(&self, job: &JobRef) -> Result<Record, RecordError> {
        let mut record = Record::default();
        let Reply::Map(fields) = self.engine.query(&Query::HGetAll { key: key(job) })? else {
            return Ok(record);
        };
        for (field, value) in fields {
            match std::str::from_utf8(&field) {
                Ok(RUNNING) => record.running = decode(&value),
                Ok(ENDED) => record.ended = decode(&value),
                Ok(other) => {
                    let ordinal = other.strip_prefix(RUNNER).and_then(|it| it.parse().ok());
                    if let Some((ordinal, claim)) = ordinal.zip(decode(&value)) {
                        record.runners.insert(ordinal, claim);
                    }
                }
                Err(_) => {}
            }
        }
        Ok(record)
    }

    /// Notes that a runner has a job.
    ///
    /// # Errors
    /// [`RecordError`]; so below.
    pub async fn running(&self, job: &JobRef, runner: Option<String>) -> Result<(), RecordError> {
        let note = Running { runner, at: self.now() };
        self.note(job, RUNNING.to_owned(), &note).await
    }

    /// Notes that a job ended.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn ended(&self, job: &JobRef, conclusion: Option<String>) -> Result<(), RecordError> {
        let note = Ended { conclusion, at: self.now() };
        self.note(job, ENDED.to_owned(), &note).await
    }

    /// Notes that a runner is about to be started.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn claim(
        &self,
        job: &JobRef,
        ordinal: u32,
        region: &RegionId,
    ) -> Result<(), RecordError> {
        let claim = Claim { name: job.runner(ordinal), region: region.clone(), at: self.now() };
        self.note(job, format!("{RUNNER}{ordinal}"), &claim).await
    }

    /// Says how this region is doing, for the others.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn say(&self, status: &RegionStatus) -> Result<(), RecordError> {
        let op = Op::Set {
            key: format!("{PREFIX}region:{}", status.region).into(),
            value: encode(status)?,
            when: Presence::default(),
            get: false,
            expiry: SetExpiry::Until(Deadline::after(STATUS_KEPT)),
        };
        let request = Request { ack: Some(AckLevel::Memory), ..Request::new(vec![op]) };
        self.write(request).await
    }

    /// How some regions are doing, as far as they said so lately.
    ///
    /// # Errors
    /// [`RecordError::Read`].
    pub fn heard(&self, regions: &[RegionId]) -> Result<Vec<RegionStatus>, RecordError> {
        let mut heard = Vec::new();
        for region in regions {
            let key = format!("{PREFIX}region:{region}").into();
            if let Reply::Bytes(bytes) = self.engine.query(&Query::Get { key })? {
                heard.extend(decode(&bytes));
            }
        }
        Ok(heard)
    }

    fn now(&self) -> UnixMillis {
        self.engine.clock().now().wall
    }

    async fn note(
        &self,
        job: &JobRef,
        field: String,
        value: &impl Serialize,
    ) -> Result<(), RecordError> {
        let key = key(job);
        let pairs = vec![(Bytes::from(field), encode(value)?)];
        let deadline = Deadline::after(KEPT);
        let ops = vec![
            Op::HSet { key: key.clone(), pairs },
            Op::Expire { key, deadline, when: ExpireWhen::Always },
        ];
        // What is answered with a yes is on this region's disk.
        self.write(Request { ack: Some(AckLevel::Local), ..Request::new(ops) }).await
    }

    async fn write(&self, request: Request) -> Result<(), RecordError> {
        let answer = self.engine.write(request).await?;
        match answer.replies.into_iter().find_map(|reply| match reply {
            Reply::Error(error) => Some(error),
            _ => None,
        }) {
            Some(error) => Err(RecordError::Refused(error.to_string())),
            None => Ok(()),
        }
    }
}

fn key(job: &JobRef) -> Bytes {
    format!("{PREFIX}job:{job}").into()
}

fn encode(value: &impl Serialize) -> Result<Bytes, RecordError> {
    let bytes = serde_json::to_vec(value);
    bytes.map(Bytes::from).map_err(|error| RecordError::Refused(error.to_string()))
}

/// What another version wrote and this one does not understand counts as not there.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}
