//! The S3 endpoints that a command works with, from its flags, the environment and the credentials file.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use rhumb_ship::{Credentials, Remote, Site};
use rhumb_types::RegionId;

use crate::cli::{Endpoints, OfRegion};

/// The region of requests to an endpoint of which none is known.
const REGION_USUAL: &str = "us-east-1";
/// Longest credentials file that is read, in bytes.
const CREDENTIALS_BYTES_MAX: u64 = 1 << 20;

/// A bucket, and what stands before keys in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
}

impl Place {
    /// Reads BUCKET or BUCKET/PREFIX, with or without `s3://`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix("s3://").unwrap_or(text);
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        ensure!(!bucket.is_empty(), "`{text}` names no bucket; write BUCKET or BUCKET/PREFIX");
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
    }
}

/// A client for each endpoint, in the order in which the regions are named.
pub(crate) fn remotes(args: &Endpoints, bucket: &str) -> Result<Vec<Remote>> {
    let endpoints = endpoints(args)?;
    let credentials = credentials(args)?;
    let authority = match &args.s3_ca {
        Some(path) => Some(fs::read(path).with_context(|| format!("read {}", path.display()))?),
        None => None,
    };
    let mut remotes = Vec::new();
    for OfRegion { region, value: endpoint } in endpoints {
        let bucket = args
            .buckets
            .iter()
            .find(|named| named.region == region)
            .map_or(bucket, |named| named.value.as_str());
        let signing = args.signing_region.clone().unwrap_or_else(|| region.to_string());
        let site = Site {
            signing_region: signing,
            credentials: credentials.clone(),
            authority: authority.clone(),
            ..Site::new(region, &endpoint, bucket)
        };
        remotes.push(Remote::new(site)?);
    }
    Ok(remotes)
}

fn endpoints(args: &Endpoints) -> Result<Vec<OfRegion>> {
    let mut known = args.endpoints.clone();
    if let (true, Some(url)) = (known.is_empty(), &args.aws_endpoint) {
        let region = RegionId::new(args.aws_region.as_deref().unwrap_or(REGION_USUAL))?;
        known.push(OfRegion { region, value: url.clone() });
    }
    ensure!(
        !known.is_empty(),
        "no S3 endpoint is known; name each region's with `--endpoint REGION=URL`, or set \
         RHUMB_S3_ENDPOINTS or AWS_ENDPOINT_URL"
    );
    for OfRegion { region, value } in &known {
        let twice = known.iter().filter(|other| other.region == *region).count() > 1;
        ensure!(!twice, "region {region} has two endpoints");
        let plain = value.starts_with("http://") || value.starts_with("https://");
        ensure!(
            plain,
            "the endpoint of {region} is `{value}`; it has to begin with https:// or http://"
        );
    }
    if let Some(stray) =
        args.buckets.iter().find(|named| known.iter().all(|one| one.region != named.region))
    {
        bail!("region {} has a bucket, but no endpoint", stray.region);
    }
    if args.regions.is_empty() {
        return Ok(known);
    }
    args.regions
        .iter()
        .map(|region| {
            let found = known.iter().find(|known| known.region == *region).cloned();
            found.with_context(|| format!("region {region} has no endpoint"))
        })
        .collect()
}

/// Keys of the environment, else of the profile. None is no fault: a bucket may be public.
fn credentials(args: &Endpoints) -> Result<Option<Credentials>> {
    match (&args.access_key_id, &args.secret_access_key) {
        (Some(key_id), Some(secret)) => {
            let (key_id, secret) = (key_id.clone(), secret.clone());
            return Ok(Some(Credentials { key_id, secret, token: args.session_token.clone() }));
        }
        (None, None) => {}
        _ => bail!("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to be set together"),
    }
    let usual = || Some(std::env::home_dir()?.join(".aws").join("credentials"));
    let Some(path) = args.credentials.clone().or_else(usual) else { return Ok(None) };
    if args.credentials.is_none() && !path.exists() {
        return Ok(None);
    }
    let text = small_text(&path)?;
    let found = of_profile(&text, &args.profile);
    ensure!(
        found.is_some() || args.profile == "default",
        "{} has no profile `{}` with a key",
        path.display(),
        args.profile
    );
    Ok(found)
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
    fn a_place_is_a_bucket_and_what_stands_before_keys() {
        let place = |text| Place::parse(text).map(|place| (place.bucket, place.prefix));
        assert_eq!(place("b").unwrap(), ("b".into(), String::new()));
        assert_eq!(place("s3://b/a/c/").unwrap(), ("b".into(), "a/c".into()));
        assert!(place("/a").is_err());
    }

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
