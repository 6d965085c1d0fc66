//! From a URL and settings to a client.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    path::Path,
};
use rustls::ClientConfig;

use super::transport::Transport;
use crate::seal::Keys;

/// How long and how often a bucket is asked before it counts as unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time of one request with its answer.
    pub attempt: Duration,
    /// Most tries after the first.
    pub retries: usize,
    /// Longest time from the first request to the beginning of the last.
    pub total: Duration,
    /// The first wait before a try; each is up to twice as long as the one before.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

/// How long clients of S3 wait for an answer, as long as nobody tells them otherwise.
const CLIENT_WAIT: Duration = Duration::from_secs(60);
/// A blob of 16 MiB comes over in that time at 0.7 MB/s.
const ATTEMPT: Duration = Duration::from_secs(25);
const TOTAL: Duration = Duration::from_secs(25);
// Who uploads is told that the bucket is silent, and does not give up before.
const _: () = assert!(ATTEMPT.as_secs() + TOTAL.as_secs() < CLIENT_WAIT.as_secs());

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempt: ATTEMPT,
            retries: 4,
            total: TOTAL,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// Which bucket, and how it is reached.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub url: String,
    /// Credentials, endpoint, region and so on, by the names of `object_store`: `endpoint`, `region`,
    /// `access_key_id`, `secret_access_key`, `account_name`, `service_account_key` ... What is not
    /// there is asked of the cloud's metadata service.
    pub options: BTreeMap<String, String>,
    /// What blobs are sealed with.
    pub keys: Keys,
    /// Whom to believe to be the bucket.
    pub tls: ClientConfig,
    /// How long to wait for it.
    pub patience: Patience,
}

/// Why settings do not name a bucket.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The URL is none of the known ones.
    #[error(
        "`{0}` does not name a bucket: write s3://bucket/prefix, gs://bucket/prefix or \
         az://container/prefix"
    )]
    Url(String),
    /// There is no such option.
    #[error("`{option}` is no option of the bucket {url}")]
    Option {
        /// The bucket.
        url: String,
        /// The name that is not known.
        option: String,
    },
    /// The options contradict each other, or one is missing.
    #[error("the bucket {url} cannot be used: {source}")]
    Settings {
        /// The bucket.
        url: String,
        /// What is wrong.
        source: object_store::Error,
    },
}

/// What a URL names.
struct Named<'a> {
    scheme: &'a str,
    bucket: &'a str,
    prefix: Path,
}

fn parse(url: &str) -> Option<Named<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = Path::parse(prefix).ok()?;
    let is_plain = !bucket.is_empty() && !bucket.contains(['@', ':', '?', '#']);
    is_plain.then_some(Named { scheme, bucket, prefix })
}

/// Sets the options of a builder, by their names.
macro_rules! with_options {
    ($builder:expr, $key:ty, $settings:expr) => {{
        let mut builder = $builder;
        for (option, value) in &$settings.options {
            let key: Result<$key, _> = option.to_ascii_lowercase().parse();
            let key = key.map_err(|_| BucketError::Option {
                url: $settings.url.clone(),
                option: option.clone(),
            })?;
            builder = builder.with_config(key, value);
        }
        builder
    }};
}

pub(super) fn open(settings: BucketSettings) -> Result<(Arc<dyn ObjectStore>, Path), BucketError> {
    let url = settings.url.clone();
    let named = parse(&url).ok_or_else(|| BucketError::Url(url.clone()))?;
    let refused = |source| BucketError::Settings { url: url.clone(), source };
    let Patience { attempt, retries, total, backoff, backoff_max } = settings.patience;
    let transport = Transport { tls: settings.tls.clone(), attempt };
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: backoff, max_backoff: backoff_max, base: 2.0 },
        max_retries: retries,
        retry_timeout: total,
    };
    let store: Arc<dyn ObjectStore> = match named.scheme {
        "s3" => {
            let builder = with_options!(AmazonS3Builder::new(), AmazonS3ConfigKey, settings)
                .with_bucket_name(named.bucket)
                // One at a time is asked for, and not every store knows how to take many.
                .with_disable_bulk_delete(true)
                .with_retry(retry)
                .with_http_connector(transport);
            Arc::new(builder.build().map_err(refused)?)
        }
        "gs" => {
            let builder =
                with_options!(GoogleCloudStorageBuilder::new(), GoogleConfigKey, settings)
                    .with_bucket_name(named.bucket)
                    .with_retry(retry)
                    .with_http_connector(transport);
            Arc::new(builder.build().map_err(refused)?)
        }
        "az" => {
            let builder = with_options!(MicrosoftAzureBuilder::new(), AzureConfigKey, settings)
                .with_container_name(named.bucket)
                .with_retry(retry)
                .with_http_connector(transport);
            Arc::new(builder.build().map_err(refused)?)
        }
        _ => return Err(BucketError::Url(url)),
    };
    Ok((store, named.prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_bucket_and_a_prefix() {
        let of = |url| parse(url).map(|named| (named.bucket, named.prefix.to_string()));
        assert_eq!(of("s3://bucket"), Some(("bucket", String::new())));
        assert_eq!(of("s3://bucket/"), Some(("bucket", String::new())));
        assert_eq!(of("gs://bucket/a/b"), Some(("bucket", "a/b".to_owned())));
        for wrong in ["bucket", "s3:/bucket", "s3://", "s3:///a", "s3://a/../b", "s3://k:s@a/b"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
