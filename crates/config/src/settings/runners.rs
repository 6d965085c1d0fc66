//! CI runners: which webhooks are believed, which runners there are, and what makes them run.

use std::{collections::BTreeMap, path::PathBuf};

use rhumb_types::RegionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// Self-hosted runners of GitHub, started where the work belongs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunnersSettings {
    /// Files with the webhook's secret: one, or two while one replaces the other.
    pub webhook_secrets: Vec<PathBuf>,
    /// Where GitHub's API is; `https://HOST/api/v3` for a GitHub Enterprise Server.
    #[serde(default = "github")]
    pub api: String,
    /// A file of authorities to believe there, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
    /// A file with a token. Either this or `app` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<PathBuf>,
    /// A GitHub App, which gets tokens for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppSettings>,
    /// The kinds of runners, by name.
    pub sets: BTreeMap<String, SetSettings>,
    /// Owners whose jobs are taken. Without any: of everybody whose webhooks are signed with the secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
    /// Where the people of an owner or a repository (`owner/name`) are, for rules of geography: a country
    /// (`DE`) or a continent (`continent:EU`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub geography: BTreeMap<String, String>,
    /// Jurisdictions in one of which the jobs of an owner or a repository must run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub residency: BTreeMap<String, Vec<String>>,
    /// Webhooks whose deliveries are looked at, and repeated where they failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookOfGitHub>,
    /// How often deliveries that failed and jobs that nobody told of are looked for.
    #[serde(default = "five_minutes")]
    pub reconcile_every: Period,
    /// How long a runner may take from its start until GitHub sees it; then it is removed, and another is
    /// started.
    #[serde(default = "five_minutes")]
    pub start_timeout: Period,
}

fn five_minutes() -> Period {
    Period::from_secs(300)
}

fn github() -> String {
    "https://api.github.com".to_owned()
}

/// A GitHub App.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppSettings {
    /// Its id, or its client id.
    pub id: String,
    /// A file with its private key, in PEM.
    pub key: PathBuf,
    /// The installation that is used where no event names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
}

/// Runners of one kind. Exactly one of `command` and `http` is given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSettings {
    /// Their labels, which jobs name in `runs-on`.
    pub labels: Vec<String>,
    /// Most of them in a region at a time.
    #[serde(default = "ten")]
    pub max: u32,
    /// Regions with another number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, u32>")]
    pub max_in: BTreeMap<RegionId, u32>,
    /// How many of them are started at a time.
    #[serde(default = "ten")]
    pub burst: u32,
    /// Where they are registered.
    #[serde(default)]
    pub level: RunnerLevel,
    /// In which runner group of GitHub; 1 is the default one.
    #[serde(default = "one")]
    pub group: u64,
    /// A program and its arguments, run without a shell. `{jitconfig}` and `{name}` stand for the
    /// runner's; a program that begins with `./` is one of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// A folder that is copied for every runner, such as that of GitHub's own runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// A launcher that runners are posted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<LauncherSettings>,
}

const fn ten() -> u32 {
    10
}

const fn one() -> u64 {
    1
}

/// Where runners are registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunnerLevel {
    /// At the organisation, where the repository has one.
    #[default]
    Organisation,
    /// At the repository.
    Repository,
}

/// A launcher that speaks HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LauncherSettings {
    /// Where it is.
    pub url: String,
    /// A file with the secret that signs requests.
    pub secret: PathBuf,
    /// A file of authorities to believe there, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
}

/// A webhook, by whose it is. Exactly one of the three is given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HookOfGitHub {
    /// That of the app, when `true`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub app: bool,
    /// One of an organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// One of a repository, as `owner/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Its id, for the last two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}
