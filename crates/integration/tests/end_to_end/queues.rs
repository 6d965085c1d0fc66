//! Queues over real processes: the owner of jobs is killed, or cut off, with jobs in every state, and
//! comes back.
//!
//! What is checked holds whatever the timing: every job that was acknowledged is completed, no job is in
//! two workers' hands at once, a receipt of the old owner settles nothing, and jobs that ran a second time
//! are counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rhumb_integration::{Cluster, Http, Layout, READY_WAIT_MAX, eventually};
use serde_json::{Value, json};

use crate::{at, holder, rhumb, wait_for_duties, works};

/// A frontier holds jobs back for twice the shortest lease that it speaks of, and a bit of drift.
const HELD_MAX: Duration = Duration::from_secs(95);
/// The leases that workers ask for.
const LEASE: &str = "5s";
/// So often a job may fail: more often than the faults of these tests make one fail.
const ATTEMPTS_MAX: usize = 10;
/// How long one that failed waits, the first time: longer than it takes to kill its owner.
const BACKOFF: &str = "15s";
/// Jobs that have failed once, and wait.
const FAILED: usize = 3;
/// Jobs that are made to fail so often that they are dead.
const DEAD: usize = 2;
const PATH: &str = "/v1/queues/jobs";

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

fn open(address: SocketAddr) -> Result<Http> {
    Http::open(address, ANSWER_WAIT)
}

fn ask(http: &mut Http, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = http.ask(method, path, body.as_bytes())?;
    Ok((status, serde_json::from_slice(answer).unwrap_or(Value::Null)))
}

/// A job in a worker's hands.
#[derive(Clone, Debug)]
struct Leased {
    id: String,
    receipt: String,
    /// When it was asked for, and when it came.
    asked: Instant,
    came: Instant,
    lasts: Duration,
}

fn receive(http: &mut Http, max: usize, wait: &str) -> Result<Vec<Leased>> {
    let asked = Instant::now();
    let wish = json!({ "max": max, "wait": wait, "visibility": LEASE, "worker": "test" });
    let (status, answer) = ask(http, "POST", &format!("{PATH}/receive"), &wish)?;
    ensure!(status == 200, "{status} {answer}");
    let came = Instant::now();
    let jobs = answer.get("jobs").and_then(Value::as_array).context("no jobs")?;
    let text = |job: &Value, name: &str| job[name].as_str().unwrap_or_default().to_owned();
    let leased = |job: &Value| Leased {
        id: text(job, "id"),
        receipt: text(job, "receipt"),
        asked,
        came,
        lasts: Duration::from_millis(job["lease_ms"].as_u64().unwrap_or_default()),
    };
    Ok(jobs.iter().map(leased).collect())
}

fn enqueue(http: &mut Http, home: &str, job: &Value) -> Result<String> {
    let (status, answer) = ask(http, "POST", &format!("{PATH}/jobs?home={home}"), job)?;
    ensure!(matches!(status, 200 | 201), "{status} {answer}");
    Ok(answer.get("id").and_then(Value::as_str).context("no id")?.to_owned())
}

fn settle(http: &mut Http, how: &str, receipt: &str) -> Result<bool> {
    let (status, answer) =
        ask(http, "POST", &format!("{PATH}/{how}"), &json!({ "receipt": receipt }))?;
    ensure!(matches!(status, 204 | 404 | 409 | 503), "{status} {answer}");
    Ok(status == 204)
}

/// What happened, from all threads.
#[derive(Default)]
struct History {
    acknowledged: Mutex<BTreeSet<String>>,
    leases: Mutex<Vec<Leased>>,
    /// Jobs that are dead, and never given to anybody.
    dead: Mutex<BTreeSet<String>>,
    completed: Mutex<BTreeMap<String, usize>>,
}

