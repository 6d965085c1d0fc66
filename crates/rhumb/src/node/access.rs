//! The access keys of the S3 server and the SQS server.

use std::fs;

use anyhow::{Context, Result, bail};
use rhumb_config::{Config, settings::AccessKeySettings};
use rhumb_peer::Peer;
use rhumb_sigv4::Secret;
use rhumb_types::control::ApiRole;

use crate::machine_token::{MachineToken, access_key_secret};

/// Shorter secrets are guessed; those of AWS have 40 letters.
const SECRET_BYTES_MIN: usize = 16;
/// Longest file that is taken for a secret, in bytes.
const SECRET_BYTES_MAX: usize = 1 << 10;

/// A key, as far as one server is concerned.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) role: ApiRole,
    /// Prefixes of the names that it is limited to; none means all.
    pub(super) reach: Vec<String>,
}

/// The keys of a server, the machine's among them. `limits` gives what a key is limited to here, and in
/// the other server: one that is limited there alone is no key here.
pub(super) fn keys(
    config: &Config,
    peer: &Peer,
    limits: impl Fn(&AccessKeySettings) -> (&Vec<String>, &Vec<String>),
) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    for key in &config.settings().acl.access_keys {
        let (here, elsewhere) = limits(key);
        if here.is_empty() && !elsewhere.is_empty() {
            continue;
        }
        let AccessKeySettings { id, role, .. } = key.clone();
        keys.push(Key { id, secret: secret(key)?, role, reach: here.clone() });
    }
    keys.push(Key {
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
