//! Clients of Amazon SQS: boto3, the AWS command line, a Celery worker.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rhumb_integration::{Cluster, Layout, eventually, programs};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    aws::{KEYS, asking, encrypting, python, script},
    encrypted::Authority,
    run, skipped,
};

const NO_PYTHON: &str = "there is no Python with boto3 and Celery; `cargo xtask test` makes one";

fn cluster(regions: usize, secrets: &Path) -> Cluster {
    asking(regions, secrets, |listeners| listeners.sqs.as_mut())
}

#[test]
fn boto3_finds_what_it_expects() {
    let Some(python) = python("boto3, celery") else { return skipped(NO_PYTHON) };
    let secrets = TempDir::new().unwrap();
    let cluster = cluster(2, secrets.path());
    let mut command = Command::new(python);
    command.arg(script("sqs.py"));
    command.args((0..2).map(|nth| cluster.sqs(nth).port().to_string()));
    command.args(KEYS.iter().flat_map(|(id, secret, ..)| [id, secret]));
    assert!(run(&mut command).ends_with("ok\n"));
    // What was changed stands in the audit chain, with the key that asked.
    let chain = crate::works(crate::rhumb(&cluster, 0, &["audit", "export"]));
    let entries: Vec<Value> =
        chain.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let operator = KEYS[0].0;
    for (action, queue) in [
        ("create-queue", "first"),
        ("change-queue", "settings"),
        ("purge-queue", "purged"),
        ("delete-queue", "page-0"),
    ] {
        let noted = entries.iter().filter(|it| it["action"] == action && it["subject"] == queue);
        let actors: Vec<&str> = noted.filter_map(|it| it["actor"].as_str()).collect();
        assert!(
            actors.iter().any(|actor| actor.contains(operator)),
            "{action} {queue}: {actors:?}"
        );
    }
}

/// The AWS command line at a node, as the operator.
fn command_line(python: &Path, endpoint: &str, words: &[&str]) -> Command {
    let (id, secret, ..) = KEYS[0];
    let mut command = Command::new(python.with_file_name("aws"));
    command.args(["--endpoint-url", endpoint, "--output", "json", "sqs"]).args(words);
    command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
    command.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_MAX_ATTEMPTS", "1");
    command
}

fn aws(python: &Path, cluster: &Cluster, words: &[&str]) -> Value {
    let endpoint = format!("http://{}", cluster.sqs(0));
    let printed = run(&mut command_line(python, &endpoint, words));
    serde_json::from_str(&printed).unwrap_or(Value::Null)
}

#[test]
fn the_aws_command_line_sends_and_receives() {
    let Some(python) = python("boto3, celery") else { return skipped(NO_PYTHON) };
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

#[test]
fn the_aws_command_line_believes_the_certificate_of_its_authority_alone() {
    let Some(python) = python("boto3, celery") else { return skipped(NO_PYTHON) };
    if !programs::answers(python.with_file_name("aws"), &["--version"]) {
        return skipped("the AWS command line is not installed; `cargo xtask test` installs it");
    }
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let cluster = encrypting(&authority, |listeners| listeners.sqs.as_mut());
    let endpoint = format!("https://{}", cluster.sqs(0));
    let mut command = command_line(&python, &endpoint, &["create-queue", "--queue-name", "safe"]);
    let made = run(command.env("AWS_CA_BUNDLE", authority.file("authority.pem")));
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["QueueUrl"], format!("{endpoint}/000000000000/safe"));
    let other = Authority::new(folder.path(), "other");
    let mut command = command_line(&python, &endpoint, &["list-queues"]);
    let refused = command.env("AWS_CA_BUNDLE", other.file("authority.pem")).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("CERTIFICATE_VERIFY_FAILED"), "{said}");
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
    let Some(python) = python("boto3, celery") else { return skipped(NO_PYTHON) };
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

/// What a server without keys says to an operation: head and body.
fn said(address: SocketAddr, operation: &str, body: &Value) -> anyhow::Result<(String, String)> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-amz-target: \
         AmazonSQS.{operation}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Ok((head.to_owned(), body.to_owned()))
}

/// What it answers, where it does as it is asked.
fn ask(address: SocketAddr, operation: &str, body: &Value) -> anyhow::Result<Value> {
    let (head, body) = said(address, operation, body)?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{operation}: {head} {body}");
    Ok(serde_json::from_str(&body)?)
}

/// How long the voters are waited for, and a bit.
const VOTERS_WAIT: Duration = Duration::from_secs(10);
const VOTERS_WAIT_MAX: Duration = Duration::from_secs(20);

