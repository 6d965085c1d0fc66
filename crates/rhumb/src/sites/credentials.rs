//! The keys that S3 requests are signed with, from where they are kept.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use rhumb_config::{process_environment, settings::CredentialsSettings};
use rhumb_ship::Credentials;

use crate::cli::Endpoints;

/// Longest credentials file that is read, in bytes.
const CREDENTIALS_BYTES_MAX: u64 = 1 << 20;

/// Keys of the environment, else of the profile. None is no fault: a bucket may be public.
pub(super) fn of_user(args: &Endpoints) -> Result<Option<Credentials>> {
    match (&args.access_key_id, &args.secret_access_key) {
        (Some(key_id), Some(secret)) => {
            let (key_id, secret) = (key_id.clone(), secret.clone());
            return Ok(Some(Credentials { key_id, secret, token: args.session_token.clone() }));
        }
        (None, None) => {}
        _ => bail!("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to be set together"),
    }
    let Some(path) = args.credentials.clone().or_else(usual_file) else { return Ok(None) };
    if args.credentials.is_none() && !path.exists() {
        return Ok(None);
    }
    let found = of_profile(&small_text(&path)?, &args.profile);
    ensure!(
        found.is_some() || args.profile == "default",
        "{} has no profile `{}` with a key",
        path.display(),
        args.profile
    );
    Ok(found)
}

/// Keys that the configuration refers to.
pub(super) fn of_settings(settings: &CredentialsSettings) -> Result<Credentials> {
    let CredentialsSettings { profile, file, key_id, secret_file, secret_variable } = settings;
    if let Some(profile) = profile {
        let path = file.clone().or_else(usual_file).context("find this user's home")?;
        return of_profile(&small_text(&path)?, profile)
            .with_context(|| format!("{} has no profile `{profile}` with a key", path.display()));
    }
    let secret = match (secret_file, secret_variable) {
        (Some(path), _) => small_text(path)?.trim().to_owned(),
        (None, Some(name)) => process_environment(name)
            .with_context(|| format!("the environment variable {name} is not set"))?,
        (None, None) => bail!("a key has no secret"),
    };
    let key_id = key_id.clone().context("a secret has no key")?;
    Ok(Credentials { key_id, secret, token: None })
}

fn usual_file() -> Option<PathBuf> {
    Some(env::home_dir()?.join(".aws").join("credentials"))
}

/// A file that nobody makes longer than a page or two.
pub(crate) fn small_text(path: &Path) -> Result<String> {
    let read = |path: &Path| {
        let bytes = fs::metadata(path)?.len();
        if bytes > CREDENTIALS_BYTES_MAX {
            return Err(std::io::Error::other("the file is too long"));
        }
        fs::read_to_string(path)
    };
    read(path).with_context(|| format!("read {}", path.display()))
}

/// The keys of a profile in the file of AWS's tools.
fn of_profile(text: &str, profile: &str) -> Option<Credentials> {
    let lines = text.lines().map(str::trim);
    let mut within = lines
        .skip_while(|line| {
            line.strip_prefix('[').and_then(|l| l.strip_suffix(']')).map(str::trim) != Some(profile)
        })
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().to_owned()))
        .collect::<Vec<_>>();
    let mut take = |wanted: &str| {
        let at = within.iter().position(|(name, _)| *name == wanted)?;
        Some(within.swap_remove(at).1)
    };
    Some(Credentials {
        key_id: take("aws_access_key_id")?,
        secret: take("aws_secret_access_key")?,
        token: take("aws_session_token"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_named_profile() {
        let text = "[default]\naws_access_key_id = a\naws_secret_access_key=b=\n\n[ other ]\n\
                    aws_access_key_id=c\naws_secret_access_key=d\naws_session_token = e\n[empty]\n";
        let keys = |profile| of_profile(text, profile).map(|c| (c.key_id, c.secret, c.token));
        assert_eq!(keys("default"), Some(("a".into(), "b=".into(), None)));
        assert_eq!(keys("other"), Some(("c".into(), "d".into(), Some("e".into()))));
        assert_eq!(keys("empty"), None);
        assert_eq!(keys("none"), None);
    }
}
