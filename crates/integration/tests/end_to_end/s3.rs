//! Clients of Amazon S3: boto3, the AWS command line, minio-py, rclone, s5cmd.

use std::{fs, path::Path, process::Command};

use rhumb_config::settings::Settings;
use rhumb_integration::{Cluster, Layout, programs};
use rhumb_regions::ResidencyTag;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    aws::{KEYS, asking, encrypting, python, script},
    encrypted::Authority,
    rhumb, run, skipped, works,
};

const NO_PYTHON: &str = "there is no Python with boto3; `cargo xtask test` makes one";

fn cluster(regions: usize, secrets: &Path) -> Cluster {
    asking(regions, secrets, |listeners| listeners.s3.as_mut())
}

#[test]
fn boto3_finds_what_it_expects() {
    let Some(python) = python("boto3") else { return skipped(NO_PYTHON) };
    let secrets = TempDir::new().unwrap();
    let cluster = cluster(2, secrets.path());
    let mut command = Command::new(python);
    command.arg(script("s3.py"));
    command.args((0..2).map(|nth| cluster.s3(nth).port().to_string()));
    command.args(KEYS.iter().flat_map(|(id, secret, ..)| [id, secret]));
    assert!(run(&mut command).ends_with("ok\n"));
    // What was done to whole buckets stands in the audit chain, with the key that did it.
    let chain = works(rhumb(&cluster, 0, &["audit", "export"]));
    let noted = chain.lines().filter(|line| line.contains("asked for over S3"));
    let noted: Vec<&str> = noted.filter(|line| line.contains(KEYS[0].0)).collect();
    for bucket in ["photos", "lists", "kept"] {
        assert!(noted.iter().any(|line| line.contains(bucket)), "{bucket} is not in {noted:?}");
    }
}

#[test]
fn minio_py_finds_what_it_expects() {
    let Some(python) = python("minio") else {
        return skipped("there is no Python with minio; `cargo xtask test` makes one");
    };
    let secrets = TempDir::new().unwrap();
    let cluster = cluster(1, secrets.path());
    let (id, secret, ..) = KEYS[0];
    let mut command = Command::new(python);
    command.arg(script("minio_client.py")).arg(cluster.s3(0).to_string()).args([id, secret]);
    assert!(run(&mut command).ends_with("ok\n"));
}

/// A folder with a few files, one of them large enough for several parts.
fn files(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let large: Vec<u8> = (0..9_u32 << 20)
        .flat_map(|n| (n >> (n % 3 * 8)).to_le_bytes().into_iter().take(1))
        .collect();
    let files = vec![
        ("empty", Vec::new()),
        ("hello world.txt", b"hello".to_vec()),
        ("in/a/folder", b"deep".to_vec()),
        ("large", large),
    ];
    for (name, bytes) in &files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    files
}

fn assert_same(folder: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        assert!(fs::read(folder.join(name)).unwrap() == *bytes, "{name}");
    }
}

