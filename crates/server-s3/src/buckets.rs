//! Buckets.

use rhumb_engine::{Expect, ObjectError};
use rhumb_types::{
    RegionId,
    control::BucketAct,
    record::{BucketDefinition, BucketEntry},
};
use s3s::{
    S3Error, S3Request, S3Response, S3Result,
    dto::{
        Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
        DeleteBucketOutput, GetBucketAclInput, GetBucketAclOutput, GetBucketLocationInput,
        GetBucketLocationOutput, Grant, Grantee, HeadBucketInput, HeadBucketOutput,
        ListBucketsInput, ListBucketsOutput, Owner, Permission, Type,
    },
    s3_error,
};

use crate::{
    access::visible,
    fault,
    limits::BUCKETS_PAGE_MAX,
    names,
    service::{Objects, answer, caller, page_max},
};

/// The region that S3 leaves unsaid.
const UNSAID_REGION: &str = "us-east-1";

/// ListBuckets: those that the client may use.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn list(
    objects: &Objects,
    request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let caller = caller(&request)?;
    let input = &request.input;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let after = input.continuation_token.as_deref().unwrap_or_default();
    let most = page_max(input.max_buckets, BUCKETS_PAGE_MAX)?;
    let all = objects.client()?.buckets();
    let mut found = all.entries.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.starts_with(prefix) && name > after && visible(caller, name)
    });
    let page: Vec<Bucket> = found
        .by_ref()
        .take(most)
        .map(|(name, bucket)| Bucket {
            bucket_region: Some(location_of(objects, &bucket.entry)),
            creation_date: Some(crate::about::time(bucket.entry.created_at)),
            name: Some(name.to_string()),
        })
        .collect();
    let more = found.next().is_some();
    let last = page.last().and_then(|bucket| bucket.name.clone());
    answer(ListBucketsOutput {
        continuation_token: last.filter(|_| more),
        owner: Some(owner(caller.name())),
        prefix: input.prefix.clone(),
        buckets: Some(page),
    })
}

/// An owner as answers name it.
pub(crate) fn owner(name: &str) -> Owner {
    Owner { display_name: Some(name.to_owned()), id: Some(name.to_owned()) }
}

/// CreateBucket. A region that is named is the one that its objects are put to first.
pub(crate) async fn create(
    objects: &Objects,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let caller = caller(&request)?.clone();
    let input = request.input;
    let name = names::bucket(&input.bucket)?;
    if input.object_lock_enabled_for_bucket.unwrap_or_default() {
        return Err(s3_error!(NotImplemented, "There is no object lock here."));
    }
    let configuration = input.create_bucket_configuration;
    let named = configuration.and_then(|it| it.location_constraint);
    let regions = named.map(|named| preferred(objects, named.as_str())).transpose()?;
    let definition =
        BucketDefinition { regions: regions.unwrap_or_default(), ..BucketDefinition::default() };
    let owner = caller.name().to_owned();
    let make = |entry: &mut BucketEntry| {
        entry.definition = definition;
        entry.owner = owner;
    };
    let client = objects.client()?;
    // What is there already is refused without a word in the audit chain.
    if client.bucket(&name).is_err() {
        objects.note(&caller, &name, BucketAct::Create).await?;
    }
    if let Err(error) = client.define_bucket(&name, Expect::Absent, make).await {
        return Err(taken(objects, name.as_str(), caller.name(), error));
    }
    answer(CreateBucketOutput { location: Some(format!("/{name}")) })
}

fn preferred(objects: &Objects, named: &str) -> S3Result<Vec<RegionId>> {
    let known = objects.is_region(named);
    match RegionId::new(named) {
        Ok(region) if known => Ok(vec![region]),
        // What clients sign for that were told no region.
        _ if named == UNSAID_REGION || named.is_empty() => Ok(Vec::new()),
        _ => Err(s3_error!(
            InvalidLocationConstraint,
            "The specified location-constraint is not valid: {named} is no region of this cluster."
        )),
    }
}

/// Why a bucket was not made: whose it is makes a difference to clients.
fn taken(objects: &Objects, name: &str, caller: &str, error: ObjectError) -> S3Error {
    let exists = matches!(error, ObjectError::BucketExists(_));
    let owner = objects.bucket(name).ok().map(|(_, entry)| entry.owner);
    if exists && owner.is_some_and(|owner| owner == caller) {
        return s3_error!(
            BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it."
        );
    }
    fault::of(error)
}

/// HeadBucket.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn head(
    objects: &Objects,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    let (_, entry) = objects.bucket(&request.input.bucket)?;
    let bucket_region = Some(location_of(objects, &entry));
    answer(HeadBucketOutput { bucket_region, ..HeadBucketOutput::default() })
}

/// DeleteBucket.
pub(crate) async fn delete(
    objects: &Objects,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let (name, _) = objects.bucket(&request.input.bucket)?;
    objects.note(caller(&request)?, &name, BucketAct::Delete).await?;
    objects.client()?.remove_bucket(&name).await.map_err(fault::of)?;
    let mut response = S3Response::new(DeleteBucketOutput::default());
    response.status = Some(http::StatusCode::NO_CONTENT);
    Ok(response)
}

/// Where a bucket is said to be: a bucket is in every region, and clients want one.
fn location_of(objects: &Objects, entry: &BucketEntry) -> String {
    let first = entry.definition.regions.first().map(ToString::to_string);
    first.unwrap_or_else(|| objects.region().to_owned())
}

/// GetBucketLocation.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn location(
    objects: &Objects,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    let (_, entry) = objects.bucket(&request.input.bucket)?;
    let region = Some(location_of(objects, &entry)).filter(|region| region != UNSAID_REGION);
    answer(GetBucketLocationOutput {
        location_constraint: region.map(BucketLocationConstraint::from),
    })
}

/// GetBucketAcl: there are none, which S3 says so.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn acl(
    objects: &Objects,
    request: S3Request<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    let (_, entry) = objects.bucket(&request.input.bucket)?;
    let grantee = Grantee {
        display_name: Some(entry.owner.clone()),
        email_address: None,
        id: Some(entry.owner.clone()),
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    let permission = Permission::from_static(Permission::FULL_CONTROL);
    let grant = Grant { grantee: Some(grantee), permission: Some(permission) };
    answer(GetBucketAclOutput { grants: Some(vec![grant]), owner: Some(owner(&entry.owner)) })
}
