//! The objects of a node, from the configuration's words.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use rhumb_blobs::{BucketBlobs, BucketSettings, Counters, FileBlobs, Key, Keys, Options, Patience};
use rhumb_config::{Config, settings::ObjectsSettings};
use rhumb_engine::{Engine, ObjectsConfig};
use rhumb_ports::blobs::Blobs;
use rhumb_telemetry::Metrics;
use rhumb_tls::{authorities, system_authorities};
use rhumb_types::RegionId;
use rustls::{ClientConfig, crypto::ring};

/// Starts the objects, where this node holds data.
pub(super) async fn start(
    config: &Config,
    region: &RegionId,
    data: &Path,
    engine: &Engine,
    metrics: &Metrics,
) -> Result<()> {
    let regions = config.registry().regions();
    if !regions.iter().any(|it| it.id == *region && !it.witness) {
        return Ok(());
    }
    let settings = config.objects(region);
    let (blobs, counters) =
        open(settings, data).await.context("the bytes of objects are out of reach")?;
    metrics.blobs.read_from(move || counters.now());
    let objects = ObjectsConfig {
        fetches: settings.fetches,
        copy_retries: settings.retries,
        copy_pause: settings.delay.0,
        copy_wait: settings.copy_wait.0,
        scrub_period: settings.scrub.0,
        ..ObjectsConfig::new(region.clone())
    };
    engine.start_objects(objects, blobs);
    Ok(())
}

async fn open(settings: &ObjectsSettings, data: &Path) -> Result<(Arc<dyn Blobs>, Arc<Counters>)> {
    let keys = keys(settings)?;
    if settings.in_bucket() {
        let tls = trust(settings.authorities.as_deref())?;
        let bucket = BucketBlobs::open(BucketSettings {
            url: settings.path.clone(),
            options: settings.options.clone(),
            keys,
            tls,
            patience: Patience::default(),
        })?;
        let counters = bucket.counters();
        return Ok((Arc::new(bucket), counters));
    }
    let path = data.join(&settings.path);
    let options = Options { keys, ..Options::default() };
    let files = tokio::task::spawn_blocking(move || FileBlobs::open(&path, options)).await??;
    let counters = files.counters();
    Ok((Arc::new(files), counters))
}

/// TLS for a bucket: whom these authorities signed, or the system's.
fn trust(path: Option<&Path>) -> Result<ClientConfig> {
    let path = path.map(Path::to_owned).or_else(system_authorities);
    let path = path.context("this system's authorities are not found: set `authorities`")?;
    let roots =
        authorities(&path).with_context(|| format!("{} cannot be used for TLS", path.display()))?;
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn keys(settings: &ObjectsSettings) -> Result<Keys> {
    let read = |path: &PathBuf| -> Result<Key> {
        let content = fs::read(path)
            .with_context(|| format!("the key cannot be read from {}", path.display()))?;
        Key::parse(&content).with_context(|| path.display().to_string())
    };
    let writing = settings.key_file.as_ref().map(read).transpose()?;
    let reading: Vec<Key> = settings.old_key_files.iter().map(read).collect::<Result<_>>()?;
    Ok(Keys::new(writing, reading))
}
