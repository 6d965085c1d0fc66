//! The access keys of the S3 server, the SQS server and the cache server.

use std::fs;

use anyhow::{Context, Result, bail};
use rhumb_config::{
    Config,
    settings::{AccessKeySettings, ListenerSettings, Server},
};
use rhumb_front::{AccessKey, SignedConfig};
use rhumb_peer::Peer;
use rhumb_sigv4::Secret;
use rhumb_types::control::ApiRole;

use super::settings;
use crate::machine_token::{MachineToken, access_key_secret};

/// Shorter secrets are guessed; those of AWS have 40 letters.
const SECRET_BYTES_MIN: usize = 16;
/// Longest file that is taken for a secret, in bytes.
const SECRET_BYTES_MAX: usize = 1 << 10;

/// How a server whose requests are signed listens, and whom it believes.
pub(super) fn signed(
    config: &Config,
    listener: &ListenerSettings,
    server: Server,
    peer: &Peer,
) -> Result<SignedConfig> {
    Ok(SignedConfig {
        listener: settings::listener(config, listener, server),
        keys: keys(config, server, peer)?,
        regions: config.settings().regions.keys().map(ToString::to_string).collect(),
    })
}

/// The keys of a server, the machine's among them. A key that is limited in other servers alone is none
/// here.
fn keys(config: &Config, server: Server, peer: &Peer) -> Result<Vec<AccessKey>> {
    let mut keys = Vec::new();
    for key in &config.settings().acl.access_keys {
        let (here, elsewhere) = match server {
            Server::S3 | Server::Cache => (&key.buckets, &key.queues),
            _ => (&key.queues, &key.buckets),
        };
        if here.is_empty() && !elsewhere.is_empty() {
            continue;
        }
        let AccessKeySettings { id, role, .. } = key.clone();
        keys.push(AccessKey { id, secret: secret(key)?, role, reach: here.clone() });
    }
    keys.push(AccessKey {
        id: MachineToken::ID.to_owned(),
        secret: Secret::new(access_key_secret(&peer.identities().secret())),
        role: ApiRole::Admin,
        reach: Vec::new(),
    });
    Ok(keys)
}

fn secret(key: &AccessKeySettings) -> Result<Secret> {
    let AccessKeySettings { id, secret_file, .. } = key;
    let path = secret_file.display();
    let text = fs::read_to_string(secret_file).with_context(|| {
        format!("the secret of the access key `{id}` cannot be read from {path}")
    })?;
    let secret = text.trim();
    let one_word = !secret.contains(char::is_whitespace);
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) || !one_word {
        bail!(
            "{path} holds no secret: write one word of {SECRET_BYTES_MIN} to 1024 letters into it"
        );
    }
    Ok(Secret::new(secret.to_owned()))
}
