//! A million waiting jobs: memory per job, and the rate of the machine alone.
//!
//! `cargo nextest run -p rhumb-queue --release --test capacity --run-ignored only --no-capture`.

#[cfg(test)]
mod capacity {
    use std::sync::Arc;

    use bytes::Bytes;
    use foldhash::fast::FixedState;
    use hashbrown::HashMap;
    use rhumb_queue::{
        Answer, Ask, Config, Definitions, Effect, Effects, Event, Queues, Receipt, Receive,
        RequestId,
    };
    use rhumb_regions::{DriftBound, lease::Tenure};
    use rhumb_types::{
        Epoch, MonoTime, RegionId, Timestamp, UnixMillis,
        record::{
            Frontier, FrontierKey, Job, JobId, JobKey, OwnedId, OwnedOp, OwnedRow, OwnedState,
            QueueDefinition, QueueName, Record,
        },
    };

    /// A store that commits at once.
    struct Bench {
        queues: Queues,
        out: Effects,
        store: HashMap<OwnedId, OwnedRow, FixedState>,
        at: u64,
        requests: u64,
        received: Vec<Receipt>,
        /// Whether rows are kept: not where the index alone is weighed.
        keeps: bool,
    }

    impl Bench {
        fn new() -> Self {
            let mut out = Effects::new();
            let region = RegionId::new("us").unwrap();
            let drift = DriftBound::default();
            let config = Config { region, regions: 1, drift, spillover: None };
            let queues = Queues::new(config, &mut out).unwrap();
            let mut bench = Self {
                queues,
                out,
                store: HashMap::default(),
                at: 0,
                requests: 0,
                received: Vec::new(),
                keeps: true,
            };
            let queue = QueueName::new("q").unwrap();
            let definitions = Definitions::from([(queue, QueueDefinition::default())]);
            bench.event(Event::Definitions(Arc::new(definitions)));
            bench.lease(1);
            bench
        }

        fn lease(&mut self, epoch: u64) {
            let until = MonoTime(u64::MAX);
            let tenure = Tenure { epoch: Epoch(epoch), until, majority: true, homes: None };
            let leases = [(RegionId::new("us").unwrap(), tenure)].into();
            self.event(Event::Leases(Arc::new(leases)));
        }

        fn event(&mut self, event: Event) {
            self.at += 1;
            let at = self.at;
            let wall = UnixMillis(1_800_000_000_000 + at / 1_000);
            let now = Timestamp { wall, mono: MonoTime(1_000_000 + at) };
            self.queues.on_event(now, event, &mut self.out);
            while let Some(effect) = self.out.pop() {
                let event = match effect {
                    Effect::Own { token, ops, .. } => {
                        let rows: Vec<_> = ops.into_iter().map(|op| self.write(op)).collect();
                        self.queues.on_event(now, Event::Rows(rows.clone()), &mut self.out);
                        Event::Owned { token, result: Ok(rows) }
                    }
                    Effect::Fetch { token, rows } => {
                        let rows = rows.iter().map(|id| self.store.get(id).cloned()).collect();
                        Event::Fetched { token, rows }
                    }
                    Effect::Scan { .. } => Event::Scanned { rows: Vec::new(), end: true },
                    Effect::Answer { result: Ok(Answer::Received(leased)), .. } => {
                        self.received.extend(leased.into_iter().map(|it| it.receipt));
                        continue;
                    }
                    Effect::Answer { result, .. } => {
                        result.unwrap();
                        continue;
                    }
                    _ => continue,
                };
                self.queues.on_event(now, event, &mut self.out);
            }
        }

        fn write(&mut self, op: OwnedOp) -> OwnedRow {
            let (id, state, payload) = match op {
                OwnedOp::Put { id, payload } | OwnedOp::Claim { id, payload } => {
                    (id, OwnedState::Ready, payload)
                }
                OwnedOp::Change { id, state, payload, .. } => (id, state, payload),
            };
            let sequence = self.store.get(&id).map_or(1, |row| row.sequence + 1);
            let home = RegionId::new("us").unwrap();
            let (pinned, epoch) = (false, Epoch(1));
            let row = OwnedRow { id, home, pinned, epoch, sequence, state, payload };
            if self.keeps {
                self.store.insert(row.id.clone(), row.clone());
            }
            row
        }

