//! What somebody may do: by their access key, and by a bucket's policy.
//!
//! Every operation asks here before it is read, by its name. One that is not in the table is not done.
//! A policy that denies wins over a key, but not over an administrator's, who must be able to take it
//! away again; a policy that allows gives what a key does not, and to those who have none.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, header};
use rhumb_objects::policy::{Action, Decision, Policy, Request, TextKey};
use rhumb_types::control::ApiRole;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    path::S3Path,
    s3_error,
};

use crate::{declared::asks, door::Caller, names, policies::Said, service::Objects, tags};

/// Headers that ask for what there is not. They are refused, because an object that is said to be
/// encrypted or locked must be.
const UNKNOWN: [&str; 6] = [
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-write-offset-bytes",
    "x-amz-grant-",
    "x-amz-mfa",
];
/// Access control lists that change nothing.
const PLAIN_ACLS: [&str; 2] = ["private", "bucket-owner-full-control"];

/// An operation, and what it takes to be allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    /// Its name.
    pub(crate) name: &'static str,
    /// As the metrics name it.
    pub(crate) metric: &'static str,
    /// How policies name it; none for what is about no bucket.
    action: Option<Action>,
    /// How they name it where a version is asked for.
    of_version: Option<Action>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A reader may do it.
    Reads,
    /// An operator may.
    Writes,
    /// An operator may, and it is told in the node's log and in the audit chain.
    Administers,
}

macro_rules! operation {
    ($kind:ident $name:literal $action:ident) => {
        Operation {
            name: $name,
            metric: concat!("s3.", $name),
            action: Some(Action::$action),
            of_version: None,
            kind: Kind::$kind,
        }
    };
}

impl Operation {
    const fn or(self, of_version: Action) -> Self {
        Self { of_version: Some(of_version), ..self }
    }
}

/// Every operation that there is.
pub(crate) const OPERATIONS: [Operation; 41] = [
    Operation { action: None, ..operation!(Reads "ListBuckets" ListBucket) },
    operation!(Reads "HeadBucket" ListBucket),
    operation!(Reads "GetBucketLocation" GetBucketLocation),
    operation!(Reads "ListObjects" ListBucket),
    operation!(Reads "ListObjectsV2" ListBucket),
    operation!(Reads "ListObjectVersions" ListBucketVersions),
    operation!(Reads "ListMultipartUploads" ListBucketMultipartUploads),
    operation!(Reads "ListParts" ListMultipartUploadParts),
    operation!(Reads "GetObject" GetObject).or(Action::GetObjectVersion),
    operation!(Reads "HeadObject" GetObject).or(Action::GetObjectVersion),
    operation!(Reads "GetObjectAttributes" GetObjectAttributes)
        .or(Action::GetObjectVersionAttributes),
    operation!(Reads "GetObjectTagging" GetObjectTagging).or(Action::GetObjectVersionTagging),
    operation!(Reads "GetBucketTagging" GetBucketTagging),
    operation!(Reads "GetBucketVersioning" GetBucketVersioning),
    operation!(Reads "GetBucketLifecycleConfiguration" GetLifecycleConfiguration),
    operation!(Reads "GetBucketPolicy" GetBucketPolicy),
    operation!(Reads "GetBucketPolicyStatus" GetBucketPolicyStatus),
    operation!(Reads "GetBucketAcl" GetBucketAcl),
    operation!(Reads "GetBucketCors" GetBucketCORS),
    operation!(Reads "GetBucketEncryption" GetEncryptionConfiguration),
    operation!(Reads "GetObjectLockConfiguration" GetBucketObjectLockConfiguration),
    operation!(Writes "PutObject" PutObject),
    operation!(Writes "CopyObject" PutObject),
    operation!(Writes "CreateMultipartUpload" PutObject),
    operation!(Writes "UploadPart" PutObject),
    operation!(Writes "UploadPartCopy" PutObject),
    operation!(Writes "CompleteMultipartUpload" PutObject),
    operation!(Writes "AbortMultipartUpload" AbortMultipartUpload),
    operation!(Writes "PutObjectTagging" PutObjectTagging).or(Action::PutObjectVersionTagging),
    operation!(Writes "DeleteObjectTagging" DeleteObjectTagging)
        .or(Action::DeleteObjectVersionTagging),
    operation!(Writes "DeleteObject" DeleteObject).or(Action::DeleteObjectVersion),
    // Each of its keys is asked about again, by itself.
    operation!(Writes "DeleteObjects" DeleteObject),
    operation!(Administers "CreateBucket" CreateBucket),
    operation!(Administers "DeleteBucket" DeleteBucket),
    operation!(Administers "PutBucketTagging" PutBucketTagging),
    operation!(Administers "DeleteBucketTagging" PutBucketTagging),
    operation!(Administers "PutBucketVersioning" PutBucketVersioning),
    operation!(Administers "PutBucketLifecycleConfiguration" PutLifecycleConfiguration),
    operation!(Administers "DeleteBucketLifecycle" PutLifecycleConfiguration),
    operation!(Administers "PutBucketPolicy" PutBucketPolicy),
    operation!(Administers "DeleteBucketPolicy" DeleteBucketPolicy),
];

