//! Asking the queues of other regions, and answering them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_ports::{
    BoxFuture,
    peer::{CallError, PeerService, Service},
};
use rhumb_queue::{Advert, Answer, Ask, Enqueue, Receive, Refused};
use rhumb_types::{RegionId, record::Record};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{
    Input, WorkerInfo,
    client::QueueClient,
    driver::Look,
    wire::{Asked, Call, Told},
};
use crate::{
    Engine,
    limits::{ADVERT_WAIT, QUEUE_CALL_WAIT, QUEUE_CALLS_MAX},
};

/// How far a question came.
#[derive(Debug)]
pub(super) enum Reached {
    /// It was answered.
    Answer(Result<Answer, Refused>),
    /// Nothing was done.
    Not(String),
    /// It may have been done.
    Unknown(String),
}

impl Reached {
    pub(super) fn into_result(self) -> Result<Answer, Refused> {
        match self {
            Self::Answer(result) => result,
            Self::Not(why) => Err(Refused::Unavailable(why.into())),
            Self::Unknown(why) => Err(Refused::Unconfirmed(why.into())),
        }
    }
}

impl QueueClient {
    /// Asks another region's machine. Dropping the future leaves the outcome unknown.
    pub(super) async fn call(&self, region: &RegionId, ask: Ask, wait: Duration) -> Reached {
        let asked = self.now();
        let receives = matches!(ask, Ask::Receive(_));
        let told = match self.call_peer(region, &Call::of(ask), wait).await {
            Ok(told) => told,
            Err(CallError::Unreachable { sent: true, reason, .. }) => {
                return Reached::Unknown(format!("{region} did not answer: {reason}"));
            }
            Err(error) => return Reached::Not(error.to_string()),
        };
        let answer = told.answer(asked);
        if receives && let Ok(Answer::Received(jobs)) = &answer {
            jobs.iter().for_each(|job| self.borrow(region, job));
        }
        Reached::Answer(answer)
    }

    async fn call_peer(
        &self,
        region: &RegionId,
        call: &Call,
        wait: Duration,
    ) -> Result<Told, CallError> {
        let unreachable = |sent, reason: String| CallError::Unreachable {
            peer: region.to_string(),
            sent,
            reason,
        };
        let Some(calls) = self.engine().shared().calls.get() else {
            return Err(unreachable(false, "this node is still starting".to_owned()));
        };
        let agreed = self.engine().agreed().map_or(0, |view| view.borrow().protocol);
        if call.since() > agreed.max(1) {
            let why = format!("the cluster is at version {agreed}: upgrade all of its nodes");
            return Err(unreachable(false, why));
        }
        let answer = timeout(wait, calls.call(region.clone(), Service::Queue, call.encode())).await;
        let answer = answer.unwrap_or_else(|_late| {
            Err(unreachable(true, format!("nothing came within {wait:?}")))
        })?;
        Told::decode(&answer).map_err(|error| unreachable(true, error.to_string()))
    }

    /// Tells the other regions how many jobs more a home takes. What does not arrive is told again.
    pub(super) async fn advertise(&self, advert: Advert) {
        let call = Arc::new(Call::advert(advert));
        let mut calls = JoinSet::new();
        for region in self.data_regions().into_iter().filter(|region| region != self.region()) {
            let (client, call) = (self.clone(), call.clone());
            calls.spawn(async move {
                let _late = client.call_peer(&region, &call, ADVERT_WAIT).await;
            });
        }
        calls.join_all().await;
    }

    /// The workers of every region that answers.
    pub async fn workers(&self) -> Vec<WorkerInfo> {
        let (answer, answered) = oneshot::channel();
        let mut workers = self.look(Look::Workers(answer), answered).await.unwrap_or_default();
        for region in self.data_regions().into_iter().filter(|it| it != self.region()) {
            let told = self.call_peer(&region, &Call::Workers, QUEUE_CALL_WAIT).await;
            if let Ok(Told::Workers(theirs)) = told {
                workers.extend(theirs);
            }
        }
        workers
    }
}

/// Answers the queues of other regions; see [`Engine::queue_service`].
#[derive(Debug, Clone)]
pub struct QueueService {
    engine: Engine,
    permits: Arc<Semaphore>,
}

impl Engine {
    /// What answers other nodes' questions to the queues of this one.
    #[must_use]
    pub fn queue_service(&self) -> QueueService {
        QueueService { engine: self.clone(), permits: Arc::new(Semaphore::new(QUEUE_CALLS_MAX)) }
    }
}

impl QueueService {
    async fn told(&self, from: &RegionId, request: &[u8]) -> Result<Told, String> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err("too many questions to the queues at once".to_owned());
        };
        let call = Call::decode(request).map_err(|error| error.to_string())?;
        let Some(queues) = self.engine.queues() else {
            return Err("this node has no queues".to_owned());
        };
        match call.ask(queues.now()) {
            Asked::Ask(ask) => {
                if let Ask::Enqueue(enqueue) = &ask
                    && self.engine.may_act(&enqueue.home).is_none()
                {
                    // Whoever asks pins it to itself, rather than to a region that does not own it.
                    return Err(format!("this region does not act for {}", enqueue.home));
                }
                let result = match queues.check_asked(from, &ask) {
                    Ok(()) => queues.ask_for(ask, false).await,
                    Err(refused) => Err(refused),
                };
                Ok(Told::of(result, queues.now()))
            }
            Asked::Advert(advert) => {
                if speaks_for(&self.engine, from, &advert.home) {
                    queues.send(Input::Advertised(advert)).await;
                }
                Ok(Told::Noted)
            }
            Asked::Workers => {
                let (answer, answered) = oneshot::channel();
                let workers = queues.look(Look::Workers(answer), answered).await;
                Ok(Told::Workers(workers.unwrap_or_default()))
            }
        }
    }
}

impl QueueClient {
    /// Whether this region may do for another what it asks, by the bounds of the queue. One that knows
    /// them already does not ask.
    fn check_asked(&self, from: &RegionId, ask: &Ask) -> Result<(), Refused> {
        let (queue, regions) = match ask {
            Ask::Enqueue(Enqueue { queue, .. }) => (queue, vec![self.region()]),
            Ask::Receive(Receive { queue, .. }) => (queue, vec![self.region(), from]),
            _ => return Ok(()),
        };
        let bounds = self.bounds(queue);
        let outside = regions.into_iter().find(|region| !bounds.allow(self.engine(), region));
        outside.map_or(Ok(()), |region| Err(bounds.outside(queue, region)))
    }
}

/// Whether a region may say how full a home is.
fn speaks_for(engine: &Engine, from: &RegionId, home: &RegionId) -> bool {
    let acting = engine.agreed().and_then(|view| view.borrow().acting_for(home).cloned());
    acting.as_ref() == Some(from)
}

impl PeerService for QueueService {
    fn answer(
        &self,
        from: RegionId,
        _service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { Ok(self.told(&from, &request).await?.encode()) })
    }
}
