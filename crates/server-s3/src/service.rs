//! The operations, as the codec calls them.

use std::{collections::BTreeSet, sync::Arc};

use rhumb_engine::{Engine, Expect, ObjectClient};
use rhumb_types::{
    control::{AdminCommand, BucketAct},
    record::{BucketEntry, BucketName},
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, dto, s3_error};

use crate::{
    access::denied,
    attributes, buckets, copy, delete,
    door::{Caller, sentence},
    fault, get, listings, multipart, names,
    policies::{Policies, Said},
    put, settings, tagging,
};

/// Why buckets change, in the audit chain: S3 has no words for it.
const AUDIT_REASON: &str = "asked for over S3";

/// The operations over a node's objects. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    engine: Engine,
    region: Arc<str>,
    regions: Arc<BTreeSet<String>>,
    policies: Arc<Policies>,
}

impl Objects {
    pub(crate) fn new(engine: Engine, region: &str, regions: &BTreeSet<String>) -> Self {
        let regions = Arc::new(regions.clone());
        Self { engine, region: region.into(), regions, policies: Arc::default() }
    }

    /// The objects of the node.
    pub(crate) fn client(&self) -> S3Result<ObjectClient> {
        self.engine.objects().ok_or_else(fault::starting)
    }

    /// The region of this node.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Whether a region is one of the cluster.
    pub(crate) fn is_region(&self, name: &str) -> bool {
        self.regions.contains(name)
    }

    /// The policy of a bucket. What is not there has none.
    pub(crate) fn policy(&self, bucket: &str) -> Said {
        let (Ok(name), Ok(client)) = (BucketName::new(bucket), self.client()) else {
            return Said::Nothing;
        };
        self.policies.of(&name, &client.buckets())
    }

    /// Notes in the audit chain what is about to be done to a bucket.
    pub(crate) async fn note(
        &self,
        caller: &Caller,
        bucket: &BucketName,
        act: BucketAct,
    ) -> S3Result<()> {
        let admin = self.engine.admin().ok_or_else(fault::starting)?;
        let command = AdminCommand::NoteBucket { bucket: bucket.clone(), act };
        let noted = admin.propose(caller.name(), AUDIT_REASON, command).await;
        noted.map(drop).map_err(|error| fault::of_class(error.code(), sentence(&error.to_string())))
    }

    /// Gives a bucket other settings.
    pub(crate) async fn change_bucket(
        &self,
        caller: &Caller,
        name: &str,
        change: impl FnOnce(&mut BucketEntry) + Send,
    ) -> S3Result<()> {
        let (name, _) = self.bucket(name)?;
        let client = self.client()?;
        let version = client.bucket_version(&name).map_err(fault::of)?;
        self.note(caller, &name, BucketAct::Change).await?;
        client.define_bucket(&name, Expect::Version(version), change).await.map_err(fault::of)
    }

    /// A bucket that is there.
    pub(crate) fn bucket(&self, name: &str) -> S3Result<(BucketName, BucketEntry)> {
        let name = BucketName::new(name).map_err(|_| fault::no_bucket())?;
        let entry = self.client()?.bucket(&name).map_err(fault::of)?;
        Ok((name, entry))
    }
}

/// Something that came along with a request.
pub(crate) fn along<I, T: Clone + Send + Sync + 'static>(request: &S3Request<I>) -> S3Result<&T> {
    // Everything comes along that `dispatch` puts there; a request without it did not come that way.
    request.extensions.get().ok_or_else(denied)
}

/// Who asks.
pub(crate) fn caller<I>(request: &S3Request<I>) -> S3Result<&Caller> {
    along(request)
}

/// A plain answer.
pub(crate) fn answer<T>(output: T) -> S3Result<S3Response<T>> {
    Ok(S3Response::new(output))
}

/// How many entries a page may have.
pub(crate) fn page_max(asked: Option<i32>, most: usize) -> S3Result<usize> {
    let Some(asked) = asked else { return Ok(most) };
    let asked = usize::try_from(asked);
    asked.map(|asked| asked.min(most)).map_err(|_| {
        s3_error!(InvalidArgument, "The number of entries of a page cannot be negative.")
    })
}

/// A number as the codec writes it.
pub(crate) fn int(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// A length as the codec writes it.
pub(crate) fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What a request is told of something that is not configured.
fn unset(code: &'static str, said: &'static str) -> S3Error {
    fault::custom(code, http::StatusCode::NOT_FOUND, said)
}

/// One operation for each line: its name, what goes in and comes out, and who does it.
macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident = $handler:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Objects {
            $(
                async fn $name(
                    &self,
                    req: S3Request<dto::$input>,
                ) -> S3Result<S3Response<dto::$output>> {
                    $handler(self, req).await
                }
            )*
        }
    };
}

