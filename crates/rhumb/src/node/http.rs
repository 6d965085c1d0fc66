//! The HTTP server of a node, and what surrounds it.

use std::sync::Arc;

use anyhow::Result;
use rhumb_config::{
    Config, Outside,
    settings::{ListenerSettings, Server},
};
use rhumb_engine::{Engine, node::Alarm};
use rhumb_peer::{JoinDesk, Peer, Seat};
use rhumb_regions::{StickyKeys, audit::AuditKey};
use rhumb_server_http::{
    AlarmLog, ConfigCheck, HttpConfig, HttpServer, Invitation, InvitationError, Invitations,
    Invited, LinkView, Links, StaticToken, Surroundings, Workflows,
};
use rhumb_telemetry::Metrics;
use rhumb_types::{
    RegionId,
    control::{ApiRole, Digest},
};
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, sync::watch};

use super::{
    identity::{CertificateHealth, Keeping},
    oversight::AUDIT_PURPOSE,
    residency, settings, worst_election,
};
use crate::{founding, machine_token::MachineToken, seat};

/// What the key that signs sticky tokens is derived for.
const STICKY_PURPOSE: &str = "sticky tokens";

/// What else the server shows.
pub(super) struct Around<'a> {
    /// Who keeps this node's identity.
    pub(super) keeping: &'a Keeping,
    /// Who takes webhooks.
    pub(super) workflows: Option<Arc<dyn Workflows>>,
}

/// Starts the HTTP server, where it is on; keeps the node's alarms in any case.
pub(super) async fn serve(
    config: &Config,
    engine: &Engine,
    peer: &Arc<Peer>,
    around: Around<'_>,
    alarms: mpsc::Receiver<Alarm>,
    metrics: Arc<Metrics>,
) -> Result<Option<HttpServer>> {
    let Around { keeping, workflows } = around;
    let alarms = AlarmLog::follow(engine, alarms);
    residency::watch(engine, &alarms, residency::holdings(config));
    warn_of_certificate(engine, &alarms, keeping.certificate.clone());
    let region = peer.identities().identity().region;
    let Some(listener) = config.listener(&region, Server::Http) else { return Ok(None) };
    let surroundings =
        Surroundings { workflows, ..surroundings(config, peer, keeping, alarms, metrics) };
    let server = HttpServer::new(&http(config, listener, peer), engine.clone(), surroundings)?;
    let address = server.listen().await?;
    tracing::info!(%address, "HTTP is served");
    Ok(Some(server))
}

fn http(config: &Config, listener: &ListenerSettings, peer: &Peer) -> HttpConfig {
    let machine = MachineToken::of(&peer.identities().secret());
    HttpConfig {
        listener: settings::listener(config, listener, Server::Http),
        tokens: vec![StaticToken {
            id: MachineToken::ID.to_owned(),
            secret: machine.digest(),
            roles: vec![ApiRole::Admin],
            scopes: Vec::new(),
            expires: None,
        }],
    }
}

fn surroundings(
    config: &Config,
    peer: &Arc<Peer>,
    keeping: &Keeping,
    alarms: AlarmLog,
    metrics: Arc<Metrics>,
) -> Surroundings {
    let identity = peer.identities().identity();
    let desk = keeping.desk.clone().map(|desk| -> Arc<dyn Invitations> {
        Arc::new(Desk { desk, own: identity.region.clone(), config: config.clone() })
    });
    Surroundings {
        alarms,
        links: Some(links(peer)),
        invitations: desk,
        config_check: Some(config_check()),
        audit_key: Some(AuditKey::new(peer.identities().secret().derive(AUDIT_PURPOSE))),
        sticky: config.settings().selection.sticky.then(|| sticky(peer)),
        holdings: residency::holdings(config),
        ..Surroundings::new(identity.node, identity.region, metrics)
    }
}

/// All nodes sign with the same key, so that any of them reads what another handed out.
fn sticky(peer: &Peer) -> StickyKeys {
    let key = peer.identities().secret().derive(STICKY_PURPOSE);
    StickyKeys::new(peer.identities().identity().cluster, &key, None)
}

fn links(peer: &Arc<Peer>) -> Links {
    let peer = peer.clone();
    Arc::new(move || {
        let view = |link: rhumb_peer::LinkStatus| LinkView {
            region: link.region,
            up: link.node.is_some(),
            heartbeats: link.heartbeats,
            queued_messages: link.queued_messages,
            queued_bytes: link.queued_bytes,
            sent_bytes: link.sent_bytes,
            received_bytes: link.received_bytes,
        };
        peer.links().into_iter().map(view).collect()
    })
}

/// A document is a whole file, without what the environment of one node lays over it.
fn config_check() -> ConfigCheck {
    Arc::new(|document| {
        let outside = Outside { variable: &|_| None, worst_election: &worst_election };
        let faults = Config::parse(document, &outside).err().unwrap_or_default();
        if faults.is_empty() {
            return Ok(());
        }
        Err(faults.iter().map(ToString::to_string).collect())
    })
}

/// The join desk, for operators who ask over HTTP.
struct Desk {
    desk: Arc<JoinDesk>,
    own: RegionId,
    config: Config,
}

impl Invitations for Desk {
    fn invite(&self, invitation: &Invitation) -> Result<Invited, InvitationError> {
        let refused = |reason: String| InvitationError::Refused(reason);
        let address = |region: &RegionId| {
            let settings = self.config.settings().regions.get(region);
            settings.map(|settings| settings.address.clone())
        };
        let region = &invitation.region;
        let Invitation { address: at, role, replaces, .. } = invitation.clone();
        let wanted = seat::Wanted { address: at, role: Some(role), replaces };
        let seat = seat::seat(&self.config, region, wanted);
        let seat = seat.map_err(|error| refused(error.to_string()))?;
        let seat = Some(Seat { agreed: true, ..seat });
        let own = address(&self.own).ok_or_else(|| refused("this region has no address".into()))?;
        let token =
            self.desk.invite(region.clone(), founding::node_id(), seat, own, invitation.lasting);
        let token = token.map_err(|error| refused(error.to_string()))?;
        let secret = Digest(Sha256::digest(token.secret).into());
        Ok(Invited { token: token.to_string(), secret })
    }
}

/// A certificate that is about to end is an alarm like any other.
fn warn_of_certificate(
    engine: &Engine,
    alarms: &AlarmLog,
    mut health: watch::Receiver<CertificateHealth>,
) {
    let (engine, alarms) = (engine.clone(), alarms.clone());
    engine.clone().tasks().spawn_until_stopped(async move {
        let mut last = None;
        loop {
            let alarm = health.borrow_and_update().alarm.clone();
            if let Some(text) = alarm.clone().filter(|_| alarm != last) {
                alarms.push(engine.clock().now().wall, Alarm::Overseer(text));
            }
            last = alarm;
            if health.changed().await.is_err() {
                return;
            }
        }
    });
}
