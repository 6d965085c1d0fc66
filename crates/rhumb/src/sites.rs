//! The S3 endpoints that a command works with, from its flags, the environment and the configuration.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail, ensure};
use rhumb_config::{Config, settings::EndpointSettings};
use rhumb_ship::{Credentials, Limits, Remote, Site};
use rhumb_types::RegionId;

pub(crate) use self::credentials::small_text;
use crate::{
    cli::{ConfigArgs, Endpoints, OfRegion},
    commands::serve::load,
};

mod credentials;

/// The region of requests to an endpoint of which none is known.
const REGION_USUAL: &str = "us-east-1";

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
    let config = match &args.config {
        Some(file) => Some(load(&ConfigArgs { config: file.clone() })?),
        None => None,
    };
    let known = chosen(args, endpoints(args, config.as_ref())?)?;
    let user = credentials::of_user(args)?;
    known.into_iter().map(|known| remote(args, known, bucket, user.as_ref())).collect()
}

/// A region and its endpoint.
type Known = (RegionId, EndpointSettings);

fn remote(
    args: &Endpoints,
    (region, endpoint): Known,
    bucket: &str,
    user: Option<&Credentials>,
) -> Result<Remote> {
    let named = args.buckets.iter().find(|named| named.region == region);
    let named = named.map(|named| &named.value).or_else(|| endpoint.buckets.get(bucket));
    let mut site = Site::new(region, &endpoint.url, named.map_or(bucket, String::as_str));
    site.credentials = match &endpoint.credentials {
        Some(settings) => {
            let read = credentials::of_settings(settings);
            Some(read.with_context(|| format!("find the credentials of {}", site.region))?)
        }
        None => user.cloned(),
    };
    if let Some(signing) = args.signing_region.clone().or(endpoint.signing_region) {
        site.signing_region = signing;
    }
    if let Some(path) = endpoint.authorities.as_ref().or(args.s3_ca.as_ref()) {
        let pem = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        site.authority = Some(pem);
    }
    site.limits = endpoint.capacity.map(|capacity| Limits::of(&capacity.into()));
    Ok(Remote::new(site)?)
}

/// All endpoints that are known: those of the command line, else of the configuration, else AWS's.
fn endpoints(args: &Endpoints, config: Option<&Config>) -> Result<Vec<Known>> {
    let capacity = |region: &RegionId| {
        let settings = config?.settings();
        let own = settings.ship.endpoints.get(region).and_then(|endpoint| endpoint.capacity);
        own.or_else(|| Some(settings.regions.get(region)?.capacity))
    };
    let at = |region: RegionId, url: String| {
        let capacity = capacity(&region);
        (region, EndpointSettings { capacity, ..plain(url) })
    };
    let mut known = Vec::new();
    for OfRegion { region, value } in args.endpoints.clone() {
        let twice = known.iter().any(|(other, _)| *other == region);
        ensure!(!twice, "region {region} has two endpoints");
        let plain = value.starts_with("http://") || value.starts_with("https://");
        ensure!(
            plain,
            "the endpoint of {region} is `{value}`; it has to begin with https:// or http://"
        );
        known.push(at(region, value));
    }
    if let (true, Some(config)) = (known.is_empty(), config) {
        known = of_config(config, at);
    }
    let of_aws = args.aws_endpoint_s3.as_ref().or(args.aws_endpoint.as_ref());
    if let (true, Some(url)) = (known.is_empty(), of_aws) {
        let named = args.aws_region.as_deref().or(args.aws_default_region.as_deref());
        let region = RegionId::new(named.unwrap_or(REGION_USUAL))?;
        known.push(at(region, url.clone()));
    }
    ensure!(
        !known.is_empty(),
        "no S3 endpoint is known; name each region's with `--endpoint REGION=URL` or RHUMB_S3_ENDPOINTS, \
         or a configuration with `--config FILE`, or set AWS_ENDPOINT_URL_S3"
    );
    Ok(known)
}

const fn plain(url: String) -> EndpointSettings {
    EndpointSettings {
        url,
        buckets: BTreeMap::new(),
        signing_region: None,
        credentials: None,
        authorities: None,
        capacity: None,
    }
}

