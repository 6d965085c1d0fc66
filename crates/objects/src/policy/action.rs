//! The actions of S3 that a policy can name.

use super::wildcard::Pattern;

macro_rules! actions {
    ($($name:ident)*) => {
        /// Something that is done with a bucket or an object, by the name that policies give it.
        ///
        /// All that S3 has for buckets and objects, so that its policies can be read; servers ask about
        /// those that they know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $(#[doc = concat!("`s3:", stringify!($name), "`.")] $name,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name: `s3:GetObject`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("s3:", stringify!($name)),)*
                }
            }
        }
    };
}

actions! {
    AbortMultipartUpload BypassGovernanceRetention CreateBucket DeleteBucket DeleteBucketPolicy
    DeleteBucketWebsite DeleteObject DeleteObjectTagging DeleteObjectVersion
    DeleteObjectVersionTagging GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAcl
    GetBucketCORS GetBucketLocation GetBucketLogging GetBucketNotification
    GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy
    GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging
    GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration
    GetIntelligentTieringConfiguration GetInventoryConfiguration GetLifecycleConfiguration
    GetMetricsConfiguration GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold
    GetObjectRetention GetObjectTagging GetObjectTorrent GetObjectVersion GetObjectVersionAcl
    GetObjectVersionAttributes GetObjectVersionForReplication GetObjectVersionTagging
    GetObjectVersionTorrent GetReplicationConfiguration InitiateReplication ListBucket
    ListBucketMultipartUploads ListBucketVersions ListMultipartUploadParts
    ObjectOwnerOverrideToBucketOwner PutAccelerateConfiguration PutAnalyticsConfiguration
    PutBucketAcl PutBucketCORS PutBucketLogging PutBucketNotification
    PutBucketObjectLockConfiguration PutBucketOwnershipControls PutBucketPolicy
    PutBucketPublicAccessBlock PutBucketRequestPayment PutBucketTagging PutBucketVersioning
    PutBucketWebsite PutEncryptionConfiguration PutIntelligentTieringConfiguration
    PutInventoryConfiguration PutLifecycleConfiguration PutMetricsConfiguration PutObject
    PutObjectAcl PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl
    PutObjectVersionTagging PutReplicationConfiguration ReplicateDelete ReplicateObject
    ReplicateTags RestoreObject
}

/// Some actions, a bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Set(u128);

const _: () = assert!(Action::ALL.len() <= 128, "a set has a bit for each action");

impl Set {
    /// All actions that a text with wildcards names; case does not count.
    pub(super) fn named(text: &str) -> Self {
        let pattern = Pattern::new(&text.to_ascii_lowercase());
        let named = |action: &&Action| pattern.matches(&action.name().to_ascii_lowercase());
        Self(Action::ALL.iter().filter(named).map(|action| Self::bit(*action)).sum())
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn others(self) -> Self {
        Self(!self.0)
    }

    pub(super) const fn has(self, action: Action) -> bool {
        self.0 & Self::bit(action) != 0
    }

    const fn bit(action: Action) -> u128 {
        1 << action as u32
    }
}
