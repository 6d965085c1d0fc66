//! Certificates, users, and the node's own log.

use std::path::PathBuf;

use rhumb_types::control::ApiRole;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The certificate of the servers that face clients. Between nodes, identities made by `rhumb
/// init` and `rhumb join` are used instead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The certificate chain, as a PEM file.
    pub certificate: PathBuf,
    /// Its private key, as a PEM file.
    pub key: PathBuf,
    /// Authorities whose client certificates are asked for, as a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authorities: Option<PathBuf>,
}

/// Who may use the RESP server, the S3 server and the SQS server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// The users. Without any, a server without `auth` lets everybody do everything but FLUSHDB.
    pub users: Vec<UserSettings>,
    /// The access keys of the S3 server and the SQS server. The key `machine` is always there: its secret
    /// is derived from the cluster's own, and `rhumb token s3` and `rhumb token sqs` show it on a node's
    /// machine.
    pub access_keys: Vec<AccessKeySettings>,
}

/// A key that clients of the S3 server and the SQS server sign their requests with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessKeySettings {
    /// Its public id, such as `AKIAEXAMPLE`: letters, digits, `-` and `_`.
    pub id: String,
    /// The file that holds its secret and nothing else. A signature needs the secret in clear.
    pub secret_file: PathBuf,
    /// What its bearer may do: a `reader` looks, reads and lists; an `operator` also sends, receives,
    /// writes, and changes queues and buckets.
    #[schemars(schema_with = "crate::words::role")]
    pub role: ApiRole,
    /// Prefixes of the names of the queues that it is limited to. Without any: all queues, or none if it
    /// is limited to buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
    /// Prefixes of the names of the buckets that it is limited to. Without any: all buckets, or none if it
    /// is limited to queues. A bucket's policy may allow it more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<String>,
}

/// A user of the RESP server, in the words of Redis's ACL.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserSettings {
    /// The name. `default` is the user of clients that send only a password.
    pub name: String,
    /// SHA-256 of each of the user's passwords, as 64 hexadecimal digits.
    #[serde(default)]
    pub password_sha256: Vec<String>,
    /// What the user may call, in order: `+get`, `-flushdb`, `+@read`, `-@all`. Without any:
    /// nothing.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Glob patterns of the keys that the user may touch. Without any: none.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Glob patterns of the channels that the user may use. Without any: none.
    #[serde(default)]
    pub channels: Vec<String>,
}

/// What the node writes about itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// What is written, as in `info` or `info,rhumb_peer=debug`.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::default() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
