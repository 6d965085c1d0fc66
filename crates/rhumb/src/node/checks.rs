//! The checks that an operator wants: run here, told to the overseer.

use std::time::Duration;

use rhumb_config::{
    Config, REGION_WORD,
    settings::{CheckSettings, Checker, Probe},
};
use rhumb_engine::Engine;
use rhumb_regions::{Capability, health::Check};
use rhumb_types::RegionId;
use tokio::time::{MissedTickBehavior, interval};

use crate::probe::Prober;

/// Runs the checks of a region's node, each by itself.
pub(super) fn start(config: &Config, own: &RegionId, engine: &Engine) {
    let holds_data = |region: &RegionId| {
        config.settings().regions.get(region).is_some_and(|settings| !settings.witness)
    };
    let checks = &config.settings().health.checks;
    for (name, settings) in checks {
        let Some(probe) = settings.probe() else { continue };
        let regions = config.registry().regions().iter().map(|region| &region.id);
        let checked = regions.filter(|region| match settings.from {
            Checker::Region => *region == own,
            Checker::Peers => *region != own,
        });
        for region in checked.filter(|region| holds_data(region)) {
            let check = RunningCheck {
                engine: engine.clone(),
                name: name.clone(),
                region: region.clone(),
                probe: of_region(&probe, region),
                every: settings.interval.0,
                within: settings.timeout.map_or(config.health().check_timeout, |it| it.0),
                check: kind(name, settings),
            };
            engine.tasks().spawn_until_stopped(check.run());
        }
    }
}

fn kind(name: &Capability, settings: &CheckSettings) -> Check {
    if settings.vital { Check::Vital(name.clone()) } else { Check::Part(name.clone()) }
}

/// The probe with the region's name in it.
fn of_region(probe: &Probe, region: &RegionId) -> Probe {
    let named = |text: &String| text.replace(REGION_WORD, region.as_str());
    match probe {
        Probe::Http(url) => Probe::Http(named(url)),
        Probe::Tcp(address) => Probe::Tcp(named(address)),
        Probe::Command(words) => Probe::Command(words.iter().map(named).collect()),
    }
}

struct RunningCheck {
    engine: Engine,
    name: Capability,
    region: RegionId,
    probe: Probe,
    every: Duration,
    within: Duration,
    check: Check,
}

impl RunningCheck {
    async fn run(self) {
        let facts = [("check", self.name.to_string()), ("checked_region", self.region.to_string())];
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            ticks.tick().await;
            // Made anew each time, so that a change of the system's authorities is seen.
            let result = match Prober::new(&self.probe) {
                Ok(prober) => prober.ask(&facts, self.within).await,
                Err(error) => Err(error),
            };
            let passed = result.is_ok();
            let (check, region) = (&self.name, &self.region);
            match result {
                Ok(()) if last == Some(false) => tracing::info!(%check, %region, "a check passes"),
                Err(error) if last != Some(false) => {
                    tracing::warn!(%check, %region, %error, "a check fails");
                }
                _ => {}
            }
            last = Some(passed);
            self.engine.checked(&self.region, self.check.clone(), passed);
        }
    }
}
