//! CI runners in a cluster of real processes: webhooks in one region, runners in another, and a region
//! that dies between the two.

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
    settings::{AffinityRuleSettings, RunnersSettings, SetSettings},
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
    _folder: TempDir,
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

/// Jobs of `acme` belong to the second region.
fn configure(settings: &mut Settings, runners: RunnersSettings) {
    settings.affinity.rules.push(AffinityRuleSettings {
        repository: None,
        organisation: Some("acme".to_owned()),
        key_prefix: None,
        geography: None,
        everything: false,
        region: RegionId::new("eu-west-1").unwrap(),
    });
    settings.runners = Some(runners);
}

impl Stage {
    fn set() -> Self {
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
        let runners = runners(folder.path(), &github.url());
        let layout = Layout::regions(3).adjust(move |settings| configure(settings, runners));
        let mut cluster = layout.start().unwrap();
        cluster.wait_until_linked(0..3).unwrap();
        cluster.wait_until_agreed(0..3).unwrap();
        let stage = Self { cluster, github, runtime, tasks, _folder: folder };
        // A webhook is taken once the queue is agreed on.
        stage.until("the queue of runners is there", SERVED_MAX, |stage| {
            let listed = super::rhumb(&stage.cluster, 2, &["queue", "list", "--json"]);
            String::from_utf8_lossy(&listed.stdout).contains("runners.linux")
        });
        stage
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
