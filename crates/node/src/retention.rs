//! How long logs are kept: until every member has them and they are older than the configured
//! age, but never past the cap that bounds the disk.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rhumb_types::{MonoTime, OriginId, record::VersionVector};

use crate::limits::RETENTION_SAMPLES_MAX;

/// How much of the logs is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// The least age before a transaction may be forgotten, however many have it.
    pub age: Duration,
    /// The most transactions of an origin that are kept for a member that is away.
    pub transactions_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(24 * 3600), transactions_max: 50_000_000 }
    }
}

/// What was durable when, and what has been trimmed.
#[derive(Debug, Default)]
pub(crate) struct LogAges {
    samples: VecDeque<(MonoTime, VersionVector)>,
    trimmed: BTreeMap<OriginId, u64>,
}

impl LogAges {
    /// Notes what is durable now, at most once per share of the age that fits the bound.
    pub(crate) fn sample(&mut self, now: MonoTime, retention: Retention, durable: &VersionVector) {
        let samples = u32::try_from(RETENTION_SAMPLES_MAX / 2).unwrap_or(u32::MAX);
        let due = self
            .samples
            .back()
            .is_none_or(|(last, _)| now.saturating_since(*last) >= retention.age / samples.max(1));
        if due {
            self.samples.push_back((now, durable.clone()));
        }
        while self.samples.len() > RETENTION_SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// What may be forgotten now: per origin the highest version, where that is news.
    pub(crate) fn trim<'a>(
        &mut self,
        now: MonoTime,
        retention: Retention,
        durable: &VersionVector,
        members: impl Iterator<Item = Option<&'a VersionVector>> + Clone,
    ) -> Vec<(OriginId, u64)> {
        let aged = |(at, _): &(MonoTime, _)| now.saturating_since(*at) >= retention.age;
        let after = self.samples.partition_point(aged);
        let old = after.checked_sub(1).and_then(|last| self.samples.get(last));
        let old = old.map(|(_, vector)| vector);
        let mut trims = Vec::new();
        for (origin, head) in durable.iter() {
            let everywhere = members
                .clone()
                .map(|member| member.map_or(0, |vector| vector.get(origin)))
                .min()
                .unwrap_or(head);
            let aged = old.map_or(0, |vector| vector.get(origin));
            let through = everywhere.min(aged).max(head.saturating_sub(retention.transactions_max));
            let trimmed = self.trimmed.entry(origin).or_default();
            if through > *trimmed {
                *trimmed = through;
                trims.push((origin, through));
            }
        }
        trims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_a_member_lacks_or_what_is_young_up_to_the_cap() {
        let origin = OriginId(0x10_0000);
        let retention = Retention { age: Duration::from_secs(10), transactions_max: 1_000 };
        let vector = |version: u64| [(origin, version)].into_iter().collect::<VersionVector>();
        let mut ages = LogAges::default();
        ages.sample(MonoTime(0), retention, &vector(100));
        let behind = vector(40);
        let members = [Some(&behind)];
        let later = MonoTime(0) + Duration::from_secs(5);
        let at = |ages: &mut LogAges, now, head| {
            ages.trim(now, retention, &vector(head), members.iter().copied())
        };
        assert_eq!(at(&mut ages, later, 500), []);
        let old = MonoTime(0) + Duration::from_secs(10);
        assert_eq!(at(&mut ages, old, 500), [(origin, 40)]);
        assert_eq!(at(&mut ages, old, 500), []);
        assert_eq!(at(&mut ages, old, 5_000), [(origin, 4_000)]);
    }
}
