//! Real processes: they start, end with what they left, are stopped, and survive the executor.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::{
    capacity::{PoolId, Scope},
    job::JobRef,
};

fn name(nth: u32) -> RunnerName {
    JobRef { repository: 1, job: 1, attempt: 1 }.runner(nth)
}

fn launch(nth: u32) -> Launch {
    let scope = Scope::Organisation("acme".to_owned());
    Launch {
        name: name(nth),
        pool: PoolId { scope, set: "linux".to_owned(), region: None },
        job: JobRef { repository: 1, job: 1, attempt: 1 },
        labels: vec!["linux".to_owned()],
        jit_config: "c2VjcmV0".to_owned(),
    }
}

fn executor(
    folder: &Path,
    script: &str,
    template: Option<PathBuf>,
) -> (ProcessExecutor, Tasks, mpsc::Receiver<RunnerName>) {
    let command = ["sh", "-c", script, "{name}", "{jitconfig}"].map(str::to_owned).to_vec();
    let config = ProcessConfig { command, template, folder: folder.to_owned() };
    let (sender, ended) = mpsc::channel(8);
    let tasks = Tasks::new();
    (ProcessExecutor::new(config, tasks.clone(), sender).unwrap(), tasks, ended)
}

async fn next(ended: &mut mpsc::Receiver<RunnerName>) -> RunnerName {
    timeout(Duration::from_secs(20), ended.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_runner_gets_its_configuration_and_its_folder_goes_with_it() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let template = folder.path().join("template");
    fs::create_dir_all(template.join("bin")).unwrap();
    fs::write(template.join("bin/tool"), "x").unwrap();
    let script = format!("echo $0 $1 $RHUMB_RUNNER_NAME $(ls bin) > {}", out.display());
    let runners = folder.path().join("runners");
    let (executor, tasks, mut ended) = executor(&runners, &script, Some(template));
    executor.start(launch(0)).await.unwrap();
    assert_eq!(next(&mut ended).await, name(0));
    let said = fs::read_to_string(out).unwrap();
    assert_eq!(said.trim(), format!("{0} c2VjcmV0 {0} tool", name(0)));
    assert_eq!(fs::read_dir(&runners).unwrap().count(), 0);
    assert_eq!(executor.tasks(), Some(vec![]));
    tasks.stop().await;
}

#[tokio::test]
async fn one_that_ignores_sigterm_and_its_children_are_ended() {
    let folder = TempDir::new().unwrap();
    let child = folder.path().join("child");
    let script = format!("trap '' TERM; sleep 300 & echo $! > {}; sleep 300", child.display());
    let runners = folder.path().join("runners");
    let (executor, tasks, mut ended) = executor(&runners, &script, None);
    executor.start(launch(0)).await.unwrap();
    executor.start(launch(0)).await.unwrap();
    assert_eq!(executor.tasks().unwrap().len(), 1, "told twice, it runs once");
    while fs::read_to_string(&child).unwrap_or_default().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    executor.stop(&name(0)).await.unwrap();
    assert_eq!(next(&mut ended).await, name(0));
    let child = fs::read_to_string(&child).unwrap();
    let runs = || {
        // One that ended and that nobody waited for is still in the table.
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).ok();
        stat.is_some_and(|stat| !stat.contains(") Z "))
    };
    let given_up = Instant::now() + Duration::from_secs(10);
    while runs() {
        assert!(Instant::now() < given_up, "something of its group is left");
        sleep(Duration::from_millis(10)).await;
    }
    executor.stop(&name(0)).await.unwrap();
    tasks.stop().await;
}

#[tokio::test]
async fn a_runner_goes_on_without_its_executor_and_is_found_again() {
    let folder = TempDir::new().unwrap();
    let go = folder.path().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let runners = folder.path().join("runners");
    let (first, tasks, _ended) = executor(&runners, &script, None);
    first.start(launch(0)).await.unwrap();
    let told = first.tasks();
    tasks.stop().await;
    drop(first);
    // What is left of a runner that died with its machine.
    fs::create_dir_all(runners.join(name(1).as_str())).unwrap();
    fs::create_dir_all(runners.join("somebody-elses")).unwrap();
    let (second, tasks, mut ended) = executor(&runners, &script, None);
    assert_eq!(second.tasks(), told);
    assert!(!runners.join(name(1).as_str()).exists() && runners.join("somebody-elses").exists());
    fs::write(go, "").unwrap();
    assert_eq!(next(&mut ended).await, name(0));
    tasks.stop().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let config = ProcessConfig {
        command: vec!["/nowhere/run.sh".to_owned()],
        template: None,
        folder: folder.path().join("runners"),
    };
    let (sender, _ended) = mpsc::channel(1);
    let executor = ProcessExecutor::new(config, Tasks::new(), sender).unwrap();
    assert!(executor.start(launch(0)).await.is_err());
    assert_eq!(fs::read_dir(folder.path().join("runners")).unwrap().count(), 0);
}

#[test]
fn a_damaged_stamp_signals_nobody() {
    for text in
        [r#"{"pid":0}"#, r#"{"pid":1,"began":0,"pool":{"scope":{"organisation":"a"},"set":"s"}}"#]
    {
        let stamp: Option<Stamp> = serde_json::from_str(text).ok();
        assert!(stamp.is_none_or(|stamp| !stamp.is_alive() && !stamp.has_group()));
    }
}
