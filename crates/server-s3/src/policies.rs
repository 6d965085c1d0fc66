//! The policies of buckets, parsed once for each version of their bucket.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use rhumb_engine::AgreedBuckets;
use rhumb_objects::policy::Policy;
use rhumb_types::record::BucketName;

/// What a bucket's policy came to.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// It has none.
    Nothing,
    /// It has one that cannot be read: it allows nothing.
    Unreadable,
    /// It has this one.
    Policy(Arc<Policy>),
}

/// The version of a bucket, which no other state of it has, and what its policy came to.
#[derive(Debug)]
struct Parsed {
    version: u64,
    said: Said,
}

/// The parsed policies, of no more buckets than there are. A lock, because every request asks and a bucket
/// changes once in a long while.
#[derive(Debug, Default)]
pub(crate) struct Policies(RwLock<BTreeMap<BucketName, Parsed>>);

impl Policies {
    /// The policy of a bucket. What is not there has none.
    pub(crate) fn of(&self, name: &BucketName, buckets: &AgreedBuckets) -> Said {
        let Some(bucket) = buckets.entries.get(name) else { return Said::Nothing };
        let Some(text) = &bucket.entry.definition.policy else { return Said::Nothing };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(parsed) = known.get(name).filter(|it| it.version == bucket.version) {
            return parsed.said.clone();
        }
        drop(known);
        let said = Policy::parse(text, name)
            .map_or(Said::Unreadable, |policy| Said::Policy(Arc::new(policy)));
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| buckets.entries.contains_key(name));
        known.insert(name.clone(), Parsed { version: bucket.version, said: said.clone() });
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(version: u64, policy: Option<&str>) -> AgreedBuckets {
        let mut buckets = AgreedBuckets::default();
        let mut entry = rhumb_types::record::BucketEntry::default();
        entry.definition.policy = policy.map(str::to_owned);
        let name = BucketName::new("photos").unwrap();
        buckets.entries.insert(name, rhumb_engine::Versioned { entry, version });
        buckets
    }

    #[test]
    fn a_policy_is_parsed_once_for_each_version() {
        let policies = Policies::default();
        let name = BucketName::new("photos").unwrap();
        let text = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/*"}]}"#;
        let of = |buckets: &AgreedBuckets| match policies.of(&name, buckets) {
            Said::Policy(policy) => Some(policy),
            Said::Nothing | Said::Unreadable => None,
        };
        let first = of(&buckets(7, Some(text))).unwrap();
        assert!(Arc::ptr_eq(&first, &of(&buckets(7, Some(text))).unwrap()));
        assert!(!Arc::ptr_eq(&first, &of(&buckets(8, Some(text))).unwrap()));
        assert!(matches!(policies.of(&name, &buckets(9, None)), Said::Nothing));
        assert!(matches!(policies.of(&name, &buckets(10, Some("{"))), Said::Unreadable));
        assert!(matches!(policies.of(&name, &AgreedBuckets::default()), Said::Nothing));
    }
}
