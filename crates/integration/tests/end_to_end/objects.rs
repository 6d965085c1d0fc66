//! Objects while regions, networks and disks fail: many S3 clients at work, and what is there afterwards.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rhumb_config::{Period, Settings, process_environment, settings::ObjectsSettings};
use rhumb_integration::{Cluster, Layout, eventually, programs};
use tempfile::TempDir;

use crate::{
    disks::SmallDisk,
    observed::{page, value},
    rhumb, run, skipped, works,
};

pub(crate) const NO_PYTHON: &str = "there is no Python with boto3; `cargo xtask test` makes one";
/// The bucket of the scripts.
const BUCKET: &str = "load";
/// How long clients write while a region is killed, in seconds.
const WRITING: &str = "9";
/// How far into that.
const KILLED_AFTER: Duration = Duration::from_secs(3);
/// How long a region may take to have everything once it is back.
const HEAL_MAX: Duration = Duration::from_secs(60);
/// How long damage may take to be found and mended: two steps of the scrub.
const MEND_MAX: Duration = Duration::from_secs(45);

pub(crate) fn python() -> Option<PathBuf> {
    programs::python().filter(|path| programs::answers(path, &["-c", "import boto3"]))
}

pub(crate) fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name));
    command
}

/// A script that goes on while something is done to the nodes.
pub(crate) struct Script {
    child: Child,
    input: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Script {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { input: child.stdin.take(), child, lines }
    }

    /// Waits until it says this.
    pub(crate) fn until(&mut self, said: &str) {
        let found = self.lines.by_ref().map_while(Result::ok).any(|line| line == said);
        assert!(found, "the script ended before it said `{said}`");
    }

    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
    }

    /// Waits until it has ended well; what it said since.
    pub(crate) fn finish(mut self) -> Vec<String> {
        drop(self.input.take());
        let mut said: Vec<String> = self.lines.by_ref().map_while(Result::ok).collect();
        let status = self.child.wait().unwrap();
        assert!(status.success() && said.pop().is_some_and(|it| it == "ok"), "{said:?}");
        said
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Makes the bucket, and waits until every region knows it.
pub(crate) fn make_bucket(cluster: &Cluster, settings: &[&str]) {
    let words = ["bucket", "create", BUCKET, "--reason", "a test"];
    works(rhumb(cluster, 0, &[&words[..], settings].concat()));
    for nth in (0..cluster.len()).filter(|nth| cluster.process(*nth).is_some()) {
        eventually(HEAL_MAX, || {
            let shown = rhumb(cluster, nth, &["bucket", "show", BUCKET]);
            anyhow::ensure!(shown.status.success(), "{nth} does not know it");
            Ok(())
        })
        .unwrap();
    }
}

/// Everything that was answered is there bit for bit, and nothing is there in part.
fn check(python: &Path, keys: &Path, cluster: &Cluster, nth: usize) -> String {
    let mut command = script(python, "s3_load.py");
    run(command.arg("check").arg(keys).arg(cluster.s3(nth).to_string()))
}

/// The files of a region's blobs.
pub(crate) fn blobs(cluster: &Cluster, nth: usize) -> Vec<PathBuf> {
    let folders = fs::read_dir(cluster.data(nth).join("blobs")).unwrap().flatten();
    let named = folders.filter(|folder| folder.file_name().len() == 2);
    let files = named.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
    files.map(|file| file.path()).collect()
}

fn blob_reads(cluster: &Cluster, nth: usize) -> u64 {
    value(&page(cluster.http(nth), "/metrics"), "rhumb_blobs_reads_total")
}

#[test]
fn a_region_killed_in_mid_upload_of_many_clients_loses_nothing_and_leaves_nothing_half() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let folder = TempDir::new().unwrap();
    let mut cluster = Layout::regions(3).start().unwrap();
    make_bucket(&cluster, &["--copies", "2", "--min-copies", "2"]);
    let keys = folder.path().join("answered");
    let mut write = script(&python, "s3_load.py");
    write.arg("write").arg(&keys).arg(WRITING);
    let mut writers = Script::start(write.args((0..3).map(|nth| cluster.s3(nth).to_string())));
    writers.until("begun");
    thread::sleep(KILLED_AFTER);
    cluster.kill(1).unwrap();
    println!("{:?}", writers.finish());
    for nth in [0, 2] {
        println!("{} has {}", cluster.region(nth), check(&python, &keys, &cluster, nth));
    }
    cluster.start(1).unwrap();
    cluster.wait_until_ready(1).unwrap();
    let began = Instant::now();
    eventually(HEAL_MAX, || {
        let before = [0, 2].map(|nth| blob_reads(&cluster, nth));
        check(&python, &keys, &cluster, 1);
        let after = [0, 2].map(|nth| blob_reads(&cluster, nth));
        anyhow::ensure!(before == after, "bytes still come from other regions");
        Ok(())
    })
    .unwrap();
    println!("the killed region has everything itself after {:?}", began.elapsed());
}