impl History {
    /// No job was surely in two workers' hands: the second lease came before the first could have ended.
    fn check_leases(&self, ended: &BTreeSet<String>) -> usize {
        let mut by_id: BTreeMap<String, Vec<Leased>> = BTreeMap::new();
        for lease in self.leases.lock().unwrap().iter() {
            by_id.entry(lease.id.clone()).or_default().push(lease.clone());
        }
        let mut again = 0;
        for (id, mut leases) in by_id {
            leases.sort_by_key(|lease| lease.came);
            again += leases.len() - 1;
            for (first, second) in leases.iter().zip(leases.iter().skip(1)) {
                let over = second.came >= first.asked + first.lasts;
                assert!(over || ended.contains(&first.receipt), "{id}: {first:?} and {second:?}");
            }
        }
        again
    }
}

struct Rig {
    cluster: Cluster,
    history: Arc<History>,
}

impl Rig {
    fn new() -> Self {
        Self::of(Layout::regions(3).relayed(), 3, "one_remote")
    }

    /// A cluster whose first nodes hold data.
    fn of(layout: Layout, data: usize, ack: &str) -> Self {
        let cluster = layout.start().unwrap();
        cluster.wait_until_agreed(0..data).unwrap();
        wait_for_duties(&cluster, 0..data);
        let rig = Self { cluster, history: Arc::default() };
        let settings = json!({ "ack": ack, "attempts_max": ATTEMPTS_MAX, "backoff": BACKOFF });
        let (status, answer) =
            ask(&mut rig.http(0), "PUT", &format!("{PATH}?reason=test"), &settings).unwrap();
        assert!(matches!(status, 200 | 201 | 204), "{status} {answer}");
        for nth in 0..data {
            eventually(READY_WAIT_MAX, || {
                let (status, _) = ask(&mut rig.http(nth), "GET", PATH, &Value::Null)?;
                ensure!(status == 200, "the queue is not known in region {nth}");
                Ok(())
            })
            .unwrap();
        }
        rig
    }

    fn http(&self, nth: usize) -> Http {
        open(self.cluster.http(nth)).unwrap()
    }

    fn owner(&self) -> String {
        self.cluster.region(0).to_owned()
    }

    fn add(&self, http: &mut Http, job: &Value) -> String {
        let id = enqueue(http, &self.owner(), job).unwrap();
        self.history.acknowledged.lock().unwrap().insert(id.clone());
        id
    }

    /// Jobs of the first region in every state; gives the leases that its workers hold.
    fn fill(&self) -> Vec<Leased> {
        let (mut here, mut there) = (self.http(0), self.http(1));
        self.make_dead(&mut here);
        for nth in 0..30 {
            self.add(
                if nth % 2 == 0 { &mut here } else { &mut there },
                &json!({ "body": "ready" }),
            );
        }
        for _ in 0..5 {
            self.add(&mut here, &json!({ "body": "delayed", "delay": "4s" }));
        }
        let leased = receive(&mut here, 10, "2s").unwrap();
        assert_eq!(leased.len(), 10);
        self.history.leases.lock().unwrap().extend(leased.iter().cloned());
        // Some fail, and some are done.
        for lease in leased.iter().take(FAILED) {
            assert!(settle(&mut here, "fail", &lease.receipt).unwrap());
        }
        for lease in leased.iter().skip(FAILED).take(2) {
            assert!(settle(&mut here, "complete", &lease.receipt).unwrap());
            self.history.completed.lock().unwrap().insert(lease.id.clone(), 1);
        }
        leased
    }

    /// Jobs that fail until they are dead.
    fn make_dead(&self, http: &mut Http) {
        for _ in 0..DEAD {
            self.add(http, &json!({ "body": "poison" }));
        }
        for _ in 0..ATTEMPTS_MAX {
            let leased = receive(http, DEAD, "5s").unwrap();
            assert_eq!(leased.len(), DEAD);
            for lease in leased {
                let fault =
                    json!({ "receipt": lease.receipt, "reason": "poison", "retry_after": "0s" });
                let failed = ask(http, "POST", &format!("{PATH}/fail"), &fault).unwrap();
                assert_eq!(failed.0, 204, "{failed:?}");
                self.history.dead.lock().unwrap().insert(lease.id);
            }
        }
        assert_eq!(self.history.dead.lock().unwrap().len(), DEAD);
    }

