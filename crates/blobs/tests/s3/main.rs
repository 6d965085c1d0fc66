//! Blobs on independent servers of S3 and Azure, and in the words of GCS.
//!
//! All cases of a server share one, for it takes seconds to start.

mod azure;
mod gcs;
mod line;
mod moto;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_blobs::{BucketBlobs, BucketSettings, Key, Keys, Patience};
use rhumb_ports::{
    blobs::{BlobError, Blobs},
    contract::blobs::{BlobsFactory, cases},
};
use rhumb_types::record::{BlobHash, BlobRef};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring};
use tokio_rustls::TlsAcceptor;

use crate::{
    line::{Line, Trouble},
    moto::Moto,
};

/// Runs the whole contract, each case under a prefix of its own. One case is run sealed besides.
macro_rules! whole_contract {
    ($on:ident { $name:ident: $server:expr }) => {
        rhumb_ports::blobs_cases!($crate::whole_contract { @ $on { $name: $server } });
        let (prefix, keys) = ("sealed".to_owned(), Keys::new(Some(Key::new([7; 32])), []));
        cases::what_was_written_is_read(&mut $on { $name: $server, prefix, keys }).await;
    };
    (@ $on:ident { $name:ident: $server:expr } $([$($case:ident)*])*) => { $($(
        let (prefix, keys) = (stringify!($case).to_owned(), Keys::default());
        cases::$case(&mut $on { $name: $server, prefix, keys }).await;
    )*)* };
}
pub(crate) use whole_contract;

const BUCKET: &str = "blobs-of-a-region";

fn moto() -> Option<Moto> {
    let moto = Moto::start();
    match &moto {
        Some(moto) => moto.make(BUCKET),
        None => eprintln!("SKIPPED: there is no moto; `cargo xtask test` installs it"),
    }
    moto
}

fn tls(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn settings(endpoint: &str, prefix: &str, keys: Keys) -> BucketSettings {
    let options = [
        ("endpoint", endpoint),
        ("region", "us-east-1"),
        ("access_key_id", "tester"),
        ("secret_access_key", "secret"),
    ];
    let options: BTreeMap<String, String> =
        options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let patience = Patience {
        attempt: Duration::from_secs(10),
        retries: 3,
        total: Duration::from_secs(10),
        backoff: Duration::from_millis(10),
        backoff_max: Duration::from_millis(100),
    };
    let url = format!("s3://{BUCKET}/{prefix}");
    BucketSettings { url, options, keys, tls: tls(RootCertStore::empty()), patience }
}

/// Settings from the environment: a URL, and options as `name=value` with commas between.
fn named() -> Option<BucketSettings> {
    let variable = |name: &str| {
        let found = std::env::vars_os().find(|(found, _)| found == name);
        found.and_then(|(_, value)| value.into_string().ok())
    };
    let url = variable("RHUMB_TEST_BUCKET")?;
    let options = variable("RHUMB_TEST_BUCKET_OPTIONS").unwrap_or_default();
    let options = options.split(',').filter_map(|option| option.split_once('='));
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (keys, patience) = (Keys::default(), Patience::default());
    Some(BucketSettings { url, options, keys, tls: tls(RootCertStore::empty()), patience })
}

/// A bucket that is there already.
struct Given {
    settings: BucketSettings,
}

impl BlobsFactory for Given {
    type Blobs = BucketBlobs;
    async fn open(&mut self) -> BucketBlobs {
        BucketBlobs::open(self.settings.clone()).expect("the settings name a bucket")
    }
    async fn damage(&mut self, _: &BucketBlobs, _: BlobHash) {
        panic!("nothing is done here behind the back of the store");
    }
}

/// Any bucket can be held against the contract: `RHUMB_TEST_BUCKET=az://container` and so on. What
/// this leaves there is below a prefix of its own.
#[tokio::test]
async fn the_contract_holds_on_a_bucket_that_is_named() {
    let Some(named) = named() else {
        eprintln!("SKIPPED: RHUMB_TEST_BUCKET names none");
        return;
    };
    macro_rules! given {
        ([$($case:ident)*] [$($damaging:ident)*]) => { $(
            let base = named.url.trim_end_matches('/');
            let url = format!("{base}/rhumb-{}/{}", std::process::id(), stringify!($case));
            cases::$case(&mut Given { settings: BucketSettings { url, ..named.clone() } }).await;
        )* };
    }
    rhumb_ports::blobs_cases!(given {});
}

struct OnServer<'a> {
    moto: &'a Moto,
    prefix: String,
    keys: Keys,
}

impl BlobsFactory for OnServer<'_> {
    type Blobs = BucketBlobs;
    async fn open(&mut self) -> BucketBlobs {
        let endpoint = format!("http://{}", self.moto.address);
        let settings = settings(&endpoint, &self.prefix, self.keys.clone());
        BucketBlobs::open(settings).expect("the settings name a bucket")
    }
    async fn damage(&mut self, _: &BucketBlobs, hash: BlobHash) {
        damage(self.moto, (BUCKET, &self.prefix), hash);
    }
}

