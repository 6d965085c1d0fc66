//! Parts of the service that nodes look after, and commands of an operator's own.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FailoverSettings;
use crate::units::Period;

/// A part of the service that is checked. Exactly one of `http`, `tcp` and `command` is given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckSettings {
    /// An address that answers GET with a status below 400, such as `http://127.0.0.1:8080/healthz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A `host:port` that takes connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// A program and its arguments, run without a shell; it passes when it ends with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Who checks.
    #[serde(default)]
    pub from: Checker,
    /// Whether the region is out while it fails, and is failed over when that lasts. Otherwise only
    /// what needs this part goes elsewhere.
    #[serde(default)]
    pub vital: bool,
    /// How often it is checked.
    #[serde(default = "every_half_minute")]
    pub interval: Period,
    /// How long it may take. Without it: `health.timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

fn every_half_minute() -> Period {
    Period::from_secs(30)
}

/// Who checks a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checker {
    /// Each region its own, and tells the others.
    #[default]
    Region,
    /// Each region all others; `{region}` stands for the name of the one that is checked.
    Peers,
}

/// A command that belongs to a step of every failover, drain and fail-back. Exactly one of `http` and
/// `command` is given. It runs on the node that leads the control plane, and again when that node
/// is lost or it fails: it must bear that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookSettings {
    /// An address to which the plan is posted as JSON; a status of 2xx means done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A program and its arguments, run without a shell; it has the plan in its environment, and
    /// 0 means done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// How long it may take. Without it: a third of `failover.timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// What must hold afterwards; it is asked again and again, for as long as the timeout says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySettings>,
}

/// What must hold after a command. Exactly one of the three is given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifySettings {
    /// An address that answers GET with a status below 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A `host:port` that takes connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// A program and its arguments, run without a shell; it holds when it ends with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}

/// One way to ask, or to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// A request to this address.
    Http(String),
    /// A connection to this `host:port`.
    Tcp(String),
    /// This program with these arguments.
    Command(Vec<String>),
}

impl CheckSettings {
    /// How it is checked; `None` unless exactly one way is given.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        only(&self.http, &self.tcp, &self.command)
    }
}

impl HookSettings {
    /// How long it may take, and then again what must hold afterwards.
    #[must_use]
    pub fn within(&self, failover: &FailoverSettings) -> Duration {
        self.timeout.map_or(failover.timeout.0 / 3, |period| period.0)
    }

    /// What is done; `None` unless exactly one way is given.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        only(&self.http, &None, &self.command)
    }
}

impl VerifySettings {
    /// What is asked; `None` unless exactly one way is given.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        only(&self.http, &self.tcp, &self.command)
    }
}

fn only(
    http: &Option<String>,
    tcp: &Option<String>,
    command: &Option<Vec<String>>,
) -> Option<Probe> {
    match (http, tcp, command) {
        (Some(url), None, None) => Some(Probe::Http(url.clone())),
        (None, Some(address), None) => Some(Probe::Tcp(address.clone())),
        (None, None, Some(words)) => Some(Probe::Command(words.clone())),
        _ => None,
    }
}
