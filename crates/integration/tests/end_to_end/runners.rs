//! CI runners in a cluster of real processes: webhooks in one region, runners in another, a region that
//! dies between the two, and everything that nobody tells of.

mod demo;
mod webhooks;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rhumb_config::{
    Period, Settings,
    settings::{AffinityRuleSettings, HookOfGitHub, RunnersSettings, SetSettings},
};
use rhumb_engine::{OsEntropy, SystemClock, Tasks};
use rhumb_integration::{Cluster, Layout, programs};
use rhumb_ports::clock::{Clock, Entropy};
use rhumb_runners::{
    Action, Place, Secrets,
    github::Outside,
    local::{Fault, LocalGitHub, What},
};
use rhumb_types::RegionId;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const SECRET: &str = "a secret for the tests only";
/// How long jobs may take where nothing is lost.
const SERVED_MAX: Duration = Duration::from_secs(60);
/// How long jobs may take whose region is lost: the lease, the failover, and the time for which a
/// successor holds back what the dead region may have leased out (ADR 0008).
const TAKEN_OVER_MAX: Duration = Duration::from_secs(240);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Requests that the API refuses while nothing is to start.
const REFUSALS: usize = 10_000;

struct Stage {
    cluster: Cluster,
    github: LocalGitHub,
    runtime: Runtime,
    tasks: Tasks,
    folder: TempDir,
}

fn runners(folder: &Path, api: &str) -> RunnersSettings {
    let (secret, token) = (folder.join("secret"), folder.join("token"));
    fs::write(&secret, SECRET).unwrap();
    fs::write(&token, "ghp_test").unwrap();
    let program = programs::rhumb().unwrap();
    let words = [program.to_str().unwrap(), "runners", "act", "--jitconfig", "{jitconfig}"];
    let set = SetSettings {
        labels: vec!["self-hosted".to_owned(), "linux".to_owned()],
        max: 4,
        max_in: Default::default(),
        burst: 4,
        level: Default::default(),
        group: 1,
        command: Some(words.map(str::to_owned).to_vec()),
        template: None,
        http: None,
    };
    RunnersSettings {
        webhook_secrets: vec![secret],
        api: api.to_owned(),
        authorities: None,
        token: Some(token),
        app: None,
        sets: [("linux".to_owned(), set)].into(),
        owners: Vec::new(),
        geography: Default::default(),
        residency: Default::default(),
        hooks: Vec::new(),
        reconcile_every: Period::from_secs(300),
        start_timeout: Period::from_secs(300),
    }
}

/// Jobs of `acme` belong to the second region, where there is one.
fn configure(settings: &mut Settings, runners: RunnersSettings) {
    settings.runners = Some(runners);
    if settings.regions.len() < 2 {
        return;
    }
    settings.affinity.rules.push(AffinityRuleSettings {
        repository: None,
        organisation: Some("acme".to_owned()),
        key_prefix: None,
        geography: None,
        everything: false,
        region: RegionId::new("eu-west-1").unwrap(),
    });
}

impl Stage {
    fn set() -> Self {
        Self::set_with(3, |_, _| {})
    }

    /// A stage with so many regions, whose runners are as `adjust` makes them; it is given the folder.
    fn set_with(regions: usize, adjust: impl FnOnce(&mut RunnersSettings, &Path)) -> Self {
        Self::made(regions, true, adjust)
    }

    fn made(regions: usize, start: bool, adjust: impl FnOnce(&mut RunnersSettings, &Path)) -> Self {
        let (folder, runtime, tasks) =
            (TempDir::new().unwrap(), Runtime::new().unwrap(), Tasks::new());
        let clock = SystemClock { wall_offset_millis: 0 };
        let outside = Outside {
            now: Arc::new(move || clock.now()),
            random: Arc::new(|| OsEntropy.next_u64()),
        };
        let secrets = Secrets::new(&[SECRET]).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let started = LocalGitHub::start(&tasks, address, secrets, outside);
        let github = runtime.block_on(started).unwrap();
        let mut runners = runners(folder.path(), &github.url());
        adjust(&mut runners, folder.path());
        let layout = Layout::regions(regions).adjust(move |settings| configure(settings, runners));
        let mut stage = Self { cluster: layout.prepare().unwrap(), github, runtime, tasks, folder };
        if start {
            (0..regions).for_each(|nth| stage.cluster.start(nth).unwrap());
            stage.wait();
        }
        stage
    }

