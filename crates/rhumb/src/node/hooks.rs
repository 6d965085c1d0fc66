//! The commands that an operator wants in the steps of a failover.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rhumb_config::Config;
use rhumb_engine::{HookCall, HookRunner};
use rhumb_regions::failover::Hook;
use rhumb_types::control::{FailoverKind, FailoverStep};
use tokio::time::{Instant, sleep};

use crate::probe::{Facts, ProbeError, Prober};

/// Time between two looks at what must hold after a command.
const VERIFY_INTERVAL: Duration = Duration::from_secs(1);

/// Which steps have one. A hook has the name of its step.
pub(super) fn steps(config: &Config) -> BTreeMap<FailoverStep, Hook> {
    let steps = config.settings().failover.hooks.keys();
    steps.map(|step| (*step, Hook(step.name().to_owned()))).collect()
}

/// What runs them.
pub(super) fn runner(config: &Config) -> HookRunner {
    let failover = &config.settings().failover;
    let known = failover.hooks.iter().filter_map(|(step, settings)| {
        let duty = Duty {
            done_by: settings.probe()?,
            verified_by: settings.verify.as_ref().and_then(|verify| verify.probe()),
            within: settings.within(failover),
        };
        Some((step.name(), Arc::new(duty)))
    });
    let known: BTreeMap<&'static str, Arc<Duty>> = known.collect();
    Arc::new(move |call| {
        let duty = known.get(call.name.as_str()).cloned();
        Box::pin(async move {
            // The leader runs its own file's hooks, and all nodes share one file.
            let Some(duty) = duty else {
                return Err(format!("no hook is configured for {}", call.name));
            };
            let (step, region, attempt) = (&call.name, &call.plan.region, call.attempt);
            tracing::info!(%step, %region, attempt, "a hook runs");
            let result = duty.run(&facts(&call)).await;
            match &result {
                Ok(()) => tracing::info!(%step, %region, "the hook is done"),
                Err(error) => tracing::warn!(%step, %region, %error, "the hook failed"),
            }
            result.map_err(|error| format!("the hook of {step}: {error}"))
        })
    })
}

/// What a hook is told.
fn facts(call: &HookCall) -> [(&'static str, String); 6] {
    let kind = match call.plan.kind {
        FailoverKind::Failover => "failover",
        FailoverKind::Drain => "drain",
        FailoverKind::FailBack => "fail_back",
    };
    let successor = call.plan.successor.as_ref().map(ToString::to_string);
    [
        ("failover_id", call.id.0.to_string()),
        ("failover_kind", kind.to_owned()),
        ("failover_step", call.name.clone()),
        ("failover_region", call.plan.region.to_string()),
        ("failover_successor", successor.unwrap_or_default()),
        ("failover_attempt", call.attempt.to_string()),
    ]
}

struct Duty {
    done_by: rhumb_config::settings::Probe,
    verified_by: Option<rhumb_config::settings::Probe>,
    within: Duration,
}

impl Duty {
    async fn run(&self, facts: Facts<'_>) -> Result<(), ProbeError> {
        Prober::new(&self.done_by)?.tell(facts, self.within).await?;
        match &self.verified_by {
            Some(probe) => self.verify(&Prober::new(probe)?, facts).await,
            None => Ok(()),
        }
    }

    async fn verify(&self, prober: &Prober, facts: Facts<'_>) -> Result<(), ProbeError> {
        let end = Instant::now() + self.within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match prober.ask(facts, left).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() + VERIFY_INTERVAL >= end => return Err(error),
                Err(_) => sleep(VERIFY_INTERVAL).await,
            }
        }
    }
}
