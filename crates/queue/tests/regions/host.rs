//! One region: a model of its node (accept, commit, log, apply), and the shipped queues on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use rhumb_queue::{Config, Effects, Event, Queues, Token, WriteError};
use rhumb_regions::{
    DriftBound,
    lease::{Leases, Tenure},
    spillover::Limits,
};
use rhumb_state::owned::{Acceptor, accept, supersedes};
use rhumb_types::{
    AckLevel, Epoch, MonoTime, RegionId, Timestamp, UnixMillis,
    record::{Job, JobId, JobKey, OwnedId, OwnedOp, OwnedRow, Progress, Record, job::JOBS},
};

/// A transaction.
#[derive(Clone, Debug)]
pub(crate) struct Tx {
    pub(crate) version: u64,
    pub(crate) deps: Vec<u64>,
    pub(crate) rows: Vec<OwnedRow>,
}

/// A clock with a rate of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) rate_ppm: i64,
}

impl Clock {
    pub(crate) fn at(self, micros: u64) -> Timestamp {
        let mono = MonoTime(scale(micros, self.rate_ppm) + 1_000_000);
        Timestamp { wall: UnixMillis(1_800_000_000_000 + micros / 1_000), mono }
    }

    /// The true time of a reading.
    pub(crate) fn when(self, mono: MonoTime) -> u64 {
        let micros = u128::from(mono.0.saturating_sub(1_000_000)) * 1_000_000;
        u64::try_from(micros / u128::try_from(1_000_000 + self.rate_ppm).unwrap())
            .unwrap_or(u64::MAX)
    }
}

fn scale(micros: u64, rate_ppm: i64) -> u64 {
    let factor = u128::try_from(1_000_000 + rate_ppm).unwrap();
    u64::try_from(u128::from(micros) * factor / 1_000_000).unwrap()
}

/// A write that waits for acknowledgements.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) token: Token,
    pub(crate) version: u64,
    pub(crate) deadline: u64,
    pub(crate) rows: Vec<OwnedRow>,
}

/// A region.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) name: RegionId,
    pub(crate) clock: Clock,
    pub(crate) up: bool,
    pub(crate) life: u64,
    pub(crate) frozen_until: u64,
    pub(crate) queues: Queues,
    pub(crate) out: Effects,
    /// On disk.
    pub(crate) store: BTreeMap<OwnedId, OwnedRow>,
    pub(crate) logs: Vec<Vec<Tx>>,
    /// With what is not committed yet.
    table: BTreeMap<OwnedId, OwnedRow>,
    pub(crate) next_version: u64,
    pub(crate) commit_at: u64,
    pub(crate) acked: Vec<u64>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) leases: Arc<Leases>,
}

pub(crate) fn region(index: usize) -> RegionId {
    RegionId::new(&format!("r{index}")).unwrap()
}

fn queues(index: usize, regions: usize) -> (Queues, Effects) {
    let mut out = Effects::new();
    let drift = DriftBound::default();
    // One region alone sends jobs away to regions that the test makes up.
    let spillover = (regions == 1).then(Limits::default);
    let config = Config { region: region(index), regions, drift, spillover };
    (Queues::new(config, &mut out).unwrap(), out)
}

