//! Tags of objects and of buckets.

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        DeleteBucketTaggingInput, DeleteBucketTaggingOutput, DeleteObjectTaggingInput,
        DeleteObjectTaggingOutput, GetBucketTaggingInput, GetBucketTaggingOutput,
        GetObjectTaggingInput, GetObjectTaggingOutput, PutBucketTaggingInput,
        PutBucketTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput,
    },
};

use crate::{
    about, fault,
    limits::{BUCKET_TAGS_MAX, OBJECT_TAGS_MAX},
    names,
    service::{Objects, answer, caller, place},
    tags::{self, Tags},
};

/// GetObjectTagging.
pub(crate) async fn get(
    objects: &Objects,
    request: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let input = &request.input;
    let (bucket, _, key) = place(objects, &input.bucket, &input.key)?;
    let which = names::which(input.version_id.as_deref())?;
    let record = objects.client()?.head(&bucket, &key, which).await.map_err(fault::of)?;
    let content = record.content.as_ref().ok_or_else(fault::no_content)?;
    let (tag_set, version_id) = (tags::set(&content.tags), about::version(&record));
    answer(GetObjectTaggingOutput { tag_set, version_id })
}

/// PutObjectTagging.
pub(crate) async fn put(
    objects: &Objects,
    request: S3Request<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let PutObjectTaggingInput { bucket, key, tagging, version_id, .. } = request.input;
    let tags = tags::of_set(tagging.tag_set, OBJECT_TAGS_MAX)?;
    let version_id = change(objects, (&bucket, &key, version_id.as_deref()), tags).await?;
    answer(PutObjectTaggingOutput { version_id })
}

/// DeleteObjectTagging.
pub(crate) async fn delete(
    objects: &Objects,
    request: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let DeleteObjectTaggingInput { bucket, key, version_id, .. } = request.input;
    let version_id = change(objects, (&bucket, &key, version_id.as_deref()), Tags::new()).await?;
    answer(DeleteObjectTaggingOutput { version_id })
}

async fn change(
    objects: &Objects,
    (bucket, key, version): (&str, &str, Option<&str>),
    tags: Tags,
) -> S3Result<Option<String>> {
    let (bucket, _, key) = place(objects, bucket, key)?;
    let which = names::which(version)?;
    let record = objects.client()?.tag(&bucket, key, which, tags).await.map_err(fault::of)?;
    Ok(about::version(&record))
}

/// GetBucketTagging.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn get_of_bucket(
    objects: &Objects,
    request: S3Request<GetBucketTaggingInput>,
) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    let (_, entry) = objects.bucket(&request.input.bucket)?;
    if entry.tags.is_empty() {
        let status = http::StatusCode::NOT_FOUND;
        return Err(fault::custom("NoSuchTagSet", status, "The TagSet does not exist"));
    }
    answer(GetBucketTaggingOutput { tag_set: tags::set(&entry.tags) })
}

/// PutBucketTagging.
pub(crate) async fn put_of_bucket(
    objects: &Objects,
    request: S3Request<PutBucketTaggingInput>,
) -> S3Result<S3Response<PutBucketTaggingOutput>> {
    let by = caller(&request)?.clone();
    let input = request.input;
    let tags = tags::of_set(input.tagging.tag_set, BUCKET_TAGS_MAX)?;
    objects.change_bucket(&by, &input.bucket, |entry| entry.tags = tags).await?;
    answer(PutBucketTaggingOutput::default())
}

/// DeleteBucketTagging.
pub(crate) async fn delete_of_bucket(
    objects: &Objects,
    request: S3Request<DeleteBucketTaggingInput>,
) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
    let (by, bucket) = (caller(&request)?, &request.input.bucket);
    objects.change_bucket(by, bucket, |entry| entry.tags.clear()).await?;
    let mut response = S3Response::new(DeleteBucketTaggingOutput::default());
    response.status = Some(http::StatusCode::NO_CONTENT);
    Ok(response)
}
