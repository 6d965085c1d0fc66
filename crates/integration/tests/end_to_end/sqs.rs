//! Clients of Amazon SQS: boto3, the AWS command line, a Celery worker.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rhumb_config::settings::{AccessKeySettings, Settings};
use rhumb_integration::{Cluster, Layout, eventually, programs};
use rhumb_types::control::ApiRole;
use serde_json::Value;
use tempfile::TempDir;

use crate::{run, skipped};

const NO_PYTHON: &str = "there is no Python with boto3 and Celery; `cargo xtask test` makes one";

/// Ids and secrets: of one who may everything with messages, of a reader, and of a team.
const KEYS: [(&str, &str, ApiRole, &[&str]); 3] = [
    ("AKIDOPERATOR", "operator-secret-0123456789", ApiRole::Operator, &[]),
    ("AKIDREADER", "reader-secret-0123456789", ApiRole::Reader, &[]),
    ("AKIDTEAM", "team-secret-0123456789", ApiRole::Operator, &["team-"]),
];

fn python() -> Option<PathBuf> {
    programs::python().filter(|path| programs::answers(path, &["-c", "import boto3, celery"]))
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// Regions whose SQS servers ask for keys.
fn cluster(regions: usize, secrets: &Path) -> Cluster {
    let keys: Vec<AccessKeySettings> = KEYS
        .iter()
        .map(|(id, secret, role, queues)| {
            let secret_file = secrets.join(id);
            fs::write(&secret_file, format!("{secret}\n")).unwrap();
            let queues = queues.iter().map(|prefix| (*prefix).to_owned()).collect();
            AccessKeySettings { id: (*id).to_owned(), secret_file, role: *role, queues }
        })
        .collect();
    let asks = move |settings: &mut Settings| {
        settings.acl.access_keys = keys;
        for region in settings.regions.values_mut() {
            if let Some(sqs) = &mut region.listeners.sqs {
                sqs.auth = true;
            }
        }
    };
    Layout::regions(regions).adjust(asks).start().unwrap()
}

#[test]
fn boto3_finds_what_it_expects() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let secrets = TempDir::new().unwrap();
    let cluster = cluster(2, secrets.path());
    let mut command = Command::new(python);
    command.arg(script("sqs.py"));
    command.args((0..2).map(|nth| cluster.sqs(nth).port().to_string()));
    command.args(KEYS.iter().flat_map(|(id, secret, ..)| [id, secret]));
    assert!(run(&mut command).ends_with("ok\n"));
}

fn aws(python: &Path, cluster: &Cluster, words: &[&str]) -> Value {
    let (id, secret, ..) = KEYS[0];
    let mut command = Command::new(python.with_file_name("aws"));
    command.args([
        "--endpoint-url",
        &format!("http://{}", cluster.sqs(0)),
        "--output",
        "json",
        "sqs",
    ]);
    command.args(words).env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    command.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_MAX_ATTEMPTS", "1");
    let printed = run(&mut command);
    serde_json::from_str(&printed).unwrap_or(Value::Null)
}

#[test]
fn the_aws_command_line_sends_and_receives() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    if !programs::answers(python.with_file_name("aws"), &["--version"]) {
        return skipped("the AWS command line is not installed; `cargo xtask test` installs it");
    }
    let secrets = TempDir::new().unwrap();
    let cluster = cluster(1, secrets.path());
    let aws = |words: &[&str]| aws(&python, &cluster, words);
    let made =
        aws(&["create-queue", "--queue-name", "line", "--attributes", "VisibilityTimeout=60"]);
    let url = made["QueueUrl"].as_str().unwrap();
    let attribute = r#"{"n":{"DataType":"String","StringValue":"v"}}"#;
    let mut send = vec!["send-message", "--queue-url", url, "--message-body", "hello, world"];
    send.extend(["--message-attributes", attribute]);
    let sent = aws(&send);
    assert_eq!(sent["MD5OfMessageBody"], "e4d7f1b4ed2e42d15898f4b27b019da4");
    let mut receive = vec!["receive-message", "--queue-url", url, "--wait-time-seconds", "5"];
    receive.extend(["--message-attribute-names", "All", "--attribute-names", "All"]);
    let received = aws(&receive);
    let message = &received["Messages"][0];
    assert_eq!(message["MessageAttributes"]["n"]["StringValue"], "v", "{received}");
    let handle = message["ReceiptHandle"].as_str().unwrap();
    aws(&["delete-message", "--queue-url", url, "--receipt-handle", handle]);
    let read = aws(&["get-queue-attributes", "--queue-url", url, "--attribute-names", "All"]);
    assert_eq!(read["Attributes"]["VisibilityTimeout"], "60");
    assert_eq!(read["Attributes"]["ApproximateNumberOfMessages"], "0");
}

/// How many tasks are sent.
const TASKS: usize = 100;
/// How long they may take, worker losses included.
const TASKS_WAIT_MAX: Duration = Duration::from_secs(90);

/// A Celery worker and where its tasks note what they do.
struct Worker<'c> {
    python: &'c Path,
    cluster: &'c Cluster,
    notes: PathBuf,
}

impl Worker<'_> {
    fn celery(&self, words: &[&str]) -> Command {
        let (id, secret, ..) = KEYS[0];
        let mut command = Command::new(self.python);
        let broker = format!("sqs://{id}:{secret}@{}//", self.cluster.sqs(0));
        command.args(words).current_dir(script("")).env("BROKER", broker);
        command.env("NOTES", &self.notes).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&self) -> Child {
        let words =
            ["-m", "celery", "-A", "celery_tasks", "worker", "-P", "solo", "--without-gossip"];
        self.celery(&words).spawn().unwrap()
    }

    /// How often each task has begun and ended, as lines say.
    fn noted(&self, word: &str) -> Vec<usize> {
        let text = fs::read_to_string(&self.notes).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        lines.collect()
    }
}

#[test]
fn a_celery_worker_that_dies_loses_no_task() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let folder = TempDir::new().unwrap();
    let cluster = cluster(1, folder.path());
    let worker = Worker { python: &python, cluster: &cluster, notes: folder.path().join("notes") };
    assert!(worker.celery(&["celery_tasks.py", &TASKS.to_string()]).status().unwrap().success());
    let mut first = worker.start();
    eventually(TASKS_WAIT_MAX, || {
        anyhow::ensure!(worker.noted("done").len() >= 20, "{} done", worker.noted("done").len());
        Ok(())
    })
    .unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let begun = worker.noted("began");
    assert!(worker.noted("done").len() < TASKS, "the worker was killed at its work");
    let mut second = worker.start();
    let all = eventually(TASKS_WAIT_MAX, || {
        let mut done = worker.noted("done");
        done.sort_unstable();
        done.dedup();
        anyhow::ensure!(done.len() == TASKS, "{} of {TASKS}, {} begun", done.len(), begun.len());
        Ok(())
    });
    second.kill().unwrap();
    second.wait().unwrap();
    all.unwrap();
}
