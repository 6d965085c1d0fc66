//! Processes that die while they store, and disks that fail under them.
//!
//! The child is this test binary again, running the ignored test `child`; it reads what to do from
//! its standard input and reports on its standard output.

mod common;

use std::{
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{all, content, file, names, open, sealing, store};
use rhumb_blobs::{FileBlobs, Keys};
use rhumb_ports::blobs::{BlobError, Blobs};
use rhumb_types::record::BlobHash;
use tokio::{runtime::Builder, task::JoinSet};

/// How long the killing goes on.
const KILLING: Duration = Duration::from_secs(6);
/// How many kills there are on the slowest machine.
const KILLS_MIN: u64 = 5;

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
    // One blocking thread, so that a fault's count is that of the writes.
    let threads = if task == "store" { 16 } else { 1 };
    let runtime = Builder::new_current_thread().max_blocking_threads(threads).build();
    let keys = if task == "store" { sealing() } else { Keys::default() };
    let blobs = open(Path::new(&path), keys);
    // End the line that libtest has begun.
    say("");
    runtime.expect("a runtime").block_on(async move {
        match task.as_str() {
            "store" => store_for_ever(blobs).await,
            "fail" => store_some(&blobs).await,
            "read" => read_some(&blobs).await,
            other => panic!("no such task: {other}"),
        }
    });
}

/// Stores blobs of many lengths, several at a time, and removes some.
async fn store_for_ever(blobs: FileBlobs) {
    let blobs = Arc::new(blobs);
    let mut storing = JoinSet::new();
    for worker in 0..8_u64 {
        let blobs = Arc::clone(&blobs);
        storing.spawn(async move {
            for round in u64::from(std::process::id()) * 1_000.. {
                let length = match (round + worker) % 5 {
                    0 => 10,
                    1 => 5_000,
                    2 => 70_000,
                    3 => 300_000,
                    _ => 3_000_000,
                };
                let blob = store(&blobs, content(round * 8 + worker, length)).await;
                let blob = blob.expect("a blob");
                if round % 3 == 0 {
                    blobs.remove(blob.hash).await.expect("a removal");
                } else {
                    say(&blob.hash.to_string());
                }
            }
        });
    }
    while let Some(ended) = storing.join_next().await {
        ended.expect("a worker");
    }
}

/// Says for each of some blobs what became of it, and whether it is listed.
async fn store_some(blobs: &FileBlobs) {
    for seed in 1..=6 {
        let said = match store(blobs, content(seed, 100)).await {
            Ok(_) => "stored".to_owned(),
            Err(BlobError::Full { .. }) => "full".to_owned(),
            Err(BlobError::Failed { reason, .. }) => format!("failed: {reason}"),
            Err(other) => panic!("{other}"),
        };
        let hash = BlobHash(blake3_of(seed));
        let is_listed = all(blobs).await.iter().any(|blob| blob.hash == hash);
        let is_read = blobs.read(hash, 0..100).await.is_ok();
        assert_eq!(is_listed, is_read);
        say(&format!("blob {seed} {} {said}", if is_listed { "visible" } else { "invisible" }));
    }
}

fn blake3_of(seed: u64) -> [u8; 32] {
    blake3::hash(&content(seed, 100)).into()
}

/// Reads a blob twice.
async fn read_some(blobs: &FileBlobs) {
    for blob in all(blobs).await {
        for _ in 0..2 {
            let said = match blobs.read(blob.hash, 0..blob.bytes).await {
                Ok(_) => "read".to_owned(),
                Err(error) => error.to_string(),
            };
            say(&format!("blob {said}"));
        }
    }
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

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_and_nothing_half_written_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (mut rounds, mut acknowledged) = (0_u64, Vec::new());
    while begun.elapsed() < KILLING || rounds < KILLS_MIN {
        let mut child = start(this_binary(), "store", directory.path());
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut lines = out.lines().map_while(Result::ok);
        let hash = |line: String| BlobHash::parse(line.trim());
        let first = lines.by_ref().find_map(hash).expect("the child stores");
        // From at once to many blobs later, and never the same.
        std::thread::sleep(Duration::from_millis((rounds * 37) % 300));
        child.kill().unwrap();
        acknowledged.push(first);
        acknowledged.extend(lines.filter_map(hash));
        child.wait().unwrap();

        let blobs = open(directory.path(), sealing());
        assert_eq!(names(&directory.path().join("incoming")), [""; 0], "after round {rounds}");
        for blob in all(&blobs).await {
            assert_eq!(blobs.verify(blob.hash).await, Ok(()), "after round {rounds}");
        }
        for hash in &acknowledged {
            assert!(blobs.stat(*hash).await.unwrap().is_some(), "{hash} is lost");
        }
        // The next round begins with less to look at.
        for hash in acknowledged.drain(..) {
            blobs.remove(hash).await.unwrap();
        }
        rounds += 1;
    }
    eprintln!("{rounds} kills");
}