    /// How many jobs of the first region are in some places, as a node says.
    fn places<const N: usize>(&self, nth: usize, places: [&str; N]) -> [u64; N] {
        let stats = ask(&mut self.http(nth), "GET", &format!("{PATH}/stats"), &Value::Null);
        let stats = stats.unwrap().1;
        places.map(|place| {
            let count = at(&stats, &format!("/regions/{}/{place}", self.owner()));
            count.as_u64().unwrap_or_default()
        })
    }

    /// Dead jobs stayed dead through all of it: nobody was given one. They come back when told to.
    fn revive(&self, nth: usize) {
        let dead = self.history.dead.lock().unwrap().clone();
        let leases = self.history.leases.lock().unwrap();
        assert!(!leases.iter().any(|lease| dead.contains(&lease.id)), "a dead job was leased");
        drop(leases);
        assert_eq!(self.places(nth, ["dead"]), [DEAD as u64]);
        let path = format!("{PATH}/redrive?reason=test");
        // The region that came back may be given its jobs in this moment.
        let mut revived = 0;
        eventually(READY_WAIT_MAX, || {
            let (status, answer) = ask(&mut self.http(nth), "POST", &path, &Value::Null)?;
            ensure!(status == 200, "{status} {answer}");
            revived += at(&answer, "/redriven").as_u64().context("no count")?;
            ensure!(revived == DEAD as u64, "{revived} came back");
            Ok(())
        })
        .unwrap();
        self.history.dead.lock().unwrap().clear();
    }

