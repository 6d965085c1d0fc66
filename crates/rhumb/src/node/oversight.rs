//! The overseer of a node, from the configuration's words; and the agreed members, as links.

use std::{collections::BTreeSet, sync::Arc};

use rhumb_config::Config;
use rhumb_engine::{Engine, OversightConfig, node::oversee::OverseerConfig};
use rhumb_peer::{Identities, Identity, Peer};
use rhumb_ports::peer::PROTOCOL_VERSION;
use rhumb_regions::{Facts, FailoverConfig, RegionFacts, audit::AuditKey};
use rhumb_types::{
    RegionId,
    control::{ControlView, Digest, Member},
};

use super::{hooks, settings};
use crate::seat;

/// What the key that signs audit heads is derived for.
pub(crate) const AUDIT_PURPOSE: &str = "audit heads";

/// What the overseer is started with.
pub(super) fn config(config: &Config, identities: &Identities) -> OversightConfig {
    let material = identities.current();
    let own = material.identity();
    let fingerprint = Digest(material.fingerprint());
    let audit = AuditKey::new(material.secret().derive(AUDIT_PURPOSE));
    let overseer = overseer(config, own, fingerprint);
    OversightConfig {
        overseer: OverseerConfig { audit: Some(audit), ..overseer },
        hooks: hooks::runner(config),
    }
}

/// The overseer of a node of that identity, which signs no audit heads; a rehearsal starts it too.
pub(crate) fn overseer(config: &Config, own: &Identity, fingerprint: Digest) -> OverseerConfig {
    let Identity { cluster, region, node } = own.clone();
    let regions = config.registry().regions();
    let carried = |region: &RegionId| settings::domains(config, region).into_iter().collect();
    OverseerConfig {
        cluster,
        node,
        founders: member(config, own, fingerprint).into_iter().collect(),
        domains: regions.iter().map(|it| (it.id.clone(), carried(&it.id))).collect(),
        health: config.health().clone(),
        failover: failover(config),
        facts: Facts {
            version: 1,
            here: region.clone(),
            regions: regions.iter().cloned().map(RegionFacts::new).collect(),
            links: config.links(),
            rules: config.rules().to_vec(),
            policy: config.policy(),
        },
        region,
        audit: None,
    }
}

/// This node as a member; nothing when its region is not in the file.
fn member(config: &Config, identity: &Identity, fingerprint: Digest) -> Option<Member> {
    let region = config.registry().get(&identity.region)?;
    Some(Member {
        node: identity.node,
        region: region.id.clone(),
        role: seat::role(config, &region.id)?,
        address: region.address.clone(),
        fingerprint,
        reads: PROTOCOL_VERSION,
    })
}

fn failover(config: &Config) -> FailoverConfig {
    let given = &config.settings().failover;
    let defaults = FailoverConfig::default();
    FailoverConfig {
        mode: given.mode,
        strategy: given.strategy,
        timeout: given.timeout.0,
        retries: given.retries,
        drain_timeout: given.drain_timeout.0,
        // A lease that was renewed a moment before its holder died must still run out in time.
        fence_timeout: defaults.fence_timeout.max(config.health().lease * 2),
        watch_for: given.watch.0,
        failback_after: given.failback_after.map(|period| period.0),
        ramp_hold: given.ramp_hold.0,
        hooks: hooks::steps(config),
        ..defaults
    }
}

/// Keeps the links in line with the agreed members, and the agreed fingerprint with the
/// certificate.
pub(super) fn follow(config: &Config, engine: &Engine, peer: &Arc<Peer>) {
    let Some(mut views) = engine.agreed() else { return };
    let (configured, peers) = (settings::members(config), peer.clone());
    engine.tasks().spawn_until_stopped(async move {
        let mut known = Known { configured, agreed: BTreeSet::new(), last: Vec::new() };
        loop {
            let members = known.members(&views.borrow_and_update());
            if members != known.last {
                peers.update_members(members.clone());
                known.last = members;
            }
            if views.changed().await.is_err() {
                return;
            }
        }
    });
    let mut shown = peer.identities().watch();
    let engine = engine.clone();
    engine.clone().tasks().spawn_until_stopped(async move {
        while shown.changed().await.is_ok() {
            let fingerprint = Digest(shown.borrow_and_update().fingerprint());
            engine.renewed(fingerprint).await;
        }
    });
}

/// Whom this node links to.
struct Known {
    configured: Vec<rhumb_peer::Member>,
    /// Regions that were agreed on at some time.
    agreed: BTreeSet<RegionId>,
    last: Vec<rhumb_peer::Member>,
}

impl Known {
    /// The agreed members, by their exact nodes; and regions that are configured and were never
    /// agreed on, because they may be about to join. The file knows addresses best.
    fn members(&mut self, view: &ControlView) -> Vec<rhumb_peer::Member> {
        self.agreed.extend(view.regions.keys().cloned());
        let configured = |region: &RegionId| self.configured.iter().find(|it| it.region == *region);
        let agreed = view.members.iter().map(|member| rhumb_peer::Member {
            region: member.region.clone(),
            node: Some(member.node),
            address: configured(&member.region)
                .map_or_else(|| member.address.clone(), |it| it.address.clone()),
        });
        let coming = self.configured.iter().filter(|it| !self.agreed.contains(&it.region));
        agreed.chain(coming.cloned()).collect()
    }
}
