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

    /// Makes a bucket.
    ///
    /// # Errors
    /// [`ObjectError::BucketExists`] when there is one of that name.
    pub async fn make_bucket(
        &self,
        name: &BucketName,
        entry: BucketEntry,
    ) -> Result<(), ObjectError> {
        let known = self.buckets().entries.len();
        if known >= BUCKETS_MAX {
            return Err(ObjectError::Invalid(format!(
                "a cluster has at most {BUCKETS_MAX} buckets"
            )));
        }
        let now = self.engine().clock().now().wall;
        self.agree(name, Some(BucketEntry { created_at: now, ..entry }), Expect::Absent).await
    }

    /// Gives a bucket other settings.
    ///
    /// # Errors
    /// [`ObjectError::BucketChanged`] when somebody else did meanwhile.
    pub async fn change_bucket(
        &self,
        name: &BucketName,
        change: impl FnOnce(&mut BucketEntry) + Send,
    ) -> Result<(), ObjectError> {
        let version = self.buckets().entries.get(name).map(|bucket| bucket.version);
        let version = version.ok_or_else(|| ObjectError::NoBucket(name.clone()))?;
        self.change_bucket_at(name, version, change).await
    }

    /// As [`change_bucket`](Self::change_bucket), if the bucket is still as it was at a version.
    ///
    /// # Errors
    /// [`ObjectError::BucketChanged`] when it is not.
    pub async fn change_bucket_at(
        &self,
        name: &BucketName,
        version: u64,
        change: impl FnOnce(&mut BucketEntry) + Send,
    ) -> Result<(), ObjectError> {
        let mut entry = self.bucket(name)?;
        change(&mut entry);
        self.agree(name, Some(entry), Expect::Version(version)).await
    }

    /// Removes a bucket that is empty, as far as this node and those that it reaches know.
    ///
    /// # Errors
    /// [`ObjectError::NotEmpty`].
    pub async fn remove_bucket(&self, name: &BucketName) -> Result<(), ObjectError> {
        let buckets = self.buckets();
        let known = buckets.entries.get(name);
        let version = known.ok_or_else(|| ObjectError::NoBucket(name.clone()))?.version;
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
