//! Where nodes keep the bytes of objects: in a bucket of each region's own on an independent S3 server, and in
//! files that are sealed.

use std::{fs, path::Path};

use rhumb_config::{Settings, settings::ObjectsSettings};
use rhumb_integration::{Cluster, Layout, Line};
use tempfile::TempDir;

use crate::{
    aws::python,
    moto::Moto,
    objects::{Script, make_bucket, script},
    observed::{page, value},
    run, skipped,
};

/// The buckets of the regions; they have different names.
const BUCKETS: [&str; 2] = ["acme-bytes-east", "acme-bytes-ireland"];

/// A key in a file, other for another seed.
fn key_file(path: &Path, seed: u8) {
    fs::write(path, format!("{seed:02x}").repeat(32)).unwrap();
}

/// Two regions whose bytes are at the ends of lines, each sealed with a key of its own.
fn in_buckets(lines: &[Line], folder: &Path) -> Cluster {
    let stores: Vec<ObjectsSettings> = (1..)
        .zip(lines.iter().zip(BUCKETS))
        .map(|(seed, (line, bucket))| {
            let key = folder.join(format!("{bucket}.key"));
            key_file(&key, seed);
            let options = [
                ("endpoint", format!("http://{}", line.address())),
                ("region", "us-east-1".to_owned()),
                ("access_key_id", "tester".to_owned()),
                ("secret_access_key", "secret".to_owned()),
            ];
            let options = options.map(|(name, value)| (name.to_owned(), value));
            ObjectsSettings {
                path: format!("s3://{bucket}/rhumb"),
                options: options.into(),
                key_file: Some(key),
                ..ObjectsSettings::default()
            }
        })
        .collect();
    let change = |settings: &mut Settings| {
        for (region, store) in settings.regions.values_mut().zip(stores) {
            region.objects = Some(store);
        }
    };
    Layout::regions(BUCKETS.len()).adjust(change).start().unwrap()
}

/// The node of the store that is at a place among the regions by their names.
fn node_of(cluster: &Cluster, place: usize) -> usize {
    let mut names: Vec<&str> = (0..cluster.len()).map(|nth| cluster.region(nth)).collect();
    names.sort_unstable();
    let name = names.get(place).unwrap();
    (0..cluster.len()).find(|nth| cluster.region(*nth) == *name).unwrap()
}

#[test]
fn a_regions_own_bucket_may_refuse_stall_and_be_damaged() {
    let Some(python) = python("boto3, moto.server") else {
        return skipped("there is no Python with boto3 and moto; `cargo xtask test` makes one");
    };
    let folder = TempDir::new().unwrap();
    let moto = Moto::start().unwrap();
    BUCKETS.iter().for_each(|bucket| moto.make(bucket));
    let lines = BUCKETS.map(|_| Line::to(moto.address).unwrap());
    let mut cluster = in_buckets(&lines, folder.path());
    make_bucket(&cluster, &[]);
    let mut command = script(&python, "s3_store.py");
    command.args(["use", &moto.address.to_string()]);
    for (place, bucket) in BUCKETS.iter().enumerate() {
        command.arg(cluster.s3(node_of(&cluster, place)).to_string()).arg(bucket);
    }
    let mut boto3 = Script::start(&mut command);
    boto3.until("across");
    lines[0].turn_away(u64::MAX);
    lines[0].hang_up();
    boto3.tell("busy");
    boto3.until("was busy");
    lines[0].turn_away(0);
    lines[0].stall(true);
    boto3.tell("stalled");
    boto3.until("was stalled");
    lines[0].stall(false);
    boto3.tell("well");
    boto3.until("mended");
    let metrics = page(cluster.http(node_of(&cluster, 0)), "/metrics");
    assert_eq!(value(&metrics, "rhumb_blobs_damaged_total"), 1);
    cluster.kill(node_of(&cluster, 1)).unwrap();
    boto3.tell("alone");
    boto3.finish();
    for nth in 0..cluster.len() {
        assert!(!cluster.data(nth).join("blobs").exists(), "bytes lie in files, too");
    }
}

/// A node whose files are sealed; which keys it has changes between its starts.
struct Sealed<'t> {
    cluster: Cluster,
    python: &'t Path,
    folder: TempDir,
}

impl<'t> Sealed<'t> {
    fn start(python: &'t Path) -> Self {
        let folder = TempDir::new().unwrap();
        let [key, old] = ["now", "old"].map(|name| folder.path().join(name));
        key_file(&key, 1);
        key_file(&old, 0xff);
        let seal = move |settings: &mut Settings| {
            settings.objects.key_file = Some(key);
            settings.objects.old_key_files = vec![old];
        };
        let cluster = Layout::regions(1).adjust(seal).start().unwrap();
        make_bucket(&cluster, &[]);
        Self { cluster, python, folder }
    }

    /// Starts it again with other keys.
    fn rotate(&mut self, now: u8, old: u8) {
        self.cluster.terminate(0).unwrap();
        key_file(&self.folder.path().join("now"), now);
        key_file(&self.folder.path().join("old"), old);
        self.cluster.start(0).unwrap();
        self.cluster.wait_until_ready(0).unwrap();
    }

    fn script(&self, what: &str, keys: &[&str]) -> String {
        let mut command = script(self.python, "s3_store.py");
        command.arg(what);
        if what == "sealed" {
            command.arg(self.cluster.data(0).join("blobs"));
        } else {
            command.arg(self.cluster.s3(0).to_string());
        }
        run(command.args(keys))
    }

    /// What a start says that must fail.
    fn fails_to_start(&mut self) -> String {
        let before = self.cluster.log(0).len();
        self.cluster.start(0).unwrap();
        assert!(!self.cluster.wait_for_end(0).unwrap().success());
        self.cluster.log(0).split_off(before)
    }
}

#[test]
fn sealed_files_open_with_their_keys_and_no_others() {
    let Some(python) = python("boto3") else { return skipped(crate::objects::NO_PYTHON) };
    let (first, second) = ("first-300000", "second-300000");
    let mut node = Sealed::start(&python);
    node.script("put", &[first]);
    node.script("sealed", &[first]);
    node.rotate(2, 1);
    node.script("put", &[second]);
    node.script("read", &[first, second]);
    node.script("sealed", &[first, second]);
    // The first key is lost: what it sealed cannot be read, and stays where it is.
    node.rotate(2, 3);
    node.script("read", &[second]);
    println!("{}", node.script("unreadable", &[first]));
    assert!(node.cluster.log(0).contains("is sealed with the key"), "{}", node.cluster.log(0));
    let metrics = page(node.cluster.http(0), "/metrics");
    assert_eq!(value(&metrics, "rhumb_blobs_damaged_total"), 0, "no key is no damage");
    node.rotate(3, 1);
    node.script("read", &[first]);
    node.cluster.terminate(0).unwrap();
    // What is no key, and a file that is not there, are said by name.
    let key = node.folder.path().join("now");
    fs::write(&key, "much too short").unwrap();
    let said = node.fails_to_start();
    assert!(
        said.contains(key.to_str().unwrap()) && said.contains("openssl rand -hex 32"),
        "{said}"
    );
    fs::remove_file(&key).unwrap();
    let said = node.fails_to_start();
    assert!(said.contains("the key cannot be read from"), "{said}");
}
