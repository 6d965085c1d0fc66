//! Commands, really run.

use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};

use super::*;

fn shell(script: &str) -> Work {
    Work {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![],
        input: Bytes::new(),
    }
}

async fn run(work: Work) -> Ended {
    let (running, _tell) = Running::start(work).unwrap();
    running.end().await
}

#[tokio::test]
async fn the_body_is_read_and_the_environment_is_there() {
    let body = vec![b'x'; 1 << 20];
    let work = Work {
        input: body.into(),
        environment: vec![("RHUMB_QUEUE".to_owned(), "jobs".into())],
        ..shell("test $(wc -c) = 1048576 && test $RHUMB_QUEUE = jobs")
    };
    assert_eq!(run(work).await.verdict(), Verdict::Complete);
}

#[tokio::test]
async fn the_exit_code_decides() {
    let verdicts = [
        ("exit 0", Verdict::Complete),
        ("exit 75", Verdict::Release),
        (
            "echo no such order >&2; exit 65",
            Verdict::Dead("exit code 65: no such order".to_owned()),
        ),
        ("exit 3", Verdict::Fail("exit code 3".to_owned())),
        ("echo gone wrong >&2; exit 1", Verdict::Fail("exit code 1: gone wrong".to_owned())),
        ("kill -9 $$", Verdict::Fail("signal 9".to_owned())),
    ];
    for (script, verdict) in verdicts {
        // None of them reads what it is given.
        let work = Work { input: vec![0; 1 << 20].into(), ..shell(script) };
        assert_eq!(run(work).await.verdict(), verdict, "{script}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let work = Work { program: "/no/such/program".into(), ..shell("") };
    let Err(error) = Running::start(work) else { panic!("it started") };
    let Verdict::Fail(why) = Ended::not_started(&error).verdict() else { panic!() };
    assert!(why.starts_with("`/no/such/program` cannot be started"), "{why}");
}

#[tokio::test]
async fn only_the_end_of_what_is_said_is_kept() {
    let ended =
        run(shell("i=0; while [ $i -lt 400 ]; do echo line-$i-é >&2; i=$((i+1)); done; exit 1"));
    let reason = ended.await.reason();
    assert!(reason.len() <= TAIL_BYTES + 32 && reason.ends_with("line-399-é"), "{reason}");
    assert!(!reason.contains("line-1-"));
}

#[tokio::test]
async fn a_command_that_ignores_the_asking_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let children = folder.path().join("child");
    let script =
        format!("trap '' TERM; sleep 600 & echo $! > {0}; wait; sleep 600", children.display());
    let (running, told) = Running::start(shell(&script)).unwrap();
    let began = Instant::now();
    let mut group = tokio::task::JoinSet::new();
    group.spawn(running.end());
    let child = loop {
        let said = std::fs::read_to_string(&children).unwrap_or_default();
        if let Ok(child) = said.trim().parse() {
            break Pid::from_raw(child).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    told.send(Way::Ask).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(group.try_join_next().is_none(), "it ignores the asking");
    told.send(Way::Kill).await.unwrap();
    let ended = group.join_next().await.unwrap().unwrap();
    assert_eq!(ended.reason(), "signal 9");
    assert!(began.elapsed() < Duration::from_secs(30));
    let gone = || test_kill_process(child).is_err();
    for _ in 0..200 {
        if gone() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("its child lives on");
}

#[tokio::test]
async fn children_that_outlive_the_command_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let children = folder.path().join("child");
    // The child keeps standard error open.
    let script = format!("sleep 600 & echo $! > {}; exit 0", children.display());
    let began = Instant::now();
    assert_eq!(run(shell(&script)).await.verdict(), Verdict::Complete);
    assert!(began.elapsed() < Duration::from_secs(30));
    let said = std::fs::read_to_string(&children).unwrap();
    let child = Pid::from_raw(said.trim().parse().unwrap()).unwrap();
    for _ in 0..200 {
        if test_kill_process(child).is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("its child lives on");
}