/// What is done while a region is cut off.
struct Outage {
    lasting: Duration,
    puts: usize,
    deletes: usize,
    /// How long regions may take afterwards.
    heal_max: Duration,
}

/// Bytes of objects that lie in the index, and of such that do not.
const SMALL: usize = 4 << 10;
const LARGE: usize = 12 << 10;

impl Outage {
    fn keys(prefix: &str, count: usize, bytes: usize) -> impl Iterator<Item = String> {
        (0..count).map(move |nth| format!("{prefix}/{nth:06}-{bytes}\n"))
    }

    fn run(&self, python: &Path) {
        let folder = TempDir::new().unwrap();
        let cluster = Layout::regions(3).relayed().start().unwrap();
        make_bucket(&cluster, &[]);
        let many = |what: &str, prefix: &str, count: usize, bytes: usize, nth: usize| {
            let mut command = script(python, "s3_load.py");
            command.arg(what).arg(prefix).args([count, bytes].map(|it| it.to_string()));
            run(command.arg(cluster.s3(nth).to_string()));
        };
        let (half, own) = (self.puts / 2, self.puts / 10);
        let old: String = Self::keys("old", self.deletes, SMALL).collect();
        let new: String = Self::keys("small", half, SMALL)
            .chain(Self::keys("large", half, LARGE))
            .chain(Self::keys("own", own, LARGE))
            .collect();
        let [old_keys, new_keys] = [("old", old), ("new", new)].map(|(name, keys)| {
            let file = folder.path().join(name);
            fs::write(&file, keys).unwrap();
            file
        });
        let converge = |keys: &Path| {
            let mut command = script(python, "s3_load.py");
            command.arg("converge").arg(keys).arg(self.heal_max.as_secs().to_string());
            run(command.args((0..3).map(|nth| cluster.s3(nth).to_string())))
        };
        many("fill", "old", self.deletes, SMALL, 0);
        converge(&old_keys);

        cluster.set_cut_off(2, true).unwrap();
        let cut = Instant::now();
        many("fill", "small", half, SMALL, 0);
        many("fill", "large", half, LARGE, 1);
        many("clear", "old", self.deletes, SMALL, 1);
        many("fill", "own", own, LARGE, 2);
        thread::sleep(self.lasting.saturating_sub(cut.elapsed()));
        println!("cut off for {:?}", cut.elapsed());
        cluster.set_cut_off(2, false).unwrap();

        let healed = Instant::now();
        converge(&new_keys);
        let index = healed.elapsed();
        eventually(self.heal_max, || {
            for nth in 0..3 {
                let (held, all) = (blobs(&cluster, nth).len(), half + own);
                let regions = || works(rhumb(&cluster, 0, &["regions"]));
                anyhow::ensure!(held == all, "{nth} holds {held} of {all}:\n{}", regions());
            }
            Ok(())
        })
        .unwrap();
        let bytes = healed.elapsed();
        println!(
            "{} puts and {} deletes: the index is the same everywhere {index:?} after the heal, and all \
             bytes are everywhere after {bytes:?}",
            2 * half + own,
            self.deletes
        );
        for nth in 0..3 {
            check(python, &new_keys, &cluster, nth);
        }
        // Nothing was undone meanwhile.
        converge(&new_keys);
    }
}

#[test]
fn regions_that_were_apart_have_the_same_objects_soon_after_they_meet() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let lasting = Duration::from_secs(20);
    Outage { lasting, puts: 400, deletes: 100, heal_max: HEAL_MAX }.run(&python);
}

#[test]
#[ignore = "takes a quarter of an hour; RHUMB_OUTAGE_SECONDS makes it shorter"]
fn regions_that_were_apart_for_ten_minutes_have_the_same_objects_soon_after_they_meet() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let lasting = process_environment("RHUMB_OUTAGE_SECONDS");
    let lasting = lasting.map_or(600, |text| text.parse().expect("a number"));
    let lasting = Duration::from_secs(lasting);
    // The figure is read by a person; how busy the machine is decides it.
    let heal_max = 5 * HEAL_MAX;
    Outage { lasting, puts: 10_000, deletes: 1_000, heal_max }.run(&python);
}

