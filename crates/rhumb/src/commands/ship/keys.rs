//! The key of this user, with which manifests are signed when no other is named.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use anyhow::{Context, Result};
use rhumb_pack::SecretKey;

use crate::{commands::note, sites::small_text};

const SECRET_MODE: u32 = 0o600;

fn path() -> Result<PathBuf> {
    let home = std::env::home_dir().context("find this user's home; name a key with `--key`")?;
    Ok(home.join(".config").join("rhumb").join("ship.pem"))
}

/// The key, if it was made.
pub(super) fn find() -> Result<Option<SecretKey>> {
    let Ok(path) = path() else { return Ok(None) };
    if !path.exists() {
        return Ok(None);
    }
    let key = SecretKey::from_pem(&small_text(&path)?);
    key.map(Some).with_context(|| format!("read {}", path.display()))
}

/// The key, which is made when it is needed first.
pub(super) fn own() -> Result<SecretKey> {
    if let Some(key) = find()? {
        return Ok(key);
    }
    let path = path()?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("draw a key")?;
    let key = SecretKey::from_seed(seed);
    let written = || -> std::io::Result<()> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(&path)?;
        file.write_all(key.to_pem().as_bytes())?;
        file.sync_all()
    };
    match written() {
        // Another command of this user was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            find()?.context("read the key that was just made")
        }
        written => {
            written.with_context(|| format!("write {}", path.display()))?;
            note(&format!("made a key for this user's manifests: {}", path.display()));
            Ok(key)
        }
    }
}
