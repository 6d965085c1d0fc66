//! Caches for builds: Bazel, ccache and sccache in two regions, and the protocol of Bazel's remote cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rhumb_config::settings::{AccessKeySettings, Settings};
use rhumb_integration::{Cluster, Layout, programs};
use rhumb_types::control::ApiRole;
use tempfile::TempDir;

use crate::{at, json, rhumb, run, skipped, works};

/// Ids and secrets: of an operator of all buckets, of a reader, and of a team.
const KEYS: [(&str, &str, ApiRole, &[&str]); 3] = [
    ("AKIDOPERATOR", "operator-secret-0123456789", ApiRole::Operator, &[]),
    ("AKIDREADER", "reader-secret-0123456789", ApiRole::Reader, &[]),
    ("AKIDTEAM", "team-secret-0123456789", ApiRole::Operator, &["team-"]),
];

/// Two regions whose S3 servers and cache servers ask who it is.
fn cluster(secrets: &Path) -> Cluster {
    let key = |(id, secret, role, buckets): &(&str, &str, ApiRole, &[&str])| {
        let secret_file = secrets.join(id);
        fs::write(&secret_file, format!("{secret}\n")).unwrap();
        let buckets = buckets.iter().map(|prefix| (*prefix).to_owned()).collect();
        let id = (*id).to_owned();
        AccessKeySettings { id, secret_file, role: *role, queues: Vec::new(), buckets }
    };
    let keys: Vec<AccessKeySettings> = KEYS.iter().map(key).collect();
    let asks = move |settings: &mut Settings| {
        settings.acl.access_keys = keys;
        for region in settings.regions.values_mut() {
            let listeners = &mut region.listeners;
            listeners.s3.iter_mut().chain(&mut listeners.cache).for_each(|it| it.auth = true);
        }
    };
    Layout::regions(2).adjust(asks).start().unwrap()
}

fn make(cluster: &Cluster, bucket: &str, settings: &[&str]) {
    let words = ["bucket", "create", bucket, "--reason", "builds", "--json"];
    let made = json(&works(rhumb(cluster, 0, &[&words, settings].concat())));
    assert_eq!(at(&made, "/bucket"), bucket);
}