/// Changes where and how every region keeps bytes.
fn kept(change: impl Fn(&mut ObjectsSettings) + 'static) -> impl FnOnce(&mut Settings) + 'static {
    move |settings| change(&mut settings.objects)
}

#[test]
fn a_disk_that_fills_in_mid_upload_refuses_the_upload_and_nothing_else() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let folder = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("small")) else {
        return skipped("only root may mount a small disk");
    };
    let path = disk.path().join("blobs").to_str().unwrap().to_owned();
    let cluster =
        Layout::regions(1).adjust(kept(move |it| it.path.clone_from(&path))).start().unwrap();
    make_bucket(&cluster, &[]);
    let keys = folder.path().join("answered");
    let mut full = script(&python, "s3_full.py");
    let mut full = Script::start(full.arg(&keys).arg(cluster.s3(0).to_string()));
    full.until("full");
    disk.grow();
    full.tell("room");
    println!("{:?}", full.finish());
    let leftovers = fs::read_dir(disk.path().join("blobs/incoming")).unwrap().count();
    assert_eq!(leftovers, 0, "what was refused is still on the disk");
    check(&python, &keys, &cluster, 0);
}

/// Changes a byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
    fs::write(path, bytes).unwrap();
}

/// Two regions that both hold the blob of the one object.
fn holding_one(python: &Path, objects: impl Fn(&mut ObjectsSettings) + 'static) -> Cluster {
    let cluster = Layout::regions(2).adjust(kept(objects)).start().unwrap();
    make_bucket(&cluster, &[]);
    let mut fill = script(python, "s3_load.py");
    run(fill.args(["fill", "one", "1", "300000"]).arg(cluster.s3(0).to_string()));
    for nth in 0..2 {
        eventually(HEAL_MAX, || {
            let held = blobs(&cluster, nth).len();
            anyhow::ensure!(held == 1, "{nth} holds {held}");
            Ok(())
        })
        .unwrap();
    }
    cluster
}

/// Waits until the damage was counted, and the file is again what it was.
fn mended(cluster: &Cluster, file: &Path, sound: &[u8]) {
    eventually(MEND_MAX, || {
        let counted = value(&page(cluster.http(0), "/metrics"), "rhumb_blobs_damaged_total");
        anyhow::ensure!(counted == 1, "{counted} were found");
        anyhow::ensure!(fs::read(file).is_ok_and(|bytes| bytes == sound), "it is not mended");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_damaged_blob_is_read_around_counted_and_mended() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let folder = TempDir::new().unwrap();
    let cluster = holding_one(&python, |_| {});
    let file = blobs(&cluster, 0).remove(0);
    let sound = fs::read(&file).unwrap();
    damage(&file);
    let keys = folder.path().join("keys");
    fs::write(&keys, "one/000000-300000\n").unwrap();
    check(&python, &keys, &cluster, 0);
    mended(&cluster, &file, &sound);
}

#[test]
fn a_damaged_blob_that_nobody_reads_is_found_by_the_scrub_and_mended() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let cluster = holding_one(&python, |it| it.scrub = Period(Duration::from_secs(1)));
    let file = blobs(&cluster, 0).remove(0);
    let sound = fs::read(&file).unwrap();
    damage(&file);
    mended(&cluster, &file, &sound);
}

#[test]
fn a_damaged_blob_that_another_region_meets_is_mended_at_once() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let folder = TempDir::new().unwrap();
    let cluster = Layout::regions(3).relayed().start().unwrap();
    let prefer = ["--prefer", cluster.region(0), "--prefer", cluster.region(1)];
    let kept = ["--replication", "regional", "--min-copies", "2", "--promote-after", "0"];
    make_bucket(&cluster, &[&prefer[..], &kept].concat());
    let mut fill = script(&python, "s3_load.py");
    run(fill.args(["fill", "one", "1", "300000"]).arg(cluster.s3(0).to_string()));
    assert_eq!((blobs(&cluster, 0).len(), blobs(&cluster, 1).len()), (1, 1));
    let file = blobs(&cluster, 0).remove(0);
    let sound = fs::read(&file).unwrap();
    damage(&file);
    // The third region can ask only the one whose copy is damaged.
    for (from, to) in [(1, 2), (2, 1)] {
        cluster.set_cut_one_way(from, to, true).unwrap();
    }
    let keys = folder.path().join("keys");
    fs::write(&keys, "one/000000-300000\n").unwrap();
    check(&python, &keys, &cluster, 2);
    mended(&cluster, &file, &sound);
    assert!(blobs(&cluster, 2).is_empty(), "a read is no reason to keep it");
}

#[test]
fn an_upload_in_parts_goes_on_after_a_crash() {
    let Some(python) = python() else { return skipped(NO_PYTHON) };
    let mut cluster = Layout::regions(1).start().unwrap();
    make_bucket(&cluster, &[]);
    let mut command = script(&python, "s3_parts.py");
    let mut upload = Script::start(command.arg(cluster.s3(0).to_string()));
    upload.until("two parts");
    cluster.kill(0).unwrap();
    cluster.start(0).unwrap();
    cluster.wait_until_ready(0).unwrap();
    upload.tell("back");
    upload.finish();
}
