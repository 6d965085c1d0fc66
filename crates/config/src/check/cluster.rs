//! The cluster's name, its regions, and the rules that name them.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_regions::{Location, Region, Registry, affinity::GeoCode, registry::RegistryFault};
use rhumb_types::{
    RegionId,
    control::{
        AffinityRule, RuleMatch,
        limits::{LABEL_BYTES_MAX, RULES_MAX, VOTERS_MAX},
    },
};

use super::Review;
use crate::{
    path::Path,
    settings::{AffinityRuleSettings, RegionSettings, Server},
};

/// Checks names and regions; the registry when it is sound.
pub(super) fn check(review: &mut Review<'_>) -> Option<Registry> {
    let settings = review.settings();
    if RegionId::new(&settings.cluster).is_err() {
        let message = match settings.cluster.as_str() {
            "" => "name the cluster, as in `cluster: acme`".to_owned(),
            name => format!("`{name}` is not a cluster's name; use 1 to 63 of a-z, 0-9 and `-`"),
        };
        review.refuse(&Path::to("cluster"), message);
    }
    for (path, region) in [("region", &settings.region), ("primary", &settings.primary)] {
        if let Some(region) = region {
            review.require_region(&Path::to(path), region);
        }
    }
    for (at, region) in settings.selection.preferred.iter().enumerate() {
        review.require_region(&Path::to("selection").key("preferred").index(at), region);
    }
    round_trips(review);
    addresses(review);
    witnesses(review);
    registry(review)
}

fn registry(review: &mut Review<'_>) -> Option<Registry> {
    let settings = review.settings();
    let regions = settings.regions.iter().map(|(id, of)| region(review, id, of)).collect();
    let primary = settings.primary.clone().filter(|id| settings.regions.contains_key(id));
    let faults = match Registry::new(regions, primary) {
        Ok(registry) => return Some(registry),
        Err(error) => error.0,
    };
    for fault in faults {
        // While some regions could not be read, that none is left says nothing.
        let unread = review.named.len() > settings.regions.len();
        if unread && matches!(fault, RegistryFault::Empty | RegistryFault::Weightless) {
            continue;
        }
        review.refuse(&place_of(&fault), fault.to_string());
    }
    None
}

fn region(review: &mut Review<'_>, id: &RegionId, of: &RegionSettings) -> Region {
    let mut region = Region::new(id.clone(), of.address.clone());
    if let Some(place) = of.location {
        match Location::new(place.latitude, place.longitude) {
            Ok(location) => region.location = Some(location),
            Err(error) => review.refuse(&of_region(id).key("location"), error.to_string()),
        }
    }
    region.priority = of.priority;
    region.weight = of.weight;
    region.capacity = of.capacity.into();
    region.residency.clone_from(&of.residency);
    region.capabilities.clone_from(&of.capabilities);
    region.witness = of.witness;
    let health = &review.health;
    region.health_check.interval = health.check_every();
    region.health_check.timeout = health.check_timeout;
    region.health_check.failure_threshold = health.failure_threshold;
    region.health_check.success_threshold = health.success_threshold;
    region
}

fn place_of(fault: &RegistryFault) -> Path {
    match fault {
        RegistryFault::Empty
        | RegistryFault::TooMany(_)
        | RegistryFault::Weightless
        | RegistryFault::Duplicate(_) => Path::to("regions"),
        RegistryFault::PrimaryUnknown(_) | RegistryFault::PrimaryIsWitness(_) => {
            Path::to("primary")
        }
        RegistryFault::AddressMissing(id) => of_region(id).key("address"),
        RegistryFault::Weight { region, .. } => of_region(region).key("weight"),
        RegistryFault::Priority(id) => of_region(id).key("priority"),
    }
}

pub(super) fn of_region(id: &RegionId) -> Path {
    Path::to("regions").key(id.as_str())
}

/// Each pair of regions has one round trip.
fn round_trips(review: &mut Review<'_>) {
    let mut seen = BTreeSet::new();
    for (at, trip) in review.settings().round_trips.iter().enumerate() {
        let path = Path::to("round_trips").index(at);
        for (side, region) in trip.between.iter().enumerate() {
            review.require_region(&path.key("between").index(side), region);
        }
        let pair: BTreeSet<_> = trip.between.iter().collect();
        if pair.len() < 2 {
            review.refuse(&path.key("between"), "name two different regions");
        } else if !seen.insert(pair) {
            review.refuse(&path.key("between"), "this pair has a round trip already; keep one");
        }
    }
}