/// The value of a metric of a node, all of its labels added up.
fn metric(cluster: &Cluster, nth: usize, line: &str) -> f64 {
    let mut curl = Command::new("curl");
    let text = run(curl.args(["-sS", &format!("http://{}/metrics", cluster.http(nth))]));
    let values = text.lines().filter(|it| it.starts_with(line));
    values.filter_map(|it| it.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[test]
fn the_protocol_of_bazel_finds_what_it_expects() {
    let python = programs::python().filter(|it| programs::answers(it, &["-c", "import boto3"]));
    let Some(python) = python else {
        return skipped("there is no Python with boto3; `cargo xtask test` makes one");
    };
    let secrets = TempDir::new().unwrap();
    let cluster = cluster(secrets.path());
    make(&cluster, "builds", &["--cache-max", "1GB"]);
    make(&cluster, "small", &["--cache-max", "100000"]);
    make(&cluster, "photos", &[]);
    let shown = json(&works(rhumb(&cluster, 1, &["bucket", "show", "builds", "--json"])));
    assert_eq!(at(&shown, "/settings/miss"), "local", "as is usual for a cache");
    let token = |words: &[&str]| {
        let create = ["token", "create", "--reason", "builds"];
        works(rhumb(&cluster, 0, &[&create, words].concat())).trim().to_owned()
    };
    let reading = token(&["ci-reads", "--role", "reader", "--scope", "bucket:builds"]);
    let writing = token(&["ci-writes", "--role", "operator"]);
    let mut command = Command::new(python);
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/cache.py"));
    let ports = [cluster.cache(0), cluster.cache(1), cluster.http(0), cluster.s3(0)];
    command.args(ports.map(|address| address.port().to_string()));
    command.args(KEYS.iter().flat_map(|(id, secret, ..)| [id, secret]));
    assert!(run(command.args([reading, writing])).ends_with("ok\n"));
}

/// Puts bytes of its own into a cache, over the first region.
fn put(cluster: &Cluster, folder: &Path, bucket: &str) {
    let file = folder.join(bucket);
    fs::write(&file, bucket.repeat(20_000)).unwrap();
    let file = file.to_str().unwrap();
    let digest = run(Command::new("sha256sum").arg(file));
    let hash = digest.split(' ').next().unwrap();
    let url = format!("http://{}/{bucket}/cas/{hash}", cluster.cache(0));
    let (id, secret, ..) = KEYS[0];
    run(Command::new("curl").args(["-fsS", "-u", &format!("{id}:{secret}"), "-T", file, &url]));
}

#[test]
fn an_upload_waits_for_copies_where_the_cache_is_active_active_and_nowhere_else() {
    if !programs::has_curl() {
        return skipped("curl is not installed");
    }
    let folder = TempDir::new().unwrap();
    let cluster = cluster(folder.path());
    let held = || [0, 1].map(|nth| crate::objects::blobs(&cluster, nth).len());
    make(&cluster, "builds", &["--cache-max", "1GB"]);
    put(&cluster, folder.path(), "builds");
    assert_eq!(held(), [1, 0], "bytes lie where they were put");
    make(&cluster, "copied", &["--cache-max", "1GB", "--replication", "active_active"]);
    put(&cluster, folder.path(), "copied");
    assert_eq!(held(), [2, 1], "it was answered before there was a copy");
}

/// A C file that takes a moment to compile, and where it lies.
fn source(folder: &Path) -> PathBuf {
    let functions = (0..200)
        .map(|nth| format!("int f{nth}(int x) {{ return printf(\"{nth} %d\\n\", x * {nth}); }}\n"));
    let text = format!("#include <stdio.h>\n{}", functions.collect::<String>());
    let path = folder.join("line.c");
    fs::write(&path, text).unwrap();
    path
}

fn has_compiler() -> bool {
    programs::answers("gcc", &["--version"]) && programs::has_curl()
}

#[test]
fn ccache_finds_in_one_region_what_it_compiled_in_another() {
    if !programs::answers("ccache", &["--version"]) || !has_compiler() {
        return skipped("ccache, gcc or curl is not installed; `cargo xtask test` installs ccache");
    }
    let folder = TempDir::new().unwrap();
    let cluster = cluster(folder.path());
    // What it made lies beside the index, so that its bytes have to come from the other region.
    make(&cluster, "builds", &["--cache-max", "1GB", "--miss", "ask", "--inline-max", "0"]);
    let source = source(folder.path());
    let compile = |nth: usize, url: &str| {
        let (object, own) =
            (folder.path().join(format!("{nth}.o")), folder.path().join(format!("ccache-{nth}")));
        let ccache = |words: &[&str]| {
            let mut command = Command::new("ccache");
            command.args(words).env("CCACHE_DIR", &own).env("CCACHE_REMOTE_STORAGE", url);
            run(command.current_dir(folder.path()))
        };
        let (object, source) = (object.to_str().unwrap(), source.to_str().unwrap());
        ccache(&["gcc", "-g", "-O1", "-c", source, "-o", object]);
        let stats = ccache(&["--print-stats"]);
        let counted = |name: &str| -> u64 {
            let line = stats.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix('\t'));
            line.map_or(0, |value| value.parse().unwrap())
        };
        assert_eq!(counted("remote_storage_error"), 0, "{stats}");
        let hit = counted("direct_cache_hit") + counted("preprocessed_cache_hit");
        (hit, fs::read(object).unwrap())
    };
    let (id, secret, ..) = KEYS[0];
    let at =
        |nth: usize| format!("http://{id}:{secret}@{}/builds|layout=bazel", cluster.cache(nth));
    let (hits, first) = compile(0, &at(0));
    assert_eq!(hits, 0, "nobody has compiled it before");
    let (hits, second) = compile(1, &at(1));
    assert_eq!(hits, 1, "the other region has");
    assert!(first == second);
    let from_there = "rhumb_cache_remote_hits_total{bucket=\"builds\",region=\"us-east-1\"}";
    assert!(metric(&cluster, 1, from_there) >= 1.0);
    // A reader gets what is there, and leaves nothing.
    let (id, secret, ..) = KEYS[1];
    let url = format!("http://{id}:{secret}@{}/builds|layout=bazel|read-only", cluster.cache(0));
    assert_eq!(compile(2, &url).0, 1);
    // With a token, as it sends one.
    let token = works(rhumb(
        &cluster,
        0,
        &["token", "create", "ci", "--role", "reader", "--reason", "builds"],
    ));
    let address = cluster.cache(1);
    let url =
        format!("http://{address}/builds|layout=bazel|read-only|bearer-token={}", token.trim());
    assert_eq!(compile(3, &url).0, 1);
}

#[test]
fn bazel_finds_in_one_region_what_it_made_in_another() {
    if !programs::answers("bazel", &["--version"]) || !programs::has_curl() {
        return skipped("bazel or curl is not installed; `cargo xtask test` installs bazel");
    }
    let folder = TempDir::new().unwrap();
    let cluster = cluster(folder.path());
    make(&cluster, "builds", &["--cache-max", "1GB", "--miss", "ask"]);
    let place = folder.path().join("line");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("WORKSPACE"), "workspace(name = \"line\")\n").unwrap();
    let rule = "genrule(\n    name = \"numbers\",\n    outs = [\"numbers.txt\", \"letters.txt\"],\n    \
                cmd = \"seq 1 20000 > $(location numbers.txt); \" +\n          \
                \"tr 0-9 a-j < $(location numbers.txt) > $(location letters.txt)\",\n)\n";
    fs::write(place.join("BUILD"), rule).unwrap();
    let (id, secret, ..) = KEYS[0];
    // Each machine has its own folder for what it made. Tells how many actions were hits.
    let build = |machine: &str, nth: usize| {
        let mut bazel = Command::new("bazel");
        let root = format!("--output_user_root={}", folder.path().join(machine).display());
        let cache = cluster.cache(nth);
        bazel.args(["--batch", &root, "build", "//:numbers", "--symlink_prefix=made-"]);
        bazel.arg(format!("--remote_cache=http://{id}:{secret}@{cache}/builds"));
        bazel.current_dir(&place).env("HOME", folder.path());
        let output = bazel.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("WARNING: Remote Cache"), "{said}");
        let bin = place.join("made-bin");
        let made = ["numbers.txt", "letters.txt"].map(|name| fs::read(bin.join(name)).unwrap());
        (said.contains("1 remote cache hit"), made)
    };
    let (hit, first) = build("a", 0);
    assert!(!hit, "nobody has made it before");
    let (hit, second) = build("b", 1);
    assert!(hit, "the other region has");
    assert!(first == second);
    let from_there = "rhumb_cache_remote_hits_total{bucket=\"builds\",region=\"us-east-1\"}";
    assert!(metric(&cluster, 1, from_there) >= 1.0);
    // One of its outputs is gone: Bazel makes it anew, and is told of no result that it could not get.
    let digest = run(Command::new("sha256sum").arg(place.join("made-bin/letters.txt")));
    let hash = digest.split(' ').next().unwrap();
    let url = format!("http://{}/builds/cas/{hash}", cluster.cache(1));
    run(Command::new("curl").args(["-fsS", "-X", "DELETE", "-u", &format!("{id}:{secret}"), &url]));
    let (hit, third) = build("c", 1);
    assert!(!hit, "what it names is gone");
    assert!(first == third);
    assert!(build("d", 1).0, "it is there again");
}

