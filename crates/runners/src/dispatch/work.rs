//! What the machine wants done, done: each ends in one event that says how it went.

use std::collections::BTreeSet;

use http::StatusCode;
use rhumb_types::RegionId;

use super::Shared;
use crate::{
    capacity::{Event, Failure, PoolId, Scope, SeenRunner, Survey},
    executor::Launch,
    github::{ApiError, JitRequest, JobAnswer, ListedRunner, Removed},
    job::{JobRef, RunnerName, WorkflowJob},
    labels::region_of,
    limits::TRY_AGAIN,
};

/// Where a runner works, below its own folder.
const WORK_FOLDER: &str = "_work";

/// A runner that is to be started.
pub(super) struct Start {
    pub(super) pool: PoolId,
    pub(super) job: JobRef,
    pub(super) ordinal: u32,
    pub(super) name: RunnerName,
    pub(super) installation: Option<u64>,
}

/// Writes a runner's number down, registers it, and has it run.
pub(super) async fn start(shared: &Shared, start: Start) -> Event {
    let (name, set) = (start.name.clone(), start.pool.set.clone());
    let region = start.pool.region.clone().unwrap_or_else(|| shared.region.clone());
    match try_start(shared, start).await {
        Ok(()) => {
            shared.counts.add("runner_started");
            shared.counts.meters().started(&set, &region, "started");
            shared.notes.started(&set, &name);
            tracing::info!(runner = %name, "a runner is started");
            Event::Started { name }
        }
        Err(failure) => {
            shared.counts.add("runner_not_started");
            shared.counts.meters().started(&set, &region, "failed");
            Event::NotStarted { name, failure }
        }
    }
}

async fn try_start(shared: &Shared, start: Start) -> Result<(), Failure> {
    let Start { pool, job, ordinal, name, installation } = start;
    let Some(set) = shared.sets.get(&pool.set) else { return Err(Failure::Failed) };
    shared.records.claim(&job, ordinal, &shared.region).await.map_err(|error| {
        tracing::warn!(%error, runner = %name, "a runner is not started: its number is not written");
        Failure::Failed
    })?;
    let labels = set.labels.of_runner(&shared.region, pool.region.as_ref());
    let wanted = JitRequest {
        name: name.to_string(),
        runner_group_id: set.group,
        labels: labels.clone(),
        work_folder: WORK_FOLDER.to_owned(),
    };
    let jit = shared.github.register(&pool.scope, installation, &wanted).await;
    let jit = jit.map_err(|error| {
        shared.counts.add(error.name());
        tracing::warn!(%error, runner = %name, account = %pool.scope, "a runner is not registered");
        failure(&error)
    })?;
    let scope = pool.scope.clone();
    let launch = Launch { name: name.clone(), pool, job, labels, jit_config: jit.config };
    let Err(error) = set.executor.start(launch).await else { return Ok(()) };
    tracing::warn!(%error, runner = %name, "a runner is registered and does not run");
    shared.counts.add("executor_failed");
    // Nothing will ever connect under this name. If this fails too, GitHub's list shows it offline.
    if let Err(error) = shared.github.remove(&scope, installation, jit.runner_id).await {
        tracing::debug!(%error, runner = %name, "its registration stays for now");
    }
    Err(error.failure)
}

fn failure(error: &ApiError) -> Failure {
    match error {
        ApiError::Later(wait) => Failure::Later(*wait),
        _ if error.status() == Some(StatusCode::CONFLICT) => Failure::Exists,
        _ => Failure::Failed,
    }
}

/// Takes a runner off GitHub's list unless it has a job, then ends it.
pub(super) async fn stop(
    shared: &Shared,
    pool: &PoolId,
    installation: Option<u64>,
    name: RunnerName,
) -> Event {
    let removed = async {
        match shared.github.runner(&pool.scope, installation, &name).await? {
            Some(runner) => shared.github.remove(&pool.scope, installation, runner.id).await,
            None => Ok(Removed::Done),
        }
    };
    match removed.await {
        Ok(Removed::Done) => {}
        Ok(Removed::Busy) => return Event::NotStopped { name, busy: true },
        Err(error) => {
            shared.counts.add(error.name());
            tracing::warn!(%error, runner = %name, "a runner is not removed");
            return Event::NotStopped { name, busy: false };
        }
    }
    if let Some(set) = shared.sets.get(&pool.set)
        && let Err(error) = set.executor.stop(&name).await
    {
        shared.counts.add("executor_failed");
        tracing::warn!(%error, runner = %name, "a runner is not ended");
        return Event::NotStopped { name, busy: false };
    }
    shared.counts.add("runner_stopped");
    Event::Stopped { name }
}

/// Reads GitHub's list of an account's runners.
pub(super) async fn survey(shared: &Shared, scope: Scope, installation: Option<u64>) -> Event {
    let asked = (shared.outside.now)().mono;
    // Before GitHub is asked: what ends in between is on the list at most, and gone the next time.
    let tasks: Option<Vec<Vec<_>>> = shared.sets.values().map(|set| set.executor.tasks()).collect();
    let tasks = tasks.map(|tasks| tasks.into_iter().flatten().collect());
    match shared.github.runners(&scope, installation).await {
        Ok(listed) => {
            let seen = |runner: ListedRunner| seen(shared, &scope, runner);
            let runners = listed.into_iter().map(seen).collect();
            Event::Surveyed(Survey { scope, asked, runners, tasks })
        }
        Err(error) => {
            shared.counts.add(error.name());
            tracing::warn!(%error, account = %scope, "the list of runners is not read");
            let wait = error.wait().unwrap_or(TRY_AGAIN);
            Event::NotSurveyed { scope, wait }
        }
    }
}

/// The pool that a runner's labels speak of: the largest set whose labels it has all.
fn seen(shared: &Shared, scope: &Scope, runner: ListedRunner) -> SeenRunner {
    let labels: BTreeSet<&String> = runner.labels.iter().collect();
    let sets = shared.sets.values().map(|set| &set.labels);
    let has_all = |set: &&crate::labels::LabelSet| set.labels.iter().all(|it| labels.contains(it));
    let set = sets.filter(has_all).max_by_key(|set| set.labels.len());
    let regions: Vec<RegionId> = runner.labels.iter().filter_map(|it| region_of(it)).collect();
    let region = regions.iter().find(|region| **region != shared.region).cloned();
    SeenRunner {
        name: runner.name,
        pool: PoolId {
            scope: scope.clone(),
            // One of a set that is no longer configured is wanted by nobody, and goes when it is idle.
            set: set.map(|set| set.name.clone()).unwrap_or_default(),
            region,
        },
        here: regions.contains(&shared.region),
        online: runner.online,
        busy: runner.busy,
    }
}

/// Asks GitHub how a job is doing. Where there is no answer, it is taken to wait.
pub(super) async fn ask(shared: &Shared, job: &WorkflowJob) -> JobAnswer {
    shared.counts.add("job_asked");
    match shared.github.job(job).await {
        Ok(answer) => answer,
        Err(error) => {
            shared.counts.add(error.name());
            tracing::warn!(%error, job = %job.job, "GitHub does not tell of a job");
            JobAnswer::Waits
        }
    }
}