/// Every node has an address of its own.
fn addresses(review: &mut Review<'_>) {
    let mut taken: BTreeMap<String, &RegionId> = BTreeMap::new();
    for (id, region) in &review.settings().regions {
        let path = of_region(id).key("address");
        if region.address.is_empty() {
            continue;
        }
        if !is_host_and_port(&region.address) {
            let message = format!("`{}` is not an address; use `host:port`", region.address);
            review.refuse(&path, message);
        } else if let Some(other) = taken.insert(region.address.to_ascii_lowercase(), id) {
            let message = format!("`{}` is the address of `{other}` too", region.address);
            review.refuse(&path, message);
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let named = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let fits = !host.is_empty() && address.len() <= LABEL_BYTES_MAX;
    let host_is_good = (named && fits) || (bracketed && host.len() > 2 && fits);
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A witness votes and does nothing else.
fn witnesses(review: &mut Review<'_>) {
    let settings = review.settings();
    for (id, region) in settings.regions.iter().filter(|(_, region)| region.witness) {
        for key in ["weight", "priority", "capacity", "capabilities"] {
            let path = of_region(id).key(key);
            if review.is_given(&path) {
                let message = format!("a witness is never routed to; remove `{key}` or `witness`");
                review.refuse(&path, message);
            }
        }
        let clients = [
            (Server::Resp, "a witness holds no data that a Redis client could read; remove it"),
            (Server::S3, "a witness holds no objects that a client could use; remove it"),
            (Server::Sqs, "a witness holds no queues that a client could use; remove it"),
            (Server::Cache, "a witness holds no objects that a client could use; remove it"),
        ];
        for (server, why) in clients {
            if region.listeners.get(server).is_some() {
                review.refuse(&of_region(id).key("listeners").key(server.key()), why);
            }
        }
    }
    let voters = settings.regions.len();
    if voters > 1 && voters.is_multiple_of(2) && voters <= VOTERS_MAX {
        review.notes.push(format!(
            "{voters} regions vote, so that losing half of them stops the control plane: add a \
             region or a witness"
        ));
    }
}

/// Checks the affinity rules and gives those that are sound.
pub(super) fn rules(review: &mut Review<'_>) -> Vec<AffinityRule> {
    let settings = review.settings();
    let all = Path::to("affinity").key("rules");
    let mut seen: BTreeMap<RuleMatch, usize> = BTreeMap::new();
    let mut rules = Vec::new();
    if settings.affinity.rules.len() > RULES_MAX {
        review.refuse(&all, format!("there are more than {RULES_MAX} rules"));
    }
    for (at, rule) in settings.affinity.rules.iter().enumerate() {
        let path = all.index(at);
        if !review.require_region(&path.key("region"), &rule.region) {
            continue;
        }
        if settings.regions.get(&rule.region).is_some_and(|region| region.witness) {
            let message = format!("`{}` is a witness; name a region that holds data", rule.region);
            review.refuse(&path.key("region"), message);
        }
        match matched(rule) {
            Err(message) => review.refuse(&path, message),
            Ok(matches) => {
                if let Some(earlier) = seen.insert(matches.clone(), at) {
                    review.refuse(
                        &path,
                        format!("this matches the same as rule {earlier}; keep one"),
                    );
                }
                rules.push(AffinityRule { matches, region: rule.region.clone() });
            }
        }
    }
    rules
}

/// The one thing that a rule matches.
fn matched(rule: &AffinityRuleSettings) -> Result<RuleMatch, String> {
    let given = [
        rule.repository.clone().map(RuleMatch::Repository),
        rule.organisation.clone().map(RuleMatch::Organisation),
        rule.key_prefix.clone().map(RuleMatch::KeyPrefix),
        rule.geography.clone().map(RuleMatch::Geography),
        rule.everything.then_some(RuleMatch::Everything),
    ];
    let mut given = given.into_iter().flatten();
    let (Some(only), None) = (given.next(), given.next()) else {
        return Err("give exactly one of repository, organisation, key_prefix, geography and \
                    everything"
            .to_owned());
    };
    match &only {
        RuleMatch::Repository(name)
            if name.split('/').filter(|part| !part.is_empty()).count() != 2 =>
        {
            Err(format!("`{name}` is not a repository; use `organisation/name`"))
        }
        RuleMatch::Geography(name) if !is_geography(name) => Err(format!(
            "`{name}` is not a geography; use a country such as `DE`, or `continent:EU`"
        )),
        _ => Ok(only),
    }
}

fn is_geography(name: &str) -> bool {
    GeoCode::new(name.strip_prefix("continent:").unwrap_or(name)).is_ok()
}
