//! Real processes that are killed, and real disks that fill up.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use rhumb_control::Group;
use rhumb_ports::{
    contract::control::number,
    control::{Control, ControlError},
};

use crate::common::{Net, config, start_unseen};

const FAST: Duration = Duration::from_millis(2);
/// Tells a child where its files are.
const DIRECTORY: &str = "RHUMB_TEST_DIRECTORY";
const ROUNDS: u64 = 8;

async fn alone(directory: &Path) -> Group {
    let net = Net::with_delay(Duration::ZERO);
    start_unseen(config(1, "us", &["us"], FAST), directory, &net).await
}

async fn count(group: &Group) -> u64 {
    number(&group.read(Bytes::new()).await.unwrap()).unwrap()
}

/// Not a test: the child of the next one. Says each number once it is agreed.
#[tokio::test]
#[ignore = "it is a child process of another test"]
#[allow(clippy::disallowed_methods, reason = "a parent tells it where its files are")]
async fn child_that_proposes_for_ever() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let group = alone(Path::new(&directory)).await;
    loop {
        let answer = group.propose(Bytes::from_static(b"x")).await.unwrap();
        eprintln!("agreed {}", number(&answer).unwrap());
    }
}

fn spawn_child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "processes::child_that_proposes_for_ever"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a child after it has said a few numbers; gives the last that it said.
fn run_and_kill(directory: &Path, lines: u64) -> Option<u64> {
    let mut child = spawn_child(directory);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let agreed = |line: String| line.strip_prefix("agreed ").and_then(|n| n.parse::<u64>().ok());
    let mut last = said.by_ref().filter_map(agreed).take(usize::try_from(lines).unwrap()).last();
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said until it was gone counts too.
    last = said.filter_map(agreed).last().or(last);
    last
}

#[tokio::test]
async fn nothing_agreed_is_lost_by_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("group");
    let mut highest = 0;
    for round in 0..ROUNDS {
        let last = run_and_kill(&path, 3 + round * 17).unwrap();
        assert!(last >= highest, "{last} after {highest}");
        highest = last;
    }
    let group = alone(&path).await;
    let count = count(&group).await;
    // Each kill may leave one more that was written and not said.
    assert!(count > highest && count <= highest + 1 + ROUNDS, "{count} after {highest}");
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, options: &str) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(|fault| fault.to_string())?;
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "rhumb-test"])
            .arg(path)
            .output()
            .map_err(|fault| fault.to_string())?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(Self(path.to_owned())) } else { Err(said) }
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let done = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_group_and_loses_nothing_agreed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("small");
    let disk = match SmallDisk::mount(&path, "size=400k") {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("skipped: a small file system cannot be mounted here: {why}");
            return;
        }
    };
    let group = alone(&path.join("group")).await;
    let mut agreed = 0;
    let refused = loop {
        match group.propose(Bytes::from(vec![7; 10_000])).await {
            Ok(_) => agreed += 1,
            Err(error) => break error,
        }
        assert!(agreed < 100, "the disk is not full");
    };
    assert!(matches!(refused, ControlError::Unknown | ControlError::Storage(_)), "{refused}");
    let trouble = group.status().trouble.unwrap();
    assert!(trouble.contains("No space left"), "{trouble}");
    group.stop().await;
    drop(group);

    disk.grow("16m");
    let group = alone(&path.join("group")).await;
    let count = count(&group).await;
    assert!(count == agreed || count == agreed + 1, "{count} of {agreed}");
    group.propose(Bytes::from_static(b"again")).await.unwrap();
    group.stop().await;
}