#[test]
fn without_a_majority_of_the_voters_queues_are_not_changed_and_the_client_hears_so() {
    let mut cluster = Layout::regions(3).start().unwrap();
    let address = cluster.sqs(0);
    ask(address, "CreateQueue", &json!({ "QueueName": "before" })).unwrap();
    cluster.kill(1).unwrap();
    cluster.kill(2).unwrap();
    for (operation, body) in [
        ("CreateQueue", json!({ "QueueName": "after" })),
        ("DeleteQueue", json!({ "QueueUrl": "before" })),
    ] {
        let began = Instant::now();
        let (head, body) = said(address, operation, &body).unwrap();
        assert!(head.starts_with("HTTP/1.1 503"), "{operation}: {head} {body}");
        assert!(head.contains("ServiceUnavailable;Receiver"), "{operation}: {head}");
        let took = began.elapsed();
        assert!(took >= VOTERS_WAIT && took < VOTERS_WAIT_MAX, "{operation}: {took:?}");
    }
    // Messages need no majority.
    let message = json!({ "QueueUrl": "before", "MessageBody": "x" });
    ask(address, "SendMessage", &message).unwrap();
    let listed = ask(address, "ListQueues", &json!({})).unwrap();
    assert_eq!(listed["QueueUrls"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_stop_ends_those_who_wait() {
    let mut cluster = Layout::regions(1).start().unwrap();
    let address = cluster.sqs(0);
    ask(address, "CreateQueue", &json!({ "QueueName": "empty" })).unwrap();
    let began = Instant::now();
    let wait = json!({ "QueueUrl": "empty", "WaitTimeSeconds": 20 });
    let waiting = thread::spawn(move || ask(address, "ReceiveMessage", &wait));
    thread::sleep(Duration::from_secs(1));
    let status = cluster.terminate(0).unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(waiting.join().unwrap().unwrap(), json!({}), "an answer, and not a broken line");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
}

/// How many messages a region has when it is lost.
const MESSAGES: usize = 40;
/// How long it may take until another region has given all of them out.
const TAKEOVER_WAIT_MAX: Duration = Duration::from_secs(120);

#[test]
fn messages_of_a_lost_region_are_received_in_another() {
    let mut cluster = Layout::regions(3).start().unwrap();
    let (lost, other) = (cluster.sqs(0), cluster.sqs(1));
    crate::wait_for_duties(&cluster, 0..3);
    ask(lost, "CreateQueue", &json!({ "QueueName": "jobs" })).unwrap();
    for nth in 0..MESSAGES {
        let message = json!({ "QueueUrl": "jobs", "MessageBody": nth.to_string() });
        ask(lost, "SendMessage", &message).unwrap();
    }
    eventually(TAKEOVER_WAIT_MAX, || {
        let names = json!({ "QueueUrl": "jobs", "AttributeNames": ["All"] });
        let read = ask(other, "GetQueueAttributes", &names)?;
        let there = &read["Attributes"]["ApproximateNumberOfMessages"];
        anyhow::ensure!(there == &Value::from(MESSAGES.to_string()), "{read}");
        Ok(())
    })
    .unwrap();
    // What came before the region acted under its lease stays with it until then (rule 5).
    eventually(TAKEOVER_WAIT_MAX, || {
        let jobs = super::http::json(&mut super::http::curl(
            &cluster,
            1,
            "/v1/queues/jobs/jobs?limit=100",
        ));
        let jobs = jobs["jobs"].as_array().cloned().unwrap_or_default();
        let pinned = jobs.iter().filter(|job| job["pinned"] != false).count();
        anyhow::ensure!(jobs.len() == MESSAGES && pinned == 0, "{pinned} of {}", jobs.len());
        Ok(())
    })
    .unwrap();
    cluster.kill(0).unwrap();
    let began = Instant::now();
    let mut received = BTreeSet::new();
    eventually(TAKEOVER_WAIT_MAX, || {
        let wish = json!({ "QueueUrl": "jobs", "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1 });
        let messages = ask(other, "ReceiveMessage", &wish)?;
        for message in messages["Messages"].as_array().into_iter().flatten() {
            let handle = &message["ReceiptHandle"];
            let done = json!({ "QueueUrl": "jobs", "ReceiptHandle": handle });
            ask(other, "DeleteMessage", &done)?;
            received.insert(message["Body"].as_str().unwrap_or_default().to_owned());
        }
        anyhow::ensure!(received.len() == MESSAGES, "{} of {MESSAGES}", received.len());
        Ok(())
    })
    .unwrap();
    println!("{MESSAGES} messages of a lost region were received after {:?}", began.elapsed());
}
