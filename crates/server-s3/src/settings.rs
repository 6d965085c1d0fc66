//! What a bucket is set to: versioning, lifecycle, policy.

use std::time::Duration;

use rhumb_objects::{lifecycle, policy::Policy};
use rhumb_types::record::{
    LifecycleRule as Rule, Versioning,
    bucket::{BUCKET_POLICY_BYTES_MAX, LIFECYCLE_RULES_MAX},
};
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        AbortIncompleteMultipartUpload, BucketVersioningStatus, DeleteBucketLifecycleInput,
        DeleteBucketLifecycleOutput, DeleteBucketPolicyInput, DeleteBucketPolicyOutput,
        ExpirationStatus, GetBucketLifecycleConfigurationInput,
        GetBucketLifecycleConfigurationOutput, GetBucketPolicyInput, GetBucketPolicyOutput,
        GetBucketPolicyStatusInput, GetBucketPolicyStatusOutput, GetBucketVersioningInput,
        GetBucketVersioningOutput, LifecycleExpiration, LifecycleRule, LifecycleRuleAndOperator,
        LifecycleRuleFilter, NoncurrentVersionExpiration, PolicyStatus,
        PutBucketLifecycleConfigurationInput, PutBucketLifecycleConfigurationOutput,
        PutBucketPolicyInput, PutBucketPolicyOutput, PutBucketVersioningInput,
        PutBucketVersioningOutput, Tag,
    },
    s3_error,
};

use crate::{
    about,
    conditions::millis,
    door::sentence,
    fault,
    limits::OBJECT_TAGS_MAX,
    service::{Objects, answer, caller, int, long},
    tags::{self, Tags},
};

const DAY: Duration = Duration::from_secs(86_400);

/// GetBucketVersioning.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn versioning(
    objects: &Objects,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let (_, entry) = objects.bucket(&request.input.bucket)?;
    let status = match entry.definition.versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    let status = status.map(BucketVersioningStatus::from_static);
    answer(GetBucketVersioningOutput { status, ..GetBucketVersioningOutput::default() })
}

/// PutBucketVersioning.
pub(crate) async fn put_versioning(
    objects: &Objects,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let configuration = &request.input.versioning_configuration;
    if configuration.mfa_delete.as_ref().is_some_and(|it| it.as_str() == "Enabled") {
        return Err(s3_error!(NotImplemented, "There is no MFA here."));
    }
    let versioning = match configuration.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        _ => {
            return Err(s3_error!(
                IllegalVersioningConfigurationException,
                "The versioning status must be Enabled or Suspended."
            ));
        }
    };
    let (by, bucket) = (caller(&request)?, &request.input.bucket);
    objects.change_bucket(by, bucket, |entry| entry.definition.versioning = versioning).await?;
    answer(PutBucketVersioningOutput::default())
}

/// GetBucketPolicy.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn policy(
    objects: &Objects,
    request: S3Request<GetBucketPolicyInput>,
) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    let (_, entry) = objects.bucket(&request.input.bucket)?;
    let policy = entry.definition.policy.ok_or_else(no_policy)?;
    answer(GetBucketPolicyOutput { policy: Some(policy) })
}

fn no_policy() -> s3s::S3Error {
    s3_error!(NoSuchBucketPolicy, "The bucket policy does not exist")
}

/// PutBucketPolicy.
pub(crate) async fn put_policy(
    objects: &Objects,
    request: S3Request<PutBucketPolicyInput>,
) -> S3Result<S3Response<PutBucketPolicyOutput>> {
    let (name, _) = objects.bucket(&request.input.bucket)?;
    let by = caller(&request)?.clone();
    let text = request.input.policy;
    if text.len() > BUCKET_POLICY_BYTES_MAX {
        return Err(s3_error!(MalformedPolicy, "Policies must be at most 20 KiB."));
    }
    Policy::parse(&text, &name).map_err(|error| {
        s3s::S3Error::with_message(s3s::S3ErrorCode::MalformedPolicy, sentence(&error.to_string()))
    })?;
    objects.change_bucket(&by, name.as_str(), |entry| entry.definition.policy = Some(text)).await?;
    let mut response = S3Response::new(PutBucketPolicyOutput::default());
    response.status = Some(http::StatusCode::NO_CONTENT);
    Ok(response)
}

/// DeleteBucketPolicy.
pub(crate) async fn delete_policy(
    objects: &Objects,
    request: S3Request<DeleteBucketPolicyInput>,
) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    let (by, bucket) = (caller(&request)?, &request.input.bucket);
    objects.change_bucket(by, bucket, |entry| entry.definition.policy = None).await?;
    let mut response = S3Response::new(DeleteBucketPolicyOutput::default());
    response.status = Some(http::StatusCode::NO_CONTENT);
    Ok(response)
}

