//! Reading bytes: from this region, else from the nearest that has them.

use rhumb_types::record::{BlobRef, Body, BucketName, ObjectRecord};

use super::{
    blobs::Read,
    calls::{BLOB_CALL_WAIT, Call, Failure, Told, sources},
    fetch,
    here::Here,
};
use crate::branch::Branch;

/// Reads all bytes of a version.
pub(super) async fn bytes(
    here: &Here,
    bucket: &BucketName,
    record: &ObjectRecord,
) -> Result<(), Failure> {
    let Some(content) = &record.content else { return Ok(()) };
    let Body::Blobs(blobs) = &content.body else { return Ok(()) };
    for blob in blobs {
        match here.blobs().read(&blob.hash) {
            Read::Sound => continue,
            Read::Damaged => fetch::repair(here, *blob, &record.region),
            Read::Missing => {}
        }
        elsewhere(here, bucket, record, *blob).await?;
    }
    Ok(())
}

async fn elsewhere(
    here: &Here,
    bucket: &BucketName,
    record: &ObjectRecord,
    blob: BlobRef,
) -> Result<(), Failure> {
    fetch::on_remote_read(here, bucket, blob, &record.region);
    for region in sources(here, &blob.hash, &record.region) {
        if let Some(Told::Bytes(_)) = here.call(&region, Call::Read { blob }, BLOB_CALL_WAIT).await
        {
            here.note(Branch::ReadThrough);
            return Ok(());
        }
    }
    Err(Failure::unavailable(format!("the bytes {} cannot be reached now", blob.hash)))
}
