//! Deleting objects and versions of them.

use futures_util::{StreamExt as _, stream};
use rhumb_engine::Deleted;
use rhumb_objects::{
    condition::Condition,
    etag::{EntityTag, EntityTags},
    policy::Action,
};
use rhumb_types::record::BucketName;
use s3s::{
    S3Error, S3Request, S3Response, S3Result,
    dto::{
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        DeletedObject, Error, ObjectIdentifier,
    },
    s3_error,
};

use crate::{
    access::{Target, denied},
    conditions::Conditions,
    door::Caller,
    fault,
    limits::{DELETE_MAX, DELETES_AT_ONCE},
    names,
    service::{Objects, along, answer, caller, place},
};

/// DeleteObject.
pub(crate) async fn one(
    objects: &Objects,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = &request.input;
    let (bucket, _, key) = place(objects, &input.bucket, &input.key)?;
    let which = names::which(input.version_id.as_deref())?;
    let conditions: &Conditions = along(&request)?;
    let condition = conditions.target.clone();
    let deleted = objects.client()?.delete(&bucket, key, which, condition).await;
    let told = told(&deleted.map_err(fault::of)?);
    answer(DeleteObjectOutput {
        delete_marker: told.is_marker.then_some(true),
        version_id: told.version,
        ..DeleteObjectOutput::default()
    })
}

/// What clients are told of a deletion.
struct Told {
    /// Whether a marker was written, or is gone.
    is_marker: bool,
    /// Which version was written or is gone.
    version: Option<String>,
}

fn told(deleted: &Deleted) -> Told {
    match (deleted.marker, deleted.removed) {
        (Some(marker), _) => Told { is_marker: true, version: Some(names::version(Some(marker))) },
        (None, Some((Some(version), is_marker))) => {
            Told { is_marker, version: Some(names::version(Some(version))) }
        }
        (None, Some((None, is_marker))) => {
            Told { is_marker, version: is_marker.then(|| names::version(None)) }
        }
        (None, None) => Told { is_marker: false, version: None },
    }
}

/// DeleteObjects. Each is deleted by itself; what goes wrong with one is told of that one.
pub(crate) async fn many(
    objects: &Objects,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let caller = caller(&request)?.clone();
    let (bucket, _) = objects.bucket(&request.input.bucket)?;
    let quiet = request.input.delete.quiet.unwrap_or_default();
    let asked = request.input.delete.objects;
    if asked.is_empty() || asked.len() > DELETE_MAX {
        return Err(s3_error!(MalformedXML, "Name 1 to {DELETE_MAX} objects."));
    }
    let deletions = asked.into_iter().map(|it| delete(objects, &caller, &bucket, it));
    let outcomes: Vec<_> = stream::iter(deletions).buffered(DELETES_AT_ONCE).collect().await;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(object) if !quiet => deleted.push(object),
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
    }
    answer(DeleteObjectsOutput {
        deleted: (!deleted.is_empty()).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..DeleteObjectsOutput::default()
    })
}

async fn delete(
    objects: &Objects,
    caller: &Caller,
    bucket: &BucketName,
    asked: ObjectIdentifier,
) -> Result<DeletedObject, Error> {
    let ObjectIdentifier { key, version_id, e_tag, .. } = asked;
    let versioned = version_id.is_some();
    let deleted = async {
        let action = if versioned { Action::DeleteObjectVersion } else { Action::DeleteObject };
        let target = Target { action, bucket: bucket.as_str(), key: Some(&key), reads: false };
        if !objects.allows(caller, target) {
            return Err(denied());
        }
        let which = names::which(version_id.as_deref())?;
        let tag = e_tag.map(|tag| EntityTag { weak: false, tag: tag.into_value() });
        let condition = Condition {
            if_match: tag.map(|tag| match tag.tag.as_str() {
                "*" => EntityTags::Any,
                _ => EntityTags::Of(vec![tag]),
            }),
            ..Condition::default()
        };
        let deleted = objects.client()?.delete(bucket, names::key(&key)?, which, condition).await;
        deleted.map_err(fault::of)
    };
    match deleted.await {
        Ok(deleted) => {
            let told = told(&deleted);
            let marker = told.version.filter(|_| told.is_marker);
            Ok(DeletedObject {
                delete_marker: told.is_marker.then_some(true),
                delete_marker_version_id: marker,
                key: Some(key),
                version_id,
            })
        }
        Err(error) => Err(entry(key, version_id, &error)),
    }
}

/// An error as an entry of the answer.
fn entry(key: String, version_id: Option<String>, error: &S3Error) -> Error {
    Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(key),
        message: error.message().map(str::to_owned),
        version_id,
    }
}