/// GetBucketPolicyStatus.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn policy_status(
    objects: &Objects,
    request: S3Request<GetBucketPolicyStatusInput>,
) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
    let (name, entry) = objects.bucket(&request.input.bucket)?;
    let text = entry.definition.policy.ok_or_else(no_policy)?;
    let is_public = Policy::parse(&text, &name).is_ok_and(|policy| policy.is_public());
    let policy_status = Some(PolicyStatus { is_public: Some(is_public) });
    answer(GetBucketPolicyStatusOutput { policy_status })
}

/// GetBucketLifecycleConfiguration.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn get_lifecycle(
    objects: &Objects,
    request: S3Request<GetBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    let (_, entry) = objects.bucket(&request.input.bucket)?;
    let rules = &entry.definition.lifecycle;
    if rules.is_empty() {
        return Err(fault::custom(
            "NoSuchLifecycleConfiguration",
            http::StatusCode::NOT_FOUND,
            "The lifecycle configuration does not exist",
        ));
    }
    answer(GetBucketLifecycleConfigurationOutput {
        rules: Some(rules.iter().map(written).collect()),
        ..GetBucketLifecycleConfigurationOutput::default()
    })
}

/// PutBucketLifecycleConfiguration.
pub(crate) async fn put_lifecycle(
    objects: &Objects,
    request: S3Request<PutBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
    let by = caller(&request)?.clone();
    let input = request.input;
    let given = input.lifecycle_configuration.map(|it| it.rules).unwrap_or_default();
    if given.is_empty() {
        return Err(s3_error!(MalformedXML, "Give 1 to {LIFECYCLE_RULES_MAX} rules."));
    }
    let rules = given.into_iter().enumerate().map(|(at, rule)| read(at, rule));
    let rules = rules.collect::<S3Result<Vec<Rule>>>()?;
    lifecycle::check(&rules).map_err(|refused| fault::of(refused.into()))?;
    let bucket = &input.bucket;
    objects.change_bucket(&by, bucket, |entry| entry.definition.lifecycle = rules).await?;
    answer(PutBucketLifecycleConfigurationOutput::default())
}

/// DeleteBucketLifecycle.
pub(crate) async fn delete_lifecycle(
    objects: &Objects,
    request: S3Request<DeleteBucketLifecycleInput>,
) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
    let (by, bucket) = (caller(&request)?, &request.input.bucket);
    objects.change_bucket(by, bucket, |entry| entry.definition.lifecycle.clear()).await?;
    let mut response = S3Response::new(DeleteBucketLifecycleOutput::default());
    response.status = Some(http::StatusCode::NO_CONTENT);
    Ok(response)
}

fn days(given: i32) -> S3Result<Duration> {
    let days = u32::try_from(given).ok().filter(|days| *days > 0);
    days.map(|days| DAY * days).ok_or_else(|| {
        s3_error!(InvalidArgument, "A number of days in a lifecycle must be a positive integer")
    })
}

fn bytes(given: Option<i64>) -> S3Result<Option<u64>> {
    given.map(u64::try_from).transpose().map_err(|_| {
        s3_error!(InvalidArgument, "The size of an object in a lifecycle cannot be negative")
    })
}

/// The tags and the prefix of a rule, wherever they stand.
fn about_what(given: &mut LifecycleRule) -> S3Result<(String, Tags, [Option<u64>; 2])> {
    let filter = given.filter.take().unwrap_or_default();
    let and = filter.and.unwrap_or_default();
    let prefix = and.prefix.or(filter.prefix).or_else(|| given.prefix.take());
    let tags = and.tags.unwrap_or_else(|| filter.tag.into_iter().collect());
    let sizes = [
        bytes(and.object_size_greater_than.or(filter.object_size_greater_than))?,
        bytes(and.object_size_less_than.or(filter.object_size_less_than))?,
    ];
    Ok((prefix.unwrap_or_default(), tags::of_set(tags, OBJECT_TAGS_MAX)?, sizes))
}

