//! Workers as processes: killed, lied to, told to stop, and left without their region.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rhumb_integration::{Cluster, Http, Layout, eventually, programs};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{at, rhumb, works};

/// How long a worker may take for what it does, in a debug build on a busy machine.
const WORK_MAX: Duration = Duration::from_secs(60);
/// How long the leases of these tests last.
const LEASE: &str = "3s";
/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A cluster, and a folder in which commands leave what they did.
struct Rig {
    cluster: Cluster,
    folder: TempDir,
}

impl Rig {
    fn new(regions: usize, settings: &[&str]) -> Self {
        let cluster = Layout::regions(regions).start().unwrap();
        cluster.wait_until_agreed(0..regions).unwrap();
        let rig = Self { cluster, folder: tempfile::tempdir().unwrap() };
        let create = |queue: &str, settings: &[&str]| {
            let words = [&["create", queue, "--reason", "test"][..], settings].concat();
            // Strong keys are agreed on a moment before the administrative group has formed.
            eventually(WORK_MAX, || {
                let created = rig.try_queue(0, &words);
                let said = String::from_utf8_lossy(&created.stderr);
                ensure!(created.status.success(), "{said}");
                Ok(())
            })
            .unwrap();
        };
        create("dead", &[]);
        create("jobs", settings);
        for nth in 0..regions {
            eventually(WORK_MAX, || {
                let shown = rhumb(&rig.cluster, nth, &["queue", "show", "jobs"]);
                ensure!(shown.status.success(), "the queue is not known in region {nth}");
                Ok(())
            })
            .unwrap();
        }
        rig
    }

    fn queue(&self, nth: usize, words: &[&str]) -> String {
        works(self.try_queue(nth, words))
    }

    fn try_queue(&self, nth: usize, words: &[&str]) -> Output {
        rhumb(&self.cluster, nth, &[&["queue"][..], words].concat())
    }