    /// Sends jobs of the first region to another, until told to stop; what is refused or unknown is sent
    /// again under the same key.
    fn producer(&self, nth: usize, stop: &Arc<AtomicBool>) -> thread::JoinHandle<usize> {
        let (address, owner) = (self.cluster.http(nth), self.owner());
        let (history, stop) = (self.history.clone(), stop.clone());
        thread::spawn(move || {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let job = json!({ "body": "in flight", "key": format!("{nth}-{sent}") });
                let taken = eventually(Duration::from_secs(60), || {
                    enqueue(&mut open(address)?, &owner, &job)
                });
                history.acknowledged.lock().unwrap().insert(taken.unwrap());
                sent += 1;
                thread::sleep(Duration::from_millis(20));
            }
            sent
        })
    }

    fn work_once(&self, http: &mut Http) {
        for lease in receive(http, 10, "200ms").unwrap() {
            self.history.leases.lock().unwrap().push(lease.clone());
            if settle(http, "complete", &lease.receipt).unwrap() {
                *self.history.completed.lock().unwrap().entry(lease.id).or_default() += 1;
            }
        }
    }

    /// Works until every job that was acknowledged is completed.
    fn work_off(&self, nodes: &[usize], longest: Duration) {
        let began = Instant::now();
        let mut connections: Vec<Http> = nodes.iter().map(|nth| self.http(*nth)).collect();
        loop {
            for http in &mut connections {
                self.work_once(http);
            }
            let completed = self.history.completed.lock().unwrap();
            let acknowledged = self.history.acknowledged.lock().unwrap();
            let dead = self.history.dead.lock().unwrap();
            let is_left = |id: &&String| !completed.contains_key(*id) && !dead.contains(*id);
            let left = acknowledged.iter().filter(is_left).count();
            if left == 0 {
                return;
            }
            let most = began.elapsed() < longest;
            assert!(most, "{left} of {} jobs were lost", acknowledged.len());
        }
    }

    /// Everything is done once, and nothing was in two hands. Says what happened.
    fn judge(&self, what: &str, ended: &BTreeSet<String>) {
        let again = self.history.check_leases(ended);
        let completed = self.history.completed.lock().unwrap();
        let twice = completed.values().filter(|times| **times > 1).count();
        let count = completed.len();
        println!("{what}: {count} jobs completed, {again} leased again, {twice} completed twice");
        assert_eq!(twice, 0, "a job is completed once");
    }

    fn until_taken_over(&self) {
        eventually(READY_WAIT_MAX, || {
            let holder = holder(&self.cluster, 1, 0);
            ensure!(!holder.is_empty() && holder != self.owner(), "held by `{holder}`");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_killed_owner_loses_no_job_in_whichever_state_it_was() {
    let mut rig = Rig::new();
    let leased = rig.fill();
    let stop = Arc::new(AtomicBool::new(false));
    let producers = [rig.producer(1, &stop), rig.producer(2, &stop)];
    thread::sleep(Duration::from_millis(500));
    let [ready, delayed, leased_now, dead] = rig.places(0, ["ready", "delayed", "leased", "dead"]);
    println!("{ready} ready, {delayed} delayed, {leased_now} leased, {dead} dead");
    // Those that were sent with a delay may be due by now; those that failed are not.
    assert!(ready > 0 && delayed >= FAILED as u64 && leased_now > 0 && dead == DEAD as u64);
    rig.cluster.kill(0).unwrap();
    rig.until_taken_over();
    // Nobody settles with a receipt of the old owner.
    for lease in &leased {
        assert!(!settle(&mut rig.http(1), "complete", &lease.receipt).unwrap(), "{lease:?}");
    }
    stop.store(true, Ordering::Relaxed);
    let sent: usize = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
    assert!(sent > 0);
    // It comes back while its jobs are being worked off.
    rig.cluster.start(0).unwrap();
    rig.cluster.wait_until_ready(0).unwrap();
    rig.work_off(&[0, 1, 2], 2 * HELD_MAX);
    rig.revive(2);
    rig.work_off(&[0, 1, 2], HELD_MAX);
    let ended = leased.iter().take(5).map(|lease| lease.receipt.clone()).collect();
    rig.judge("owner killed", &ended);
}

#[test]
fn an_owner_that_is_cut_off_gives_nothing_away_that_another_may_give() {
    let rig = Rig::new();
    let leased = rig.fill();
    rig.cluster.set_cut_off(0, true).unwrap();
    // It goes on as owner until its lease ends, and then gives nothing.
    let mut here = rig.http(0);
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        let got = receive(&mut here, 1, "100ms").unwrap();
        rig.history.leases.lock().unwrap().extend(got);
    }
    rig.until_taken_over();
    assert!(receive(&mut here, 10, "0s").unwrap().is_empty(), "it leases without a lease");
    // It takes work in all the same, for itself (rule 5).
    let pinned =
        ask(&mut rig.http(0), "POST", &format!("{PATH}/jobs"), &json!({ "body": "pinned" }));
    let (status, answer) = pinned.unwrap();
    if status == 201 {
        assert_eq!(answer["pinned"], json!(true), "{answer}");
        rig.history.acknowledged.lock().unwrap().insert(answer["id"].as_str().unwrap().to_owned());
    }
    rig.cluster.set_cut_off(0, false).unwrap();
    for lease in leased.iter().skip(5) {
        assert!(!settle(&mut rig.http(1), "complete", &lease.receipt).unwrap(), "{lease:?}");
    }
    rig.work_off(&[0, 1, 2], 2 * HELD_MAX);
    rig.revive(2);
    rig.work_off(&[0, 1, 2], HELD_MAX);
    let ended = leased.iter().take(5).map(|lease| lease.receipt.clone()).collect();
    rig.judge("owner cut off", &ended);
}

#[test]
fn of_two_regions_and_a_witness_the_one_that_is_left_works_on() {
    let mut rig = Rig::of(Layout::regions(3).witness(), 2, "local");
    let mut here = rig.http(0);
    rig.add(&mut here, &json!({ "body": "before" }));
    rig.cluster.kill(1).unwrap();
    for _ in 0..5 {
        rig.add(&mut here, &json!({ "body": "after" }));
    }
    // Nobody acknowledges how far jobs may be leased, and nobody needs to: no successor could open with a
    // majority that does not know it.
    rig.work_off(&[0], HELD_MAX);
    rig.judge("one of two killed", &BTreeSet::new());
}

/// How long the owner waits for the others to write a lease that is longer than what was written ahead.
const CONFIRMED_WAIT: Duration = Duration::from_secs(5);

#[test]
fn a_longer_lease_is_unconfirmed_without_a_majority_and_one_of_the_usual_length_is_not() {
    let mut rig = Rig::of(Layout::regions(3).witness(), 2, "local");
    let mut here = rig.http(0);
    rig.add(&mut here, &json!({ "body": "a" }));
    let leased = receive(&mut here, 1, "20s").unwrap();
    let receipt = &leased.first().unwrap().receipt;
    let mut extend = |visibility: &str| {
        let wish = json!({ "receipt": receipt, "visibility": visibility });
        ask(&mut here, "POST", &format!("{PATH}/extend"), &wish).unwrap()
    };
    // While both are there, any length is written.
    assert_eq!(extend("1h").0, 204);
    assert_eq!(extend("60s").0, 204);
    rig.cluster.kill(1).unwrap();
    let began = Instant::now();
    let (status, answer) = extend("2h");
    assert_eq!((status, &answer["refused"]), (504, &json!("unconfirmed")), "{answer}");
    let took = began.elapsed();
    assert!(took >= CONFIRMED_WAIT && took < CONFIRMED_WAIT * 2, "{took:?}");
    // The worker has the job still, and may take as long as the queue's own visibility.
    assert_eq!(extend("30s").0, 204);
    assert!(settle(&mut here, "complete", receipt).unwrap());
}

/// What `rhumb queue why` says of a job.
fn why(cluster: &Cluster, id: &str) -> String {
    works(rhumb(cluster, 1, &["queue", "why", &format!("jobs/{id}")]))
}

#[test]
fn a_job_says_why_it_was_sent_away_or_stayed() {
    let configure = |settings: &mut rhumb_config::Settings| {
        settings.spillover.queue_depth = 10;
        settings.spillover.hold = rhumb_config::Period::from_secs(1);
    };
    let rig = Rig::of(Layout::regions(3).adjust(configure), 3, "local");
    let (mut here, mut there) = (rig.http(0), rig.http(1));
    for _ in 0..50 {
        rig.add(&mut here, &json!({ "body": "waits" }));
    }
    // Nobody works elsewhere, so all of them stay, though the region sends work away.
    let told = |here: &mut Http, part: &str| {
        eventually(READY_WAIT_MAX, || {
            let id = rig.add(here, &json!({ "body": "more" }));
            let mut said = String::new();
            let known = Instant::now() + Duration::from_secs(5);
            while said.is_empty() && Instant::now() < known {
                let asked = rhumb(&rig.cluster, 1, &["queue", "why", &format!("jobs/{id}")]);
                said = String::from_utf8(asked.stdout)?;
            }
            ensure!(said.contains(part), "{said}");
            Ok(said)
        })
        .unwrap()
    };
    let stayed = told(&mut here, "no region that may have it has room");
    let home = format!("stayed in {}: ", rig.owner());
    assert!(stayed.contains(&home) && stayed.contains("too many jobs wait"), "{stayed}");
    // A worker elsewhere that has nothing to do is room.
    let spilled = eventually(READY_WAIT_MAX, || {
        let beat = json!({ "worker": "idle", "concurrency": 10 });
        ask(&mut there, "POST", &format!("{PATH}/heartbeat"), &beat)?;
        let id = rig.add(&mut here, &json!({ "body": "spills" }));
        // Who asked on without waiting would send more there than there is room for.
        let known = Instant::now() + Duration::from_secs(5);
        loop {
            let (_, answer) = ask(&mut here, "GET", &format!("{PATH}/jobs/{id}"), &Value::Null)?;
            match answer.pointer("/jobs/0/decisions/0/decision") {
                Some(decision) if decision == "spilled" => return Ok(id),
                None if Instant::now() < known => {}
                _ => bail!("{answer}"),
            }
        }
    })
    .unwrap();
    let said = why(&rig.cluster, &spilled);
    let from = format!("spilled from {} to {}: ", rig.owner(), rig.cluster.region(1));
    assert!(said.contains(&from) && said.contains("too many jobs wait"), "{said}");
}
