//! Which policy a key has: the one of the longest prefix that it starts with.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use rhumb_types::{AckLevel, Consistency, DomainId, control};

/// Most namespaces of a configuration.
pub const NAMESPACES_MAX: usize = 1_024;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// How the keys of a namespace behave.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NamespacePolicy {
    /// How fresh reads are and who agrees on writes.
    pub consistency: Consistency,
    /// What must be durable before a write is answered, unless the caller says otherwise.
    pub ack: AckLevel,
    /// The time to live of keys that are written without one.
    pub ttl: Option<Duration>,
    /// Which regions may hold the keys.
    pub domain: DomainId,
}

/// A key prefix with a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// What its keys start with.
    pub prefix: Bytes,
    /// How they behave.
    pub policy: NamespacePolicy,
}

/// Why a set of namespaces is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NamespacesError {
    /// A prefix occurs twice.
    #[error("the prefix {0:?} occurs twice")]
    Twice(Bytes),
    /// There are too many.
    #[error("there are {0} namespaces, and {NAMESPACES_MAX} are allowed")]
    TooMany(usize),
}

/// All namespaces of a cluster.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Namespaces {
    /// Those of one length of prefix together, the longest first: a lookup takes one step for
    /// each length that occurs.
    lengths: Vec<(usize, BTreeMap<Bytes, Namespace>)>,
    other: NamespacePolicy,
    has_ttl: bool,
}

impl Namespaces {
    /// Namespaces, and the policy of keys outside all of them.
    ///
    /// # Errors
    /// When a prefix occurs twice, or there are more than [`NAMESPACES_MAX`].
    pub fn new(named: Vec<Namespace>, other: NamespacePolicy) -> Result<Self, NamespacesError> {
        if named.len() > NAMESPACES_MAX {
            return Err(NamespacesError::TooMany(named.len()));
        }
        let mut lengths: BTreeMap<usize, BTreeMap<Bytes, Namespace>> = BTreeMap::new();
        for namespace in named {
            let same = lengths.entry(namespace.prefix.len()).or_default();
            if let Some(twice) = same.insert(namespace.prefix.clone(), namespace) {
                return Err(NamespacesError::Twice(twice.prefix));
            }
        }
        let mut all = lengths.values().flat_map(BTreeMap::values);
        let has_ttl = other.ttl.is_some() || all.any(|named| named.policy.ttl.is_some());
        Ok(Self { lengths: lengths.into_iter().rev().collect(), other, has_ttl })
    }

    /// The namespaces of a configuration. The empty prefix is the policy of keys
    /// outside all others.
    ///
    /// # Errors
    /// As for [`Namespaces::new`].
    pub fn configured(policies: &[control::NamespacePolicy]) -> Result<Self, NamespacesError> {
        let all = policies.iter().map(|given| Namespace {
            prefix: Bytes::copy_from_slice(given.prefix.as_bytes()),
            policy: NamespacePolicy {
                consistency: given.consistency,
                ack: given.ack,
                ttl: given.ttl_ms.map(Duration::from_millis),
                domain: given.domain,
            },
        });
        let (other, named): (Vec<_>, Vec<_>) = all.partition(|each| each.prefix.is_empty());
        if let [_, second, ..] = other.as_slice() {
            return Err(NamespacesError::Twice(second.prefix.clone()));
        }
        let other = other.into_iter().next().map(|each| each.policy).unwrap_or_default();
        Self::new(named, other)
    }

    /// The policy of a key.
    #[must_use]
    pub fn policy(&self, key: &[u8]) -> &NamespacePolicy {
        self.namespace(key).map_or(&self.other, |namespace| &namespace.policy)
    }

    /// The namespace of a key; `None` when it is outside all of them.
    #[must_use]
    pub fn namespace(&self, key: &[u8]) -> Option<&Namespace> {
        self.lengths.iter().find_map(|(length, same)| same.get(key.get(..*length)?))
    }

