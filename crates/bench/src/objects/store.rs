//! The stores that are compared, each started afresh with one empty bucket on the same disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use anyhow::{Context, Result};
use rhumb_config::{
    process_environment,
    settings::{AccessKeySettings, Settings},
};
use rhumb_integration::{Cluster, Http, Layout, programs};
use rhumb_types::control::ApiRole;
use tempfile::TempDir;

use super::session::{Credential, Endpoint, Session};
use crate::queues::{ANSWER_WAIT, ask, eventually, free_address, quietly};

/// The bucket that every store has.
pub(crate) const BUCKET: &str = "bench";
/// Names Garage's server, where it is not on the path: `cargo install garage`.
const GARAGE_VARIABLE: &str = "RHUMB_BENCH_GARAGE";
/// Names the server of the crate s3s-fs: `cargo install s3s-fs --features binary`.
const S3S_FS_VARIABLE: &str = "RHUMB_BENCH_S3S_FS";
/// Each of Rhumb's keys has a rate of its own.
const KEYS: usize = 8;
const GARAGE_KEY: &str = "GKb0b0b0b0b0b0b0b0b0b0b0b0";
const SECRET: &str = "7d37d093435a41f2aab8f13c19ba067d9776c90215f56614adad6ece597dbb34";

/// A store with an empty bucket. Dropping it ends it and removes its files.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) endpoint: Endpoint,
    process: Process,
    _folder: TempDir,
}

#[derive(Debug)]
enum Process {
    Node(Box<Cluster>),
    Child(Child),
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Child(child) = self {
            // Whatever ended before needs no killing.
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}

impl Store {
    /// One node of one region, whose bucket keeps one copy.
    pub(crate) fn rhumb() -> Result<Self> {
        let folder = folder("rhumb")?;
        let (keys, asks) = keys(folder.path())?;
        let mut cluster = Layout::regions(1).data(folder.path()).adjust(asks).start()?;
        cluster.wait_until_ready(0)?;
        let endpoint = endpoint(&cluster, 0, &keys);
        define(&cluster, BUCKET, "{\"copies\":1}")?;
        Ok(Self { endpoint, process: Process::Node(Box::new(cluster)), _folder: folder })
    }

    /// Garage as one node without copies, without compression, which gains nothing here, on LMDB.
    pub(crate) fn garage(is_synced: bool) -> Result<Self> {
        let folder = folder("garage")?;
        let (s3, rpc) = (free_address()?, free_address()?);
        let root = folder.path().display();
        let config = folder.path().join("garage.toml");
        fs::write(
            &config,
            format!(
                "metadata_dir = \"{root}/meta\"\ndata_dir = \"{root}/data\"\n\
                 metadata_fsync = {is_synced}\ndata_fsync = {is_synced}\ndb_engine = \"lmdb\"\n\
                 replication_factor = 1\ncompression_level = \"none\"\nrpc_secret = \"{SECRET}\"\n\
                 rpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\n\n[s3_api]\n\
                 s3_region = \"garage\"\napi_bind_addr = \"{s3}\"\n"
            ),
        )?;
        let mut serve = Command::new(garage_program()?);
        serve.arg("-c").arg(&config).args(["server", "--single-node", "--default-bucket"]);
        serve.env("GARAGE_DEFAULT_ACCESS_KEY", GARAGE_KEY);
        serve.env("GARAGE_DEFAULT_SECRET_KEY", SECRET).env("GARAGE_DEFAULT_BUCKET", BUCKET);
        serve.env("RUST_LOG", "error");
        let child = quietly(&mut serve).spawn().context("cannot start garage")?;
        let keys = vec![Credential { id: GARAGE_KEY.to_owned(), secret: SECRET.to_owned() }];
        let endpoint = Endpoint { address: s3, region: "garage", keys };
        let store = Self { endpoint, process: Process::Child(child), _folder: folder };
        eventually("Garage", || Session::open(&store.endpoint, 0)?.list(BUCKET, None).map(drop))?;
        Ok(store)
    }

