//! Where this cluster's data lies, and an alarm when that is not right.

use std::{collections::BTreeSet, sync::Arc};

use rhumb_config::Config;
use rhumb_engine::{Engine, node::Alarm};
use rhumb_regions::residency::{Holding, report};
use rhumb_server_http::AlarmLog;
use rhumb_types::DomainId;

/// The keys that no namespace names.
const OTHER_KEYS: &str = "all other keys";

/// What lies where: the namespaces, and all other keys.
pub(super) fn holdings(config: &Config) -> Arc<[Holding]> {
    let named = config.namespaces().iter();
    let named = named.map(|namespace| holding(config, namespace.prefix.clone(), namespace.domain));
    let others = holding(config, OTHER_KEYS.to_owned(), DomainId::EVERYWHERE);
    named.chain([others]).collect()
}

fn holding(config: &Config, name: String, domain: DomainId) -> Holding {
    let domain = config.domains().get(&domain);
    Holding {
        name,
        residency: domain.map(|it| it.residency.iter().cloned().collect()).unwrap_or_default(),
        regions: domain.map(|it| it.regions.iter().cloned().collect()).unwrap_or_default(),
    }
}

/// Raises an alarm for every finding that was not there before.
pub(super) fn watch(engine: &Engine, alarms: &AlarmLog, holdings: Arc<[Holding]>) {
    let Some(mut routes) = engine.routes() else { return };
    let (speaker, alarms) = (engine.clone(), alarms.clone());
    engine.tasks().spawn_until_stopped(async move {
        let mut known = BTreeSet::new();
        loop {
            let report = report(&routes.borrow_and_update().clone(), &holdings);
            let found: BTreeSet<String> =
                report.findings.iter().map(|finding| format!("residency: {finding}")).collect();
            for finding in found.difference(&known) {
                tracing::warn!(alarm = %finding, "an alarm");
                alarms.push(speaker.clock().now().wall, Alarm::Overseer(finding.clone()));
            }
            known = found;
            if routes.changed().await.is_err() {
                return;
            }
        }
    });
}