fn damage(moto: &Moto, (bucket, prefix): (&str, &str), hash: BlobHash) {
    let path = format!("/{bucket}/{prefix}/blobs/{hash}");
    let mut bytes = moto.ask("GET", &path, b"").expect("the blob");
    if let Some(last) = bytes.last_mut() {
        *last = !*last;
    }
    moto.ask("PUT", &path, &bytes).expect("a damaged blob");
}

#[tokio::test]
async fn the_contract_holds_on_an_independent_server() {
    let Some(moto) = moto() else { return };
    whole_contract!(OnServer { moto: &moto });
}

async fn put(blobs: &BucketBlobs, content: &'static [u8]) -> Result<BlobRef, BlobError> {
    let mut writer = blobs.create().await?;
    writer.write(Bytes::from_static(content)).await?;
    writer.finish().await
}

#[tokio::test]
async fn trouble_on_the_line_is_overcome_or_said() {
    let Some(moto) = moto() else { return };
    let line = Line::to(moto.address, None).await;
    let endpoint = format!("http://{}", line.address);
    let mut settings = settings(&endpoint, "line", Keys::default());
    settings.patience.attempt = Duration::from_millis(500);
    let blobs = || BucketBlobs::open(settings.clone()).expect("the settings name a bucket");
    // An answer of a read is longer than its head, so a cut falls into its bytes.
    static CONTENT: [u8; 100_000] = [42; 100_000];
    let passing = [Trouble::SlowDown, Trouble::Silence, Trouble::Cut(100)];
    line.trouble(passing);
    let blob = put(&blobs(), &CONTENT).await.expect("the fourth try");
    assert_eq!(line.ahead(), 0);
    line.trouble(passing);
    let read = blobs().read(blob.hash, 0..blob.bytes).await.expect("the fourth try");
    assert!(read == CONTENT[..], "other bytes");
    line.trouble([Trouble::Cut(50_000)]);
    assert_eq!(blobs().verify(blob.hash).await, Ok(()), "a cut answer is no damage");

    for lasting in [Trouble::SlowDown, Trouble::Silence, Trouble::Cut(10)] {
        line.trouble([lasting; 4]);
        let refused = put(&blobs(), b"other").await;
        assert!(matches!(refused, Err(BlobError::Unavailable { .. })), "{lasting:?}: {refused:?}");
        line.trouble([lasting; 4]);
        let refused = blobs().read(blob.hash, 0..10).await;
        assert!(matches!(refused, Err(BlobError::Unavailable { .. })), "{lasting:?}: {refused:?}");
    }
    drop(moto);
    let refused = blobs().stat(blob.hash).await;
    assert!(matches!(refused, Err(BlobError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_bucket_is_reached_over_tls_and_only_where_its_certificate_is_believed() {
    let Some(moto) = moto() else { return };
    let names = vec!["127.0.0.1".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let certificate = certified.cert.der().clone();
    let key = certified.signing_key.serialize_der().try_into().expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a certificate and its key");
    let line = Line::to(moto.address, Some(TlsAcceptor::from(Arc::new(server)))).await;
    let endpoint = format!("https://{}", line.address);
    let mut settings = settings(&endpoint, "tls", Keys::default());
    let stranger = BucketBlobs::open(settings.clone()).expect("the settings name a bucket");
    let refused = put(&stranger, b"x").await.expect_err("the certificate is not believed");
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("an authority");
    settings.tls = tls(roots);
    let blobs = BucketBlobs::open(settings).expect("the settings name a bucket");
    let blob = put(&blobs, b"over TLS").await.expect("a blob");
    assert_eq!(blobs.read(blob.hash, 0..8).await, Ok(Bytes::from_static(b"over TLS")));
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_said() {
    let Some(moto) = moto() else { return };
    let mut settings = settings(&format!("http://{}", moto.address), "x", Keys::default());
    settings.url = "s3://another".to_owned();
    let blobs = BucketBlobs::open(settings).expect("the settings name a bucket");
    let refused = put(&blobs, b"x").await.expect_err("there is no such bucket");
    assert!(matches!(refused, BlobError::Failed { .. }), "{refused}");
    assert!(refused.to_string().contains("NoSuchBucket"), "{refused}");
}

#[test]
fn settings_that_name_nothing_are_refused() {
    let refused = |change: fn(&mut BucketSettings)| {
        let mut settings = settings("http://127.0.0.1:1", "x", Keys::default());
        change(&mut settings);
        BucketBlobs::open(settings).expect_err("they make no sense").to_string()
    };
    assert!(refused(|it| it.url = "ftp://x".to_owned()).contains("write s3://"));
    let unknown = refused(|it| drop(it.options.insert("colour".to_owned(), "red".to_owned())));
    assert!(unknown.contains("colour"), "{unknown}");
}
