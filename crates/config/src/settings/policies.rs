//! Health, selection, failover, spillover, affinity.

use std::collections::BTreeMap;

use rhumb_regions::{Capability, Levels, Strategy};
use rhumb_types::{
    Ratio, RegionId,
    control::{FailoverMode, FailoverStep, FailoverStrategy},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CheckSettings, HookSettings};
use crate::units::{Period, Share};

/// How regions are checked. The interval follows from `failover.detection`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// After how long a check without an answer has failed. Without it: as the profile says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Failures in a row that make a region down.
    pub failure_threshold: u32,
    /// Successes in a row that make it up again.
    pub success_threshold: u32,
    /// The share of errors above which a region is degraded.
    pub degraded_error_rate: Share,
    /// Parts of the service that are checked, by the names under which requests need them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, CheckSettings>")]
    pub checks: BTreeMap<Capability, CheckSettings>,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            timeout: None,
            failure_threshold: 3,
            success_threshold: 2,
            degraded_error_rate: Share(Ratio::clamped(0.25)),
            checks: BTreeMap::new(),
        }
    }
}

/// How a region is chosen.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelectionSettings {
    /// In what order the regions of a level are tried.
    #[schemars(schema_with = "crate::words::selection")]
    pub strategy: Strategy,
    /// Whether the lowest priority number comes first (`by_priority`) or all regions are one level
    /// (`flat`). Without it: `by_priority` for the strategy `priority`, else `flat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::words::levels")]
    pub levels: Option<Levels>,
    /// Whether clients get a signed token that keeps them in their region.
    pub sticky: bool,
    /// Regions to try first, in order.
    #[schemars(with = "Vec<String>")]
    pub preferred: Vec<RegionId>,
}

/// Sets the timing of failover together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Detection in under one second. Wants links that lose little.
    Fast,
    /// Detection in 15 seconds.
    #[default]
    Standard,
}

/// What happens when a region is down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FailoverSettings {
    /// Sets `detection`, `lease` and `health.timeout` together; each can still be set
    /// by itself.
    pub profile: Profile,
    /// Who decides: `manual`, `assisted` (one approval) or `automatic`.
    #[schemars(schema_with = "crate::words::mode")]
    pub mode: FailoverMode,
    /// Whether a region that still answers is drained first.
    #[schemars(schema_with = "crate::words::strategy")]
    pub strategy: FailoverStrategy,
    /// How long a region must be silent before the others may call it down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection: Option<Period>,
    /// How long a region may act as owner after its last renewal. Without it: as the profile says,
    /// or longer where the distance of the voters wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Period>,
    /// How long one step of a failover may take.
    pub timeout: Period,
    /// How often a failed step is tried again.
    pub retries: u8,
    /// How long work in hand may take to finish in a drain.
    pub drain_timeout: Period,
    /// How long the surviving regions are watched after a failover, before it counts as done.
    pub watch: Period,
    /// How long a region that was failed over without being asked for must be well before it gets
    /// its duties back in the same way. Without it only an operator fails back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failback_after: Option<Period>,
    /// How long each stage of a fail-back lasts at least: 1, 10, 50 and 100 percent.
    pub ramp_hold: Period,
    /// Commands that belong to a step: `detect`, `stop_routing`, `drain`, `fence`, `take_over`, `watch`
    /// or `fail_back`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::words::hooks")]
    pub hooks: BTreeMap<FailoverStep, HookSettings>,
}

impl Default for FailoverSettings {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            mode: FailoverMode::default(),
            strategy: FailoverStrategy::default(),
            detection: None,
            lease: None,
            timeout: Period::from_secs(30),
            retries: 2,
            drain_timeout: Period::from_secs(30),
            watch: Period::from_secs(60),
            failback_after: None,
            ramp_hold: Period::from_secs(30),
            hooks: BTreeMap::new(),
        }
    }
}

/// When new work leaves an overloaded region.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpilloverSettings {
    /// Waiting jobs above which it spills. It stops at half of that.
    pub queue_depth: u32,
    /// Utilisation above which it spills.
    pub concurrency: Share,
    /// Share of errors above which it spills.
    pub error_rate: Share,
    /// Age of the oldest waiting job above which it spills.
    pub oldest: Period,
    /// For how long one of these must be so until it spills.
    pub hold: Period,
    /// For how long all must be well again until it stops; doubles when it soon begins anew.
    pub calm: Period,
}

impl Default for SpilloverSettings {
    fn default() -> Self {
        Self {
            queue_depth: 100,
            concurrency: Share(Ratio::clamped(0.8)),
            error_rate: Share(Ratio::clamped(0.05)),
            oldest: Period::from_secs(60),
            hold: Period::from_secs(10),
            calm: Period::from_secs(60),
        }
    }
}

/// Which region a key belongs to by rule.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AffinitySettings {
    /// The rules of a new cluster. Afterwards the control plane keeps them.
    pub rules: Vec<AffinityRuleSettings>,
}

/// Sends what matches to a region. Exactly one of the matches is given.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AffinityRuleSettings {
    /// A repository, as `organisation/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// An organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Keys that start with this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Clients in a country (`DE`) or on a continent (`continent:EU`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geography: Option<String>,
    /// Everything, when `true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
    /// Where that goes.
    #[schemars(schema_with = "crate::words::region")]
    pub region: RegionId,
}
