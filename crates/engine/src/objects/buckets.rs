//! Buckets: agreed in the strong group, as queues are.

use std::sync::Arc;

use rhumb_objects::{lifecycle, rows::Rows as _};
use rhumb_types::record::{BucketEntry, BucketName, IndexKey};

use super::{ObjectClient, ObjectError};
use crate::{
    StrongError,
    agreed::{self, AgreedBuckets, Expect},
    limits::{BUCKETS_MAX, TAG_BYTES_MAX, TAGS_MAX},
};

impl ObjectClient {
    /// All buckets, as this node knows them.
    #[must_use]
    pub fn buckets(&self) -> Arc<AgreedBuckets> {
        self.running().buckets.borrow().clone()
    }

    /// A bucket.
    ///
    /// # Errors
    /// [`ObjectError::NoBucket`].
    pub fn bucket(&self, name: &BucketName) -> Result<BucketEntry, ObjectError> {
        let buckets = self.running().buckets.borrow();
        let found = buckets.entries.get(name).map(|bucket| bucket.entry.clone());
        found.ok_or_else(|| ObjectError::NoBucket(name.clone()))
    }

    /// The version of a bucket, which a change of it names.
    ///
    /// # Errors
    /// [`ObjectError::NoBucket`].
    pub fn bucket_version(&self, name: &BucketName) -> Result<u64, ObjectError> {
        let buckets = self.running().buckets.borrow();
        let found = buckets.entries.get(name).map(|bucket| bucket.version);
        found.ok_or_else(|| ObjectError::NoBucket(name.clone()))
    }

    /// Makes a bucket, or changes the one that is there, unless somebody else did meanwhile.
    ///
    /// # Errors
    /// [`ObjectError::BucketExists`], [`ObjectError::NoBucket`] or [`ObjectError::BucketChanged`] when it
    /// is not as expected.
    pub async fn define_bucket(
        &self,
        name: &BucketName,
        expect: Expect,
        change: impl FnOnce(&mut BucketEntry) + Send,
    ) -> Result<(), ObjectError> {
        let present = self.buckets();
        let (mut entry, expect) = match (present.entries.get(name), expect) {
            (Some(bucket), Expect::Any) => (bucket.entry.clone(), Expect::Version(bucket.version)),
            (Some(bucket), Expect::Version(version)) if version == bucket.version => {
                (bucket.entry.clone(), expect)
            }
            (Some(_), Expect::Version(_)) => return Err(ObjectError::BucketChanged(name.clone())),
            (None, Expect::Version(_)) => return Err(ObjectError::NoBucket(name.clone())),
            (None, Expect::Any) | (_, Expect::Absent) => {
                (self.new_bucket(present.entries.len())?, Expect::Absent)
            }
        };
        change(&mut entry);
        self.agree(name, Some(entry), expect).await
    }

    /// A bucket that is not there yet, beside so many others.
    fn new_bucket(&self, others: usize) -> Result<BucketEntry, ObjectError> {
        if others >= BUCKETS_MAX {
            return Err(ObjectError::Invalid(format!(
                "a cluster has at most {BUCKETS_MAX} buckets"
            )));
        }
        let created_at = self.engine().clock().now().wall;
        Ok(BucketEntry { created_at, ..BucketEntry::default() })
    }

    /// Removes a bucket that is empty, as far as this node and those that it reaches know.
    ///
    /// # Errors
    /// [`ObjectError::NotEmpty`].
    pub async fn remove_bucket(&self, name: &BucketName) -> Result<(), ObjectError> {
        let version = self.bucket_version(name)?;
        let held = [
            IndexKey::currents(name, b""),
            IndexKey::versions(name, b""),
            IndexKey::uploads(name, b""),
        ];
        for prefix in held {
            if !self.engine().index().rows(&prefix, None, 1)?.is_empty() {
                return Err(ObjectError::NotEmpty(name.clone()));
            }
        }
        self.agree(name, None, Expect::Version(version)).await
    }

    async fn agree(
        &self,
        name: &BucketName,
        entry: Option<BucketEntry>,
        expect: Expect,
    ) -> Result<(), ObjectError> {
        if let Some(entry) = &entry {
            check(entry)?;
        }
        let strong = self.engine().strong();
        let strong =
            strong.ok_or_else(|| ObjectError::Unavailable("this node is starting".into()))?;
        agreed::agree(strong, name, entry.as_ref(), expect).await.map_err(|error| match error {
            StrongError::Changed if expect == Expect::Absent => {
                ObjectError::BucketExists(name.clone())
            }
            StrongError::Changed => ObjectError::BucketChanged(name.clone()),
            error => error.into(),
        })?;
        let mine = |all: &Arc<AgreedBuckets>| {
            all.entries.get(name).map(|bucket| &bucket.entry) == entry.as_ref()
        };
        agreed::arrived(&self.running().buckets, mine).await;
        Ok(())
    }
}

fn check(entry: &BucketEntry) -> Result<(), ObjectError> {
    entry.definition.check()?;
    lifecycle::check(&entry.definition.lifecycle)?;
    let bytes = |(name, value): (&String, &String)| name.len() + value.len();
    let fits =
        entry.tags.len() <= TAGS_MAX && entry.tags.iter().all(|tag| bytes(tag) <= TAG_BYTES_MAX);
    if fits {
        Ok(())
    } else {
        Err(ObjectError::Invalid("a bucket has at most 50 tags of 512 bytes".to_owned()))
    }
}
