//! Keys of strong namespaces: every region agrees before the answer.

use bytes::Bytes;
use http::StatusCode;
use rhumb_engine::{Engine, StrongClient, StrongError, StrongRequest};
use rhumb_state::{Op, OpError, Query, Reply, strong::StrongStep};
use rhumb_types::{ErrorCode, record::VersionVector};

use super::{
    condition::Condition,
    look::{Found, as_it_was_not, wrong_type},
};
use crate::{
    encode,
    problem::Problem,
    request::{Call, Outcome},
};

pub(super) fn client(engine: &Engine) -> Result<&StrongClient, Problem> {
    let away = "the control plane of this node has not started";
    engine.strong().ok_or_else(|| Problem::new(ErrorCode::Unavailable, away))
}

/// The agreed value. Its tag is asked for first, so that it is never newer than the value.
pub(super) async fn read(engine: &Engine, key: &Bytes) -> Result<Option<Found>, Problem> {
    let client = client(engine)?;
    let tag = tag_of(client, key).await?;
    let value = match client.query(Query::Get { key: key.clone() }).await? {
        Reply::Bytes(value) => value,
        Reply::Error(error) => return Err(refused(error)),
        _ => return Ok(None),
    };
    let fence = client.fence(key.clone()).await?;
    Ok(Some(Found {
        value,
        tag,
        version: None,
        region: None,
        expires: None,
        fence,
        seen: VersionVector::new(),
    }))
}

async fn tag_of(client: &StrongClient, key: &Bytes) -> Result<String, Problem> {
    let versions = client.versions(vec![key.clone()]).await?;
    Ok(versions.first().map_or_else(String::new, |version| format!("s{version:x}")))
}

/// Writes in one agreed step; under the version that the condition names.
pub(super) async fn write(call: &Call, key: Bytes, op: Op, condition: &Condition) -> Outcome {
    let client = client(call.engine())?;
    let mut request = StrongRequest::new(vec![StrongStep::Write(op)]);
    if let Condition::Tag(tag) = condition {
        let version = tag.strip_prefix('s').and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let version = version.filter(|version| *version > 0).ok_or_else(as_it_was_not)?;
        request.if_unchanged = vec![(key, version)];
    }
    let answer = match client.execute(request).await {
        Ok(answer) => answer,
        Err(StrongError::Changed) => return Err(as_it_was_not()),
        Err(error) => return Err(error.into()),
    };
    match answer.replies.into_iter().next() {
        Some(Reply::Error(error)) => Err(refused(error)),
        Some(Reply::Nil) => Err(condition.failed()),
        Some(Reply::Int(0)) if condition.is_any() => {
            Err(Problem::new(ErrorCode::NotFound, "there is no such key"))
        }
        Some(Reply::Int(0)) => Err(condition.failed()),
        _ => {
            let mut response = encode::empty(StatusCode::NO_CONTENT);
            if let Some(fence) = answer.fence {
                encode::set(&mut response, "rhumb-fence", fence);
            }
            Ok(response)
        }
    }
}

fn refused(error: OpError) -> Problem {
    match error {
        OpError::WrongType => wrong_type(),
        other => other.into(),
    }
}
