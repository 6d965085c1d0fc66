//! Listings of what this region knows.

use bytes::Bytes;
use rhumb_objects::{
    index::Which,
    list::{self, ListedObject, ListedPart, ListedUpload, ListedVersion, Listing, Page, Position},
};
use rhumb_types::record::{BucketName, VersionId};

use super::{ObjectClient, ObjectError};

impl ObjectClient {
    /// Objects of a bucket, a page at a time.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn list(
        &self,
        bucket: &BucketName,
        listing: &Listing,
    ) -> Result<Page<ListedObject>, ObjectError> {
        self.definition(bucket)?;
        Ok(list::objects(&self.engine().index(), bucket, listing)?)
    }

    /// Versions and delete markers of a bucket.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn list_versions(
        &self,
        bucket: &BucketName,
        listing: &Listing,
    ) -> Result<Page<ListedVersion>, ObjectError> {
        self.definition(bucket)?;
        Ok(list::versions(&self.engine().index(), bucket, listing)?)
    }

    /// The place after a version in a listing of versions.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn after_version(
        &self,
        bucket: &BucketName,
        key: Bytes,
        which: Which,
    ) -> Result<Position, ObjectError> {
        Ok(list::after_version(&self.engine().index(), bucket, key, which)?)
    }

    /// Uploads of a bucket that were begun and not ended.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn list_uploads(
        &self,
        bucket: &BucketName,
        listing: &Listing,
    ) -> Result<Page<ListedUpload>, ObjectError> {
        self.definition(bucket)?;
        Ok(list::uploads(&self.engine().index(), bucket, listing)?)
    }

    /// Parts of an upload after a number, in order, and whether there are more. Whether there is such
    /// an upload, [`ObjectClient::upload`] says.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn list_parts(
        &self,
        upload: VersionId,
        after: u16,
        max: usize,
    ) -> Result<(Vec<ListedPart>, bool), ObjectError> {
        Ok(list::parts(&self.engine().index(), upload, after, max)?)
    }
}
