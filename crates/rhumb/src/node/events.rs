//! Events on their way: from where they were published to the queues that subscribe, and those of the
//! cluster itself.
//!
//! An event waits as a job of a queue of the cluster's own, so that it outlives its node and its region.
//! Each node takes such jobs, enqueues one job per subscribing queue (and region), and completes them once
//! all were taken in. A delivery that is repeated is one job, because the event's source and id are its
//! key there.
//!
//! The ends of jobs and the verdicts on regions are published by the nodes that see them. A node that
//! falls between the end of a job and its event says nothing of it: such events are hints, not records.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_config::Config;
use rhumb_engine::{
    DefineError, Engine, EnqueueRequest, Expect, HomeChoice, OsEntropy, QueueClient,
    ReceiveRequest,
    queue::{Definitions, Finished, Leased, NewJob, Refused, Retry},
    random_id,
};
use rhumb_events::{Event, subscribers};
use rhumb_types::{
    ErrorCode, RegionId,
    control::ControlView,
    record::{
        QueueName, Topic,
        queue::{events_queue, events_settings},
    },
};
use serde_json::json;
use tokio::{sync::broadcast::error::RecvError, task::JoinSet, time::sleep};

/// Events that are taken at a time.
const TOGETHER: usize = 10;
/// How long a look for events waits for one.
const WAIT: Duration = Duration::from_secs(10);
/// Pause after events could not be looked for.
const PAUSE: Duration = Duration::from_secs(1);

/// What delivers.
#[derive(Clone)]
struct Post {
    client: QueueClient,
    region: RegionId,
    /// Those that hold data.
    regions: Arc<[RegionId]>,
    /// Where the cluster's own events come from.
    source: Arc<str>,
}

/// Starts the delivery, where the queues run.
pub(super) fn start(config: &Config, region: &RegionId, engine: &Engine) {
    let Some(client) = engine.queues() else { return };
    let regions = config.registry().regions().iter();
    let regions = regions.filter(|it| !it.witness).map(|it| it.id.clone()).collect();
    let source = format!("/rhumb/{}", config.settings().cluster).into();
    let post = Post { client, region: region.clone(), regions, source };
    let (delivering, finishing, watching) = (post.clone(), post.clone(), post);
    engine.tasks().spawn_until_stopped(async move { delivering.deliver().await });
    engine.tasks().spawn_until_stopped(async move { finishing.announce_jobs().await });
    if let Some(admin) = engine.admin() {
        let mut views = admin.views();
        engine.tasks().spawn_until_stopped(async move {
            let mut seen = views.borrow_and_update().clone();
            while views.changed().await.is_ok() {
                let view = views.borrow_and_update().clone();
                watching.announce_regions(&seen, &view).await;
                seen = view;
            }
        });
    }
}