        fn ask(&mut self, ask: Ask) {
            self.requests += 1;
            self.event(Event::Request { request: RequestId(self.requests), ask });
        }

        /// Rows as they come from elsewhere: what fills the index.
        fn fill(&mut self, jobs: u64) {
            for nth in 0..jobs {
                let id = JobId(*blake3_of(nth).first_chunk().unwrap());
                let key = JobKey { queue: QueueName::new("q").unwrap(), id };
                let job = Job {
                    body: Bytes::from_static(b"body"),
                    order: nth + 1,
                    enqueued_at: UnixMillis(1_800_000_000_000),
                    priority: u8::try_from(nth % 3).unwrap(),
                    ..Job::default()
                };
                let payload = job.encode();
                let row = self.write(OwnedOp::Put { id: key.row(), payload });
                self.event(Event::Rows(vec![row]));
            }
        }

        /// Leases ten jobs and completes them.
        fn cycle(&mut self) {
            let queue = QueueName::new("q").unwrap();
            let (visibility, until, worker) = (None, MonoTime(u64::MAX), "w".into());
            self.ask(Ask::Receive(Receive { queue, jobs_max: 10, visibility, until, worker }));
            let receipts = std::mem::take(&mut self.received);
            assert_eq!(receipts.len(), 10);
            self.ask(Ask::Complete { receipts });
        }
    }

    fn blake3_of(nth: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        let mixed = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes[..8].copy_from_slice(&mixed.to_be_bytes());
        bytes[8..16].copy_from_slice(&nth.to_be_bytes());
        bytes
    }

    fn resident_bytes() -> u64 {
        #[expect(clippy::disallowed_methods, reason = "what the process really takes")]
        let status = std::fs::read("/proc/self/status").unwrap();
        let status = String::from_utf8(status).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
    }

    fn measure(jobs: u64, cycles: u64) -> (u64, f64) {
        let mut bench = Bench::new();
        bench.fill(jobs);
        let (waiting, estimate) = bench.queues.footprint();
        assert_eq!(waiting as u64, jobs);
        #[expect(clippy::disallowed_methods, reason = "a measurement")]
        let began = std::time::Instant::now();
        (0..cycles).for_each(|_| bench.cycle());
        let seconds = began.elapsed().as_secs_f64();
        (estimate as u64 / jobs, cycles as f64 * 10.0 / seconds)
    }

    #[test]
    fn the_index_takes_about_a_hundred_bytes_per_job() {
        let (bytes, _) = measure(100_000, 1);
        assert!(bytes <= 128, "{bytes} bytes per waiting job");
    }

    #[test]
    #[ignore = "a measurement, of a release build"]
    fn a_million_waiting_jobs() {
        let mut bench = Bench::new();
        let before = resident_bytes();
        bench.keeps = false;
        bench.fill(1_000_000);
        let resident = (resident_bytes() - before) / 1_000_000;
        println!("1,000,000 waiting: {resident} bytes of the process per job");
        let key =
            FrontierKey { home: RegionId::new("us").unwrap(), queue: QueueName::new("q").unwrap() };
        let frontier = Frontier { through: 100_000, span_ms: 60_000, ..Frontier::default() };
        let row = bench.write(OwnedOp::Put { id: key.row(), payload: frontier.encode() });
        bench.event(Event::Rows(vec![row]));
        #[expect(clippy::disallowed_methods, reason = "a measurement")]
        let began = std::time::Instant::now();
        bench.lease(2);
        let took = began.elapsed();
        println!("takeover of 1,000,000 jobs, 100,000 of them held back: {took:?}");
        drop(bench);
        let (_, few) = measure(10_000, 900);
        println!("10,000 waiting: {few:.0} leases with completion per second");
        let (estimate, many) = measure(1_000_000, 10_000);
        println!("1,000,000 waiting: {many:.0} per second, index {estimate} bytes per job");
        assert!(many > few / 3.0, "it does not slow down");
    }
}