    /// Waits until every region, all of which were started, takes webhooks: once the queue is agreed on, and
    /// each acts for itself in the eyes of all. Before that, jobs stay where they are told.
    fn wait(&mut self) {
        let regions = self.cluster.len();
        self.cluster.wait_until_linked(0..regions).unwrap();
        self.cluster.wait_until_agreed(0..regions).unwrap();
        super::wait_for_duties(&self.cluster, 0..regions);
        for nth in 0..regions {
            self.until("every region acts for itself", SERVED_MAX, |stage| {
                (0..regions)
                    .all(|of| super::holder(&stage.cluster, nth, of) == stage.cluster.region(of))
            });
            self.until("the queue of runners is there", SERVED_MAX, |stage| {
                let listed = super::rhumb(&stage.cluster, nth, &["queue", "list", "--json"]);
                String::from_utf8_lossy(&listed.stdout).contains("runners.linux")
            });
        }
    }

    fn place(&self, nth: usize) -> Place {
        Place::new(&format!("http://{}", self.cluster.http(nth)), None).unwrap()
    }

    fn queue(&self, repository: &str) -> u64 {
        self.runtime.block_on(self.github.queue(repository, &["self-hosted", "linux"]))
    }

    fn until(&self, what: &str, within: Duration, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            let happened = || format!("{:#?}", self.github.happenings(0));
            assert!(began.elapsed() < within, "not within {within:?}: {what}\n{}", happened());
            thread::sleep(LOOK_INTERVAL);
        }
        println!("{what} after {:.1} s", began.elapsed().as_secs_f64());
    }

    fn is_done(&self, job: u64) -> bool {
        let jobs = self.github.jobs();
        jobs.iter().any(|it| it.id == job && it.state == Action::Completed)
    }

    fn all_answered(&self) -> bool {
        let sent = self.github.happenings(0).into_iter();
        sent.filter_map(|it| match it.what {
            What::Sent { action: Action::Queued, status, .. } => Some(status),
            _ => None,
        })
        .all(|status| status == Some(202))
    }

    fn starts(&self) -> usize {
        let happened = self.github.happenings(0);
        happened.iter().filter(|it| matches!(it.what, What::Started { .. })).count()
    }

    /// A counter of a node's metrics.
    fn metric(&self, nth: usize, name: &str) -> u64 {
        let request = http::Request::get("/metrics").body(bytes::Bytes::new()).unwrap();
        let answer = self.runtime.block_on(self.place(nth).ask(request)).unwrap();
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// What happened to CI jobs at a node, by name.
    fn happened(&self, nth: usize, what: &str) -> u64 {
        self.metric(nth, &format!("rhumb_runner_events_total{{outcome=\"{what}\"}}"))
    }

    /// Jobs that are in the queue of runners, as a node knows it.
    fn held(&self, nth: usize) -> u64 {
        let show = ["queue", "stats", "runners.linux", "--json"];
        let stats = super::works(super::rhumb(&self.cluster, nth, &show));
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
        ["ready", "leased", "held", "delayed"]
            .iter()
            .filter_map(|place| stats.pointer(&format!("/total/{place}"))?.as_u64())
            .sum()
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn end(self) {
        self.runtime.block_on(self.tasks.stop());
    }
}

#[test]
fn webhooks_to_any_region_become_runners_in_the_right_one() {
    let stage = Stage::set();
    stage.github.deliver_to((0..3).map(|nth| stage.place(nth)).collect());
    let jobs: Vec<u64> = (0..6).map(|_| stage.queue("acme/web")).collect();
    assert!(stage.all_answered(), "{:#?}", stage.github.happenings(0));
    stage.until("every job is done", SERVED_MAX, |stage| jobs.iter().all(|it| stage.is_done(*it)));
    stage.until("no runner is left", SERVED_MAX * 3, |stage| stage.github.registered() == 0);
    assert_eq!(stage.starts(), jobs.len());
    let status = super::rhumb(&stage.cluster, 0, &["runners", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["regions"].as_array().map(Vec::len), Some(3), "{status}");
    stage.end();
}

#[test]
fn a_job_whose_region_dies_before_its_runner_starts_is_served_by_the_successor() {
    let mut stage = Stage::set();
    stage.github.deliver_to(vec![stage.place(0)]);
    // Nothing can be registered for now: GitHub is broken.
    stage.github.fail_next(vec![Fault::Broken; REFUSALS]);
    let job = stage.queue("acme/web");
    assert!(stage.all_answered(), "{:#?}", stage.github.happenings(0));
    stage.cluster.kill(1).unwrap();
    stage.github.forgive();
    stage.until("the job is done", TAKEN_OVER_MAX, |stage| stage.is_done(job));
    assert_eq!(stage.starts(), 1);
    stage.until("no runner is left", TAKEN_OVER_MAX, |stage| stage.github.registered() == 0);
    stage.end();
}

/// Runs what a runner is, unless a file beside it says that the next one never comes, or never ends. The
/// number of the process is left in a file.
const RUNNER: &str = r#"
cd "$1"
if rm never-comes 2>/dev/null; then echo $$ >came.pid; exec sleep 3600; fi
"$2" runners act --jitconfig "$3" --work "$4"
if rm never-ends 2>/dev/null; then echo $$ >ended.pid; exec sleep 3600; fi
"#;

/// Has runners run by [`RUNNER`], with jobs of a length.
fn by_script(runners: &mut RunnersSettings, folder: &Path, work: &str) {
    let script = folder.join("runner.sh");
    fs::write(&script, RUNNER).unwrap();
    let program = programs::rhumb().unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let set = runners.sets.get_mut("linux").unwrap();
    let words =
        ["sh".to_owned(), text(&script), text(folder), text(&program), "{jitconfig}".to_owned()];
    set.command = Some([words.as_slice(), &[work.to_owned()]].concat());
}

/// Whether the process whose number is in a file runs; nothing before there is a file.
fn runs(pid_file: &Path) -> Option<bool> {
    let pid = fs::read_to_string(pid_file).ok()?;
    Some(Path::new(&format!("/proc/{}", pid.trim())).exists())
}

/// How long a runner may take to come in these tests.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process may go on whose runner GitHub does not list any more, with the time until the next
/// list.
const LINGER_MAX: Duration = Duration::from_secs(240);

#[test]
fn what_nobody_tells_of_is_found_out() {
    let stage = Stage::set_with(1, |runners, folder| {
        by_script(runners, folder, "1s");
        runners.reconcile_every = Period::from_secs(5);
        runners.start_timeout = Period(START_TIMEOUT);
        let (repository, id) = (Some("acme/web".to_owned()), Some(7));
        runners.hooks = vec![HookOfGitHub { repository, id, ..HookOfGitHub::default() }];
    });
    // A webhook that nobody takes is listed, and sent again.
    let missed = stage.queue("acme/web");
    assert!(!stage.all_answered());
    stage.github.deliver_to(vec![stage.place(0)]);
    stage.until("the missed job is done", SERVED_MAX, |stage| stage.is_done(missed));
    assert!(stage.happened(0, "redelivered") >= 1);

    // A job for which there never was a webhook is found in GitHub's list.
    stage.github.mute([Action::Queued]);
    let unheard = stage.queue("acme/web");
    stage.until("the unheard job is done", SERVED_MAX, |stage| stage.is_done(unheard));
    assert_eq!(stage.happened(0, "found_queued"), 1);

    // Of a job's run and end nobody tells: GitHub is asked.
    stage.github.mute([Action::InProgress, Action::Completed]);
    let silent = stage.queue("acme/web");
    stage.until("the silent job is done", SERVED_MAX, |stage| stage.is_done(silent));
    stage.until("its end is known", SERVED_MAX, |stage| stage.held(0) == 0);
    assert!(stage.happened(0, "ended_unheard") >= 1);
    stage.github.mute([]);

    // A runner that never comes is ended, and another one takes its place. No other may be left that
    // would take the job.
    stage.until("no runner is left", LINGER_MAX, |stage| stage.github.registered() == 0);
    fs::write(stage.file("never-comes"), "").unwrap();
    let lonely = stage.queue("acme/web");
    stage.until("the job whose runner never came is done", SERVED_MAX, |stage| {
        stage.is_done(lonely)
    });
    stage.until("the first runner is ended", SERVED_MAX, |stage| {
        runs(&stage.file("came.pid")) == Some(false)
    });

    // One that never ends after its job is ended too.
    fs::write(stage.file("never-ends"), "").unwrap();
    let last = stage.queue("acme/web");
    stage
        .until("the job of the runner that stays is done", SERVED_MAX, |stage| stage.is_done(last));
    assert_eq!(runs(&stage.file("ended.pid")), Some(true));
    stage.until("the runner is ended", LINGER_MAX, |stage| {
        runs(&stage.file("ended.pid")) == Some(false)
    });
    assert_eq!(stage.github.registered(), 0);
    assert_eq!(stage.held(0), 0);
    // All of that stands in the audit chain.
    let chain = super::works(super::rhumb(&stage.cluster, 0, &["audit", "export"]));
    assert!(chain.contains("note-runners"), "{chain}");
    stage.end();
}

#[test]
fn a_job_that_runs_while_its_region_dies_is_not_run_again_and_its_place_is_given_up() {
    let mut stage = Stage::set_with(3, |runners, folder| by_script(runners, folder, "20s"));
    stage.github.deliver_to(vec![stage.place(0)]);
    let job = stage.queue("acme/web");
    assert!(stage.all_answered(), "{:#?}", stage.github.happenings(0));
    stage.until("the job runs", SERVED_MAX, |stage| stage.starts() == 1);
    assert_eq!(stage.held(0), 1);
    // The runner goes on: it is a process of its own.
    stage.cluster.kill(1).unwrap();
    stage.until("the job is done", SERVED_MAX, |stage| stage.is_done(job));
    stage.until("its place is given up", TAKEN_OVER_MAX, |stage| stage.held(0) == 0);
    assert_eq!(stage.starts(), 1);
    stage.until("no runner is left", TAKEN_OVER_MAX, |stage| stage.github.registered() == 0);
    stage.end();
}

/// Webhooks that are measured.
const WEBHOOKS: usize = 2_000;

/// The time of a webhook until it is durable in its home, which is another region: from before the
/// connection is made until the answer is read. What is printed stands in `docs/benchmarks.md`.
#[test]
#[ignore = "a measurement, of a release build"]
fn webhooks_are_durable_soon() {
    let stage = Stage::set_with(3, |runners, _| {
        // The jobs wait: what is measured is how they come in.
        runners.sets.get_mut("linux").unwrap().max = 0;
    });
    stage.github.deliver_to(vec![stage.place(0)]);
    let before = stage.github.micros().len();
    for _ in 0..WEBHOOKS {
        stage.queue("acme/web");
    }
    assert!(stage.all_answered());
    let mut micros = stage.github.micros().split_off(before);
    let first = micros[0];
    micros.sort_unstable();
    let at = |percent: usize| micros[(micros.len() * percent / 100).min(micros.len() - 1)];
    println!(
        "{} webhooks: first {first} us, p50 {} us, p99 {} us, most {} us",
        micros.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(at(99) < 20_000, "the aim is 20 ms");
    stage.end();
}