impl Host {
    pub(crate) fn new(index: usize, regions: usize, rate_ppm: i64) -> Self {
        let (queues, out) = queues(index, regions);
        Self {
            index,
            name: region(index),
            clock: Clock { rate_ppm },
            up: true,
            life: 1,
            frozen_until: 0,
            queues,
            out,
            store: BTreeMap::new(),
            logs: vec![Vec::new(); regions],
            table: BTreeMap::new(),
            next_version: 1,
            commit_at: 0,
            acked: vec![0; regions],
            waiting: Vec::new(),
            leases: Arc::default(),
        }
    }

    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.life += 1;
    }

    pub(crate) fn start(&mut self, regions: usize) {
        self.up = true;
        (self.queues, self.out) = queues(self.index, regions);
        self.table = self.store.clone();
        self.next_version = self.logs[self.index].len() as u64 + 1;
        self.waiting.clear();
        self.acked = vec![0; regions];
        self.leases = Arc::default();
    }

    pub(crate) fn event(&mut self, now: u64, event: Event) {
        self.queues.on_event(self.clock.at(now), event, &mut self.out);
    }

    pub(crate) fn applied(&self) -> Vec<u64> {
        self.logs.iter().map(|log| log.len() as u64).collect()
    }

    pub(crate) fn lease(&self, now: u64, home: &RegionId) -> Option<Epoch> {
        self.leases.get(home)?.at(self.clock.at(now).mono)
    }

    pub(crate) fn grant(&mut self, now: u64, home: &RegionId, tenure: Option<Tenure>) {
        let mut leases = (*self.leases).clone();
        match tenure {
            Some(tenure) => leases.insert(home.clone(), tenure),
            None => leases.remove(home),
        };
        self.leases = Arc::new(leases);
        self.event(now, Event::Leases(self.leases.clone()));
    }

    /// Accepts a write into the next transaction.
    pub(crate) fn accept(
        &mut self,
        now: u64,
        home: &RegionId,
        ops: &[OwnedOp],
    ) -> Result<Tx, WriteError> {
        let lease = |home: &RegionId| self.lease(now, home);
        let at = Acceptor { region: &self.name, home, lease: &lease };
        let mut newest: BTreeMap<OwnedId, OwnedRow> = BTreeMap::new();
        let mut rows = Vec::new();
        for op in ops {
            let existing = newest.get(op.id()).or_else(|| self.table.get(op.id()));
            let row = accept(existing, op, &at).map_err(|refusal| WriteError::Refused {
                code: refusal.code(),
                why: refusal.to_string().into(),
            })?;
            newest.insert(op.id().clone(), row.clone());
            rows.push(row);
        }
        self.table.extend(newest);
        let version = self.next_version;
        self.next_version += 1;
        let mut deps = self.applied();
        deps[self.index] = version - 1;
        Ok(Tx { version, deps, rows })
    }

    /// A transaction of this region is on disk.
    pub(crate) fn commit(&mut self, now: u64, tx: Tx) {
        self.take(&tx);
        let rows = tx.rows.clone();
        self.logs[self.index].push(tx);
        self.event(now, Event::Rows(rows));
    }

    fn take(&mut self, tx: &Tx) -> Vec<OwnedRow> {
        let mut taken = Vec::new();
        for row in &tx.rows {
            for rows in [&mut self.store, &mut self.table] {
                if supersedes(rows.get(&row.id), row) {
                    rows.insert(row.id.clone(), row.clone());
                }
            }
            if self.store.get(&row.id) == Some(row) {
                taken.push(row.clone());
            }
        }
        taken
    }

    /// Transactions of others arrive, and are applied in causal order.
    pub(crate) fn receive(&mut self, now: u64, mut txs: Vec<(usize, Tx)>) {
        loop {
            let applied = self.applied();
            let ready = txs.iter().position(|(origin, tx)| {
                let next = applied[*origin] + 1 == tx.version;
                next && tx.deps.iter().zip(&applied).all(|(dep, has)| dep <= has)
            });
            let Some(at) = ready else { return };
            let (origin, tx) = txs.swap_remove(at);
            let rows = self.take(&tx);
            self.logs[origin].push(tx);
            self.event(now, Event::Rows(rows));
        }
    }

    /// The answer of a write that is as durable as was asked for.
    pub(crate) fn answer(&mut self, now: u64, token: Token, rows: Vec<OwnedRow>) {
        let lasts = |row: &OwnedRow| row.pinned || self.lease(now, &row.home) == Some(row.epoch);
        let fenced = !rows.iter().all(lasts);
        let result = if fenced { Err(WriteError::Unknown("fenced".into())) } else { Ok(rows) };
        self.event(now, Event::Owned { token, result });
    }

    /// Answers what others have, or what waited too long.
    pub(crate) fn look_at_acks(&mut self, now: u64) {
        let others = |version: u64, acked: &[u64]| acked.iter().any(|has| *has >= version);
        let mut done = Vec::new();
        let acked: Vec<u64> = (0..self.acked.len())
            .filter(|other| *other != self.index)
            .map(|other| self.acked[other])
            .collect();
        self.waiting.retain_mut(|it| {
            let ready = others(it.version, &acked);
            let late = it.deadline <= now;
            if ready || late {
                done.push((it.token, std::mem::take(&mut it.rows), ready));
            }
            !(ready || late)
        });
        for (token, rows, ready) in done {
            if ready {
                self.answer(now, token, rows);
            } else {
                let result = Err(WriteError::Unknown("unconfirmed".into()));
                self.event(now, Event::Owned { token, result });
            }
        }
    }

    pub(crate) fn scan(&self, table: u8, after: Option<Bytes>, rows_max: usize) -> Vec<OwnedRow> {
        let first = OwnedId { table, key: after.clone().unwrap_or_default() };
        let rows = self.store.range(first..).map(|(_, row)| row);
        let rows = rows.filter(|row| after.as_ref() != Some(&row.id.key));
        rows.take_while(|row| row.id.table == table).take(rows_max).cloned().collect()
    }

    pub(crate) fn ended(&self) -> BTreeSet<JobId> {
        let jobs = self.store.values().filter(|row| row.id.table == JOBS);
        let ended = jobs.filter(|row| {
            let job = Job::decode(&row.payload).unwrap();
            matches!(job.progress, Progress::Ended { .. })
        });
        ended.map(|row| JobKey::of_row(&row.id).unwrap().id).collect()
    }

    pub(crate) fn needs_others(ack: AckLevel) -> bool {
        ack > AckLevel::Local
    }
}
