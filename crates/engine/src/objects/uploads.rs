//! Objects that come in parts.

use bytes::Bytes;
use rhumb_objects::{
    ask::{Answer, Ask, What},
    condition::Condition,
    etag,
    index::{OBJECT_BLOBS_MAX, Refused, Target},
    list::LISTED_MAX,
    multipart::{self, ChosenPart, CompleteRefused, PartRefused, Whole},
    rows::Rows as _,
};
use rhumb_ports::blobs::BLOB_BYTES_MAX;
use rhumb_types::{
    AckLevel,
    record::{
        Body, BucketName, IndexKey, ObjectRecord, PartRecord, Record as _, UploadRecord, VersionId,
    },
};

use super::{
    ByteStream, Digests, ObjectClient, ObjectError,
    client::foreign,
    decide::By,
    keep::Pin,
    pass::{Passed, PassedOn, another},
};

impl ObjectClient {
    /// Keeps the blobs of all parts of an upload here.
    async fn parts_here(
        &self,
        bucket: &BucketName,
        upload: VersionId,
    ) -> Result<Vec<Pin>, ObjectError> {
        let (mut pins, mut after) = (Vec::new(), 0);
        loop {
            let (parts, more) = self.list_parts(upload, after, LISTED_MAX)?;
            for listed in &parts {
                let here = self.region();
                pins.extend(self.ensure_here(bucket, &listed.part.body, here).await?);
            }
            match parts.last() {
                Some(last) if more => after = last.number,
                _ => return Ok(pins),
            }
        }
    }

