//! `rhumb ship`, `rhumb receive` and the commands for objects, at three regions whose buckets have
//! different names; processes and regions are killed on the way.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rhumb_integration::{Cluster, Layout, Line, programs};
use serde_json::Value;
use tempfile::TempDir;

use crate::{at, fails, json, rhumb, run, works};

mod commands;

/// How long something may take to begin, or to end.
const WAIT_MAX: Duration = Duration::from_secs(90);
const LARGE_BYTES: usize = 120 << 20;
/// No pack of an archive is shorter, but for the last.
const PACK_BYTES_MIN: u64 = 8 << 20;
const REGIONS: usize = 3;

/// Bytes without structure, the same for a seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        // xorshift64 (Marsaglia, 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

/// Three regions, a line to each, and a user with a home of their own.
struct World {
    cluster: Cluster,
    lines: Vec<Line>,
    home: TempDir,
}

impl World {
    fn new() -> Self {
        let cluster = Layout::regions(REGIONS).start().unwrap();
        let lines = (0..REGIONS).map(|nth| Line::to(cluster.s3(nth)).unwrap()).collect();
        let world = Self { cluster, lines, home: TempDir::new().unwrap() };
        for nth in 0..REGIONS {
            let (name, why) = (world.bucket(nth), ["--reason", "test"]);
            let words = ["bucket", "create", &name, "--replication", "regional", "--copies", "1"];
            works(rhumb(&world.cluster, 0, &[&words[..], &why].concat()));
        }
        let endpoints: String = (0..REGIONS).map(|nth| world.endpoint(nth)).collect();
        let told = fs::read_to_string(world.cluster.config(0)).unwrap();
        fs::write(world.config(), format!("{told}\nship:\n  endpoints:\n{endpoints}")).unwrap();
        world
    }

    fn line(&self, nth: usize) -> &Line {
        self.lines.get(nth).unwrap()
    }

    fn bucket(&self, nth: usize) -> String {
        format!("backup-{}", self.cluster.region(nth))
    }

    fn endpoint(&self, nth: usize) -> String {
        let (region, url) = (self.cluster.region(nth), self.line(nth).address());
        let bucket = self.bucket(nth);
        format!("    {region}: {{ url: 'http://{url}', buckets: {{ backup: {bucket} }} }}\n")
    }

    fn config(&self) -> std::path::PathBuf {
        self.home.path().join("ship.yaml")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(programs::rhumb().unwrap());
        command.args(words).arg("--config").arg(self.config());
        if !words.contains(&"--regions") {
            let regions: Vec<&str> = (0..REGIONS).map(|nth| self.cluster.region(nth)).collect();
            command.args(["--regions", &regions.join(",")]);
        }
        command.stdin(Stdio::null()).env("HOME", self.home.path());
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn keys(&self, place: &str, nth: usize) -> Vec<String> {
        let listed =
            self.run(&["ls", place, "-r", "--json", "--regions", self.cluster.region(nth)]);
        let nothing = listed.status.code() == Some(1) && listed.stderr.is_empty();
        assert!(listed.status.success() || nothing, "{listed:?}");
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.lines().map(|line| at(&json(line), "/key").as_str().unwrap().to_owned()).collect()
    }

    fn receive(&self, archive: &str, more: &[&str]) -> Output {
        let words = ["receive", archive, "--quiet", "--json", "--retries", "0"];
        self.run(&[&words[..], more].concat())
    }
}

fn number(report: &Value, pointer: &str) -> u64 {
    at(report, pointer).as_u64().unwrap()
}

fn result(report: &Value, nth: usize) -> &str {
    at(report, &format!("/regions/{nth}/result")).as_str().unwrap()
}

/// Waits until something is so, while a process runs.
fn while_it_runs(child: &mut Child, enough: impl Fn() -> bool) {
    let begun = Instant::now();
    while !enough() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
        assert!(begun.elapsed() < WAIT_MAX, "it does not get anywhere");
        thread::sleep(Duration::from_millis(20));
    }
}

fn tree(seed: u64) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("large"), noise(seed, LARGE_BYTES)).unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/small"), "a small file").unwrap();
    folder
}

