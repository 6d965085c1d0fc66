//! The S3 endpoints that `rhumb ship` and its like work with.

use std::{collections::BTreeMap, path::PathBuf};

use rhumb_types::RegionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CapacitySettings;

/// What `rhumb ship`, `rhumb receive` and the commands for objects work with, where the command line names
/// no endpoint.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShipSettings {
    /// The S3 endpoints, by region; a region need not be one of the cluster. Without any: the S3 servers of
    /// the cluster's own regions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, EndpointSettings>")]
    pub endpoints: BTreeMap<RegionId, EndpointSettings>,
}

impl ShipSettings {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One region's S3 endpoint.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSettings {
    /// Where it is: `https://host:port`, or `http://`.
    pub url: String,
    /// What buckets are called there, by the name that is used on the command line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub buckets: BTreeMap<String, String>,
    /// The region that signatures name. Without it: the region's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_region: Option<String>,
    /// Who asks. Without it: as the environment and the credentials file say, for all endpoints alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsSettings>,
    /// A file with the authorities that its certificate is checked against, besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
    /// How much may go there at a time. Without it: as `capacity` of the cluster's region of this name says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacitySettings>,
}

/// Where the keys of an endpoint are; never the secret itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialsSettings {
    /// A profile of the credentials file; or else a `key_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The credentials file of the profile. Without it: `~/.aws/credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The id of an access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The file that holds its secret and nothing else,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// or the environment variable that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_variable: Option<String>,
}