    /// A number that two nodes share when keys lie in the same places on both: the store and the
    /// residency domain of every prefix. How keys are acknowledged and how long they live may differ.
    /// Never 0.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let other = Namespace { prefix: Bytes::new(), policy: self.other.clone() };
        let mut hash = FNV_OFFSET;
        // FNV-1a: Fowler, Noll, Vo. It tells mistakes apart, not attacks.
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
            }
        };
        for Namespace { prefix, policy } in self.iter().chain([&other]) {
            let store: u8 = match policy.consistency {
                Consistency::Eventual | Consistency::Session => 0,
                Consistency::Strong => 1,
                Consistency::Cache => 2,
            };
            add(&(prefix.len() as u64).to_le_bytes());
            add(prefix);
            add(&[store]);
            add(&policy.domain.0.to_le_bytes());
        }
        hash.max(1)
    }

    /// Whether keys of any namespace have a time to live of their own.
    #[must_use]
    pub const fn has_ttl(&self) -> bool {
        self.has_ttl
    }

    /// Every namespace, longest prefix first.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.lengths.iter().flat_map(|(_, same)| same.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(prefix: &'static str, consistency: Consistency) -> Namespace {
        let policy = NamespacePolicy { consistency, ..NamespacePolicy::default() };
        Namespace { prefix: Bytes::from_static(prefix.as_bytes()), policy }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let namespaces = Namespaces::new(
            vec![named("lock:", Consistency::Strong), named("lock:soft:", Consistency::Session)],
            NamespacePolicy::default(),
        )
        .unwrap();
        assert_eq!(namespaces.policy(b"lock:a").consistency, Consistency::Strong);
        assert_eq!(namespaces.policy(b"lock:soft:a").consistency, Consistency::Session);
        assert_eq!(namespaces.policy(b"lock").consistency, Consistency::Eventual);
    }

    #[test]
    fn a_prefix_occurs_once() {
        let twice = vec![named("a", Consistency::Strong), named("a", Consistency::Cache)];
        let error = Namespaces::new(twice, NamespacePolicy::default()).unwrap_err();
        assert_eq!(error, NamespacesError::Twice(Bytes::from_static(b"a")));
    }

    #[test]
    fn the_fingerprint_is_that_of_where_keys_lie() {
        let of = |named: Vec<Namespace>| {
            Namespaces::new(named, NamespacePolicy::default()).unwrap().fingerprint()
        };
        let plain = of(vec![named("a", Consistency::Eventual), named("b", Consistency::Strong)]);
        let session = of(vec![named("b", Consistency::Strong), named("a", Consistency::Session)]);
        assert_eq!(plain, session, "neither the order nor how reads wait matters");
        let mut quick = named("a", Consistency::Eventual);
        quick.policy.ttl = Some(Duration::from_secs(1));
        quick.policy.ack = AckLevel::Memory;
        assert_eq!(plain, of(vec![quick, named("b", Consistency::Strong)]));
        assert_ne!(
            plain,
            of(vec![named("a", Consistency::Strong), named("b", Consistency::Strong)])
        );
        assert_ne!(plain, of(vec![named("a", Consistency::Eventual)]));
        let mut far = named("a", Consistency::Eventual);
        far.policy.domain = DomainId(9);
        assert_ne!(plain, of(vec![far, named("b", Consistency::Strong)]));
    }

    #[test]
    fn what_is_configured_keeps_its_meaning() {
        let given = |prefix: &str, ttl_ms| control::NamespacePolicy {
            prefix: prefix.to_owned(),
            consistency: Consistency::Session,
            ack: AckLevel::Quorum,
            ttl_ms,
            domain: DomainId(7),
        };
        let namespaces = Namespaces::configured(&[given("", None), given("s:", Some(5))]).unwrap();
        assert_eq!(namespaces.policy(b"x").ack, AckLevel::Quorum);
        assert_eq!(namespaces.policy(b"s:x").ttl, Some(Duration::from_millis(5)));
        assert_eq!(namespaces.policy(b"s:x").domain, DomainId(7));
        assert!(Namespaces::configured(&[given("", None), given("", None)]).is_err());
    }
}
