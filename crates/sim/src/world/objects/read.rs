//! Reading bytes: from this region, else from the nearest that has them.

use rhumb_types::record::{BlobRef, Body, BucketName, ObjectRecord};

use super::{
    blobs::Read,
    calls::{Failure, sources},
    fetch,
    here::Here,
};
use crate::branch::Branch;

/// Reads all bytes of a version; says whether some of them came from another region.
pub(super) async fn bytes(
    here: &Here,
    bucket: &BucketName,
    record: &ObjectRecord,
) -> Result<bool, Failure> {
    let Some(content) = &record.content else { return Ok(false) };
    let Body::Blobs(blobs) = &content.body else { return Ok(false) };
    let mut through = false;
    for blob in blobs {
        match here.blobs().read(&blob.hash) {
            Read::Sound => continue,
            Read::Damaged => fetch::repair(here, *blob, &record.region),
            Read::Missing => {}
        }
        elsewhere(here, bucket, record, *blob).await?;
        through = true;
    }
    Ok(through)
}

async fn elsewhere(
    here: &Here,
    bucket: &BucketName,
    record: &ObjectRecord,
    blob: BlobRef,
) -> Result<(), Failure> {
    fetch::on_remote_read(here, bucket, blob, &record.region);
    for region in sources(here, &blob.hash, &record.region) {
        if fetch::read_from(here, &region, blob).await.is_ok() {
            here.note(Branch::ReadThrough);
            return Ok(());
        }
    }
    Err(Failure::unavailable(format!("the bytes {} cannot be reached now", blob.hash)))
}
