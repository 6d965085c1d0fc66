//! Jobs of workflows, when events do not tell.

use http::StatusCode;
use serde::Deserialize;

use super::{ApiError, As, GitHub};
use crate::{
    job::{JobRef, RunnerName, WorkflowJob},
    limits::{PAGE, PAGES_MAX},
    payload::{cut, labels, unix_millis},
    web::encode,
};

/// How a job is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobAnswer {
    /// It waits for a runner, or for an approval.
    Waits,
    /// A runner has it; named if it is one of Rhumb's.
    Runs(Option<RunnerName>),
    /// It ended.
    Ended,
    /// There is none, or it cannot be seen any more.
    Unknown,
}

/// A job that waits for a runner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedJob {
    /// Everything that an event would say.
    pub job: WorkflowJob,
}

#[derive(Deserialize)]
struct RawJob {
    id: u64,
    run_id: u64,
    run_attempt: Option<u32>,
    status: String,
    labels: Vec<String>,
    name: String,
    workflow_name: Option<String>,
    created_at: Option<String>,
    runner_name: Option<String>,
}

#[derive(Deserialize)]
struct RawJobs {
    jobs: Vec<RawJob>,
}

#[derive(Deserialize)]
struct RawRun {
    id: u64,
    repository: RawRepository,
}

#[derive(Deserialize)]
struct RawRepository {
    id: u64,
}

#[derive(Deserialize)]
struct RawRuns {
    total_count: usize,
    workflow_runs: Vec<RawRun>,
}

impl RawJob {
    /// As an event would say it; none when its labels are none that a runner can have.
    fn listed(
        self,
        repository: &str,
        organisation: Option<String>,
        installation: Option<u64>,
        run: &RawRun,
    ) -> Option<ListedJob> {
        let attempt = self.run_attempt.filter(|attempt| *attempt > 0).unwrap_or(1);
        let job = WorkflowJob {
            job: JobRef { repository: run.repository.id, job: self.id, attempt },
            run: self.run_id,
            repository: repository.to_owned(),
            organisation,
            installation,
            labels: labels(self.labels).ok()?,
            name: cut(&self.name),
            workflow: cut(self.workflow_name.as_deref().unwrap_or_default()),
            created_at: self.created_at.as_deref().and_then(unix_millis),
        };
        Some(ListedJob { job })
    }
}

fn base(repository: &str) -> String {
    let (owner, name) = repository.split_once('/').unwrap_or((repository, ""));
    format!("/repos/{}/{}/actions", encode(owner), encode(name))
}

impl GitHub {
    /// How a job is doing.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn job(&self, job: &WorkflowJob) -> Result<JobAnswer, ApiError> {
        let path = format!("{}/jobs/{}", base(&job.repository), job.job.job);
        let who = As::Installation(job.installation);
        let answer = self.get::<RawJob>(who, path.clone()).await;
        let raw = match answer {
            Ok(raw) => raw,
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
                return Ok(JobAnswer::Unknown);
            }
            Err(error) => return Err(error),
        };
        if raw.id != job.job.job {
            return Err(ApiError::Lie { path, what: "it is about another job" });
        }
        let runner = raw.runner_name.as_deref().and_then(RunnerName::ours);
        Ok(match raw.status.as_str() {
            "in_progress" => JobAnswer::Runs(runner),
            "completed" => JobAnswer::Ended,
            "queued" | "waiting" | "requested" | "pending" => JobAnswer::Waits,
            _ => {
                return Err(ApiError::Lie { path, what: "the job's status is none that there is" });
            }
        })
    }

    /// The jobs of a repository that wait for a runner.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn queued(
        &self,
        repository: &str,
        organisation: Option<&str>,
        installation: Option<u64>,
    ) -> Result<Vec<ListedJob>, ApiError> {
        let who = As::Installation(installation);
        let mut found = Vec::new();
        // A run with one job in progress may have others that wait.
        for status in ["queued", "in_progress"] {
            for run in self.runs(who, repository, status).await? {
                for raw in self.waiting_of(who, repository, &run).await? {
                    let organisation = organisation.map(str::to_owned);
                    found.extend(raw.listed(repository, organisation, installation, &run));
                }
            }
        }
        Ok(found)
    }

    /// The jobs of a run that wait for a runner.
    async fn waiting_of(
        &self,
        who: As,
        repository: &str,
        run: &RawRun,
    ) -> Result<Vec<RawJob>, ApiError> {
        let base = base(repository);
        let path = format!("{base}/runs/{}/jobs?filter=latest&per_page={PAGE}", run.id);
        let answer: RawJobs = self.get(who, path.clone()).await?;
        if answer.jobs.iter().any(|raw| raw.run_id != run.id) {
            return Err(ApiError::Lie { path, what: "it lists a job of another run" });
        }
        Ok(answer.jobs.into_iter().filter(|raw| raw.status == "queued").collect())
    }

    async fn runs(&self, who: As, repository: &str, status: &str) -> Result<Vec<RawRun>, ApiError> {
        let mut runs: Vec<RawRun> = Vec::new();
        for page in 1..=PAGES_MAX {
            let base = base(repository);
            let path = format!("{base}/runs?status={status}&per_page={PAGE}&page={page}");
            let answer: RawRuns = self.get(who, path).await?;
            let end = answer.workflow_runs.len() < PAGE;
            runs.extend(answer.workflow_runs);
            if end || runs.len() >= answer.total_count {
                break;
            }
        }
        Ok(runs)
    }
}
