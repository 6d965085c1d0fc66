//! From a webhook to what is durable: the job in its queue, or what happened to it in its record.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use rhumb_engine::{Engine, EnqueueRequest, HomeChoice, Taken};
use rhumb_queue::{NewJob, Refused};
use rhumb_regions::pool::RouteError;
use rhumb_types::{RegionId, UnixMillis, record::JobId};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    github::Outside,
    job::{Action, WorkflowJob},
    labels::{LabelSet, set_for},
    limits::{REPOSITORIES_MAX, WEBHOOK_WAIT},
    payload::JobEvent,
    place::{Accounts, home},
    record::{RecordError, Records},
    signature::Secrets,
    status::Counts,
    webhook::{Delivery, Head, Rejected, Seen, read},
};

/// What takes webhooks, and jobs that were found otherwise. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    records: Records,
    secrets: Secrets,
    sets: Vec<LabelSet>,
    accounts: Accounts,
    /// Owners whose jobs are taken; none means everybody who knows the secret.
    owners: BTreeSet<String>,
    outside: Outside,
    counts: Arc<Counts>,
    seen: Mutex<Seen>,
    /// Repositories that were heard of, to be asked for jobs that nobody told of.
    heard: Mutex<BTreeSet<Repository>>,
}

/// A repository that was heard of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// The organisation that it belongs to.
    pub organisation: Option<String>,
    /// Through which installation of an app it was heard of.
    pub installation: Option<u64>,
}

/// What the intake works with.
#[derive(Debug)]
pub struct IntakeParts {
    /// The node.
    pub engine: Engine,
    /// The secrets of the webhook.
    pub secrets: Secrets,
    /// The label sets.
    pub sets: Vec<LabelSet>,
    /// What is said of accounts.
    pub accounts: Accounts,
    /// Owners whose jobs are taken.
    pub owners: BTreeSet<String>,
    /// Clocks and randomness.
    pub outside: Outside,
    /// What is counted.
    pub counts: Arc<Counts>,
}

/// What a webhook is answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How it ended, by a name that is part of the program.
    pub outcome: &'static str,
    /// The body.
    pub body: Value,
}

/// What became of a job that wants a runner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Queued {
    /// It is in a queue, and durable.
    Taken {
        /// The region that it belongs to.
        home: RegionId,
        /// Whether it was there before.
        duplicate: bool,
    },
    /// No label set serves it: GitHub's own runners do, or somebody else's.
    NoSet,
    /// Its owner is not among those whose jobs are taken.
    Foreign,
}

