//! Processes that die while they commit, and disks that fail under them.
//!
//! The child is this test binary again, running the ignored test `child`; it reads what to do from
//! its standard input and reports on its standard output.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{ORIGIN, log_of, transaction, version_of};
use rhumb_ports::store::{Durability, ReadStore, Store, StoreError, Write};
use rhumb_store_fjall::FjallStore;

/// How long the killing goes on.
const KILLING: Duration = Duration::from_secs(8);
/// How many kills there are on the slowest machine.
const KILLS_MIN: u64 = 5;
/// Payload of a transaction, large enough that memtables and journals turn over.
const PAYLOAD: usize = 24 << 10;
/// How many transactions the log keeps.
const KEPT: u64 = 500;

/// What a child is told on its standard input: a word, then a directory.
fn instructions() -> Option<(String, String)> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("standard input");
    let (task, path) = line.trim().split_once(' ')?;
    Some((task.to_owned(), path.to_owned()))
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).expect("the parent listens");
}

#[test]
#[ignore = "run by the other tests of this file"]
fn child() {
    let Some((task, path)) = instructions() else { return };
    let store = FjallStore::open(Path::new(&path)).expect("the directory opens");
    // End the line that libtest has begun.
    say("");
    match task.as_str() {
        "commit" => commit_for_ever(&store),
        "fail" => commit_until_it_fails(&store),
        other => panic!("no such task: {other}"),
    }
}

fn commit_for_ever(store: &FjallStore) {
    for version in version_of(store) + 1.. {
        let mut batch = transaction(version, PAYLOAD);
        if version > KEPT {
            batch.writes.push(Write::LogTrim { origin: ORIGIN, through: version - KEPT });
        }
        if version.is_multiple_of(3) {
            store.commit(&batch, Durability::Synced).expect("a commit");
            say(&version.to_string());
        } else {
            store.commit(&batch, Durability::Buffered).expect("a commit");
        }
    }
}

fn commit_until_it_fails(store: &FjallStore) {
    for version in 1..1_000 {
        let Err(error) = store.commit(&transaction(version, 100), Durability::Synced) else {
            continue;
        };
        say(&format!("failed at {version}"));
        say(if matches!(error, StoreError::Full { .. }) { "full" } else { "disk" });
        assert_eq!(version_of(store), version - 1, "the failed batch is not visible");
        assert_eq!(store.commit_number(), version - 1);
        for durability in [Durability::Buffered, Durability::Synced] {
            let later = store.commit(&transaction(version, 100), durability);
            assert!(later.is_err(), "a commit after a failed one");
        }
        assert!(store.sync().is_err(), "a sync after a failed one");
        say("refused");
        return;
    }
    panic!("nothing failed");
}

fn start(mut command: Command, task: &str, path: &Path) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    writeln!(stdin, "{task} {}", path.display()).expect("the child reads");
    child
}

fn this_binary() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
    command.args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// Numbers among the lines; libtest adds words of its own.
fn acknowledged(child: &mut Child) -> impl Iterator<Item = u64> + use<> {
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.lines().map_while(Result::ok).filter_map(|line| line.trim().parse().ok())
}

#[test]
fn nothing_acknowledged_is_lost_by_kill() {
    let directory = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (mut rounds, mut acknowledged_before) = (0_u64, 0);
    while begun.elapsed() < KILLING || rounds < KILLS_MIN {
        let mut child = start(this_binary(), "commit", directory.path());
        let mut lines = acknowledged(&mut child);
        let first = lines.next().expect("the child commits");
        assert!(first > acknowledged_before);
        // From at once to a few flushes later, and never the same.
        std::thread::sleep(Duration::from_millis((rounds * 37) % 400));
        child.kill().unwrap();
        let acknowledged = lines.last().unwrap_or(first);
        child.wait().unwrap();

        let store = FjallStore::open(directory.path()).unwrap();
        let version = version_of(&store);
        let recovered = store.recovered();
        assert!(version >= acknowledged, "{acknowledged} was acknowledged, {version} is there");
        assert_eq!(recovered.damage, Vec::new(), "after round {rounds}");
        assert_eq!(recovered.applied.get(ORIGIN), version);
        let kept = log_of(&store);
        let expected: Vec<u64> = (version.saturating_sub(KEPT) + 1..=version).collect();
        assert_eq!(kept, expected, "after round {rounds}");
        acknowledged_before = version;
        rounds += 1;
    }
    eprintln!("{rounds} kills, {acknowledged_before} transactions");
}

/// Runs the child under a fault that strace injects into system calls on one file; `None` when
/// strace cannot be used here.
fn under_fault(path: &Path, fault: &str) -> Option<Vec<String>> {
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: strace is not installed, or may not trace here");
        return None;
    }
    let exe = this_binary();
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-P"]).arg(path.join("records/0.jnl"));
    command.args(["-e", fault]).arg(exe.get_program()).args(exe.get_args());
    let mut child = start(command, "fail", path);
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let lines: Vec<String> = out.lines().map_while(Result::ok).collect();
    assert!(child.wait().expect("the child ends").success(), "{lines:#?}");
    Some(lines)
}

/// The version at which the child says it failed.
fn failed_at(lines: &[String]) -> u64 {
    let at = lines.iter().find_map(|line| line.trim().strip_prefix("failed at "));
    at.expect("the child failed").parse().expect("a version")
}

#[test]
fn after_a_failed_fsync_the_store_refuses_commits_and_keeps_reads() {
    let directory = tempfile::tempdir().unwrap();
    let fault = "inject=fdatasync:error=EIO:when=12";
    let Some(lines) = under_fault(directory.path(), fault) else { return };
    assert!(lines.iter().any(|line| line.trim() == "disk"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.trim() == "refused"), "{lines:#?}");
    // The next open writes the journal anew, for its pages may be in memory only.
    let journal = directory.path().join("records/0.jnl");
    let before = fs::metadata(&journal).unwrap().ino();
    assert!(directory.path().join("failed").exists());
    // The batch that failed may be there or not, as any that was not answered.
    let store = FjallStore::open(directory.path()).unwrap();
    let (failed, version) = (failed_at(&lines), version_of(&store));
    assert!(version == failed || version == failed - 1, "{failed} failed, {version} is there");
    assert_eq!(store.recovered().damage, Vec::new());
    assert_ne!(fs::metadata(&journal).unwrap().ino(), before);
    assert!(!directory.path().join("failed").exists());
    store.commit(&transaction(version + 1, 100), Durability::Synced).unwrap();
    drop(store);
    let store = FjallStore::open(directory.path()).unwrap();
    assert_eq!(version_of(&store), version + 1);
}

#[test]
fn a_full_disk_is_told_and_what_was_committed_stays() {
    let directory = tempfile::tempdir().unwrap();
    let fault = "inject=write:error=ENOSPC:when=20+";
    let Some(lines) = under_fault(directory.path(), fault) else { return };
    assert!(lines.iter().any(|line| line.trim() == "full"), "{lines:#?}");
    let store = FjallStore::open(directory.path()).unwrap();
    let (failed, version) = (failed_at(&lines), version_of(&store));
    assert!(version == failed || version == failed - 1, "{failed} failed, {version} is there");
    assert_eq!(log_of(&store), (1..=version).collect::<Vec<_>>());
}
