//! The runners of a node, put together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use rhumb_engine::{DefineError, Engine, Expect, QueueClient, telemetry::Metrics};
use rhumb_regions::ResidencyTag;
use rhumb_types::{
    NodeId, RegionId,
    record::{QueueDefinition, QueueName},
};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    capacity::{Config, SetLimits},
    dispatch::{self, DispatchParts, Level, SetParts},
    executor::{Executor, FolderError, HttpConfig, HttpExecutor, ProcessConfig, ProcessExecutor},
    github::{Auth, GitHub, Hook, Outside},
    intake::{Answer, Intake, IntakeParts},
    job::JobRef,
    labels::LabelSet,
    limits::{INPUTS_MAX, KEPT, LEASE, QUEUED_AGE_MAX, TRY_AGAIN},
    place::Accounts,
    reconcile::Reconciliation,
    record::{Record, RecordError, Records},
    signature::Secrets,
    status::{Counts, RegionStatus},
    web::Place,
};

/// Everything that is configured.
#[derive(Debug)]
pub struct RunnersConfig {
    /// The secrets of the webhook.
    pub secrets: Secrets,
    /// Where GitHub's API is.
    pub api: Place,
    /// As whom it is asked.
    pub auth: Auth,
    /// The label sets.
    pub sets: Vec<SetConfig>,
    /// Owners whose jobs are taken; none means of everybody who knows the secret.
    pub owners: BTreeSet<String>,
    /// What is said of accounts.
    pub accounts: Accounts,
    /// The webhooks whose deliveries are looked at.
    pub hooks: Vec<Hook>,
    /// How often deliveries that failed and jobs that nobody told of are looked for.
    pub reconcile_every: Duration,
    /// How long a runner may take until GitHub sees it.
    pub start_timeout: Duration,
    /// Where the folders of runners are.
    pub folder: PathBuf,
}

/// A label set.
#[derive(Debug)]
pub struct SetConfig {
    /// Its labels.
    pub labels: LabelSet,
    /// Its bounds in this region.
    pub limits: SetLimits,
    /// Where its runners are registered.
    pub level: Level,
    /// In which runner group.
    pub group: u64,
    /// What makes them run.
    pub executor: ExecutorConfig,
}

/// What makes runners run.
#[derive(Debug)]
pub enum ExecutorConfig {
    /// A process on this machine.
    Process {
        /// The program and its arguments.
        command: Vec<String>,
        /// A folder that is copied for every runner.
        template: Option<PathBuf>,
    },
    /// A launcher.
    Http(HttpConfig),
}

/// Where the runners are.
#[derive(Debug)]
pub struct Here {
    /// The node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// The jurisdictions of the region.
    pub residency: BTreeSet<ResidencyTag>,
    /// Clocks and randomness.
    pub outside: Outside,
    /// What the node measures.
    pub metrics: Arc<Metrics>,
}

/// Why the runners do not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Without queues there is nowhere to keep jobs.
    #[error("this node has no queues: runners need a region that holds data")]
    NoQueues,
    /// Runners have nowhere to be.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A set and its jurisdictions make a name that no queue can have.
    #[error("the label set `{0}` with its jurisdictions makes no name of a queue: shorten it")]
    QueueName(String),
}

/// The runners of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runners {
    engine: Engine,
    intake: Intake,
    records: Records,
    counts: Arc<Counts>,
}