impl Post {
    /// Takes events and delivers them, for ever.
    async fn deliver(&self) {
        let mut definitions = self.client.definitions();
        loop {
            // Nobody has published anything before the queue is there.
            let there = |all: &Arc<Definitions>| all.contains_key(&events_queue());
            let stopped = definitions.wait_for(there).await.is_err();
            if stopped {
                return;
            }
            let request = ReceiveRequest {
                queue: events_queue(),
                jobs_max: TOGETHER,
                visibility: None,
                wait: WAIT,
                worker: format!("events of {}", self.region).into(),
                elsewhere: true,
            };
            match self.client.receive(request).await {
                Ok(leased) => self.deliver_all(leased).await,
                Err(error) => {
                    tracing::debug!(%error, "events cannot be looked for");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn deliver_all(&self, leased: Vec<Leased>) {
        let mut deliveries = JoinSet::new();
        for job in leased {
            let post = self.clone();
            deliveries.spawn(async move { post.deliver_one(job).await });
        }
        while deliveries.join_next().await.is_some() {}
    }

    /// Delivers one event to all who subscribe, or leaves it for another time.
    async fn deliver_one(&self, leased: Leased) {
        let Some(event) = Event::of(&leased.job) else {
            tracing::error!(job = %leased.receipt.key.id, "what lies among the events is none");
            return self.settle(leased, Ok(())).await;
        };
        let subscribers = subscribers(&self.client.definitions().borrow(), &event.topic);
        let mut outcome = Ok(());
        for delivery in subscribers {
            let homes: Vec<Option<&RegionId>> = match delivery.each_region {
                true => self.regions.iter().map(Some).collect(),
                false => vec![None],
            };
            for home in homes {
                outcome = outcome.and(self.send(&delivery.queue, &event, home).await);
            }
        }
        self.settle(leased, outcome).await;
    }

    /// Enqueues an event's job. What can never be taken in is dropped, and said.
    async fn send(
        &self,
        queue: &QueueName,
        event: &Event,
        home: Option<&RegionId>,
    ) -> Result<(), Refused> {
        let job = NewJob {
            key: Some(event.key(home)),
            key_alone: true,
            ..NewJob::new(random_id(&OsEntropy), event.data.clone(), event.attributes())
        };
        let choice = home.map_or(HomeChoice::Auto, |home| HomeChoice::Region(home.clone()));
        let request = EnqueueRequest { queue: queue.clone(), home: choice, jobs: vec![job] };
        let taken = self.client.enqueue(request).await;
        match taken.and_then(|taken| taken.into_iter().collect::<Result<Vec<_>, _>>()) {
            Ok(_) | Err(Refused::NoQueue(_)) => Ok(()),
            Err(error) if error.code() == ErrorCode::Invalid => {
                tracing::error!(%queue, %error, topic = %event.topic, "an event is dropped");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn settle(&self, leased: Leased, outcome: Result<(), Refused>) {
        let settled = match outcome {
            Ok(()) => {
                let settled = self.client.complete(vec![leased.receipt]).await;
                settled.into_iter().collect::<Result<(), _>>()
            }
            Err(error) => self.client.fail(leased.receipt, error.to_string(), Retry::Backoff).await,
        };
        if let Err(error) = settled {
            // It is delivered again, which changes nothing.
            tracing::debug!(%error, "the delivery of an event was not noted");
        }
    }

    /// Publishes an event of the cluster's own, if anybody subscribes to it.
    async fn publish(&self, topic: &str, kind: &str, id: &str, data: serde_json::Value) {
        let Ok(topic) = Topic::new(topic) else { return };
        if subscribers(&self.client.definitions().borrow(), &topic).is_empty() {
            return;
        }
        let event = Event::own(topic, kind, &self.source, id, Bytes::from(data.to_string()));
        if let Err(error) = self.keep(&event).await {
            tracing::warn!(%error, topic = %event.topic, "an event of the cluster is lost");
        }
    }

    async fn keep(&self, event: &Event) -> Result<(), Refused> {
        let queue = events_queue();
        if !self.client.definitions().borrow().contains_key(&queue) {
            match self.client.define(queue.clone(), events_settings(), Expect::Absent).await {
                Ok(()) | Err(DefineError::Changed(_)) => {}
                Err(error) => return Err(Refused::Unavailable(error.to_string().into())),
            }
        }
        let job = NewJob::new(random_id(&OsEntropy), event.data.clone(), event.attributes());
        let home = HomeChoice::Region(self.region.clone());
        let taken = self.client.enqueue(EnqueueRequest { queue, home, jobs: vec![job] }).await?;
        taken.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ())
    }

    /// Tells of the ends of jobs, of queues that want that.
    async fn announce_jobs(&self) {
        let mut finished = self.client.finished();
        loop {
            match finished.recv().await {
                Ok(job) => self.announce_job(&job).await,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events of jobs that ended are lost: too many at once");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn announce_job(&self, job: &Finished) {
        let Finished { key, completed, tenant, why } = job;
        let told = self.client.definitions().borrow().get(&key.queue).is_some_and(|it| it.announce);
        if !told {
            return;
        }
        let kind = if *completed { "rhumb.job.finished" } else { "rhumb.job.dead" };
        let data = json!({
            "queue": key.queue,
            "id": key.id.to_string(),
            "tenant": tenant,
            "why": why,
            "region": self.region,
        });
        let id = format!("{}/{}", key.queue, key.id);
        self.publish(&format!("{kind}.{}", key.queue), kind, &id, data).await;
    }

    /// Tells of verdicts that came or went. Every node does, under the same id.
    async fn announce_regions(&self, before: &ControlView, after: &ControlView) {
        for (region, status) in &after.regions {
            let was = before.regions.get(region).and_then(|status| status.verdict.as_ref());
            let (kind, verdict) = match (was, &status.verdict) {
                (None, Some(verdict)) => ("rhumb.region.failed", verdict),
                (Some(verdict), None) => ("rhumb.region.returned", verdict),
                _ => continue,
            };
            let data = json!({
                "region": region,
                "verdict_unix_ms": verdict.at,
                "by": verdict.by,
            });
            let id = format!("{kind}/{region}/{}", verdict.at.0);
            self.publish(kind, kind, &id, data).await;
        }
    }
}