/// What an operation is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) action: Action,
    pub(crate) bucket: &'a str,
    /// None for the bucket itself.
    pub(crate) key: Option<&'a str>,
    /// Whether a reader may do it.
    pub(crate) reads: bool,
}

/// Which operation a request turned out to be, for whoever counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<OnceLock<Operation>>);

impl Asked {
    pub(crate) fn operation(&self) -> Option<Operation> {
        self.0.get().copied()
    }
}

/// What conditions of policies ask about a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    texts: Vec<(TextKey, String)>,
    max_keys: Option<u64>,
}

impl Told {
    /// What the head of a request tells.
    pub(crate) fn of(headers: &HeaderMap, query: &str) -> Self {
        let mut told = Self::default();
        for (name, key) in
            [(header::REFERER, TextKey::Referer), (header::USER_AGENT, TextKey::UserAgent)]
        {
            let text = headers.get(name).and_then(|value| value.to_str().ok());
            told.texts.extend(text.map(|text| (key, text.to_owned())));
        }
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Names are read decoded later, and mean the same then.
            let Some(name) = tags::decoded(name) else { continue };
            let value = tags::decoded(value);
            let key = match name.as_str() {
                "prefix" => TextKey::Prefix,
                "delimiter" => TextKey::Delimiter,
                "versionId" => TextKey::VersionId,
                "max-keys" => {
                    told.max_keys = value.and_then(|value| value.parse().ok());
                    continue;
                }
                _ => continue,
            };
            told.texts.extend(value.map(|value| (key, value)));
        }
        told
    }
}

pub(crate) fn denied() -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied")
}

/// Whether somebody may know that there is a bucket.
pub(crate) fn visible(caller: &Caller, bucket: &str) -> bool {
    caller.grant.as_ref().is_some_and(|grant| grant.covers(bucket))
}

/// Whether a key by itself allows something.
fn granted(caller: &Caller, target: &Target<'_>) -> bool {
    let role = if target.reads { ApiRole::Reader } else { ApiRole::Operator };
    let grant = caller.grant.as_ref();
    grant.is_some_and(|grant| grant.includes(role) && grant.covers(target.bucket))
}

/// What a policy says.
fn decide(policy: &Policy, caller: &Caller, target: &Target<'_>) -> Decision {
    let texts: Vec<(TextKey, &str)> =
        caller.told.texts.iter().map(|(key, text)| (*key, text.as_str())).collect();
    policy.decide(&Request {
        principal: caller.grant.as_ref().and_then(|grant| grant.key()),
        action: target.action,
        key: target.key,
        address: Some(caller.client.ip().to_canonical()),
        secure: caller.secure,
        max_keys: caller.told.max_keys,
        texts: &texts,
    })
}

impl Objects {
    /// Whether somebody may do something.
    pub(crate) fn allows(&self, caller: &Caller, target: Target<'_>) -> bool {
        let granted = granted(caller, &target);
        let administers = caller.grant.as_ref().is_some_and(|it| it.includes(ApiRole::Admin));
        if granted && administers {
            return true;
        }
        let policy = match self.policy(target.bucket) {
            Said::Nothing => return granted,
            Said::Unreadable => return false,
            Said::Policy(policy) => policy,
        };
        match decide(&policy, caller, &target) {
            Decision::Denied { .. } => false,
            Decision::Allowed { .. } => true,
            Decision::Silent => granted,
        }
    }
}

/// Asks at the door of every operation.
#[derive(Debug)]
pub(crate) struct Access {
    objects: Objects,
}

impl Access {
    pub(crate) const fn new(objects: Objects) -> Self {
        Self { objects }
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let named = cx.s3_op().name();
        let found = OPERATIONS.into_iter().find(|it| it.name == named);
        let operation =
            found.ok_or_else(|| s3_error!(NotImplemented, "{named} is not implemented here."))?;
        let caller = cx.extensions_mut().get::<Caller>().cloned().ok_or_else(denied)?;
        if let Some(asked) = cx.extensions_mut().get::<Asked>() {
            // Each request is asked about once.
            let _first = asked.0.set(operation);
        }
        let (bucket, key) = match cx.s3_path() {
            S3Path::Root => {
                return if caller.grant.is_some() { Ok(()) } else { Err(denied()) };
            }
            S3Path::Bucket { bucket } => (bucket.as_ref(), None),
            S3Path::Object { bucket, key } => (bucket.as_ref(), Some(key.as_ref())),
        };
        key.map_or(Ok(()), |key| names::key(key).map(drop))?;
        let query = cx.uri().query().unwrap_or_default();
        let of_version = operation.of_version.filter(|_| asks(query, "versionId"));
        let action = of_version.or(operation.action).ok_or_else(denied)?;
        let target = Target { action, bucket, key, reads: operation.kind == Kind::Reads };
        let each = operation.name == "DeleteObjects"
            && !matches!(self.objects.policy(bucket), Said::Nothing);
        if !each && !self.objects.allows(&caller, target) {
            return Err(denied());
        }
        refuse_unknown(cx.headers())?;
        if operation.kind == Kind::Administers {
            let (key, client) = (caller.name(), caller.client);
            let operation = operation.name;
            tracing::info!(%key, %client, operation, %bucket, "administration of S3");
        }
        Ok(())
    }
}