#[test]
fn the_aws_command_line_copies_a_folder_there_and_back() {
    let Some(python) = python("boto3") else { return skipped(NO_PYTHON) };
    let aws = python.with_file_name("aws");
    if !programs::answers(&aws, &["--version"]) {
        return skipped("the AWS command line is not installed; `cargo xtask test` installs it");
    }
    let folder = TempDir::new().unwrap();
    let cluster = cluster(2, folder.path());
    let (id, secret, ..) = KEYS[0];
    let at = |nth: usize, words: &[&str]| {
        let mut command = Command::new(&aws);
        command.args(["--endpoint-url", &format!("http://{}", cluster.s3(nth))]);
        command.args(["--output", "json"]).args(words);
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        command.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_MAX_ATTEMPTS", "1");
        run(&mut command)
    };
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let files = files(&from);
    let (from, back) = (from.to_str().unwrap(), to.to_str().unwrap());
    at(0, &["s3", "mb", "s3://line"]);
    at(0, &["s3", "sync", from, "s3://line/some"]);
    assert_eq!(at(0, &["s3", "sync", from, "s3://line/some"]), "", "nothing has changed");
    at(1, &["s3", "cp", "--recursive", "s3://line/some", back]);
    assert_same(&to, &files);
    let listed = at(0, &["s3api", "list-objects-v2", "--bucket", "line", "--prefix", "some/in"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["Contents"][0]["Key"], "some/in/a/folder");
    at(0, &["s3", "mv", "s3://line/some/empty", "s3://line/moved"]);
    at(0, &["s3", "rm", "--recursive", "s3://line"]);
    at(0, &["s3", "rb", "s3://line"]);
}

#[test]
fn rclone_copies_a_folder_there_and_back_and_finds_it_the_same() {
    if !programs::answers("rclone", &["version"]) {
        return skipped("rclone is not installed");
    }
    let folder = TempDir::new().unwrap();
    let cluster = cluster(1, folder.path());
    let (id, secret, ..) = KEYS[0];
    let endpoint = format!("http://{}", cluster.s3(0));
    let rclone = |words: &[&str]| {
        let mut command = Command::new("rclone");
        // Its transport takes no bundle of authorities from the environment.
        command.env_remove("AWS_CA_BUNDLE");
        command.args(["--config", "/dev/null", "--retries", "1", "--low-level-retries", "1"]);
        command.args(["--s3-provider", "Other", "--s3-endpoint", &endpoint]);
        command.args(["--s3-access-key-id", id, "--s3-secret-access-key", secret]);
        command.args(["--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M"]).args(words);
        run(&mut command)
    };
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let files = files(&from);
    let (from, back) = (from.to_str().unwrap(), to.to_str().unwrap());
    rclone(&["mkdir", ":s3:cloned"]);
    rclone(&["copy", from, ":s3:cloned/some"]);
    rclone(&["check", from, ":s3:cloned/some"]);
    rclone(&["copy", ":s3:cloned/some", back]);
    assert_same(&to, &files);
    assert_eq!(rclone(&["lsf", ":s3:cloned/some"]).lines().count(), files.len());
    rclone(&["purge", ":s3:cloned"]);
}

#[test]
fn what_is_wrong_in_one_place_is_refused_and_stores_nothing() {
    let Some(python) = python("boto3") else { return skipped(NO_PYTHON) };
    let secrets = TempDir::new().unwrap();
    let cluster = cluster(1, secrets.path());
    let (id, secret, ..) = KEYS[0];
    let mut command = Command::new(python);
    command.arg(script("s3_wrong.py")).arg(cluster.s3(0).port().to_string()).args([id, secret]);
    assert!(run(&mut command).ends_with("ok\n"));
}

/// s5cmd over TLS: it believes whom the variable of Go's programs names, and nobody else.
#[test]
fn s5cmd_copies_a_folder_there_and_back_over_tls() {
    let s5cmd = programs::python().map(|python| python.with_file_name("s5cmd"));
    let Some(s5cmd) = s5cmd.filter(|it| programs::answers(it, &["version"])) else {
        return skipped("there is no s5cmd; `cargo xtask test` installs it");
    };
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let cluster = encrypting(&authority, |listeners| listeners.s3.as_mut());
    let command = |believed: &Authority, words: &[&str]| {
        let mut command = Command::new(&s5cmd);
        command.args(["--endpoint-url", &format!("https://{}", cluster.s3(0))]);
        command.args(["--retry-count", "0"]).args(words);
        command.env_remove("AWS_CA_BUNDLE").env("SSL_CERT_FILE", believed.file("authority.pem"));
        command.env("AWS_ACCESS_KEY_ID", "anybody").env("AWS_SECRET_ACCESS_KEY", "anything");
        command.env("AWS_REGION", "us-east-1");
        command
    };
    let other = Authority::new(folder.path(), "other");
    assert!(!command(&other, &["ls"]).output().unwrap().status.success(), "a foreign authority");
    let s5cmd = |words: &[&str]| run(&mut command(&authority, words));
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let files = files(&from);
    let all = format!("{}/", from.to_str().unwrap());
    s5cmd(&["mb", "s3://fast"]);
    s5cmd(&["cp", "--part-size", "5", &all, "s3://fast/some/"]);
    assert_eq!(s5cmd(&["ls", "s3://fast/some/*"]).lines().count(), files.len());
    s5cmd(&["cp", "s3://fast/some/*", &format!("{}/", to.to_str().unwrap())]);
    assert_same(&to, &files);
    assert_eq!(s5cmd(&["sync", &all, "s3://fast/some/"]), "", "nothing has changed");
    s5cmd(&["mv", "s3://fast/some/empty", "s3://fast/moved"]);
    s5cmd(&["rm", "s3://fast/*"]);
    s5cmd(&["rb", "s3://fast"]);
}

/// A bucket whose bytes may lie in one region, used from another: boto3 sees no difference, and no byte of
/// it lies where it may not.
#[test]
fn a_region_outside_a_buckets_residency_serves_it_and_holds_nothing_of_it() {
    let Some(python) = python("boto3") else { return skipped(NO_PYTHON) };
    let tagged = |settings: &mut Settings| {
        for (name, region) in &mut settings.regions {
            region.residency.insert(ResidencyTag::new(name.as_str()).unwrap());
        }
    };
    let cluster = Layout::regions(2).adjust(tagged).start().unwrap();
    let words = ["bucket", "create", "load", "--reason", "a test", "--copies", "1"];
    works(rhumb(&cluster, 0, &[&words[..], &["--residency", cluster.region(1)]].concat()));
    let mut command = Command::new(python);
    command.arg(script("s3_outside.py"));
    assert!(run(command.args((0..2).map(|nth| cluster.s3(nth).to_string()))).ends_with("ok\n"));
    assert!(crate::objects::blobs(&cluster, 0).is_empty());
    assert!(!crate::objects::blobs(&cluster, 1).is_empty());
}