    fn json(&self, nth: usize, words: &[&str]) -> Value {
        let printed = self.queue(nth, &[words, &["--json"][..]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    fn send(&self, nth: usize, body: &str) -> String {
        self.queue(nth, &["send", "jobs", body]).trim().to_owned()
    }

    /// How many jobs of a queue are in a place, over all regions.
    fn count(&self, queue: &str, place: &str) -> u64 {
        let stats = self.json(0, &["stats", queue]);
        stats.pointer(&format!("/total/{place}")).and_then(Value::as_u64).unwrap()
    }

    /// The workers that a region knows of, its own and those of other regions.
    fn workers(&self, nth: usize) -> anyhow::Result<Vec<Value>> {
        let mut http = Http::open(self.cluster.http(nth), ANSWER_WAIT)?;
        let (status, answer) = http.ask("GET", "/api/health/workers", b"")?;
        ensure!(status == 200, "{status}");
        let answer: Value = serde_json::from_slice(answer)?;
        Ok(at(&answer, "/workers").as_array().context("no workers")?.clone())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The lines that commands have left in a file.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until a file has so many lines.
    fn until_lines(&self, name: &str, count: usize) -> Vec<String> {
        eventually(WORK_MAX, || {
            let lines = self.lines(name);
            ensure!(lines.len() >= count, "{name} has {lines:?}; the worker says {}", self.said());
            Ok(lines)
        })
        .unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("worker.log")).unwrap_or_default()
    }

    /// Starts a worker whose commands run in the folder.
    fn worker(&self, nth: usize, more: &[&str], script: &str) -> Worker {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("worker.log"));
        let mut command = Command::new(programs::rhumb().unwrap());
        command.args(["worker", "--queue", "jobs", "--visibility", LEASE]).args(more);
        command.arg("--config").arg(self.cluster.config(nth));
        command.env("RHUMB_REGION", self.cluster.region(nth));
        command.args(["--", "/bin/sh", "-c", script]).current_dir(self.folder.path());
        let child = command.stdin(Stdio::null()).stderr(log.unwrap()).spawn().unwrap();
        Worker { child }
    }
}

/// A worker's process, killed when it is dropped.
struct Worker {
    child: Child,
}

impl Worker {
    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < WORK_MAX, "the worker does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The process that a command wrote down, once it did.
fn written_pid(path: &Path) -> Pid {
    let read = || {
        let text = fs::read_to_string(path)?;
        let number = text.trim().parse::<i32>()?;
        Pid::from_raw(number).context("no process")
    };
    eventually(WORK_MAX, read).unwrap()
}

fn until_gone(process: Pid) {
    eventually(WORK_MAX, || {
        ensure!(test_kill_process(process).is_err(), "{process:?} lives on");
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_job_of_a_killed_worker_comes_back_and_counts_an_attempt() {
    let rig = Rig::new(1, &[]);
    let job = rig.send(0, "work");
    let script = "cat > body; echo $RHUMB_ATTEMPT >> attempts
        if [ $RHUMB_ATTEMPT = 1 ]; then echo $$ > pid.new; mv pid.new pid; exec sleep 600; fi";
    let worker = rig.worker(0, &[], script);
    let command = written_pid(&rig.path("pid"));
    worker.signal(Signal::KILL);
    // Nobody renews its lease any more.
    until_gone(command);
    let _other = rig.worker(0, &[], script);
    assert_eq!(rig.until_lines("attempts", 2), ["1", "2"]);
    assert_eq!(rig.lines("body"), ["work"]);
    eventually(WORK_MAX, || {
        let why = rig.queue(0, &["why", &job]);
        ensure!(why.contains("is ended") && why.contains("completed"), "{why}");
        ensure!(why.contains("failed 1 times"), "the attempt is not counted: {why}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    let rig = Rig::new(1, &["--attempts-max", "1", "--dead-letters", "dead"]);
    let job = rig.send(0, "work");
    let script = "trap '' TERM; echo $$ > pid.new; mv pid.new pid; echo waiting >&2
        while true; do sleep 1; done";
    let _worker = rig.worker(0, &["--timeout", "1s"], script);
    let command = written_pid(&rig.path("pid"));
    until_gone(command);
    eventually(WORK_MAX, || {
        let why = rig.queue(0, &["why", &job]);
        ensure!(why.contains("went on as dead/"), "{why}");
        ensure!(why.contains("ran longer than 1s"), "{why}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_old_receipt_completes_nothing() {
    let rig = Rig::new(1, &[]);
    rig.send(0, "work");
    let lease = |visibility: &str| {
        let words = ["receive", "jobs", "--wait", "20s", "--visibility", visibility];
        let job: Value = serde_json::from_str(&rig.queue(0, &words)).unwrap();
        job.get("receipt").and_then(Value::as_str).unwrap().to_owned()
    };
    let old = lease("1s");
    let new = lease("30s");
    let lie = rig.try_queue(0, &["complete", &old]);
    assert!(!lie.status.success());
    let said = String::from_utf8_lossy(&lie.stderr);
    assert!(said.contains("the receipt does not count any more"), "{said}");
    rig.queue(0, &["complete", &new]);
    assert_eq!((rig.count("jobs", "leased"), rig.count("jobs", "ready")), (0, 0));
}

#[test]
fn poison_goes_to_the_dead_letters_and_comes_back() {
    let rig = Rig::new(1, &["--attempts-max", "2", "--dead-letters", "dead"]);
    let job = rig.send(0, "poison");
    let script = "test -e fixed && exit 0; echo tried >> tries; echo boom >&2; exit 3";
    let _worker = rig.worker(0, &[], script);
    eventually(WORK_MAX, || {
        ensure!(rig.count("dead", "ready") == 1, "it is not dead: {}", rig.said());
        Ok(())
    })
    .unwrap();
    assert_eq!(rig.lines("tries").len(), 2);
    let why = rig.queue(0, &["why", &job]);
    assert!(why.contains("failed 2 times: exit code 3: boom"), "{why}");
    fs::write(rig.path("fixed"), "").unwrap();
    rig.queue(0, &["redrive", "dead", "--reason", "fixed"]);
    eventually(WORK_MAX, || {
        let why = rig.queue(0, &["why", &job]);
        ensure!(why.contains("completed"), "{why}");
        Ok(())
    })
    .unwrap();
    assert_eq!((rig.count("dead", "ready"), rig.count("jobs", "ready")), (0, 0));
}

#[test]
fn the_exit_code_gives_back_or_gives_up() {
    let rig = Rig::new(1, &["--attempts-max", "5", "--dead-letters", "dead"]);
    let (back, up) = (rig.send(0, "back"), rig.send(0, "up"));
    let script = "read body; echo $body $RHUMB_ATTEMPT >> runs
        test $body = up && { echo no such order >&2; exit 65; }
        test $(grep -c back runs) = 1 && exit 75; exit 0";
    let _worker = rig.worker(0, &[], script);
    let is = |job: &str, what: &str| {
        eventually(WORK_MAX, || {
            let why = rig.queue(0, &["why", job]);
            ensure!(why.contains(what), "{why}");
            Ok(())
        })
        .unwrap();
    };
    is(&back, "completed");
    is(&up, "is never to be tried again: exit code 65: no such order");
    let runs = rig.lines("runs");
    assert_eq!(runs.iter().filter(|run| *run == "back 1").count(), 2, "untried: {runs:?}");
    assert_eq!(runs.iter().filter(|run| run.starts_with("up")).count(), 1, "{runs:?}");
}

#[test]
fn a_graceful_stop_loses_nothing_and_runs_nothing_twice() {
    let rig = Rig::new(1, &[]);
    rig.send(0, "long");
    for nth in 0..20 {
        rig.send(0, &format!("job-{nth}"));
    }
    // The long one is given back when the grace is over; the others have the time to end.
    let script = "read body; test $body = long -a ! -e second && { touch long; exec sleep 600; }
        sleep 0.2; echo $body $RHUMB_ATTEMPT >> done";
    let mut worker = rig.worker(0, &["--concurrency", "4", "--grace", "2s"], script);
    rig.until_lines("done", 4);
    eventually(WORK_MAX, || {
        ensure!(rig.path("long").exists(), "the long job did not begin");
        Ok(())
    })
    .unwrap();
    worker.signal(Signal::TERM);
    assert!(worker.wait().success(), "{}", rig.said());
    assert_eq!(rig.count("jobs", "leased"), 0, "all were settled or given back: {}", rig.said());
    fs::write(rig.path("second"), "").unwrap();
    let _second = rig.worker(0, &["--concurrency", "4"], script);
    let mut done = rig.until_lines("done", 21);
    done.sort();
    let mut expected: Vec<String> = (0..20).map(|nth| format!("job-{nth} 1")).collect();
    expected.push("long 1".to_owned());
    expected.sort();
    assert_eq!(done, expected, "each once, and none counted as an attempt that failed");
}

#[test]
fn a_worker_goes_on_in_another_region_when_its_own_is_lost() {
    let mut rig = Rig::new(3, &[]);
    let there = format!("http://{}", rig.cluster.http(1));
    let script = "cat >> done; echo >> done; echo $RHUMB_ATTEMPT >> attempts";
    let worker = rig.worker(0, &["--also", &there], script);
    rig.send(0, "before");
    assert_eq!(rig.until_lines("done", 1), ["before"]);
    rig.cluster.kill(0).unwrap();
    // Of a home that is up.
    let name = rig.cluster.region(1).to_owned();
    rig.queue(1, &["send", "jobs", "after", "--home", &name]);
    assert_eq!(rig.until_lines("done", 2), ["before", "after"]);
    let seen = rig.said();
    assert!(seen.contains("going on at"), "{seen}");
    drop(worker);
}

#[test]
fn a_command_that_outlives_its_lease_runs_once() {
    let rig = Rig::new(1, &["--attempts-max", "1", "--dead-letters", "dead"]);
    let job = rig.send(0, "long");
    // Nearly four leases long. Each worker would take the job as soon as its lease is over.
    let script = "echo $RHUMB_ATTEMPT >> begun; sleep 11; echo $RHUMB_JOB_ID >> done";
    let _workers = [rig.worker(0, &[], script), rig.worker(0, &[], script)];
    rig.until_lines("done", 1);
    eventually(WORK_MAX, || {
        let why = rig.queue(0, &["why", &job]);
        ensure!(why.contains("is ended") && why.contains("completed"), "{why}");
        ensure!(!why.contains("failed"), "a lease was lost: {why}");
        Ok(())
    })
    .unwrap();
    assert_eq!(rig.lines("begun"), ["1"], "{}", rig.said());
    assert_eq!(rig.lines("done").len(), 1);
    let places = ["ready", "leased", "delayed"].map(|place| rig.count("jobs", place));
    assert_eq!((places, rig.count("dead", "ready")), ([0; 3], 0));
}

#[test]
fn a_worker_and_what_it_works_on_are_seen_in_every_region() {
    let rig = Rig::new(3, &[]);
    let script = "echo >> begun; while ! test -e enough; do sleep 0.1; done";
    let _worker = rig.worker(0, &[], script);
    let idle = |nth: usize| {
        let workers = rig.workers(nth)?;
        let [worker] = workers.as_slice() else { anyhow::bail!("{workers:?}; {}", rig.said()) };
        let seen = (&worker["region"], &worker["state"], &worker["active"]);
        let here = Value::from(rig.cluster.region(0));
        ensure!(seen == (&here, &json!("idle"), &json!([])), "{worker}");
        Ok(())
    };
    eventually(WORK_MAX, || idle(1)).unwrap();
    let job = rig.send(0, "work");
    rig.until_lines("begun", 1);
    for nth in [1, 2] {
        let busy = || {
            let workers = rig.workers(nth)?;
            let [worker] = workers.as_slice() else { anyhow::bail!("{workers:?}") };
            ensure!(worker["region"] == rig.cluster.region(0), "{worker}");
            ensure!((&worker["state"], &worker["queues"]) == (&json!("busy"), &json!(["jobs"])));
            let active = worker["active"].as_array().context("nothing is active")?;
            let [active] = active.as_slice() else { anyhow::bail!("{active:?}") };
            ensure!(active.as_str().is_some_and(|id| job.ends_with(id)), "{active}, not {job}");
            worker["silent_ms"].as_u64().context("no silence")
        };
        let first = eventually(WORK_MAX, busy).unwrap();
        // A later heartbeat makes it shorter than it would be, and comes here too.
        let began = Instant::now();
        eventually(WORK_MAX, || {
            let (silent, since) = (busy()?, began.elapsed().as_millis());
            ensure!(u128::from(silent) < u128::from(first) + since, "no later heartbeat came");
            ensure!(since > 500);
            Ok(())
        })
        .unwrap();
    }
    fs::write(rig.path("enough"), "").unwrap();
    eventually(WORK_MAX, || idle(2)).unwrap();
}
