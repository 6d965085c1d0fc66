//! Self-hosted runners of an organisation or a repository.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{ApiError, As, GitHub, answer::Failed, read};
use crate::{
    capacity::Scope,
    job::RunnerName,
    limits::{PAGE, PAGES_MAX},
    web::encode,
};

/// A runner that is to be registered for one job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JitRequest {
    /// Its name.
    pub name: String,
    /// The runner group; 1 is the default one.
    pub runner_group_id: u64,
    /// What it has.
    pub labels: Vec<String>,
    /// Where it works, below its own folder.
    pub work_folder: String,
}

/// A runner that is registered.
#[derive(Clone, PartialEq, Eq)]
pub struct Jit {
    /// GitHub's id of it.
    pub runner_id: u64,
    /// What `run.sh --jitconfig` takes. It is a secret.
    pub config: String,
}

impl std::fmt::Debug for Jit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jit").field("runner_id", &self.runner_id).finish_non_exhaustive()
    }
}

/// A runner of Rhumb as GitHub lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedRunner {
    /// GitHub's id.
    pub id: u64,
    /// Its name.
    pub name: RunnerName,
    /// Whether it is connected.
    pub online: bool,
    /// Whether it has a job.
    pub busy: bool,
    /// Its labels, in lower case.
    pub labels: Vec<String>,
}

/// Whether a runner is off the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removed {
    /// It is, or was not on it.
    Done,
    /// It has a job, and stays.
    Busy,
}

#[derive(Deserialize)]
struct RawRunner {
    id: u64,
    name: String,
    status: String,
    busy: bool,
    labels: Vec<RawLabel>,
}

#[derive(Deserialize)]
struct RawLabel {
    name: String,
}

#[derive(Deserialize)]
struct RawPage {
    total_count: usize,
    runners: Vec<RawRunner>,
}

impl RawRunner {
    /// A runner of ours; others are none of our business.
    fn listed(self) -> Option<ListedRunner> {
        Some(ListedRunner {
            id: self.id,
            name: RunnerName::ours(&self.name)?,
            online: self.status == "online",
            busy: self.busy,
            labels: self.labels.into_iter().map(|label| label.name.to_lowercase()).collect(),
        })
    }
}

/// The path of an account's runners.
fn base(scope: &Scope) -> String {
    match scope {
        Scope::Organisation(name) => format!("/orgs/{}/actions/runners", encode(name)),
        Scope::Repository(name) => {
            let (owner, name) = name.split_once('/').unwrap_or((name, ""));
            format!("/repos/{}/{}/actions/runners", encode(owner), encode(name))
        }
    }
}

impl GitHub {
    /// Registers a runner for one job.
    ///
    /// # Errors
    /// [`ApiError`]; a name that is taken is a [`StatusCode::CONFLICT`].
    pub async fn register(
        &self,
        scope: &Scope,
        installation: Option<u64>,
        wanted: &JitRequest,
    ) -> Result<Jit, ApiError> {
        #[derive(Deserialize)]
        struct Body {
            runner: RawRunner,
            encoded_jit_config: String,
        }
        let path = format!("{}/generate-jitconfig", base(scope));
        let lie = |what| ApiError::Lie { path: path.clone(), what };
        let body = serde_json::to_vec(wanted).map_err(|_| lie("the request cannot be written"))?;
        let who = As::Installation(installation);
        let answer = self.ask(who, Method::POST, &path, Bytes::from(body)).await?;
        let body: Body = read(&path, answer.status(), StatusCode::CREATED, answer.body())?;
        if body.runner.name != wanted.name {
            return Err(lie("it registered a runner of another name"));
        }
        let config = body.encoded_jit_config;
        if config.is_empty() || STANDARD.decode(&config).is_err() {
            return Err(lie("the runner's configuration is not one"));
        }
        Ok(Jit { runner_id: body.runner.id, config })
    }

    /// All runners of Rhumb, or none.
    ///
    /// # Errors
    /// [`ApiError`]; a list that ends before its own count is not believed.
    pub async fn runners(
        &self,
        scope: &Scope,
        installation: Option<u64>,
    ) -> Result<Vec<ListedRunner>, ApiError> {
        let (mut read, mut found) = (0, Vec::new());
        for page in 1..=PAGES_MAX {
            let path = format!("{}?per_page={PAGE}&page={page}", base(scope));
            let answer: RawPage = self.get(As::Installation(installation), path.clone()).await?;
            read += answer.runners.len();
            let empty = answer.runners.is_empty();
            found.extend(answer.runners.into_iter().filter_map(RawRunner::listed));
            if read >= answer.total_count {
                return Ok(found);
            }
            if empty {
                let what = "the list ends before its own count";
                return Err(ApiError::Lie { path, what });
            }
        }
        let what = "the list does not end";
        Err(ApiError::Lie { path: base(scope), what })
    }

    /// The runner of a name.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn runner(
        &self,
        scope: &Scope,
        installation: Option<u64>,
        name: &RunnerName,
    ) -> Result<Option<ListedRunner>, ApiError> {
        let path = format!("{}?per_page={PAGE}&name={name}", base(scope));
        let answer: RawPage = self.get(As::Installation(installation), path).await?;
        // A server that does not know the parameter lists all.
        let found = answer.runners.into_iter().filter_map(RawRunner::listed);
        let named = found.into_iter().find(|runner| runner.name == *name);
        if named.is_some() || answer.total_count <= PAGE {
            return Ok(named);
        }
        let all = self.runners(scope, installation).await?;
        Ok(all.into_iter().find(|runner| runner.name == *name))
    }

    /// Takes a runner off the list.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn remove(
        &self,
        scope: &Scope,
        installation: Option<u64>,
        id: u64,
    ) -> Result<Removed, ApiError> {
        let path = format!("{}/{id}", base(scope));
        let who = As::Installation(installation);
        let answer = self.ask(who, Method::DELETE, &path, Bytes::new()).await?;
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(Removed::Done),
            // "Runner is currently running a job and cannot be deleted."
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Removed::Busy),
            status => Err(Failed::of(&path, status, answer.body()).into()),
        }
    }
}
