//! `/v1/buckets`: buckets and their settings.
//!
//! Objects themselves are the business of the S3 server, and so are lifecycles, policies and tags; they
//! stay as they are when the settings change. A bucket is within a token's scope when `bucket:NAME` is.
//! A change is noted in the audit chain before it is made.

use http::StatusCode;
use rhumb_engine::{ObjectClient, ObjectError, Versioned, object::place};
use rhumb_regions::Strategy;
use rhumb_types::{
    AckLevel, ByteSize, ErrorCode, RegionId,
    control::{AdminCommand, BucketAct},
    record::{
        BucketConsistency, BucketDefinition, BucketEntry, BucketName, Miss, Replication, Versioning,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    admin::{check_reason, reason_of},
    encode,
    problem::Problem,
    request::{Call, Outcome},
};

/// What a bucket's name has before it in a token's scopes.
const SCOPE: &str = "bucket:";

/// A bucket's settings; what is left out is as usual.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    replication: Replication,
    copies: u8,
    min_copies: Option<u8>,
    regions: Vec<RegionId>,
    strategy: Strategy,
    residency: Vec<String>,
    consistency: BucketConsistency,
    ack: AckLevel,
    versioning: Versioning,
    inline_max: ByteSize,
    promote_after: u32,
    /// Without it: a cache asks nobody else, every other bucket does (rule 11).
    miss: Option<Miss>,
    cache_bytes_max: Option<ByteSize>,
}

impl Default for Settings {
    fn default() -> Self {
        let mut usual = Self::from(&BucketDefinition::default());
        usual.miss = None;
        usual
    }
}

impl From<&BucketDefinition> for Settings {
    fn from(definition: &BucketDefinition) -> Self {
        let BucketDefinition {
            replication,
            copies,
            min_copies,
            regions,
            residency,
            consistency,
            ack,
            versioning,
            inline_max,
            promote_after,
            miss,
            cache_bytes_max,
            ..
        } = definition.clone();
        Self {
            replication,
            copies,
            min_copies,
            regions,
            strategy: place::strategy(definition),
            residency,
            consistency,
            ack,
            versioning,
            inline_max,
            promote_after,
            miss: Some(miss),
            cache_bytes_max,
        }
    }
}

impl Settings {
    /// The definition, with what is set elsewhere left as it is.
    fn over(self, definition: &BucketDefinition) -> BucketDefinition {
        let BucketDefinition { lifecycle, policy, later, .. } = definition.clone();
        let strategy = self.strategy;
        let mut changed = BucketDefinition {
            replication: self.replication,
            copies: self.copies,
            min_copies: self.min_copies,
            regions: self.regions,
            residency: self.residency,
            consistency: self.consistency,
            ack: self.ack,
            versioning: self.versioning,
            inline_max: self.inline_max,
            promote_after: self.promote_after,
            miss: self.miss.unwrap_or(if self.cache_bytes_max.is_some() {
                Miss::Local
            } else {
                Miss::Ask
            }),
            cache_bytes_max: self.cache_bytes_max,
            lifecycle,
            policy,
            later,
        };
        place::set_strategy(&mut changed, strategy);
        changed
    }
}

impl From<ObjectError> for Problem {
    fn from(error: ObjectError) -> Self {
        let text = error.to_string();
        match error {
            ObjectError::BucketExists(_) | ObjectError::BucketChanged(_) => {
                Self::precondition(text)
            }
            error => Self::new(error.code(), text),
        }
    }
}

impl Call {
    fn objects(&self) -> Result<ObjectClient, Problem> {
        let away = "the objects of this node have not started";
        self.engine().objects().ok_or_else(|| Problem::new(ErrorCode::Unavailable, away))
    }

    fn bucket(&self) -> Result<BucketName, Problem> {
        let name =
            self.read_part("bucket", "a bucket's name", |text| BucketName::new(text).ok())?;
        self.principal.check(&scoped(&name))?;
        Ok(name)
    }

    async fn note_bucket(
        &self,
        bucket: &BucketName,
        act: BucketAct,
        reason: &str,
    ) -> Result<(), Problem> {
        let bucket = bucket.clone();
        self.propose(reason, AdminCommand::NoteBucket { bucket, act }).await.map(|_| ())
    }
}

fn scoped(bucket: &BucketName) -> Vec<u8> {
    format!("{SCOPE}{bucket}").into_bytes()
}

pub(crate) fn list(call: &Call) -> Outcome {
    call.params()?.done()?;
    let agreed = call.objects()?.buckets();
    let seen = agreed.entries.iter().filter(|(name, _)| call.principal.covers(&scoped(name)));
    let buckets: Vec<Value> = seen.map(|(name, bucket)| shown(name, bucket)).collect();
    Ok(encode::json(&json!({ "buckets": buckets })))
}

fn shown(name: &BucketName, bucket: &Versioned<BucketEntry>) -> Value {
    let BucketEntry { definition, created_at, owner, tags } = &bucket.entry;
    json!({
        "bucket": name,
        "version": bucket.version,
        "created_unix_ms": created_at,
        "owner": owner,
        "tags": tags,
        "settings": Settings::from(definition),
        "lifecycle_rules": definition.lifecycle.len(),
        "has_policy": definition.policy.is_some(),
    })
}

pub(crate) fn show(call: &Call) -> Outcome {
    call.params()?.done()?;
    let name = call.bucket()?;
    let agreed = call.objects()?.buckets();
    let Some(bucket) = agreed.entries.get(&name) else {
        return Err(ObjectError::NoBucket(name).into());
    };
    let mut response = encode::json(&shown(&name, bucket));
    encode::set_etag(&mut response, bucket.version);
    Ok(response)
}

/// Makes a bucket, or gives it other settings: all of them, those left out being the usual ones.
pub(crate) async fn put(call: Call) -> Outcome {
    let name = call.bucket()?;
    let mut params = call.params()?;
    let reason = reason_of(&mut params)?;
    params.done()?;
    check_reason(&reason)?;
    let client = call.objects()?;
    let known = client.buckets().entries.get(&name).cloned();
    let expect = call.expected("bucket", known.as_ref().map(|bucket| bucket.version))?;
    let settings = call.json::<Settings>()?;
    let before = known.as_ref().map(|bucket| bucket.entry.definition.clone()).unwrap_or_default();
    settings.clone().over(&before).check().map_err(|error| Problem::invalid(error.to_string()))?;
    let act = if known.is_some() { BucketAct::Change } else { BucketAct::Create };
    call.note_bucket(&name, act, &reason).await?;
    let owner = call.principal.id.to_string();
    let change = |entry: &mut BucketEntry| {
        entry.definition = settings.over(&entry.definition);
        if known.is_none() {
            entry.owner = owner;
        }
    };
    client.define_bucket(&name, expect, change).await?;
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let agreed = client.buckets();
    let Some(bucket) = agreed.entries.get(&name) else {
        // Removed again since.
        return Ok(encode::json_as(status, &json!({ "bucket": name })));
    };
    let mut response = encode::json_as(status, &shown(&name, bucket));
    encode::set_etag(&mut response, bucket.version);
    Ok(response)
}

/// Removes a bucket that is empty.
pub(crate) async fn remove(call: Call) -> Outcome {
    let name = call.bucket()?;
    let mut params = call.params()?;
    let reason = reason_of(&mut params)?;
    params.done()?;
    check_reason(&reason)?;
    let client = call.objects()?;
    call.note_bucket(&name, BucketAct::Delete, &reason).await?;
    client.remove_bucket(&name).await?;
    Ok(encode::empty(StatusCode::NO_CONTENT))
}