/// Refuses what would be taken for done and is not.
fn refuse_unknown(headers: &HeaderMap) -> S3Result<()> {
    let names = headers.keys().map(header::HeaderName::as_str);
    for name in names {
        if UNKNOWN.iter().any(|unknown| name.starts_with(unknown)) {
            return Err(s3_error!(NotImplemented, "The header {name} is not implemented here."));
        }
    }
    let acl = headers.get("x-amz-acl").map(|acl| acl.to_str().unwrap_or_default());
    if acl.is_some_and(|acl| !PLAIN_ACLS.contains(&acl)) {
        return Err(s3_error!(
            NotImplemented,
            "There are no access control lists here: use a bucket policy."
        ));
    }
    let class = headers.get("x-amz-storage-class").map(|it| it.to_str().unwrap_or_default());
    if class.is_some_and(|class| class != "STANDARD") {
        return Err(s3_error!(InvalidStorageClass, "There is one storage class here: STANDARD."));
    }
    Ok(())
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
    use rhumb_front::Grant;

    use rhumb_types::record::BucketName;

    use super::*;

    #[test]
    fn every_operation_is_there_once() {
        for (at, operation) in OPERATIONS.iter().enumerate() {
            assert_eq!(OPERATIONS.iter().position(|it| it.name == operation.name), Some(at));
        }
    }

    #[test]
    fn what_changes_nothing_is_a_readers() {
        for operation in OPERATIONS {
            let looks = ["Get", "List", "Head"].iter().any(|it| operation.name.starts_with(it));
            assert_eq!(operation.kind == Kind::Reads, looks, "{}", operation.name);
        }
    }

    #[test]
    fn what_would_be_taken_for_done_is_refused() {
        let of = |name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            refuse_unknown(&headers)
        };
        assert!(of("x-amz-server-side-encryption", "aws:kms").is_err());
        assert!(of("x-amz-object-lock-mode", "GOVERNANCE").is_err());
        assert!(of("x-amz-acl", "public-read").is_err());
        assert!(of("x-amz-acl", "private").is_ok());
        assert!(of("x-amz-storage-class", "GLACIER").is_err());
        assert!(of("x-amz-storage-class", "STANDARD").is_ok());
    }

    fn caller(key: Option<&str>, query: &str) -> Caller {
        Caller {
            grant: key.map(|key| Grant::new(key, ApiRole::Reader, &[])),
            client: "192.0.2.7:5".parse().unwrap(),
            secure: false,
            told: Arc::new(Told::of(&HeaderMap::new(), query)),
        }
    }

    #[test]
    fn a_policy_is_asked_with_all_that_is_known() {
        let bucket = BucketName::new("photos").unwrap();
        let text = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
             "Resource":"arn:aws:s3:::photos/public/*"},
            {"Effect":"Allow","Principal":{"AWS":"ALICE"},"Action":"s3:ListBucket",
             "Resource":"arn:aws:s3:::photos",
             "Condition":{"StringEquals":{"s3:prefix":"alice/"}}},
            {"Effect":"Deny","Principal":"*","Action":"s3:DeleteObject",
             "Resource":"arn:aws:s3:::photos/*"}]}"#;
        let policy = Policy::parse(text, &bucket).unwrap();
        let decided = |caller: &Caller, action, key| {
            let target = Target { action, bucket: "photos", key, reads: true };
            decide(&policy, caller, &target)
        };
        let nobody = caller(None, "");
        let get = decided(&nobody, Action::GetObject, Some("public/a"));
        assert_eq!(get, Decision::Allowed { statement: 0 });
        assert_eq!(decided(&nobody, Action::GetObject, Some("a")), Decision::Silent);
        let alice = caller(Some("ALICE"), "list-type=2&prefix=alice%2F");
        let list = decided(&alice, Action::ListBucket, None);
        assert_eq!(list, Decision::Allowed { statement: 1 });
        let disguised = caller(Some("ALICE"), "pre%66ix=alice%2F");
        assert_eq!(decided(&disguised, Action::ListBucket, None), list);
        let elsewhere = caller(Some("ALICE"), "prefix=bob%2F");
        assert_eq!(decided(&elsewhere, Action::ListBucket, None), Decision::Silent);
        let delete = decided(&alice, Action::DeleteObject, Some("alice/a"));
        assert_eq!(delete, Decision::Denied { statement: 2 });
    }
}
