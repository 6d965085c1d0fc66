//! The SQS server of a node, and who may use it.

use std::{fs, sync::Arc};

use anyhow::{Context, Result, bail};
use rhumb_config::{
    Config,
    settings::{AccessKeySettings, ListenerSettings, Server},
};
use rhumb_engine::Engine;
use rhumb_peer::Peer;
use rhumb_server_sqs::{AccessKey, SqsConfig, SqsServer};
use rhumb_sigv4::Secret;
use rhumb_telemetry::Metrics;
use rhumb_types::control::ApiRole;

use super::settings;
use crate::machine_token::{MachineToken, access_key_secret};

/// Shorter secrets are guessed; those of AWS have 40 letters.
const SECRET_BYTES_MIN: usize = 16;
/// Longest file that is taken for a secret, in bytes.
const SECRET_BYTES_MAX: usize = 1 << 10;

/// Starts the SQS server, where it is on and there are queues.
pub(super) async fn serve(
    config: &Config,
    engine: &Engine,
    peer: &Peer,
    metrics: &Arc<Metrics>,
) -> Result<Option<SqsServer>> {
    let region = peer.identities().identity().region;
    let Some(listener) = config.listener(&region, Server::Sqs) else { return Ok(None) };
    if engine.queues().is_none() {
        return Ok(None);
    }
    let sqs = sqs(config, listener, peer)?;
    let server = SqsServer::new(&sqs, engine.clone(), region.as_str(), metrics)?;
    let address = server.listen().await?;
    tracing::info!(%address, "SQS is served");
    Ok(Some(server))
}

fn sqs(config: &Config, listener: &ListenerSettings, peer: &Peer) -> Result<SqsConfig> {
    let given = config.settings().acl.access_keys.iter().map(access_key);
    let mut keys = given.collect::<Result<Vec<_>>>()?;
    keys.push(AccessKey {
        id: MachineToken::ID.to_owned(),
        secret: Secret::new(access_key_secret(&peer.identities().secret())),
        role: ApiRole::Admin,
        queues: Vec::new(),
    });
    Ok(SqsConfig {
        address: listener.address(Server::Sqs),
        auth: listener.auth,
        keys,
        regions: config.settings().regions.keys().map(ToString::to_string).collect(),
        tls: settings::tls(config, listener),
    })
}

fn access_key(key: &AccessKeySettings) -> Result<AccessKey> {
    let AccessKeySettings { id, secret_file, role, queues } = key.clone();
    let path = secret_file.display();
    let text = fs::read_to_string(&secret_file).with_context(|| {
        format!("the secret of the access key `{id}` cannot be read from {path}")
    })?;
    let secret = text.trim();
    let one_word = !secret.contains(char::is_whitespace);
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) || !one_word {
        bail!(
            "{path} holds no secret: write one word of {SECRET_BYTES_MIN} to 1024 letters into it"
        );
    }
    Ok(AccessKey { id, secret: Secret::new(secret.to_owned()), role, queues })
}
