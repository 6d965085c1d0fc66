//! Namespaces and the domains in which they are kept.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_regions::ResidencyTag;
use rhumb_types::{
    AckLevel, Consistency, DomainId, RegionId,
    control::{
        NamespacePolicy,
        limits::{LABEL_BYTES_MAX, NAMESPACES_MAX},
    },
};

use super::Review;
use crate::{Domain, path::Path, settings::NamespaceSettings};

/// The domains of a configuration, by id.
type Domains = BTreeMap<DomainId, Domain>;

/// Checks the namespaces; gives their policies, and the domains that they ask for.
pub(super) fn check(review: &mut Review<'_>) -> (Vec<NamespacePolicy>, Domains) {
    let state = &review.settings().state;
    let all = Path::to("state").key("namespaces");
    let mut domains = Domains::new();
    domains.insert(DomainId::EVERYWHERE, domain(review, BTreeSet::new()));
    if state.namespaces.len() >= NAMESPACES_MAX {
        review.refuse(&all, format!("there are more than {} namespaces", NAMESPACES_MAX - 1));
    }
    let mut policies: Vec<NamespacePolicy> = Vec::new();
    for (at, namespace) in state.namespaces.iter().enumerate() {
        let path = all.index(at);
        let policy = policy(review, &path, namespace, &mut domains);
        if policies.iter().any(|known| known.prefix == policy.prefix) {
            let message = format!("`{}` has a namespace already; keep one", policy.prefix);
            review.refuse(&path.key("prefix"), message);
        }
        policies.push(policy);
    }
    reach(review, &Path::to("state").key("ack"), state.ack, &domains, DomainId::EVERYWHERE);
    if !policies.iter().any(|policy| policy.prefix.is_empty()) {
        policies.insert(
            0,
            NamespacePolicy {
                prefix: String::new(),
                consistency: Consistency::default(),
                ack: state.ack,
                ttl_ms: None,
                domain: DomainId::EVERYWHERE,
            },
        );
    }
    (policies, domains)
}

fn policy(
    review: &mut Review<'_>,
    path: &Path,
    namespace: &NamespaceSettings,
    domains: &mut Domains,
) -> NamespacePolicy {
    if namespace.prefix.len() > LABEL_BYTES_MAX {
        let message = format!("a prefix has at most {LABEL_BYTES_MAX} bytes");
        review.refuse(&path.key("prefix"), message);
    }
    let domain = residency(review, path, &namespace.residency, domains);
    let ack = ack(review, path, namespace);
    if namespace.ack.is_some() {
        reach(review, &path.key("ack"), ack, domains, domain);
    }
    if namespace.ttl.is_some_and(|ttl| ttl.0.is_zero()) {
        review.refuse(&path.key("ttl"), "keys that live for 0s are never seen; use more");
    }
    let ttl_ms = namespace.ttl.map(|ttl| u64::try_from(ttl.0.as_millis()).unwrap_or(u64::MAX));
    NamespacePolicy {
        prefix: namespace.prefix.clone(),
        consistency: namespace.consistency,
        ack,
        ttl_ms,
        domain,
    }
}

/// The ack level of a namespace; what it says must agree with its consistency.
fn ack(review: &mut Review<'_>, path: &Path, namespace: &NamespaceSettings) -> AckLevel {
    let fixed = match namespace.consistency {
        Consistency::Strong => AckLevel::Quorum,
        Consistency::Cache => AckLevel::Memory,
        Consistency::Eventual | Consistency::Session => {
            return namespace.ack.unwrap_or(review.settings().state.ack);
        }
    };
    if namespace.ack.is_some_and(|asked| asked != fixed) {
        let message = match fixed {
            AckLevel::Quorum => "a strong namespace is always agreed by a quorum; remove `ack`",
            _ => "a cache is kept in memory of one region only; remove `ack`",
        };
        review.refuse(&path.key("ack"), message);
    }
    fixed
}

/// Whether an ack level can ever be reached in a domain.
fn reach(review: &mut Review<'_>, path: &Path, ack: AckLevel, domains: &Domains, id: DomainId) {
    let Some(domain) = domains.get(&id) else { return };
    if ack == AckLevel::OneRemote && domain.regions.len() == 1 {
        let only = domain.regions.first().map(RegionId::as_str).unwrap_or_default();
        let message =
            format!("`one_remote` waits for a second region, and `{only}` is the only one");
        review.refuse(path, message);
    }
}

/// The domain of some jurisdictions, made when it is new.
fn residency(
    review: &mut Review<'_>,
    path: &Path,
    tags: &BTreeSet<ResidencyTag>,
    domains: &mut Domains,
) -> DomainId {
    if tags.is_empty() {
        return DomainId::EVERYWHERE;
    }
    let path = path.key("residency");
    let wanted = domain(review, tags.clone());
    if wanted.regions.is_empty() {
        let names: Vec<&str> = tags.iter().map(ResidencyTag::as_str).collect();
        let message = format!(
            "no region that holds data lies in {}; add it to the `residency` of a region",
            names.join(" or ")
        );
        review.refuse(&path, message);
        return DomainId::EVERYWHERE;
    }
    let id = domain_id(tags);
    match domains.get(&id) {
        Some(known) if known.residency != *tags || id == DomainId::EVERYWHERE => {
            let names: Vec<&str> = known.residency.iter().map(ResidencyTag::as_str).collect();
            let message = format!(
                "this residency has the same number as [{}], by a rare chance; name one of its \
                 jurisdictions differently",
                names.join(", ")
            );
            review.refuse(&path, message);
        }
        Some(_) => {}
        None => {
            domains.insert(id, wanted);
        }
    }
    id
}

fn domain(review: &Review<'_>, residency: BTreeSet<ResidencyTag>) -> Domain {
    let regions = &review.settings().regions;
    let lies_inside =
        |tags: &BTreeSet<ResidencyTag>| residency.is_empty() || !residency.is_disjoint(tags);
    let regions = regions
        .iter()
        .filter(|(_, region)| !region.witness && lies_inside(&region.residency))
        .map(|(id, _)| id.clone())
        .collect();
    Domain { residency, regions }
}

/// The number of a domain: 16 bits of a hash of its jurisdictions, so that every node finds the
/// same number without asking, and a region that is added later does not change it.
fn domain_id(tags: &BTreeSet<ResidencyTag>) -> DomainId {
    let mut hasher = blake3::Hasher::new();
    for tag in tags {
        hasher.update(tag.as_str().as_bytes()).update(b",");
    }
    let [low, high, ..] = *hasher.finalize().as_bytes();
    DomainId(u16::from_le_bytes([low, high]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outside;

    const OUTSIDE: Outside<'_> = Outside { variable: &|_| None, worst_election: &|trip| trip };

    #[test]
    fn two_residencies_with_one_number_exist_so_the_check_is_needed() {
        let mut seen = BTreeMap::new();
        let clash = (0..5_000).find_map(|n| {
            let tags = BTreeSet::from([ResidencyTag::new(&format!("j{n}")).unwrap()]);
            seen.insert(domain_id(&tags), n).map(|earlier| (earlier, n))
        });
        let (a, b) = clash.unwrap();
        let file = format!(
            "cluster: a\nregions:\n  r: {{ address: 'r:1', residency: [j{a}, j{b}] }}\nstate:\n  \
             namespaces:\n    - {{ prefix: a, residency: [j{a}] }}\n    - {{ prefix: b, residency: [j{b}] }}\n"
        );
        let faults = crate::Config::parse(&file, &OUTSIDE).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].path.to_string(), "state.namespaces[1].residency");
    }
}
