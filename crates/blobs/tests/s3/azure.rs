//! Blobs in containers of Azure, on Azurite: Microsoft's own model of its storage.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rhumb_blobs::{BucketBlobs, BucketSettings, Key, Keys};
use rhumb_ports::contract::blobs::{BlobsFactory, cases};
use rhumb_types::record::BlobHash;

use crate::{settings, whole_contract};

const CONTAINER: &str = "blobs-of-a-region";
/// The account that every Azurite has, and its key, which is in Azure's documents.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Azurite as the environment names it, else as `cargo xtask test` installed it.
fn program() -> Option<PathBuf> {
    let named = std::env::vars_os().find(|(name, _)| name == "RHUMB_TEST_AZURITE");
    if let Some((_, path)) = named {
        return Some(PathBuf::from(path));
    }
    let own = std::env::current_exe().ok()?;
    let below = "xtask/azurite/node_modules/.bin/azurite-blob";
    let mut made = own.ancestors().map(|folder| folder.join(below));
    made.find(|path| path.is_file())
}

struct Azurite {
    process: Child,
    endpoint: String,
}

impl Azurite {
    fn start() -> Option<Self> {
        let mut command = Command::new(program()?);
        command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]);
        command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let mut said = BufReader::new(process.stdout.take()?).lines().map_while(Result::ok);
        let address = said.find_map(|line| {
            Some(line.split_once("listens on http://")?.1.trim_end_matches('/').to_owned())
        });
        std::thread::spawn(move || said.for_each(drop));
        let azurite = Self { process, endpoint: format!("http://{}/{ACCOUNT}", address?) };
        azurite.node(&["make"], &[]);
        Some(azurite)
    }

    /// What the store cannot do itself.
    fn node(&self, what: &[&str], more: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/azure/azure.js");
        let mut command = Command::new("node");
        command.arg(script).args(what).arg(&self.endpoint);
        let output = command.args([ACCOUNT, ACCOUNT_KEY, CONTAINER]).args(more).output();
        let output = output.expect("Azurite runs on node, too");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

struct OnAzure<'a> {
    server: &'a Azurite,
    prefix: String,
    keys: Keys,
}

impl BlobsFactory for OnAzure<'_> {
    type Blobs = BucketBlobs;
    async fn open(&mut self) -> BucketBlobs {
        let usual = settings("", &self.prefix, self.keys.clone());
        let options = [
            ("endpoint", self.server.endpoint.as_str()),
            ("account_name", ACCOUNT),
            ("access_key", ACCOUNT_KEY),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let url = format!("az://{CONTAINER}/{}", self.prefix);
        BucketBlobs::open(BucketSettings { url, options, ..usual }).expect("they name a container")
    }
    async fn damage(&mut self, _: &BucketBlobs, hash: BlobHash) {
        self.server.node(&["damage"], &[&format!("{}/blobs/{hash}", self.prefix)]);
    }
}

#[tokio::test]
async fn the_contract_holds_on_azurite() {
    let Some(server) = Azurite::start() else {
        eprintln!("SKIPPED: there is no Azurite; `cargo xtask test` installs it where npm is");
        return;
    };
    whole_contract!(OnAzure { server: &server });
}