/// Why a job is not durable. GitHub is told so, and the delivery can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The node has not started, or knows no regions.
    #[error("this node is still starting")]
    Starting,
    /// No region may have it.
    #[error("no region may have the job: {0}")]
    Nowhere(#[from] RouteError),
    /// The queue refused it.
    #[error("the queue did not take the job: {0}")]
    Queue(#[from] Refused),
    /// What happened to it was not written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It may be durable by now, or be so soon: its key tells.
    #[error("it was not durable within {WEBHOOK_WAIT:?}")]
    Late,
}

impl Intake {
    /// An intake with these parts.
    #[must_use]
    pub fn new(parts: IntakeParts) -> Self {
        let IntakeParts { engine, secrets, sets, accounts, owners, outside, counts } = parts;
        let records = Records::new(engine.clone());
        let (seen, heard) = (Mutex::default(), Mutex::default());
        let shared = Shared {
            engine,
            records,
            secrets,
            sets,
            accounts,
            owners,
            outside,
            counts,
            seen,
            heard,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a webhook. It is answered once what it asks for is durable, or was not within
    /// [`WEBHOOK_WAIT`].
    ///
    /// Cancel-safe: what was written stays, and a repeated delivery finds it.
    pub async fn webhook(&self, head: Head<'_>, body: &[u8]) -> Answer {
        let began = (self.shared.outside.now)();
        let answer = self.answer(head, body, began.wall).await;
        let took = (self.shared.outside.now)().mono.saturating_since(began.mono);
        self.shared.counts.meters().answered(answer.outcome, took);
        answer
    }

    async fn answer(&self, head: Head<'_>, body: &[u8], now: UnixMillis) -> Answer {
        let shared = &self.shared;
        let delivery = match read(&shared.secrets, &head, body, now) {
            Ok(delivery) => delivery,
            Err(rejected) => return self.rejected(&rejected),
        };
        let id = head.delivery.unwrap_or_default();
        if self.seen(|seen| seen.contains(id)) {
            shared.counts.add("delivery_repeated");
            return answer(202, "repeated");
        }
        match in_time(self.carry_out(delivery)).await {
            Ok(answer) => {
                self.seen(|seen| seen.remember(id));
                answer
            }
            Err(error) => {
                // Not remembered: the delivery can be repeated, by GitHub's user or by reconciliation.
                shared.counts.add("delivery_failed");
                tracing::warn!(%error, delivery = id, "a webhook could not be carried out");
                refusal(503, "failed", &error)
            }
        }
    }

    async fn carry_out(&self, delivery: Delivery) -> Result<Answer, IntakeError> {
        match delivery {
            Delivery::Ping => Ok(answer(200, "pong")),
            Delivery::Nothing(nothing) => {
                self.shared.counts.add(nothing.name());
                Ok(answer(202, nothing.name()))
            }
            Delivery::Queued(event) => self.queued(event).await,
            Delivery::Moved(event) => self.moved(event).await,
        }
    }

    /// Whether a delivery was carried out here lately.
    #[must_use]
    pub fn knows(&self, delivery: &str) -> bool {
        self.seen(|seen| seen.contains(delivery))
    }

    /// Puts a job that wants a runner into its queue.
    ///
    /// # Errors
    /// [`IntakeError`]; it may be repeated, the job's key makes it one job.
    pub async fn enqueue(&self, job: &WorkflowJob) -> Result<Queued, IntakeError> {
        let shared = &self.shared;
        let owner = job.owner_and_name().0;
        if !shared.owners.is_empty() && !shared.owners.contains(owner) {
            return Ok(Queued::Foreign);
        }
        let Some(set) = set_for(&shared.sets, &job.labels) else { return Ok(Queued::NoSet) };
        let residency = shared.accounts.residency_of(job);
        let tags: Vec<&str> = residency.iter().map(|tag| tag.as_str()).collect();
        let queue = set.queue(&tags).ok_or(IntakeError::Starting)?;
        let snapshot = shared.engine.routing().ok_or(IntakeError::Starting)?;
        let queues = shared.engine.queues().ok_or(IntakeError::Starting)?;
        let home = home(&snapshot, &shared.accounts, job)?;
        let body = serde_json::to_vec(job).map_err(|_| IntakeError::Starting)?;
        let mut new = NewJob::new(self.random_id(), body.into(), Vec::new());
        new.key = Some(job.job.key(Action::Queued));
        // A repeated delivery names the same job, whatever else it says.
        new.key_alone = true;
        new.tenant = Some(owner.to_owned());
        new.workflow = Some(format!("{}/{}", job.job.repository, job.run));
        let home = HomeChoice::Region(home);
        let taken = queues.enqueue(EnqueueRequest { queue, home, jobs: vec![new] }).await?;
        let taken = taken.into_iter().next().ok_or(IntakeError::Starting)??;
        self.hear(job);
        if taken.pinned || taken.why.is_some() {
            let Taken { home, pinned, why, .. } = &taken;
            let why = why.as_deref().unwrap_or("nobody acts for its home");
            tracing::info!(job = %job.job, %home, pinned, why, "a job is not where it belongs");
        }
        Ok(Queued::Taken { home: taken.home, duplicate: taken.duplicate.is_some() })
    }

    /// The repositories that were heard of.
    #[must_use]
    pub fn repositories(&self) -> Vec<Repository> {
        let heard = self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().cloned().collect()
    }

    fn hear(&self, job: &WorkflowJob) {
        let (name, organisation) = (job.repository.clone(), job.organisation.clone());
        let repository = Repository { name, organisation, installation: job.installation };
        let mut heard = self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < REPOSITORIES_MAX {
            heard.insert(repository);
        }
    }

    async fn queued(&self, event: JobEvent) -> Result<Answer, IntakeError> {
        let counts = &self.shared.counts;
        match self.enqueue(&event.job).await? {
            Queued::Taken { home, duplicate } => {
                counts.add(if duplicate { "queued_again" } else { "queued" });
                let outcome = if duplicate { "queued_before" } else { "queued" };
                let body = json!({ "outcome": outcome, "region": home, "job": event.job.job });
                Ok(Answer { status: 202, outcome, body })
            }
            Queued::NoSet => {
                counts.add("no_set");
                Ok(answer(202, "no_label_set_serves_the_job"))
            }
            Queued::Foreign => {
                counts.add("foreign");
                Ok(answer(202, "owner_is_not_configured"))
            }
        }
    }

    async fn moved(&self, event: JobEvent) -> Result<Answer, IntakeError> {
        let Shared { records, counts, sets, .. } = self.shared.as_ref();
        let job = &event.job.job;
        if set_for(sets, &event.job.labels).is_none() {
            counts.add("no_set");
            return Ok(answer(202, "no_label_set_serves_the_job"));
        }
        if event.action == Action::Completed {
            records.ended(job, event.conclusion).await?;
            counts.add("completed");
        } else {
            records.running(job, event.runner.map(|runner| runner.name)).await?;
            counts.add("in_progress");
        }
        Ok(answer(202, event.action.name()))
    }

    fn rejected(&self, rejected: &Rejected) -> Answer {
        self.shared.counts.add(rejected.name());
        tracing::warn!(error = %rejected, "a webhook was refused");
        refusal(rejected.status(), rejected.name(), rejected)
    }

    fn random_id(&self) -> JobId {
        let random = &self.shared.outside.random;
        let mut id = [0; 16];
        let words = [(random)().to_le_bytes(), (random)().to_le_bytes()];
        id.iter_mut().zip(words.as_flattened()).for_each(|(to, from)| *to = *from);
        JobId(id)
    }

    fn seen<T>(&self, with: impl FnOnce(&mut Seen) -> T) -> T {
        with(&mut self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Gives up what takes so long that GitHub would hear no answer. What was sent to a queue until then may
/// become durable all the same: the key makes a repetition the same job.
async fn in_time(
    work: impl Future<Output = Result<Answer, IntakeError>>,
) -> Result<Answer, IntakeError> {
    timeout(WEBHOOK_WAIT, work).await.unwrap_or(Err(IntakeError::Late))
}

fn answer(status: u16, outcome: &'static str) -> Answer {
    Answer { status, outcome, body: json!({ "outcome": outcome }) }
}

fn refusal(status: u16, outcome: &'static str, error: &impl ToString) -> Answer {
    Answer { status, outcome, body: json!({ "error": error.to_string() }) }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::time::{Instant, sleep};

    use super::*;

    /// How long GitHub waits for an answer.
    const GITHUB_WAITS: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_never_becomes_durable_is_answered_before_github_gives_up() {
        let began = Instant::now();
        let late = in_time(pending()).await;
        assert!(matches!(late, Err(IntakeError::Late)), "{late:?}");
        assert!(began.elapsed() >= WEBHOOK_WAIT && began.elapsed() < GITHUB_WAITS);
        let slow = in_time(async {
            sleep(WEBHOOK_WAIT - Duration::from_secs(1)).await;
            Ok(answer(202, "queued"))
        });
        assert_eq!(slow.await.unwrap().status, 202);
    }
}
