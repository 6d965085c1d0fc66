//! A GitHub-shaped API on this machine: what `rhumb runners demo` and the tests talk to.
//!
//! Its routes and the required fields of its answers are those of GitHub's published OpenAPI description;
//! a test holds the answers against it. It sends signed webhooks made from real payloads, gives jobs to
//! whichever runner asks first that has the labels, as GitHub does, and can be told to fail or to lie.
//! Runners speak to it over two routes of its own, because GitHub's protocol for them is not published.
//!
//! Deliberately absent: accounts, permissions, anything that runners do not need.

mod api;
mod deliver;
mod payloads;
mod runner;
mod shapes;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rhumb_engine::Tasks;
use rhumb_types::UnixMillis;
use tokio::{net::TcpListener, sync::Notify};

use self::deliver::Sent;
pub use self::runner::{LocalRunnerError, run_as_runner};
use crate::{capacity::Scope, github::Outside, job::Action, signature::Secrets, web::Place};

/// Most that is remembered of what happened.
const HAPPENINGS_MAX: usize = 10_000;

/// The API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalGitHub {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    secrets: Secrets,
    tasks: Tasks,
    outside: Outside,
    /// A job is there for a runner that waits.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    address: Option<SocketAddr>,
    next_id: u64,
    jobs: BTreeMap<u64, LocalJob>,
    runners: BTreeMap<u64, LocalRunner>,
    sent: Vec<Sent>,
    hooks: Vec<Place>,
    faults: VecDeque<Fault>,
    happenings: Vec<Happening>,
    /// Repositories, by name.
    repositories: BTreeMap<String, u64>,
    /// Actions that are not delivered at all.
    muted: BTreeSet<Action>,
}

/// A job.
#[derive(Clone, Debug)]
pub struct LocalJob {
    /// Its id.
    pub id: u64,
    /// Its run.
    pub run: u64,
    /// Its repository, as `owner/name`.
    pub repository: String,
    /// What its runner must have.
    pub labels: Vec<String>,
    /// How far it has come.
    pub state: Action,
    /// When it was queued.
    pub created_at: UnixMillis,
    /// Who has it, or had it.
    pub runner: Option<(u64, String)>,
}

/// A runner that is registered.
#[derive(Clone, Debug)]
struct LocalRunner {
    id: u64,
    name: String,
    scope: Scope,
    labels: Vec<String>,
    online: bool,
    job: Option<u64>,
}

/// How the next answer is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// 500, with a text that is no JSON.
    Broken,
    /// 429, to come back after so many seconds.
    Limited(u64),
    /// 200 or 201, with JSON of another shape.
    Nonsense,
    /// An answer about something else than was asked for.
    Lie,
    /// None.
    Good,
}

/// Something that happened at the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happening {
    /// When.
    pub at: UnixMillis,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A job was queued.
    Queued(u64),
    /// A webhook was sent.
    Sent {
        /// About which job.
        job: u64,
        /// What it says.
        action: Action,
        /// How it was answered; nothing when nobody was there.
        status: Option<u16>,
        /// The region that the answer names as the job's.
        region: Option<String>,
        /// Whether it was sent before.
        again: bool,
        /// In how many milliseconds.
        millis: u64,
    },
    /// A runner was registered.
    Registered(String),
    /// A runner came.
    Connected(String),
    /// A runner got a job.
    Started {
        /// Which job.
        job: u64,
        /// Which runner.
        runner: String,
    },
    /// A job ended.
    Completed(u64),
    /// A runner was removed from the list before it had a job.
    Removed(String),
}

