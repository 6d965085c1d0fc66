//! A job of a workflow: what names it, what GitHub says of it, and the runners that are started for it.

use std::{fmt, str::FromStr};

use rhumb_types::UnixMillis;
use serde::{Deserialize, Serialize};

/// A job of a workflow run, once: a run that is tried again is another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobRef {
    /// The id of the repository; it stays when the repository is renamed.
    pub repository: u64,
    /// The id of the job.
    pub job: u64,
    /// Which attempt of the run. 1 where GitHub does not say.
    pub attempt: u32,
}

impl JobRef {
    /// The idempotency key of what GitHub says about the job.
    #[must_use]
    pub fn key(&self, action: Action) -> String {
        format!("{self}/{}", action.name())
    }

    /// The name of a runner that is started for the job, the same in every region and after every
    /// restart, so that who starts it finds the one that is there. The hash is part of the contract
    /// between versions.
    #[must_use]
    pub fn runner(&self, ordinal: u32) -> RunnerName {
        let mut hasher = blake3::Hasher::new_derive_key("rhumb 2026 runner name");
        hasher.update(&self.repository.to_le_bytes());
        hasher.update(&self.job.to_le_bytes());
        hasher.update(&self.attempt.to_le_bytes());
        hasher.update(&ordinal.to_le_bytes());
        let hash = hasher.finalize();
        let half: String = hash.to_hex().chars().take(RUNNER_DIGITS).collect();
        RunnerName(format!("{RUNNER_PREFIX}{half}"))
    }
}

/// What every runner of Rhumb is named with.
pub const RUNNER_PREFIX: &str = "rhumb-";
/// How many hexadecimal digits follow: 80 bits. GitHub takes 64 characters.
const RUNNER_DIGITS: usize = 20;

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.repository, self.job, self.attempt)
    }
}

impl fmt::Debug for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text names no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no job: write REPOSITORY_ID/JOB_ID/ATTEMPT")]
pub struct JobRefError(String);

impl FromStr for JobRef {
    type Err = JobRefError;
    fn from_str(text: &str) -> Result<Self, JobRefError> {
        let mut parts = text.split('/');
        let mut next = || parts.next()?.parse::<u64>().ok();
        let read = (|| {
            let (repository, job) = (next()?, next()?);
            let attempt = u32::try_from(next()?).ok()?;
            Some(Self { repository, job, attempt })
        })();
        read.filter(|_| parts.next().is_none()).ok_or_else(|| JobRefError(text.to_owned()))
    }
}

impl TryFrom<String> for JobRef {
    type Error = JobRefError;
    fn try_from(text: String) -> Result<Self, JobRefError> {
        text.parse()
    }
}

impl From<JobRef> for String {
    fn from(job: JobRef) -> Self {
        job.to_string()
    }
}

/// What happened to a job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It wants a runner.
    Queued,
    /// It waits for somebody's approval, and wants no runner yet.
    Waiting,
    /// A runner has it.
    InProgress,
    /// It ended, or was cancelled.
    Completed,
}

impl Action {
    /// As GitHub writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
        }
    }

    /// The action of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let all = [Self::Queued, Self::Waiting, Self::InProgress, Self::Completed];
        all.into_iter().find(|action| action.name() == name)
    }
}

/// The name of a runner.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerName(String);

impl RunnerName {
    /// A name that GitHub lists, if Rhumb gave it. It is used as a folder's name, so it has no other
    /// characters than Rhumb gives.
    #[must_use]
    pub fn ours(name: &str) -> Option<Self> {
        let digits = name.strip_prefix(RUNNER_PREFIX)?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (digits.len() == RUNNER_DIGITS && digits.bytes().all(hex)).then(|| Self(name.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept of a job: enough to start a runner for it, in whichever region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkflowJob {
    /// Which.
    pub job: JobRef,
    /// The run that it belongs to.
    pub run: u64,
    /// The repository, as `owner/name`.
    pub repository: String,
    /// The organisation, if the repository belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// The installation of the GitHub App through which the event came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
    /// What its runner must have.
    pub labels: Vec<String>,
    /// The job's name.
    #[serde(default)]
    pub name: String,
    /// The workflow's name.
    #[serde(default)]
    pub workflow: String,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<UnixMillis>,
}

impl WorkflowJob {
    /// Owner and name of the repository.
    #[must_use]
    pub fn owner_and_name(&self) -> (&str, &str) {
        self.repository.split_once('/').unwrap_or((&self.repository, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two releases that disagree on a name start two runners.
    #[test]
    fn names_are_frozen() {
        let job = JobRef { repository: 186_853_002, job: 289_782_451, attempt: 1 };
        assert_eq!(job.runner(0).as_str(), "rhumb-21564f635c3780cd0e5a");
        assert_ne!(job.runner(0), job.runner(1));
        assert_ne!(job.runner(0), JobRef { attempt: 2, ..job }.runner(0));
        assert_eq!(RunnerName::ours(job.runner(3).as_str()), Some(job.runner(3)));
    }

    #[test]
    fn only_names_of_ours_are_taken() {
        for name in ["rhumb-", "rhumb-../../../../etc/xx", "GitHub Actions 5", "rhumb-0123"] {
            assert_eq!(RunnerName::ours(name), None, "{name}");
        }
    }

    #[test]
    fn a_reference_reads_as_it_is_written() {
        let job = JobRef { repository: 1, job: u64::MAX, attempt: 7 };
        assert_eq!(job.to_string().parse(), Ok(job));
        for bad in ["", "1/2", "1/2/3/4", "a/2/3", "1/2/99999999999"] {
            assert!(bad.parse::<JobRef>().is_err(), "{bad}");
        }
        assert_eq!(job.key(Action::Queued), format!("{job}/queued"));
    }
}