/// The server of sccache for one region, ended with the test.
struct Sccache<'t> {
    program: &'t Path,
    folder: &'t Path,
    endpoint: String,
    port: u16,
}

impl Sccache<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let (id, secret, ..) = KEYS[0];
        let mut command = Command::new(self.program);
        command.args(words).current_dir(self.folder);
        command.env("SCCACHE_SERVER_PORT", self.port.to_string());
        command.env("SCCACHE_BUCKET", "objects").env("SCCACHE_REGION", "us-east-1");
        command.env("SCCACHE_ENDPOINT", &self.endpoint).env("SCCACHE_S3_USE_SSL", "false");
        command.env("SCCACHE_S3_KEY_PREFIX", "c").env("SCCACHE_IDLE_TIMEOUT", "60");
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        command
            .env_remove("RUSTC_WRAPPER")
            .env("SCCACHE_ERROR_LOG", self.folder.join("sccache.log"));
        command
    }
}

impl Drop for Sccache<'_> {
    fn drop(&mut self) {
        let _stopped = self.command(&["--stop-server"]).output();
    }
}

#[test]
fn sccache_finds_in_one_region_what_it_compiled_in_another() {
    // The package of Debian has no S3 in it.
    let program = programs::python().map(|python| python.with_file_name("sccache"));
    let Some(program) = program.filter(|it| programs::answers(it, &["--version"])) else {
        return skipped("sccache is not installed; `cargo xtask test` installs it");
    };
    if !has_compiler() {
        return skipped("gcc or curl is not installed");
    }
    let folder = TempDir::new().unwrap();
    let cluster = cluster(folder.path());
    make(&cluster, "objects", &["--cache-max", "1GB", "--miss", "ask", "--inline-max", "0"]);
    let source = source(folder.path());
    let mut objects = Vec::new();
    for nth in 0..2 {
        let endpoint = format!("http://{}", cluster.s3(nth));
        // Beside the addresses of the cluster, which holds its block of ports.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let sccache = Sccache { program: &program, folder: folder.path(), endpoint, port };
        run(&mut sccache.command(&["--start-server"]));
        let object = folder.path().join("line.o");
        let (object, source) = (object.to_str().unwrap(), source.to_str().unwrap());
        run(&mut sccache.command(&["gcc", "-g", "-O1", "-c", source, "-o", object]));
        let stats = run(&mut sccache.command(&["--show-stats", "--stats-format", "json"]));
        let stats = json(&stats);
        let count = |pointer: &str| at(&stats, pointer).as_u64().unwrap_or_default();
        assert_eq!(count("/stats/cache_hits/counts/C~1C++"), nth as u64, "{stats}");
        assert_eq!(count("/stats/cache_write_errors"), 0, "{stats}");
        objects.push(fs::read(object).unwrap());
        fs::remove_file(object).unwrap();
    }
    assert!(objects[0] == objects[1]);
    let from_there = "rhumb_cache_remote_hits_total{bucket=\"objects\",region=\"us-east-1\"}";
    assert!(metric(&cluster, 1, from_there) >= 1.0);
}
