//! Disks that are full, fail, or belong to somebody else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::Connection;
use rhumb_integration::{Layout, eventually, programs};

use crate::{run, skipped};

/// How long a node may take to notice.
const NOTICE_MAX: Duration = Duration::from_secs(20);
/// Bytes of a value that fills the disk.
const VALUE_BYTES: usize = 256 << 10;
/// Values that surely fill the disk.
const VALUES_MAX: usize = 1_200;

/// A small file system in memory, unmounted at the end.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one; none where that is not allowed.
    pub(crate) fn mount(folder: PathBuf) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m", "none"])
            .arg(&folder)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it three times as large.
    pub(crate) fn grow(&self) {
        run(Command::new("mount").args(["-o", "remount,size=512m"]).arg(&self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold files.
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn set(connection: &mut Connection, key: &str, value: &[u8]) -> redis::RedisResult<()> {
    redis::cmd("SET").arg(key).arg(value).exec(connection)
}

#[test]
fn a_full_disk_stops_acknowledgements_and_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path().join("small")) else {
        return skipped("only root may mount a small disk");
    };
    let mut cluster = Layout::regions(1).data(&disk.0).start().unwrap();
    let mut connection = cluster.connect(0).unwrap();
    let value: Vec<u8> = (0..=u8::MAX).cycle().take(VALUE_BYTES).collect();
    let mut acknowledged = Vec::new();
    let refusal = (0..VALUES_MAX).find_map(|nth| {
        let key = format!("big:{nth}");
        match set(&mut connection, &key, &value) {
            Ok(()) => {
                acknowledged.push(key);
                None
            }
            Err(error) => Some(error.to_string()),
        }
    });
    let refusal = refusal.expect("the disk never filled");
    println!("{} acknowledged, then: {refusal}", acknowledged.len());
    assert!(!acknowledged.is_empty());
    assert!(cluster.log(0).to_lowercase().contains("space"), "the log does not say why");
    cluster.kill(0).unwrap();
    disk.grow();
    cluster.start(0).unwrap();
    cluster.wait_until_ready(0).unwrap();
    let mut connection = cluster.connect(0).unwrap();
    for key in acknowledged {
        let length: usize = redis::cmd("STRLEN").arg(&key).query(&mut connection).unwrap();
        assert_eq!(length, VALUE_BYTES, "{key}");
    }
}

/// strace on a running process: its fsyncs fail from now on.
struct FailingFsync(Child);

impl FailingFsync {
    fn attach(process: u32) -> Self {
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync,sync_file_range"])
            .args(["-e", "inject=fsync,fdatasync:error=EIO", "-p", &process.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for FailingFsync {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn strace_works() -> bool {
    programs::answers("strace", &["-f", "-qq", "-e", "trace=none", "true"])
}

#[test]
fn a_failing_fsync_stops_acknowledgements_and_is_said() {
    if !strace_works() {
        return skipped("strace is not installed or not allowed");
    }
    let mut cluster = Layout::regions(1).start().unwrap();
    let mut connection = cluster.connect(0).unwrap();
    set(&mut connection, "before", b"1").unwrap();
    let failing = FailingFsync::attach(cluster.process(0).unwrap());
    let mut last_acknowledged = 0;
    let mut tried = 0;
    let refusal = eventually(NOTICE_MAX, || {
        tried += 1;
        match set(&mut cluster.connect(0)?, &format!("during:{tried}"), b"1") {
            Ok(()) => {
                last_acknowledged = tried;
                anyhow::bail!("it acknowledges")
            }
            Err(error) => Ok(error.to_string()),
        }
    })
    .unwrap();
    println!("after {tried} writes: {refusal}");
    let log = cluster.log(0).to_lowercase();
    assert!(log.contains("error") && log.contains("disk") || log.contains("os error 5"), "{log}");
    // It does not change its mind: what was not synced may be lost by now.
    for nth in 0..3 {
        let later = cluster
            .connect(0)
            .and_then(|mut connection| Ok(set(&mut connection, &format!("after:{nth}"), b"1")?));
        assert!(later.is_err(), "it acknowledges again");
    }
    drop(failing);
    cluster.kill(0).unwrap();
    cluster.start(0).unwrap();
    cluster.wait_until_ready(0).unwrap();
    let mut connection = cluster.connect(0).unwrap();
    for key in std::iter::once("before".to_owned())
        .chain((1..=last_acknowledged).map(|nth| format!("during:{nth}")))
    {
        let there: bool = redis::cmd("EXISTS").arg(&key).query(&mut connection).unwrap();
        assert!(there, "{key} was acknowledged and is gone");
    }
}

/// Rule 15: an id has voted with the log that is gone.
#[test]
fn a_node_without_its_control_log_does_not_start_under_its_old_id() {
    let mut cluster = Layout::regions(1).start().unwrap();
    cluster.wait_until_ready(0).unwrap();
    cluster.kill(0).unwrap();
    fs::remove_dir_all(cluster.data(0).join("control")).unwrap();
    cluster.start(0).unwrap();
    let status = cluster.wait_for_end(0).unwrap();
    let log = cluster.log(0);
    assert!(!status.success(), "{log}");
    assert!(log.contains("again under a new id"), "{log}");
}

#[test]
fn the_data_directory_of_another_cluster_is_refused() {
    let mut ours = Layout::regions(1).start().unwrap();
    let mut theirs = Layout::regions(1).start().unwrap();
    ours.kill(0).unwrap();
    theirs.kill(0).unwrap();
    for part in ["store", "control"] {
        let (mine, foreign) = (ours.data(0).join(part), theirs.data(0).join(part));
        fs::remove_dir_all(&mine).unwrap();
        run(Command::new("cp").arg("-r").arg(&foreign).arg(&mine));
    }
    ours.start(0).unwrap();
    let status = ours.wait_for_end(0).unwrap();
    let log = ours.log(0);
    assert!(!status.success(), "{log}");
    assert!(log.to_lowercase().contains("cluster"), "{log}");
}
