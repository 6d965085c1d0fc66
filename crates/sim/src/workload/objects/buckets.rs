//! The buckets of a run.

use rhumb_objects::place;
use rhumb_regions::Strategy;
use rhumb_types::{
    AckLevel, ByteSize,
    record::{
        BucketConsistency, BucketDefinition, BucketName, LifecycleRule, Replication, Versioning,
    },
};

use crate::world::objects::Buckets;

/// The bucket whose bytes may not lie everywhere.
pub const RESIDENT: &str = "resident";
/// The tag that regions carry where they may.
pub const TAG: &str = "in";
/// The bucket whose changes are made at the home of the key.
pub const LINEAR: &str = "linear";
/// The buckets of a run, but for the linearizable one.
pub(super) const BUCKETS: [&str; 5] = ["plain", "kept", "near", "read", RESIDENT];
/// How long an upload in parts may be left, in milliseconds.
const STALE: std::time::Duration = std::time::Duration::from_secs(6);

/// The settings of the buckets.
pub(crate) fn definitions() -> Buckets {
    let abort = LifecycleRule {
        id: "stale".to_owned(),
        abort_uploads_after: Some(STALE),
        ..LifecycleRule::default()
    };
    let usual = BucketDefinition {
        inline_max: ByteSize(1 << 10),
        lifecycle: vec![abort],
        ..BucketDefinition::default()
    };
    let all = [
        ("plain", usual.clone()),
        (
            "kept",
            BucketDefinition {
                replication: Replication::ActiveActive,
                copies: 3,
                versioning: Versioning::Enabled,
                ..usual.clone()
            },
        ),
        (
            "near",
            BucketDefinition {
                replication: Replication::Regional,
                min_copies: Some(2),
                ack: AckLevel::OneRemote,
                ..usual.clone()
            },
        ),
        (
            "read",
            BucketDefinition {
                replication: Replication::Regional,
                copies: 1,
                promote_after: 2,
                ..usual.clone()
            },
        ),
        (
            RESIDENT,
            BucketDefinition {
                replication: Replication::Regional,
                copies: 1,
                residency: vec![TAG.to_owned()],
                promote_after: 2,
                ..usual.clone()
            },
        ),
        (LINEAR, BucketDefinition { consistency: BucketConsistency::Linearizable, ..usual }),
    ];
    let mut all: Buckets =
        all.into_iter().map(|(name, definition)| (bucket(name), definition)).collect();
    // The buckets whose uploads wait for copies send them by turns, and by the key.
    for (name, strategy) in [("kept", Strategy::RoundRobin), ("near", Strategy::Affinity)] {
        if let Some(definition) = all.get_mut(&bucket(name)) {
            place::set_strategy(definition, strategy);
        }
    }
    all
}

pub(crate) fn bucket(name: &str) -> BucketName {
    match BucketName::new(name) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}
