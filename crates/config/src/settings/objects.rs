//! Where the bytes of objects are kept.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// Where the bytes of objects are kept, and how they come there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectsSettings {
    /// A directory, within the node's data unless it is absolute; or a bucket of the region's own:
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`.
    pub path: String,
    /// How a bucket is reached: `endpoint`, `region`, `access_key_id`, `secret_access_key`,
    /// `account_name`, ... What is missing is asked of the cloud's metadata service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// A file with the authorities that a bucket's certificate is checked against. Without it: the
    /// system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
    /// A file with the key that seals bytes at rest: 32 bytes, raw or in hexadecimal. Without it they
    /// are not sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Files with keys that sealed bytes earlier, and still open them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub old_key_files: Vec<PathBuf>,
    /// How many blobs are fetched from other regions at a time.
    pub fetches: usize,
    /// How often a region that did not take a copy is asked again, before another takes its place.
    pub retries: u32,
    /// How long to wait before that.
    pub delay: Period,
    /// How long an upload waits for the copies that its bucket asks for.
    pub copy_wait: Period,
    /// In what time everything that is held is read again, to find what the disk has damaged: 1 s to
    /// 366 days.
    pub scrub: Period,
}

impl Default for ObjectsSettings {
    fn default() -> Self {
        Self {
            path: "blobs".to_owned(),
            options: BTreeMap::new(),
            authorities: None,
            key_file: None,
            old_key_files: Vec::new(),
            fetches: 8,
            retries: 2,
            delay: Period(Duration::from_secs(5)),
            copy_wait: Period(Duration::from_secs(30)),
            scrub: Period(Duration::from_secs(14 * 24 * 3_600)),
        }
    }
}

impl ObjectsSettings {
    /// Whether the bytes are in a bucket, and not in a directory.
    #[must_use]
    pub fn in_bucket(&self) -> bool {
        self.path.contains("://")
    }
}