    /// Begins an upload in parts.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn begin_upload(
        &self,
        bucket: &BucketName,
        key: Bytes,
        upload: UploadRecord,
    ) -> Result<VersionId, ObjectError> {
        let definition = self.definition(bucket)?;
        let ask = Ask { bucket: bucket.clone(), key, what: What::Begin { upload } };
        match self.change(&definition, &ask, Vec::new()).await?.0 {
            Answer::Begun(id) => Ok(id),
            other => Err(foreign(&other)),
        }
    }

    /// An upload that was begun and not ended. One that is not known here is waited for as long as other
    /// regions may know of it (rule 11).
    ///
    /// # Errors
    /// [`ObjectError`]; [`NoUpload`](rhumb_objects::multipart::NoUpload) as a refusal.
    pub async fn upload(
        &self,
        bucket: &BucketName,
        key: &Bytes,
        upload: VersionId,
    ) -> Result<UploadRecord, ObjectError> {
        match self.known_upload(bucket, key, upload) {
            Err(error) if denies(&error) => {
                self.catch_up().await?;
                self.known_upload(bucket, key, upload)
            }
            known => known,
        }
    }

    fn known_upload(
        &self,
        bucket: &BucketName,
        key: &Bytes,
        upload: VersionId,
    ) -> Result<UploadRecord, ObjectError> {
        let row = IndexKey::Upload { bucket: bucket.clone(), key: key.clone(), upload };
        let found = self.engine().index().row(&row.encode())?;
        let found = found.ok_or(multipart::NoUpload)?;
        UploadRecord::decode(&found).map_err(|error| ObjectError::Damaged(error.to_string()))
    }

    /// Writes a part of an upload.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn put_part(
        &self,
        bucket: &BucketName,
        key: Bytes,
        (upload, number): (VersionId, u16),
        (body, bytes): (ByteStream, Option<u64>),
        digests: Digests,
    ) -> Result<PartRecord, ObjectError> {
        if let Some(regions) = self.elsewhere(&self.definition(bucket)?)? {
            let of = (bucket.clone(), key);
            return self.pass_part(&regions, of, (upload, number), (body, bytes), digests).await;
        }
        self.put_part_here(bucket, key, (upload, number), (body, bytes), digests).await
    }

    pub(super) async fn put_part_here(
        &self,
        bucket: &BucketName,
        key: Bytes,
        (upload, number): (VersionId, u16),
        (body, bytes): (ByteStream, Option<u64>),
        digests: Digests,
    ) -> Result<PartRecord, ObjectError> {
        let definition = self.definition(bucket)?;
        self.upload(bucket, &key, upload).await?;
        self.check_room(upload, number, bytes.unwrap_or_default())?;
        let taken = self.take_in(&definition, bucket, &key, (body, bytes, 0), digests).await?;
        let part = PartRecord {
            bytes: taken.bytes,
            etag: etag::hex(&taken.digested.md5),
            body: in_blobs(taken.body.clone()),
            checksums: taken.digested.checksums.clone(),
            modified: self.engine().clock().now().wall,
        };
        let what = What::Part { upload, number, part: part.clone() };
        let ask = Ask { bucket: bucket.clone(), key, what };
        let needed = usize::from(definition.copies_needed());
        if let Some(copier) = taken.copier.filter(|_| !ask.what.blobs().is_empty()) {
            let copies = copier.finish(self.running().config.copy_wait).await;
            let had = 1 + copies.iter().filter(|copy| copy.outcome.is_ok()).count();
            if had < needed {
                let why = copies.into_iter().find_map(|copy| copy.outcome.err());
                return Err(ObjectError::Copies { had, needed, why: why.unwrap_or_default() });
            }
        }
        self.change(&definition, &ask, taken.pins).await?;
        Ok(part)
    }

    /// Makes an object of the parts of an upload.
    ///
    /// # Errors
    /// [`ObjectError`]; the upload goes on then.
    pub async fn complete_upload(
        &self,
        bucket: &BucketName,
        key: Bytes,
        upload: VersionId,
        (chosen, whole): (Vec<ChosenPart>, Whole),
        condition: Condition,
    ) -> Result<ObjectRecord, ObjectError> {
        let Some(regions) = self.elsewhere(&self.definition(bucket)?)? else {
            return self.complete_here(bucket, key, upload, (chosen, whole), condition).await;
        };
        let bucket = bucket.clone();
        let passed = Passed::Complete { bucket, key, upload, chosen, whole, condition };
        match self.pass(&regions, passed).await? {
            PassedOn::Record(record) => Ok(record),
            _ => Err(another()),
        }
    }

    pub(super) async fn complete_here(
        &self,
        bucket: &BucketName,
        key: Bytes,
        upload: VersionId,
        (chosen, whole): (Vec<ChosenPart>, Whole),
        condition: Condition,
    ) -> Result<ObjectRecord, ObjectError> {
        let definition = self.definition(bucket)?;
        let what = What::Complete { upload, chosen, whole, condition };
        let ask = Ask { bucket: bucket.clone(), key: key.clone(), what };
        let pins = self.parts_here(bucket, upload).await?;
        let record = match self.recorded(&definition, &ask, pins).await {
            // The upload, or a part of it, may have come in elsewhere a moment ago.
            Err(error) if denies(&error) => {
                self.catch_up().await?;
                let pins = self.parts_here(bucket, upload).await?;
                self.recorded(&definition, &ask, pins).await?
            }
            recorded => recorded?,
        };
        self.clear(bucket, &key, upload).await;
        Ok(record)
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn abort_upload(
        &self,
        bucket: &BucketName,
        key: Bytes,
        upload: VersionId,
    ) -> Result<(), ObjectError> {
        let definition = self.definition(bucket)?;
        let what = What::Abort { upload };
        let ask = Ask { bucket: bucket.clone(), key: key.clone(), what };
        match self.change(&definition, &ask, Vec::new()).await {
            Err(error) if denies(&error) => {
                self.catch_up().await?;
                self.change(&definition, &ask, Vec::new()).await?;
            }
            changed => drop(changed?),
        }
        self.clear(bucket, &key, upload).await;
        Ok(())
    }

    /// Refuses a part with which its object would be of too many blobs, before it is taken in. Parts are
    /// counted only where their numbers alone say that it may be so.
    fn check_room(&self, upload: VersionId, number: u16, bytes: u64) -> Result<(), ObjectError> {
        let count =
            |bytes: u64| usize::try_from(bytes.div_ceil(BLOB_BYTES_MAX)).unwrap_or(usize::MAX);
        let mut blobs = count(bytes);
        if blobs.saturating_mul(usize::from(number)) <= OBJECT_BLOBS_MAX {
            return Ok(());
        }
        let mut after = 0;
        loop {
            let (parts, more) = self.list_parts(upload, after, LISTED_MAX)?;
            let others = parts.iter().filter(|listed| listed.number != number);
            blobs += others.map(|listed| count(listed.part.bytes)).sum::<usize>();
            if blobs > OBJECT_BLOBS_MAX {
                return Err(Refused::TooMany { blobs }.into());
            }
            match parts.last() {
                Some(last) if more => after = last.number,
                _ => return Ok(()),
            }
        }
    }

    /// Removes what is left of an upload that has ended. What this does not get to, a walk does.
    async fn clear(&self, bucket: &BucketName, key: &Bytes, upload: VersionId) {
        let Ok(definition) = self.definition(bucket) else { return };
        let target = Target { bucket, versioning: definition.versioning, key };
        loop {
            let cleared = self.change_index(&By::Anyone(AckLevel::Local), |rows| {
                let change = multipart::leftovers(rows, target, upload)?;
                Ok((change.write.len(), change))
            });
            match cleared.await {
                Ok((1.., _)) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(%error, %upload, "parts are left for the next walk");
                    return;
                }
            }
        }
    }
}

/// Whether something is said not to be there that another region may know of.
const fn denies(error: &ObjectError) -> bool {
    matches!(
        error,
        ObjectError::NoUpload(_)
            | ObjectError::Part(PartRefused::NoUpload)
            | ObjectError::Complete(CompleteRefused::NoUpload | CompleteRefused::Part { .. })
    )
}

/// A part lies in blobs, if only in none: it may become one of many.
fn in_blobs(body: Body) -> Body {
    match body {
        Body::Inline(bytes) if bytes.is_empty() => Body::Blobs(Vec::new()),
        body => body,
    }
}