    /// The file system as `s3s-fs` serves it.
    pub(crate) fn s3s_fs() -> Result<Self> {
        let folder = folder("s3s-fs")?;
        let address = free_address()?;
        let mut serve = Command::new(s3s_fs_program()?);
        serve.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        serve.args(["--access-key", GARAGE_KEY, "--secret-key", SECRET]).arg(folder.path());
        serve.env("RUST_LOG", "error");
        let child = quietly(&mut serve).spawn().context("cannot start s3s-fs")?;
        let keys = vec![Credential { id: GARAGE_KEY.to_owned(), secret: SECRET.to_owned() }];
        let endpoint = Endpoint { address, region: "us-east-1", keys };
        let store = Self { endpoint, process: Process::Child(child), _folder: folder };
        eventually("s3s-fs", || make_bucket(&store.endpoint))?;
        Ok(store)
    }

    /// The most that it ever held of the machine's memory, in megabytes of 2^20 bytes.
    pub(crate) fn peak_mebibytes(&self) -> Result<f64> {
        let id = match &self.process {
            Process::Node(cluster) => cluster.process(0).context("the node has ended")?,
            Process::Child(child) => child.id(),
        };
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kibibytes = kibibytes.context("the system does not say what was resident")?;
        Ok(kibibytes.trim().parse::<f64>()? / 1_024.0)
    }
}

/// Several access keys, and the settings that ask for them.
pub(crate) fn keys(folder: &Path) -> Result<(Vec<Credential>, impl FnOnce(&mut Settings) + use<>)> {
    let mut credentials = Vec::new();
    let mut access_keys = Vec::new();
    for nth in 0..KEYS {
        let id = format!("BENCH{nth}");
        let secret_file = folder.join(&id);
        fs::write(&secret_file, SECRET)?;
        credentials.push(Credential { id: id.clone(), secret: SECRET.to_owned() });
        let (queues, buckets) = (Vec::new(), Vec::new());
        let role = ApiRole::Operator;
        access_keys.push(AccessKeySettings { id, secret_file, role, queues, buckets });
    }
    let asks = move |all: &mut Settings| {
        all.acl.access_keys = access_keys;
        for region in all.regions.values_mut() {
            if let Some(s3) = &mut region.listeners.s3 {
                s3.auth = true;
            }
        }
    };
    Ok((credentials, asks))
}

/// Where a node's objects are.
pub(crate) fn endpoint(cluster: &Cluster, nth: usize, keys: &[Credential]) -> Endpoint {
    Endpoint { address: cluster.s3(nth), region: "us-east-1", keys: keys.to_vec() }
}

/// Makes a bucket with some settings.
pub(crate) fn define(cluster: &Cluster, bucket: &str, settings: &str) -> Result<()> {
    let path = format!("/v1/buckets/{bucket}?reason=bench");
    eventually("Rhumb", || {
        let mut node = Http::open(cluster.http(0), ANSWER_WAIT)?;
        ask(&mut node, "PUT", &path, settings).map(drop)
    })
}

fn make_bucket(endpoint: &Endpoint) -> Result<()> {
    Session::open(endpoint, 0)?.create_bucket(BUCKET)
}

/// Where a store's data goes: all on the same disk.
pub(crate) fn folder(name: &str) -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix(&format!("rhumb-bench-{name}-")).tempdir()?)
}

/// Garage's server.
pub(crate) fn garage_program() -> Result<PathBuf> {
    program(GARAGE_VARIABLE, "garage", "--version").with_context(|| {
        format!("there is no `garage`; `cargo install garage`, or set {GARAGE_VARIABLE}")
    })
}

/// The server of `s3s-fs`.
pub(crate) fn s3s_fs_program() -> Result<PathBuf> {
    program(S3S_FS_VARIABLE, "s3s-fs", "--version").with_context(|| {
        format!(
            "there is no `s3s-fs`; `cargo install s3s-fs --features binary`, or set {S3S_FS_VARIABLE}"
        )
    })
}

/// A program that the environment names, or that is on the path, and tells its version.
pub(crate) fn program(variable: &str, name: &str, version: &str) -> Option<PathBuf> {
    let named = process_environment(variable).map(PathBuf::from);
    let found = named.unwrap_or_else(|| Path::new(name).to_owned());
    programs::answers(&found, &[version]).then_some(found)
}