/// The endpoints of a configuration, or the S3 servers of its regions: that of this region first, and then
/// by priority and name.
fn of_config(config: &Config, at: impl Fn(RegionId, String) -> Known) -> Vec<Known> {
    let settings = config.settings();
    let mut known: Vec<Known> = if settings.ship.endpoints.is_empty() {
        let served = |region: &RegionId| Some(at(region.clone(), config.s3_url(region)?));
        let data = settings.regions.iter().filter(|(_, it)| !it.witness);
        data.filter_map(|(region, _)| served(region)).collect()
    } else {
        let named = settings.ship.endpoints.iter().map(|(region, endpoint)| {
            let (region, plain) = at(region.clone(), endpoint.url.clone());
            (region, EndpointSettings { capacity: plain.capacity, ..endpoint.clone() })
        });
        named.collect()
    };
    let priority = |region: &RegionId| settings.regions.get(region).map(|it| it.priority);
    known.sort_by_cached_key(|(region, _)| {
        let is_elsewhere = config.region() != Some(region);
        (is_elsewhere, priority(region).unwrap_or(u32::MAX), region.clone())
    });
    known
}

/// The endpoints that the command line asks for, of those that are known.
fn chosen(args: &Endpoints, known: Vec<Known>) -> Result<Vec<Known>> {
    if let Some(stray) =
        args.buckets.iter().find(|named| known.iter().all(|(region, _)| *region != named.region))
    {
        bail!("region {} has a bucket, but no endpoint", stray.region);
    }
    if args.regions.is_empty() {
        return Ok(known);
    }
    args.regions
        .iter()
        .map(|region| {
            let found = known.iter().find(|(known, _)| known == region).cloned();
            found.with_context(|| format!("region {region} has no endpoint"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// The words of a command, as a user writes them.
    #[derive(Debug, clap::Parser)]
    struct Words {
        #[command(flatten)]
        endpoints: Endpoints,
    }

    /// Requests at a time, and bytes per second.
    type Shown = Option<(u32, Option<u64>)>;

    /// What each region may take.
    fn limits(config: &str, words: &[&str]) -> Vec<(String, Shown)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rhumb.yaml");
        fs::write(&file, config).unwrap();
        let config = ["ship", "--config", file.to_str().unwrap()];
        let words = Words::parse_from(config.iter().chain(words));
        let limits = |remote: Remote| {
            let limits = remote.site().limits;
            let shown = limits.map(|it| (it.concurrency_max, it.bytes_per_second_max));
            (remote.region().to_string(), shown)
        };
        remotes(&words.endpoints, "backup").unwrap().into_iter().map(limits).collect()
    }

    #[test]
    fn a_region_may_take_what_its_endpoint_says_and_else_what_the_cluster_says() {
        let cluster = "\
cluster: acme
regions:
  us-east-1: { address: \"use1.acme.net:7500\", capacity: { concurrent_uploads: 3, bandwidth: 8Mbps } }
  eu-west-1: { address: \"euw1.acme.net:7500\", capacity: { concurrent_uploads: 5 } }
";
        let ship = "\
ship:
  endpoints:
    us-east-1: { url: \"https://a.example.net\", capacity: { concurrent_uploads: 2 } }
    eu-west-1: { url: \"https://b.example.net\" }
    ap-south-1: { url: \"https://c.example.net\" }
";
        let east = |limits| ("us-east-1".to_owned(), limits);
        let west = |limits| ("eu-west-1".to_owned(), limits);
        let named =
            limits(&format!("{cluster}{ship}"), &["--regions", "us-east-1,eu-west-1,ap-south-1"]);
        // Without a bandwidth of its own it is a gigabit.
        let (own, usual) = (Some((2, Some(125_000_000))), Some(125_000_000));
        assert_eq!(named[..2], [east(own), west(Some((5, usual)))], "its own comes first");
        assert_eq!(named[2], ("ap-south-1".to_owned(), None), "nobody says");
        // An endpoint of the command line is the same region.
        let endpoint = ["--endpoint", "us-east-1=https://d.example.net"];
        assert_eq!(limits(cluster, &endpoint), [east(Some((3, Some(1_000_000))))]);
        assert_eq!(limits(&format!("{cluster}{ship}"), &endpoint), [east(own)]);
    }

    #[test]
    fn a_place_is_a_bucket_and_what_stands_before_keys() {
        let place = |text| Place::parse(text).map(|place| (place.bucket, place.prefix));
        assert_eq!(place("b").unwrap(), ("b".into(), String::new()));
        assert_eq!(place("s3://b/a/c/").unwrap(), ("b".into(), "a/c".into()));
        assert!(place("/a").is_err());
    }
}