operations! {
    list_buckets(ListBucketsInput) -> ListBucketsOutput = buckets::list;
    create_bucket(CreateBucketInput) -> CreateBucketOutput = buckets::create;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = buckets::head;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = buckets::delete;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = buckets::location;
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput = buckets::acl;
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = no_cors;
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput = no_encryption;
    get_object_lock_configuration(GetObjectLockConfigurationInput)
        -> GetObjectLockConfigurationOutput = no_lock;
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput = tagging::get_of_bucket;
    put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput = tagging::put_of_bucket;
    delete_bucket_tagging(DeleteBucketTaggingInput)
        -> DeleteBucketTaggingOutput = tagging::delete_of_bucket;
    get_bucket_versioning(GetBucketVersioningInput)
        -> GetBucketVersioningOutput = settings::versioning;
    put_bucket_versioning(PutBucketVersioningInput)
        -> PutBucketVersioningOutput = settings::put_versioning;
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput = settings::get_lifecycle;
    put_bucket_lifecycle_configuration(PutBucketLifecycleConfigurationInput)
        -> PutBucketLifecycleConfigurationOutput = settings::put_lifecycle;
    delete_bucket_lifecycle(DeleteBucketLifecycleInput)
        -> DeleteBucketLifecycleOutput = settings::delete_lifecycle;
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput = settings::policy;
    put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput = settings::put_policy;
    delete_bucket_policy(DeleteBucketPolicyInput)
        -> DeleteBucketPolicyOutput = settings::delete_policy;
    get_bucket_policy_status(GetBucketPolicyStatusInput)
        -> GetBucketPolicyStatusOutput = settings::policy_status;
    list_objects(ListObjectsInput) -> ListObjectsOutput = listings::objects;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = listings::objects_v2;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = listings::versions;
    get_object(GetObjectInput) -> GetObjectOutput = get::get;
    head_object(HeadObjectInput) -> HeadObjectOutput = get::head;
    get_object_attributes(GetObjectAttributesInput)
        -> GetObjectAttributesOutput = attributes::get;
    put_object(PutObjectInput) -> PutObjectOutput = put::put;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copy::copy;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = delete::one;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = delete::many;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = tagging::get;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = tagging::put;
    delete_object_tagging(DeleteObjectTaggingInput)
        -> DeleteObjectTaggingOutput = tagging::delete;
    create_multipart_upload(CreateMultipartUploadInput)
        -> CreateMultipartUploadOutput = multipart::create;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = multipart::part_copy;
    complete_multipart_upload(CompleteMultipartUploadInput)
        -> CompleteMultipartUploadOutput = multipart::complete;
    abort_multipart_upload(AbortMultipartUploadInput)
        -> AbortMultipartUploadOutput = multipart::abort;
    list_parts(ListPartsInput) -> ListPartsOutput = multipart::parts;
    list_multipart_uploads(ListMultipartUploadsInput)
        -> ListMultipartUploadsOutput = listings::uploads;
}

#[expect(clippy::unused_async, reason = "operations are called with await")]
async fn no_cors(
    objects: &Objects,
    request: S3Request<dto::GetBucketCorsInput>,
) -> S3Result<S3Response<dto::GetBucketCorsOutput>> {
    objects.bucket(&request.input.bucket)?;
    Err(unset("NoSuchCORSConfiguration", "The CORS configuration does not exist"))
}

#[expect(clippy::unused_async, reason = "operations are called with await")]
async fn no_encryption(
    objects: &Objects,
    request: S3Request<dto::GetBucketEncryptionInput>,
) -> S3Result<S3Response<dto::GetBucketEncryptionOutput>> {
    objects.bucket(&request.input.bucket)?;
    Err(unset(
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found",
    ))
}

#[expect(clippy::unused_async, reason = "operations are called with await")]
async fn no_lock(
    objects: &Objects,
    request: S3Request<dto::GetObjectLockConfigurationInput>,
) -> S3Result<S3Response<dto::GetObjectLockConfigurationOutput>> {
    objects.bucket(&request.input.bucket)?;
    Err(unset(
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    ))
}

/// A key and a bucket that are there.
pub(crate) fn place(
    objects: &Objects,
    bucket: &str,
    key: &str,
) -> S3Result<(BucketName, BucketEntry, bytes::Bytes)> {
    let (name, entry) = objects.bucket(bucket)?;
    Ok((name, entry, names::key(key)?))
}