fn assert_same(from: &Path, to: &Path) {
    for name in ["large", "sub/small"] {
        assert!(fs::read(from.join(name)).unwrap() == fs::read(to.join(name)).unwrap(), "{name}");
    }
    assert_eq!(fs::read_dir(to).unwrap().count(), 2);
}

#[test]
fn shipments_survive_what_happens_to_processes_and_regions() {
    let mut world = World::new();
    a_killed_shipment_sends_only_what_is_missing(&world);
    a_busy_region_is_asked_again_and_then_given_up(&world);
    a_manifest_that_was_tampered_with_is_refused(&world);
    a_region_is_killed_on_the_way(&mut world);
}

fn a_killed_shipment_sends_only_what_is_missing(world: &World) {
    let (from, to) = (tree(1), TempDir::new().unwrap());
    let source = from.path().to_str().unwrap();
    let ship = ["ship", source, "backup/killed", "--quiet", "--json", "--concurrency", "2"];
    world.lines.iter().for_each(|line| line.slow_down(10 << 20));
    let mut command = world.command(&ship);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while_it_runs(&mut child, || {
        (0..REGIONS).all(|nth| world.line(nth).carried() > 4 * PACK_BYTES_MIN)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    world.lines.iter().for_each(|line| line.slow_down(0));
    let there: Vec<u64> =
        (0..REGIONS).map(|nth| world.keys("backup/killed/packs", nth).len() as u64).collect();
    assert!(there.iter().any(|there| *there > 0), "it was killed too soon to tell: {there:?}");
    fails(world.receive("backup/killed", &["--verify-only"]));

    let before: Vec<u64> = world.lines.iter().map(Line::carried).collect();
    let report = json(&works(world.run(&ship)));
    let packs = number(&report, "/packs");
    for (nth, (there, before)) in there.iter().zip(before).enumerate() {
        let of = |name: &str| number(&report, &format!("/regions/{nth}/{name}"));
        let (sent, carried) = (of("sent_objects"), world.line(nth).carried() - before);
        println!(
            "region {nth}: of {packs} packs {there} were there, {sent} objects of {carried} bytes went"
        );
        // The list of files is one more.
        assert!(sent <= packs + 1 - there && of("present_objects") >= *there, "{report}");
        let whole = LARGE_BYTES as u64 + (4 << 20);
        assert!(carried < whole.saturating_sub(there * PACK_BYTES_MIN), "{carried} bytes went");
    }
    let target = to.path().join("restored");
    works(world.receive("backup/killed", &[target.to_str().unwrap()]));
    assert_same(from.path(), &target);
}

fn a_busy_region_is_asked_again_and_then_given_up(world: &World) {
    let file = world.home.path().join("object");
    fs::write(&file, noise(2, 12 << 20)).unwrap();
    let file = file.to_str().unwrap();
    let cp = ["cp", file, "s3://backup/object", "--copies", "2", "--min-copies", "1", "--json"];
    let hasty = ["--retry-delay", "0s", "--quiet"];
    // Its first requests are turned away, and the next tries go well.
    world.line(0).turn_away(2);
    let report = json(&works(world.run(&[&cp[..], &hasty].concat())));
    assert_eq!(at(&report, "/regions").as_array().unwrap().len(), 2, "{report}");
    assert!(number(&report, "/regions/0/attempts") > number(&report, "/regions/1/attempts"));
    // One that goes on so is replaced by the third.
    world.line(0).turn_away(u64::MAX);
    let report = json(&works(world.run(&[&cp[..], &hasty].concat())));
    assert!(at(&report, "/regions/0/reason").is_string(), "{report}");
    assert_eq!(at(&report, "/regions/2/in_place_of"), world.cluster.region(0), "{report}");
    // Where there is no third, one copy is a degraded success.
    let two = format!("{},{}", world.cluster.region(0), world.cluster.region(1));
    let fewer = world.run(&[&cp[..], &hasty, &["--regions", &two]].concat());
    assert_eq!(fewer.status.code(), Some(3), "{fewer:?}");
    assert_eq!(at(&json(&String::from_utf8(fewer.stdout).unwrap()), "/result"), "degraded");
    world.line(0).turn_away(0);
    let back = world.home.path().join("back");
    run(&mut world.command(&["cp", "s3://backup/object", back.to_str().unwrap(), "--quiet"]));
    assert!(fs::read(back).unwrap() == noise(2, 12 << 20));
}

fn a_manifest_that_was_tampered_with_is_refused(world: &World) {
    let from = TempDir::new().unwrap();
    fs::write(from.path().join("a"), "what is true").unwrap();
    works(world.run(&["ship", from.path().to_str().unwrap(), "backup/sealed", "--quiet"]));
    let manifest = world.home.path().join("manifest");
    let manifest = manifest.to_str().unwrap();
    works(world.run(&["cp", "s3://backup/sealed/manifest", manifest, "--quiet"]));
    let mut bytes = fs::read(manifest).unwrap();
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).unwrap() ^= 1;
    fs::write(manifest, bytes).unwrap();
    let tamper = |nth: usize| {
        let region = world.cluster.region(nth);
        let words = ["cp", manifest, "s3://backup/sealed/manifest", "--quiet", "--regions", region];
        works(world.run(&words));
    };
    tamper(0);
    let report = json(&works(world.receive("backup/sealed", &["--verify-only"])));
    assert_eq!(at(&report, "/regions/0/archive"), "refused", "{report}");
    (1..REGIONS).for_each(tamper);
    let why = fails(world.receive("backup/sealed", &["--verify-only"]));
    assert!(why.contains("seal") || why.contains("signature"), "{why}");
}

fn a_region_is_killed_on_the_way(world: &mut World) {
    let (from, to) = (tree(3), TempDir::new().unwrap());
    let source = from.path().to_str().unwrap();
    let ship = ["ship", source, "backup/lost", "--quiet", "--json", "--min-copies", "2"];
    world.lines.iter().for_each(|line| line.slow_down(10 << 20));
    let mut command = world.command(&[&ship[..], &["--retry-delay", "0s"]].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, before) = (child.spawn().unwrap(), world.line(2).carried());
    while_it_runs(&mut child, || world.line(2).carried() > before + PACK_BYTES_MIN);
    world.cluster.kill(2).unwrap();
    world.lines.iter().for_each(|line| line.slow_down(0));
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    let report = json(&String::from_utf8(ended.stdout).unwrap());
    assert_eq!(at(&report, "/result"), "degraded", "{report}");
    let results: Vec<&str> = (0..REGIONS).map(|nth| result(&report, nth)).collect();
    assert_eq!(results, ["complete", "complete", "lost"], "{report}");

    let target = to.path().join("restored");
    let received = json(&works(world.receive("backup/lost", &[target.to_str().unwrap()])));
    assert_eq!(at(&received, "/regions/2/archive"), "silent", "{received}");
    assert_same(from.path(), &target);

    // It returns, and the same command brings it what it lacks.
    world.cluster.start(2).unwrap();
    world.cluster.wait_until_ready(2).unwrap();
    let report = json(&works(world.run(&ship)));
    assert_eq!(at(&report, "/copies"), 3, "{report}");
    assert_eq!(number(&report, "/regions/0/sent_objects"), 0, "{report}");
}

#[test]
fn single_objects_go_there_and_back() {
    let world = World::new();
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let large = noise(4, 20 << 20);
    fs::write(from.path().join("large"), &large).unwrap();
    fs::create_dir(from.path().join("sub")).unwrap();
    fs::write(from.path().join("sub/a b"), "small").unwrap();
    let path = |folder: &TempDir, name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    // In parts, and in ranges.
    works(world.run(&["cp", &path(&from, "large"), "s3://backup/one/large", "-q"]));
    works(world.run(&["cp", "s3://backup/one/large", "s3://backup/one/again"]));
    works(world.run(&["cp", "s3://backup/one/again", &path(&to, ""), "-q"]));
    assert!(fs::read(to.path().join("again")).unwrap() == large);
    // From standard input, and to standard output.
    let mut piped = world.command(&["cp", "-", "s3://backup/one/piped", "--spool", "-q"]);
    piped.stdin(fs::File::open(from.path().join("large")).unwrap());
    works(piped.output().unwrap());
    let poured = world.run(&["cp", "s3://backup/one/piped", "-", "-q"]);
    assert!(poured.status.success() && poured.stdout == large);
    let known = json(&works(world.run(&["stat", "backup/one/large", "--json"])));
    assert_eq!(number(&known, "/0/object/bytes"), large.len() as u64);
    for missing in [
        &["stat", "backup/one/none"][..],
        &["cp", "s3://backup/one/none", &path(&to, "none")],
        &["ls", "backup/none"],
    ] {
        assert_eq!(world.run(missing).status.code(), Some(1), "{missing:?}");
    }

    let folder = path(&from, "");
    let up = ["sync", &folder, "s3://backup/site", "--json"];
    assert_eq!(number(&json(&works(world.run(&up))), "/copied"), 2);
    assert_eq!(number(&json(&works(world.run(&up))), "/alike"), 2);
    works(world.run(&["cp", &path(&from, "sub/a b"), "s3://backup/site/extra", "-q"]));
    let plan = json(&works(world.run(&[&up[..], &["--delete", "--dry-run"]].concat())));
    assert_eq!((number(&plan, "/copied"), number(&plan, "/removed")), (0, 1));
    assert_eq!(world.keys("backup/site", 0).len(), 3);
    assert_eq!(number(&json(&works(world.run(&[&up[..], &["--delete"]].concat()))), "/removed"), 1);
    let down = path(&to, "site");
    let down = ["sync", "s3://backup/site", &down, "--json"];
    assert_eq!(number(&json(&works(world.run(&down))), "/copied"), 2);
    assert_eq!(number(&json(&works(world.run(&down))), "/alike"), 2);
    assert_eq!(fs::read(to.path().join("site/sub/a b")).unwrap(), b"small");

    works(world.run(&["rm", "backup/site", "--recursive", "-q"]));
    assert_eq!(world.keys("backup/site", 0), Vec::<String>::new());
    a_folder_is_copied_whatever_is_there(&world, from.path());
    assert_eq!(world.keys("backup/one", 0).len(), 3);
}

fn a_folder_is_copied_whatever_is_there(world: &World, from: &Path) {
    let (to, folder) = (TempDir::new().unwrap(), from.to_str().unwrap());
    let up = ["cp", folder, "s3://backup/copied", "--recursive", "--copies", "2", "--json"];
    for _ in 0..2 {
        let done = json(&works(world.run(&up)));
        assert_eq!((number(&done, "/copied"), number(&done, "/degraded")), (2, 0), "{done}");
    }
    let keys = ["copied/large", "copied/sub/a b"];
    (0..2).for_each(|nth| assert_eq!(world.keys("backup/copied", nth), keys));
    let (back, mine) = (to.path().to_str().unwrap(), to.path().join("mine"));
    fs::write(&mine, "it stays").unwrap();
    let down = ["cp", "s3://backup/copied", back, "-r"];
    for _ in 0..2 {
        let told = works(world.run(&down));
        assert!(told.contains("s3://backup/copied/sub/a b -> "), "{told}");
        assert!(told.contains("2 copied (20.0 MiB)"), "{told}");
        assert_eq!(fs::read(to.path().join("sub/a b")).unwrap(), b"small");
        assert!(
            fs::read(to.path().join("large")).unwrap() == fs::read(from.join("large")).unwrap()
        );
        fs::write(to.path().join("sub/a b"), "CHANGED").unwrap();
    }
    assert_eq!(fs::read(mine).unwrap(), b"it stays");
    // Where one of two regions does not answer, the copies are fewer, and that is said.
    world.line(0).turn_away(u64::MAX);
    let two = format!("{},{}", world.cluster.region(0), world.cluster.region(1));
    let hasty = ["--min-copies", "1", "--retries", "0", "--regions", &two];
    let fewer = world.run(&[&up[..], &hasty].concat());
    world.line(0).turn_away(0);
    assert_eq!(fewer.status.code(), Some(3), "{fewer:?}");
    assert_eq!(number(&json(&String::from_utf8(fewer.stdout).unwrap()), "/degraded"), 2);
    for wrong in [&["cp", "a", "b", "-r"][..], &["cp", "-", "s3://backup/a", "-r"]] {
        fails(world.run(wrong));
    }
}
