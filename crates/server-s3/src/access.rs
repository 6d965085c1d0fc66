//! What somebody may do: by their access key, and by a bucket's policy.
//!
//! Every operation asks here before it is read, by its name. One that is not in the table is not done.

use std::sync::{Arc, OnceLock};

use rhumb_types::control::ApiRole;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    path::S3Path,
    s3_error,
};

use crate::{door::Caller, names};

/// An operation, and what it takes to be allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    /// Its name.
    pub(crate) name: &'static str,
    /// How policies name it; where a version is asked for, with `Version` behind `Object`.
    pub(crate) action: &'static str,
    /// Whether a reader may do it.
    pub(crate) reads: bool,
    /// Whether it is about the bucket itself, and told in the node's log.
    pub(crate) administers: bool,
}

const fn reads(name: &'static str, action: &'static str) -> Operation {
    Operation { name, action, reads: true, administers: false }
}

const fn writes(name: &'static str, action: &'static str) -> Operation {
    Operation { name, action, reads: false, administers: false }
}

const fn administers(name: &'static str, action: &'static str) -> Operation {
    Operation { name, action, reads: false, administers: true }
}

/// Every operation that there is.
pub(crate) const OPERATIONS: [Operation; 41] = [
    reads("ListBuckets", "s3:ListAllMyBuckets"),
    reads("HeadBucket", "s3:ListBucket"),
    reads("GetBucketLocation", "s3:GetBucketLocation"),
    reads("ListObjects", "s3:ListBucket"),
    reads("ListObjectsV2", "s3:ListBucket"),
    reads("ListObjectVersions", "s3:ListBucketVersions"),
    reads("ListMultipartUploads", "s3:ListBucketMultipartUploads"),
    reads("ListParts", "s3:ListMultipartUploadParts"),
    reads("GetObject", "s3:GetObject"),
    reads("HeadObject", "s3:GetObject"),
    reads("GetObjectAttributes", "s3:GetObject"),
    reads("GetObjectTagging", "s3:GetObjectTagging"),
    reads("GetBucketTagging", "s3:GetBucketTagging"),
    reads("GetBucketVersioning", "s3:GetBucketVersioning"),
    reads("GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration"),
    reads("GetBucketPolicy", "s3:GetBucketPolicy"),
    reads("GetBucketPolicyStatus", "s3:GetBucketPolicyStatus"),
    reads("GetBucketAcl", "s3:GetBucketAcl"),
    reads("GetBucketCors", "s3:GetBucketCORS"),
    reads("GetBucketEncryption", "s3:GetEncryptionConfiguration"),
    reads("GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration"),
    writes("PutObject", "s3:PutObject"),
    writes("CopyObject", "s3:PutObject"),
    writes("CreateMultipartUpload", "s3:PutObject"),
    writes("UploadPart", "s3:PutObject"),
    writes("UploadPartCopy", "s3:PutObject"),
    writes("CompleteMultipartUpload", "s3:PutObject"),
    writes("AbortMultipartUpload", "s3:AbortMultipartUpload"),
    writes("PutObjectTagging", "s3:PutObjectTagging"),
    writes("DeleteObjectTagging", "s3:DeleteObjectTagging"),
    writes("DeleteObject", "s3:DeleteObject"),
    writes("DeleteObjects", "s3:DeleteObject"),
    administers("CreateBucket", "s3:CreateBucket"),
    administers("DeleteBucket", "s3:DeleteBucket"),
    administers("PutBucketTagging", "s3:PutBucketTagging"),
    administers("DeleteBucketTagging", "s3:PutBucketTagging"),
    administers("PutBucketVersioning", "s3:PutBucketVersioning"),
    administers("PutBucketLifecycleConfiguration", "s3:PutLifecycleConfiguration"),
    administers("DeleteBucketLifecycle", "s3:PutLifecycleConfiguration"),
    administers("PutBucketPolicy", "s3:PutBucketPolicy"),
    administers("DeleteBucketPolicy", "s3:DeleteBucketPolicy"),
];

impl Operation {
    /// The one of a name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        OPERATIONS.into_iter().find(|it| it.name == name)
    }

    const fn role(self) -> ApiRole {
        if self.reads { ApiRole::Reader } else { ApiRole::Operator }
    }
}

/// Which operation a request turned out to be, for whoever counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<OnceLock<Operation>>);

impl Asked {
    pub(crate) fn operation(&self) -> Option<Operation> {
        self.0.get().copied()
    }
}

/// What an operation is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) action: &'a str,
    pub(crate) bucket: &'a str,
    /// None for the bucket itself.
    pub(crate) key: Option<&'a str>,
    /// The query, as it was sent: conditions are about some parameters.
    pub(crate) query: &'a str,
}

pub(crate) fn denied() -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied")
}

/// Whether a key by itself allows something; nothing is known of those who have none.
pub(crate) fn granted(caller: &Caller, operation: Operation, bucket: &str) -> bool {
    let grant = caller.grant.as_ref();
    grant.is_some_and(|grant| grant.role.includes(operation.role()) && grant.covers(bucket))
}

/// Asks at the door of every operation.
#[derive(Debug)]
pub(crate) struct Access;

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let name = cx.s3_op().name().to_owned();
        let caller = cx.extensions_mut().get::<Caller>().cloned().ok_or_else(denied)?;
        let operation = Operation::of_name(&name)
            .ok_or_else(|| s3_error!(NotImplemented, "{name} is not implemented here."))?;
        if let Some(asked) = cx.extensions_mut().get::<Asked>() {
            // Each request is asked about once.
            let _first = asked.0.set(operation);
        }
        let (bucket, key) = match cx.s3_path() {
            S3Path::Root => {
                let any = caller.grant.is_some();
                return if any { Ok(()) } else { Err(denied()) };
            }
            S3Path::Bucket { bucket } => (bucket.as_ref(), None),
            S3Path::Object { bucket, key } => (bucket.as_ref(), Some(key.as_ref())),
        };
        key.map_or(Ok(()), |key| names::key(key).map(drop))?;
        if granted(&caller, operation, bucket) { Ok(()) } else { Err(denied()) }
    }
}

/// Signatures are checked before a request comes here, and taken off it; whatever looks like one now is
/// none.
#[derive(Debug)]
pub(crate) struct NoSignatures;

#[async_trait::async_trait]
impl S3Auth for NoSignatures {
    async fn get_secret_key(&self, _access_key: &str) -> S3Result<SecretKey> {
        Err(denied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_there_once() {
        for (at, operation) in OPERATIONS.iter().enumerate() {
            assert_eq!(OPERATIONS.iter().position(|it| it.name == operation.name), Some(at));
            assert!(operation.action.starts_with("s3:"), "{operation:?}");
        }
    }

    #[test]
    fn what_changes_nothing_is_a_readers() {
        for operation in OPERATIONS {
            let looks = ["Get", "List", "Head"].iter().any(|it| operation.name.starts_with(it));
            assert_eq!(operation.reads, looks, "{}", operation.name);
        }
    }
}