/// A rule of a document.
fn read(at: usize, mut given: LifecycleRule) -> S3Result<Rule> {
    let moves = given.transitions.as_ref().is_some_and(|it| !it.is_empty())
        || given.noncurrent_version_transitions.as_ref().is_some_and(|it| !it.is_empty());
    if moves {
        return Err(s3_error!(NotImplemented, "There are no colder storage classes here."));
    }
    let (prefix, tags, [larger_than, smaller_than]) = about_what(&mut given)?;
    let id = given.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("rule-{}", at + 1));
    let expiration = given.expiration.unwrap_or_default();
    let noncurrent = given.noncurrent_version_expiration.unwrap_or_default();
    let kept = noncurrent.newer_noncurrent_versions.unwrap_or_default();
    let abort = given.abort_incomplete_multipart_upload.and_then(|it| it.days_after_initiation);
    Ok(Rule {
        id,
        disabled: given.status.as_str() != ExpirationStatus::ENABLED,
        prefix,
        tags,
        larger_than,
        smaller_than,
        expire_after: expiration.days.map(days).transpose()?,
        expire_at: expiration.date.and_then(millis),
        expire_markers: expiration.expired_object_delete_marker.unwrap_or_default(),
        noncurrent_after: noncurrent.noncurrent_days.map(days).transpose()?,
        noncurrent_kept: u32::try_from(kept).unwrap_or_default(),
        abort_uploads_after: abort.map(days).transpose()?,
    })
}

/// A rule as a document.
fn written(rule: &Rule) -> LifecycleRule {
    let in_days = |after: Duration| int(after.as_secs().div_ceil(DAY.as_secs()));
    let expires = rule.expire_after.is_some() || rule.expire_at.is_some() || rule.expire_markers;
    let status = if rule.disabled { ExpirationStatus::DISABLED } else { ExpirationStatus::ENABLED };
    LifecycleRule {
        abort_incomplete_multipart_upload: rule.abort_uploads_after.map(|after| {
            AbortIncompleteMultipartUpload { days_after_initiation: Some(in_days(after)) }
        }),
        expiration: expires.then(|| LifecycleExpiration {
            date: rule.expire_at.map(about::time),
            days: rule.expire_after.map(in_days),
            expired_object_delete_marker: rule.expire_markers.then_some(true),
        }),
        filter: Some(filter(rule)),
        id: Some(rule.id.clone()),
        noncurrent_version_expiration: rule.noncurrent_after.map(|after| {
            NoncurrentVersionExpiration {
                newer_noncurrent_versions: (rule.noncurrent_kept > 0)
                    .then(|| int(rule.noncurrent_kept)),
                noncurrent_days: Some(in_days(after)),
            }
        }),
        noncurrent_version_transitions: None,
        prefix: None,
        status: ExpirationStatus::from_static(status),
        transitions: None,
    }
}

/// What a rule is about: one thing by itself, several together.
fn filter(rule: &Rule) -> LifecycleRuleFilter {
    let mut tags: Vec<Tag> = tags::set(&rule.tags);
    let prefix = Some(rule.prefix.clone()).filter(|prefix| !prefix.is_empty());
    let (larger, smaller) = (rule.larger_than.map(long), rule.smaller_than.map(long));
    let several = usize::from(prefix.is_some())
        + tags.len()
        + usize::from(larger.is_some())
        + usize::from(smaller.is_some());
    if several <= 1 {
        let prefix = if several == 0 { Some(String::new()) } else { prefix };
        return LifecycleRuleFilter {
            and: None,
            object_size_greater_than: larger,
            object_size_less_than: smaller,
            prefix,
            tag: tags.pop(),
        };
    }
    let and = LifecycleRuleAndOperator {
        object_size_greater_than: larger,
        object_size_less_than: smaller,
        prefix,
        tags: (!tags.is_empty()).then_some(tags),
    };
    LifecycleRuleFilter { and: Some(and), ..LifecycleRuleFilter::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            id: "a".into(),
            prefix: "logs/".into(),
            expire_after: Some(DAY * 30),
            ..Rule::default()
        }
    }

    #[test]
    fn rules_come_back_as_they_were_given() {
        let tags = Tags::from([("k".to_owned(), "v".to_owned())]);
        for rule in [
            rule(),
            Rule { prefix: String::new(), ..rule() },
            Rule { tags: tags.clone(), larger_than: Some(5), ..rule() },
            Rule { prefix: String::new(), tags, disabled: true, ..rule() },
            Rule {
                noncurrent_after: Some(DAY),
                noncurrent_kept: 3,
                abort_uploads_after: Some(DAY * 7),
                expire_markers: true,
                expire_after: None,
                ..rule()
            },
        ] {
            assert_eq!(read(0, written(&rule)).unwrap(), rule);
        }
    }

    #[test]
    fn days_are_counted_from_one_and_rules_without_a_name_get_one() {
        assert!(days(0).is_err() && days(-1).is_err());
        let mut unnamed = written(&rule());
        unnamed.id = None;
        assert_eq!(read(6, unnamed).unwrap().id, "rule-7");
    }
}
