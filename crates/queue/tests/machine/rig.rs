//! One region, on a node that commits at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_queue::{
    Advert, Answer, Ask, Definitions, Effect, Enqueue, Enqueued, Event, Leased, NewJob, Receipt,
    Receive, Refused, RequestId, Retry, Stats,
};
use rhumb_regions::lease::Tenure;
use rhumb_types::{
    Epoch, MonoTime, RegionId,
    record::{JobId, QueueDefinition, QueueName},
};

use crate::host::{Host, region};

pub(crate) const SECOND: u64 = 1_000_000;

pub(crate) fn name(text: &str) -> QueueName {
    QueueName::new(text).unwrap()
}

/// A tenure without an end, that begins with a majority.
fn tenure(epoch: u64) -> Tenure {
    let until = MonoTime(u64::MAX);
    Tenure { epoch: Epoch(epoch), until, majority: true, homes: None }
}

/// A region on its own.
pub(crate) struct Rig {
    pub(crate) host: Host,
    pub(crate) now: u64,
    pub(crate) jobs: u64,
    pub(crate) requests: u64,
    pub(crate) answers: BTreeMap<RequestId, Result<Answer, Refused>>,
    pub(crate) finished: Vec<(JobId, bool)>,
    pub(crate) dropped: usize,
    pub(crate) definitions: Definitions,
    /// Where jobs may go.
    pub(crate) allowed: Vec<RegionId>,
    pub(crate) adverts: Vec<Advert>,
    pub(crate) alarms: Vec<String>,
}

impl Rig {
    pub(crate) fn new(queues: &[(&str, QueueDefinition)]) -> Self {
        let definitions = queues.iter().map(|(text, it)| (name(text), it.clone())).collect();
        let mut rig = Self {
            host: Host::new(0, 1, 0),
            now: 1_000 * SECOND,
            jobs: 0,
            requests: 0,
            answers: BTreeMap::new(),
            finished: Vec::new(),
            dropped: 0,
            definitions,
            allowed: Vec::new(),
            adverts: Vec::new(),
            alarms: Vec::new(),
        };
        rig.begin();
        rig
    }

    pub(crate) fn plain() -> Self {
        Self::new(&[("q", QueueDefinition::default())])
    }

    pub(crate) fn begin(&mut self) {
        self.event(Event::Definitions(Arc::new(self.definitions.clone())));
        self.lease(1);
    }

    pub(crate) fn lease(&mut self, epoch: u64) {
        self.host.grant(self.now, &region(0), Some(tenure(epoch)));
        self.drain();
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.host.event(self.now, event);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        let now = self.now;
        while let Some(effect) = self.host.out.pop() {
            match effect {
                Effect::Own { token, home, ops, .. } => match self.host.accept(now, &home, &ops) {
                    Ok(tx) => {
                        let rows = tx.rows.clone();
                        self.host.commit(now, tx);
                        self.host.answer(now, token, rows);
                    }
                    Err(error) => self.host.event(now, Event::Owned { token, result: Err(error) }),
                },
                Effect::Fetch { token, rows } => {
                    let rows = rows.iter().map(|id| self.host.store.get(id).cloned()).collect();
                    self.host.event(now, Event::Fetched { token, rows });
                }
                Effect::Scan { table, after, rows_max } => {
                    let rows = self.host.scan(table, after, rows_max);
                    let end = rows.len() < rows_max;
                    self.host.event(now, Event::Scanned { rows, end });
                }
                Effect::Answer { request, result } => {
                    assert_eq!(self.answers.insert(request, result), None, "answered once");
                }
                Effect::Publish(finished) => {
                    self.finished.push((finished.key.id, finished.completed));
                }
                Effect::Drop(rows) => {
                    self.dropped += rows.len();
                    rows.iter().for_each(|id| drop(self.host.store.remove(id)));
                }
                Effect::Advertise(advert) => self.adverts.push(advert),
                Effect::Alarm(text) => self.alarms.push(text),
            }
        }
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.event(Event::Request { request, ask });
        request
    }

    pub(crate) fn answer(&mut self, ask: Ask) -> Result<Answer, Refused> {
        let request = self.ask(ask);
        self.answers.remove(&request).expect("it is answered at once")
    }

    /// Time passes, with its ticks.
    pub(crate) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.now += SECOND / 10;
            self.event(Event::Tick);
        }
    }

    pub(crate) fn job(&mut self) -> NewJob {
        self.jobs += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.jobs.to_be_bytes());
        NewJob::new(JobId(id), Bytes::from(format!("body {}", self.jobs)), Vec::new())
    }

    pub(crate) fn enqueue(&mut self, queue: &str, job: NewJob) -> Result<Enqueued, Refused> {
        let allowed = self.allowed.clone();
        let enqueue = Enqueue { queue: name(queue), home: region(0), allowed, jobs: vec![job] };
        match self.answer(Ask::Enqueue(enqueue))? {
            Answer::Enqueued(mut results) => results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn add(&mut self, queue: &str) -> JobId {
        let job = self.job();
        created(self.enqueue(queue, job))
    }

    pub(crate) fn receive_for(
        &mut self,
        queue: &str,
        jobs_max: usize,
        seconds: Option<u64>,
    ) -> Vec<Leased> {
        let visibility = seconds.map(Duration::from_secs);
        let until = MonoTime(0);
        let queue = name(queue);
        let receive = Receive { queue, jobs_max, visibility, until, worker: "w".into() };
        match self.answer(Ask::Receive(receive)) {
            Ok(Answer::Received(leased)) => leased,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn receive(&mut self, queue: &str) -> Vec<Leased> {
        self.receive_for(queue, 10, None)
    }

    pub(crate) fn complete(&mut self, receipt: Receipt) -> Result<(), Refused> {
        match self.answer(Ask::Complete { receipts: vec![receipt] })? {
            Answer::Completed(mut results) => results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn fail(&mut self, receipt: Receipt) -> Result<Answer, Refused> {
        let why = "no".to_owned();
        self.answer(Ask::Fail { receipt, why, retry: Retry::Backoff })
    }

    pub(crate) fn stats(&self, queue: &str) -> Stats {
        let wall = self.host.clock.at(self.now).wall;
        self.host.queues.stats(&name(queue), None, wall)
    }

    /// The process dies and is started again; its region's lease goes on, or is taken anew.
    pub(crate) fn restart(&mut self, epoch: u64) {
        self.restart_under(tenure(epoch));
    }

    pub(crate) fn restart_under(&mut self, tenure: Tenure) {
        self.host.crash();
        self.host.start(1);
        self.drain();
        self.event(Event::Definitions(Arc::new(self.definitions.clone())));
        self.host.grant(self.now, &region(0), Some(tenure));
        self.drain();
    }
}

pub(crate) fn created(result: Result<Enqueued, Refused>) -> JobId {
    match result {
        Ok(Enqueued::Created { id, .. }) => id,
        other => panic!("{other:?}"),
    }
}
