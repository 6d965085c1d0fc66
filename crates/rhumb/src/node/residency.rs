//! Where this cluster's data lies, and an alarm when that is not right.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rhumb_config::Config;
use rhumb_engine::{Engine, node::Alarm};
use rhumb_regions::residency::{Holding, report};
use rhumb_server_http::AlarmLog;
use rhumb_types::control::NamespacePolicy;
use tokio::time::{Instant, interval};

/// The keys that no namespace names.
const OTHER_KEYS: &str = "all other keys";
/// How often the report is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a finding must last: regions join one after the other, and restart.
const LASTING: Duration = Duration::from_secs(30);

/// What lies where: the namespaces, the one of all other keys included.
pub(super) fn holdings(config: &Config) -> Arc<[Holding]> {
    let holding = |namespace: &NamespacePolicy| {
        let domain = config.domains().get(&namespace.domain);
        let other = namespace.prefix.is_empty();
        Holding {
            name: if other { OTHER_KEYS.to_owned() } else { namespace.prefix.clone() },
            residency: domain.map(|it| it.residency.iter().cloned().collect()).unwrap_or_default(),
            regions: domain.map(|it| it.regions.iter().cloned().collect()).unwrap_or_default(),
        }
    };
    config.namespaces().iter().map(holding).collect()
}

/// Raises an alarm for every finding that lasts.
pub(super) fn watch(engine: &Engine, alarms: &AlarmLog, holdings: Arc<[Holding]>) {
    let Some(routes) = engine.routes() else { return };
    let (speaker, alarms) = (engine.clone(), alarms.clone());
    engine.tasks().spawn_until_stopped(async move {
        // When each was first seen, and whether it was said.
        let mut known: BTreeMap<String, (Instant, bool)> = BTreeMap::new();
        let mut looks = interval(LOOK_INTERVAL);
        loop {
            looks.tick().await;
            let now = Instant::now();
            let report = report(&routes.borrow().clone(), &holdings);
            let found: BTreeSet<String> =
                report.findings.iter().map(|finding| format!("residency: {finding}")).collect();
            known.retain(|finding, _| found.contains(finding));
            for finding in found {
                let (since, said) = known.entry(finding.clone()).or_insert((now, false));
                if !*said && now.duration_since(*since) >= LASTING {
                    *said = true;
                    tracing::warn!(alarm = %finding, "an alarm");
                    alarms.push(speaker.clock().now().wall, Alarm::Overseer(finding));
                }
            }
        }
    });
}
