//! Copying objects, whole or into parts.

use bytes::Bytes;
use rhumb_engine::{About, Done, ObjectClient, ObjectError, Put};
use rhumb_objects::{
    index::{Copied, CopyRefused},
    policy::Action,
};
use rhumb_types::record::{BucketName, Content, ObjectRecord};
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource},
    s3_error,
};

use crate::{
    about,
    access::{Target, denied},
    conditions::{Conditions, validators},
    door::Caller,
    fault,
    limits::{OBJECT_TAGS_MAX, PUT_BYTES_MAX},
    names, put,
    service::{Objects, along, caller, place},
    tags, with_checksums,
};

/// The source of a copy.
pub(crate) struct Source {
    pub(crate) bucket: BucketName,
    pub(crate) key: Bytes,
    pub(crate) record: ObjectRecord,
    pub(crate) content: Content,
}

impl Source {
    /// The source that a request names, if its sender may read it and its conditions hold.
    pub(crate) async fn of(
        objects: &Objects,
        caller: &Caller,
        named: &CopySource,
        conditions: &Conditions,
    ) -> S3Result<Self> {
        let CopySource::Bucket { bucket, key, version_id } = named else {
            return Err(s3_error!(NotImplemented, "There are no access points here."));
        };
        let versioned = version_id.is_some();
        let action = if versioned { Action::GetObjectVersion } else { Action::GetObject };
        let target = Target { action, bucket, key: Some(key), reads: true };
        if !objects.allows(caller, target) {
            return Err(denied());
        }
        let (bucket, _, key) = place(objects, bucket, key)?;
        let which = names::which(version_id.as_deref())?;
        let record = objects.client()?.head(&bucket, &key, which).await.map_err(fault::of)?;
        let content = record.content.clone().ok_or_else(fault::no_content)?;
        if !conditions.source.of_copy(validators(&record, &content)) {
            return Err(fault::unmet());
        }
        Ok(Self { bucket, key, record, content })
    }

    /// Its version, where clients see one.
    pub(crate) fn version(&self) -> Option<String> {
        about::version(&self.record)
    }
}

/// CopyObject.
pub(crate) async fn copy(
    objects: &Objects,
    mut request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let (bucket, _, key) = place(objects, &request.input.bucket, &request.input.key)?;
    let conditions: Conditions = along::<_, Conditions>(&request)?.clone();
    let caller = caller(&request)?.clone();
    let source = Source::of(objects, &caller, &request.input.copy_source, &conditions).await?;
    if source.content.bytes > PUT_BYTES_MAX {
        return Err(s3_error!(
            InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy source: \
             5368709120"
        ));
    }
    let changed = changed(&mut request)?;
    let client = objects.client()?;
    let done = client
        .copy(
            (&source.bucket, &source.key, &source.record),
            (&bucket, key.clone()),
            changed.clone(),
            conditions.target.clone(),
        )
        .await;
    let done = match done {
        Err(ObjectError::Copy(CopyRefused::Inline)) => {
            rewrite(&client, &source, (bucket, key), changed, &conditions).await
        }
        done => done,
    };
    let done = done.map_err(fault::of)?;
    let content = done.record.content.as_ref().ok_or_else(fault::no_content)?;
    let result = CopyObjectResult {
        checksum_type: about::checksum_type(&content.checksums),
        e_tag: Some(about::etag(&content.etag)),
        last_modified: Some(about::time(done.record.modified)),
        ..CopyObjectResult::default()
    };
    let output = CopyObjectOutput {
        copy_object_result: Some(with_checksums!(result, &content.checksums)),
        copy_source_version_id: source.version(),
        version_id: about::version(&done.record),
        ..CopyObjectOutput::default()
    };
    Ok(S3Response::with_headers(output, put::told(&done)))
}

/// What of the source is told otherwise of the copy.
fn changed(request: &mut S3Request<CopyObjectInput>) -> S3Result<Copied> {
    let replaces = |directive: Option<&str>| match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "Unknown metadata or tagging directive.")),
    };
    let input = &mut request.input;
    let metadata = replaces(input.metadata_directive.as_ref().map(|it| it.as_str()))?;
    let tagged = replaces(input.tagging_directive.as_ref().map(|it| it.as_str()))?;
    let about = if metadata {
        Some((about::kept(&request.headers)?, about::metadata(input.metadata.take())))
    } else {
        None
    };
    let given = input.tagging.as_deref().unwrap_or_default();
    let tags = tagged.then(|| tags::of_header(given, OBJECT_TAGS_MAX)).transpose()?;
    Ok(Copied { about, tags })
}

/// Reads the bytes and writes them anew, where they may not stay where they are.
async fn rewrite(
    client: &ObjectClient,
    source: &Source,
    (bucket, key): (BucketName, Bytes),
    changed: Copied,
    conditions: &Conditions,
) -> Result<Done, ObjectError> {
    let Content { bytes, headers, metadata, tags, .. } = source.content.clone();
    let (headers, metadata) = changed.about.unwrap_or((headers, metadata));
    let put = Put {
        bucket,
        key,
        body: client.read(&source.bucket, &source.record, 0..bytes),
        bytes: Some(bytes),
        about: About { headers, metadata, tags: changed.tags.unwrap_or(tags) },
        digests: Default::default(),
        condition: conditions.target.clone(),
    };
    client.put(put).await
}