impl LocalGitHub {
    /// Starts the API on an address of this machine; webhooks are signed with a secret.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(
        tasks: &Tasks,
        address: SocketAddr,
        secrets: Secrets,
        outside: Outside,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = State { address: Some(address), next_id: 1_000, ..State::default() };
        let shared = Shared {
            state: Mutex::new(state),
            secrets,
            tasks: tasks.clone(),
            outside,
            changed: Notify::new(),
        };
        let this = Self { shared: Arc::new(shared), address };
        let router = api::router(&this.shared);
        tasks.spawn_until_stopped(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the GitHub-shaped API ended");
            }
        });
        Ok(this)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends webhooks to these places from now on, in turn.
    pub fn deliver_to(&self, hooks: Vec<Place>) {
        self.shared.state().hooks = hooks;
    }

    /// The next answers are wrong like this.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().faults.extend(faults);
    }

    /// The next answers are right again.
    pub fn forgive(&self) {
        self.shared.state().faults.clear();
    }

    /// Webhooks of these actions are not sent from now on, and not listed either.
    pub fn mute(&self, actions: impl IntoIterator<Item = Action>) {
        self.shared.state().muted = actions.into_iter().collect();
    }

    /// Queues a job of a repository and sends the webhook; says the job's id.
    pub async fn queue(&self, repository: &str, labels: &[&str]) -> u64 {
        let job = {
            let mut state = self.shared.state();
            let (id, run) = (state.fresh_id(), state.fresh_id());
            if !state.repositories.contains_key(repository) {
                let repository_id = state.fresh_id();
                state.repositories.insert(repository.to_owned(), repository_id);
            }
            let job = LocalJob {
                id,
                run,
                repository: repository.to_owned(),
                labels: labels.iter().map(|it| (*it).to_owned()).collect(),
                state: Action::Queued,
                created_at: self.shared.now(),
                runner: None,
            };
            state.jobs.insert(id, job.clone());
            job
        };
        self.shared.happened(What::Queued(job.id));
        self.shared.changed.notify_waiters();
        self.shared.send(&job, Action::Queued).await;
        job.id
    }

    /// Sends the last webhook about a job that said an action once more, with the id and the body that it
    /// had, as GitHub does on request, and waits for the answer; says whether there was one.
    pub async fn send_again(&self, job: u64, action: Action) -> bool {
        let last = {
            let state = self.shared.state();
            let mut sent = state.sent.iter().rev();
            sent.find(|sent| sent.job == job && sent.action == action).cloned()
        };
        let Some(last) = last else { return false };
        self.shared.try_once(last.guid, job, action, last.body, true).await;
        true
    }

    /// Cancels a job that waits.
    pub async fn cancel(&self, job: u64) {
        let cancelled = {
            let mut state = self.shared.state();
            let waiting = state.jobs.get_mut(&job).filter(|job| job.state == Action::Queued);
            waiting.map(|job| {
                job.state = Action::Completed;
                job.clone()
            })
        };
        if let Some(job) = cancelled {
            self.shared.send(&job, Action::Completed).await;
        }
    }

    /// The jobs.
    #[must_use]
    pub fn jobs(&self) -> Vec<LocalJob> {
        self.shared.state().jobs.values().cloned().collect()
    }

    /// How long each webhook took until it was answered or failed, in microseconds, connecting included.
    #[must_use]
    pub fn micros(&self) -> Vec<u64> {
        self.shared.state().sent.iter().map(|sent| sent.micros).collect()
    }

    /// How many runners are registered.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.shared.state().runners.len()
    }

    /// What happened, from the nth on.
    #[must_use]
    pub fn happenings(&self, from: usize) -> Vec<Happening> {
        self.shared.state().happenings.get(from..).unwrap_or_default().to_vec()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> UnixMillis {
        (self.outside.now)().wall
    }

    fn happened(&self, what: What) {
        let at = self.now();
        let mut state = self.state();
        if state.happenings.len() < HAPPENINGS_MAX {
            state.happenings.push(Happening { at, what });
        }
    }
}

impl State {
    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Gives a job to a runner: the oldest of its account whose labels it has.
    fn assign(&mut self, runner: u64) -> Option<LocalJob> {
        let runner = self.runners.get_mut(&runner)?;
        let fits = |job: &&mut LocalJob| {
            let has = |label: &String| runner.labels.contains(&label.to_lowercase());
            job.state == Action::Queued
                && runner.scope.covers(&job.repository)
                && job.labels.iter().all(has)
        };
        let job = self.jobs.values_mut().find(fits)?;
        job.state = Action::InProgress;
        job.runner = Some((runner.id, runner.name.clone()));
        runner.job = Some(job.id);
        Some(job.clone())
    }
}

impl Scope {
    /// Whether runners that are registered here may take jobs of a repository.
    fn covers(&self, repository: &str) -> bool {
        match self {
            Self::Repository(name) => name.eq_ignore_ascii_case(repository),
            Self::Organisation(name) => {
                let owner = repository.split('/').next().unwrap_or_default();
                owner.eq_ignore_ascii_case(name)
            }
        }
    }
}