impl Runners {
    /// Starts the runners of a node, on its tasks.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: RunnersConfig, engine: &Engine, here: Here) -> Result<Self, StartError> {
        let Here { node, region, residency, outside, metrics } = here;
        let queues = engine.queues().ok_or(StartError::NoQueues)?.clone();
        let RunnersConfig { secrets, api, auth, sets, owners, accounts, hooks, folder, .. } =
            config;
        let RunnersConfig { reconcile_every, start_timeout, .. } = config;
        let meters = metrics.runners();
        let counts = Arc::new(Counts::new(meters.clone()));
        let github = GitHub::counting(api, auth, outside.clone(), Some(meters));
        let labels: Vec<LabelSet> = sets.iter().map(|set| set.labels.clone()).collect();
        let (all, listens) = names(&labels, &accounts, &residency)?;
        make_queues(engine, &queues, all);
        let intake = Intake::new(IntakeParts {
            engine: engine.clone(),
            secrets,
            sets: labels,
            accounts,
            owners,
            outside: outside.clone(),
            counts: counts.clone(),
        });
        let (ended, endings) = mpsc::channel(INPUTS_MAX);
        let limits = sets.iter().map(|set| (set.labels.name.clone(), set.limits)).collect();
        let mut parts = Vec::with_capacity(sets.len());
        for set in sets {
            let SetConfig { labels, level, group, executor, .. } = set;
            let executor: Arc<dyn Executor> = match executor {
                ExecutorConfig::Http(config) => Arc::new(HttpExecutor::new(config)),
                ExecutorConfig::Process { command, template } => {
                    let folder = folder.join(&labels.name);
                    let config = ProcessConfig { command, template, folder };
                    let tasks = engine.tasks().clone();
                    Arc::new(ProcessExecutor::new(config, tasks, ended.clone())?)
                }
            };
            parts.push(SetParts { labels, level, group, executor });
        }
        dispatch::start(DispatchParts {
            engine: engine.clone(),
            queues,
            node,
            region,
            sets: parts,
            listens,
            github: github.clone(),
            outside: outside.clone(),
            counts: counts.clone(),
            config: Config { start_timeout, ..Config::new(limits) },
            ended: endings,
            keep_open: ended,
        });
        let reconciled = intake.clone();
        Reconciliation {
            engine: engine.clone(),
            github,
            intake: reconciled,
            hooks,
            outside,
            counts: counts.clone(),
            every: reconcile_every,
        }
        .start();
        let records = Records::new(engine.clone());
        Ok(Self { engine: engine.clone(), intake, records, counts })
    }

    /// Takes a webhook of GitHub.
    pub async fn webhook(&self, headers: &HeaderMap, body: Bytes) -> Answer {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let head = crate::webhook::Head {
            event: text("x-github-event"),
            delivery: text("x-github-delivery"),
            signature: text("x-hub-signature-256"),
            content_type: text(header::CONTENT_TYPE.as_str()),
        };
        self.intake.webhook(head, &body).await
    }

    /// How runners are doing, in every region that said so lately.
    ///
    /// # Errors
    /// [`RecordError`] when that cannot be read.
    pub fn regions(&self) -> Result<Vec<RegionStatus>, RecordError> {
        let snapshot = self.engine.routing();
        let regions = snapshot.iter().flat_map(|it| it.regions());
        let regions: Vec<RegionId> = regions.map(|(_, facts)| facts.region.id.clone()).collect();
        self.records.heard(&regions)
    }

    /// What is known of a job.
    ///
    /// # Errors
    /// [`RecordError`] when that cannot be read.
    pub fn job(&self, job: &JobRef) -> Result<Record, RecordError> {
        self.records.read(job)
    }

    /// What happened here since the start, by name.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.all()
    }
}

/// All queues with their residency, and those to which a region with some jurisdictions listens, with their sets.
#[expect(clippy::type_complexity, reason = "a pair of two lists, used once")]
fn names(
    sets: &[LabelSet],
    accounts: &Accounts,
    here: &BTreeSet<ResidencyTag>,
) -> Result<(Vec<(QueueName, Vec<String>)>, Vec<(QueueName, String)>), StartError> {
    let bound: BTreeSet<&Vec<ResidencyTag>> = accounts.residency.values().collect();
    let (mut all, mut listens) = (Vec::new(), Vec::new());
    for set in sets {
        let name =
            |tags: &[&str]| set.queue(tags).ok_or_else(|| StartError::QueueName(set.name.clone()));
        let anywhere = name(&[])?;
        all.push((anywhere.clone(), Vec::new()));
        listens.push((anywhere, set.name.clone()));
        for tags in &bound {
            let texts: Vec<&str> = tags.iter().map(ResidencyTag::as_str).collect();
            let queue = name(&texts)?;
            all.push((queue.clone(), texts.iter().map(|tag| (*tag).to_owned()).collect()));
            if tags.iter().any(|tag| here.contains(tag)) {
                listens.push((queue, set.name.clone()));
            }
        }
    }
    Ok((all, listens))
}

/// Has the queues agreed on, however long the group takes to answer.
fn make_queues(engine: &Engine, queues: &QueueClient, wanted: Vec<(QueueName, Vec<String>)>) {
    let queues = queues.clone();
    engine.tasks().spawn_until_stopped(async move {
        for (name, residency) in wanted {
            while !queues.definitions().borrow().contains_key(&name) {
                match queues.define(name.clone(), definition(&residency), Expect::Absent).await {
                    // Another region was faster; it arrives.
                    Ok(()) | Err(DefineError::Changed(_)) => {}
                    Err(error) => tracing::debug!(%error, queue = %name, "a queue is not made yet"),
                }
                sleep(TRY_AGAIN).await;
            }
        }
    });
}

/// The queue of a set: a job stays as long as GitHub keeps it, and its key longer than it can be
/// delivered again.
fn definition(residency: &[String]) -> QueueDefinition {
    QueueDefinition {
        visibility: LEASE,
        retention: QUEUED_AGE_MAX,
        keys_kept: KEPT,
        residency: residency.to_vec(),
        ..QueueDefinition::default()
    }
}