/// Runs the child under a fault that strace injects into its system calls, those on one file if it is
/// named; `None` when strace cannot be used here. Counts of calls are those of each thread.
fn under_fault(path: &Path, task: &str, fault: &str, on: Option<&Path>) -> Option<Vec<String>> {
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: strace is not installed, or may not trace here");
        return None;
    }
    let exe = this_binary();
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", fault]);
    if let Some(file) = on {
        command.arg("-P").arg(file);
    }
    command.arg(exe.get_program()).args(exe.get_args());
    let mut child = start(command, task, path);
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let lines: Vec<String> = out.lines().map_while(Result::ok).collect();
    assert!(child.wait().expect("the child ends").success(), "{lines:#?}");
    let said = lines.iter().filter_map(|line| line.trim().strip_prefix("blob "));
    Some(said.map(str::to_owned).collect())
}

/// A directory that was made before, so that an open syncs nothing.
fn made() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    drop(open(directory.path(), Keys::default()));
    directory
}

#[tokio::test]
async fn a_failing_fsync_is_told_and_what_it_was_for_is_not_seen() {
    let directory = made();
    // The third file that is synced, and the third directory, which is that of the fourth blob.
    let fault = "inject=fsync:error=EIO:when=3";
    let Some(said) = under_fault(directory.path(), "fail", fault, None) else { return };
    let [one, two, three, four, five, six] = said.as_slice() else { panic!("{said:#?}") };
    assert_eq!((one.as_str(), two.as_str()), ("1 visible stored", "2 visible stored"));
    assert!(three.starts_with("3 invisible failed: "), "{three}");
    assert!(four.starts_with("4 invisible failed: "), "{four}");
    for later in [five, six] {
        assert!(later.contains("invisible failed: an earlier sync failed"), "{later}");
    }
    let blobs = open(directory.path(), Keys::default());
    assert_eq!(all(&blobs).await.len(), 2);
    assert!(store(&blobs, content(4, 100)).await.is_ok(), "a new open stores again");
    assert_eq!(names(&directory.path().join("incoming")), [""; 0]);
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing() {
    // A blob of one block takes two writes; the name is the last thing that may need room.
    let faults = [
        ("inject=pwrite64:error=ENOSPC:when=5", 3),
        ("inject=pwrite64:error=EDQUOT:when=6", 3),
        ("inject=fsync:error=ENOSPC:when=1", 1),
        ("inject=rename:error=ENOSPC:when=4", 4),
    ];
    for (fault, at) in faults {
        let directory = made();
        let Some(said) = under_fault(directory.path(), "fail", fault, None) else { return };
        for (number, line) in (1..).zip(&said) {
            let expected = if number == at { "invisible full" } else { "visible stored" };
            if fault.contains("fsync") && number > at {
                // The next directory's sync fails, too.
                assert!(line.contains("invisible"), "{fault}: {line}");
                continue;
            }
            assert_eq!(*line, format!("{number} {expected}"), "{fault}");
        }
        assert_eq!(names(&directory.path().join("incoming")), [""; 0], "{fault}");
    }
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_is_damage() {
    let directory = made();
    let blobs = open(directory.path(), Keys::default());
    let blob = store(&blobs, Bytes::from_static(b"bytes")).await.unwrap();
    drop(blobs);
    // What lies before the data is read first.
    let (fault, on) = ("inject=pread64:error=EIO:when=2", file(directory.path(), blob.hash));
    let Some(said) = under_fault(directory.path(), "read", fault, Some(&on)) else { return };
    let [first, second] = said.as_slice() else { panic!("{said:#?}") };
    assert!(first.contains("is damaged: it cannot be read"), "{first}");
    assert!(second.contains("is not here"), "{second}");
    assert_eq!(names(&directory.path().join("damaged")), [blob.hash.to_string()]);
}
