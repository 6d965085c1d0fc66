//! The settings, as the file names them.
//!
//! These structs are the file's only description: they are read, written, compared and turned
//! into the schema. What is left out has the default that its doc comment names.

mod access;
mod listeners;
mod objects;
mod policies;
mod probes;
mod queues;
mod regions;
mod runners;
mod ship;
mod state;

use std::{collections::BTreeMap, path::PathBuf};

use rhumb_types::{RegionId, record::QueueName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    access::{
        AccessKeySettings, AccessSettings, LogFormat, LogSettings, TlsSettings, UserSettings,
    },
    listeners::{
        CACHE_PORT, HTTP_PORT, ListenerSettings, ListenersSettings, PEER_PORT, RESP_PORT, S3_PORT,
        SQS_PORT, Server,
    },
    objects::ObjectsSettings,
    policies::{
        AffinityRuleSettings, AffinitySettings, FailoverSettings, HealthSettings, Profile,
        SelectionSettings, SpilloverSettings,
    },
    probes::{CheckSettings, Checker, HookSettings, Probe, VerifySettings},
    queues::QueueSettings,
    regions::{CapacitySettings, LocationSettings, RegionSettings, RoundTripSettings},
    runners::{
        AppSettings, HookOfGitHub, LauncherSettings, RunnerLevel, RunnersSettings, SetSettings,
    },
    ship::{CredentialsSettings, EndpointSettings, ShipSettings},
    state::{NamespaceSettings, RetentionSettings, StateSettings, StoreKind},
};

/// The whole file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cluster", "regions"]))]
pub struct Settings {
    /// The cluster's name; nodes of different clusters never talk to each other.
    pub cluster: String,
    /// The region that this node runs. Usually left out and given as RHUMB_REGION, so that all
    /// nodes share one file.
    #[schemars(schema_with = "crate::words::region")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
    /// The region that is preferred where nothing else decides. Without it: the data region of the
    /// first priority whose name comes first.
    #[schemars(schema_with = "crate::words::region")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<RegionId>,
    /// Where the node keeps its records, its control log and its identity.
    pub data: PathBuf,
    /// The regions, by name.
    #[schemars(with = "BTreeMap<String, RegionSettings>")]
    pub regions: BTreeMap<RegionId, RegionSettings>,
    /// Round trips that are known better than by the regions' places.
    pub round_trips: Vec<RoundTripSettings>,
    /// How regions are checked.
    pub health: HealthSettings,
    /// How a region is chosen.
    pub selection: SelectionSettings,
    /// What happens when a region is down.
    pub failover: FailoverSettings,
    /// When new work leaves an overloaded region.
    pub spillover: SpilloverSettings,
    /// The queues of a new cluster, by name. Afterwards the cluster keeps them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, QueueSettings>")]
    pub queues: BTreeMap<QueueName, QueueSettings>,
    /// Where the bytes of objects are kept.
    pub objects: ObjectsSettings,
    /// Which region a key belongs to by rule.
    pub affinity: AffinitySettings,
    /// How replicated state behaves.
    pub state: StateSettings,
    /// Where records are kept.
    pub store: StoreKind,
    /// What listens on every node. A server that is not named is off.
    pub listeners: ListenersSettings,
    /// The certificate of the servers that face clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// Who may use the RESP server, the S3 server and the SQS server.
    pub acl: AccessSettings,
    /// Self-hosted runners of GitHub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runners: Option<RunnersSettings>,
    /// What `rhumb ship` and the commands for objects work with.
    #[serde(skip_serializing_if = "ShipSettings::is_default")]
    pub ship: ShipSettings,
    /// What the node writes about itself.
    pub log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            region: None,
            primary: None,
            data: PathBuf::from("rhumb-data"),
            regions: BTreeMap::new(),
            round_trips: Vec::new(),
            health: HealthSettings::default(),
            selection: SelectionSettings::default(),
            failover: FailoverSettings::default(),
            spillover: SpilloverSettings::default(),
            queues: BTreeMap::new(),
            objects: ObjectsSettings::default(),
            affinity: AffinitySettings::default(),
            state: StateSettings::default(),
            store: StoreKind::default(),
            listeners: ListenersSettings::default(),
            tls: None,
            acl: AccessSettings::default(),
            runners: None,
            ship: ShipSettings::default(),
            log: LogSettings::default(),
        }
    }
}

/// Why settings cannot be written as a file.
#[derive(Debug, thiserror::Error)]
#[error("write the settings as YAML: {0}")]
pub struct WriteError(String);

impl Settings {
    /// The settings as a file that reads as the same settings.
    ///
    /// # Errors
    /// When a path in them is not UTF-8.
    pub fn to_yaml(&self) -> Result<String, WriteError> {
        serde_saphyr::to_string(self).map_err(|error| WriteError(error.to_string()))
    }
}
