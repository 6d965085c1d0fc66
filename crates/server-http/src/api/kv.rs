//! `/v1/kv`: values by key, with the consistency that each request asks for.

use bytes::Bytes;
use http::{StatusCode, header};
use rhumb_engine::{Answer, Request, limits::SESSION_WAIT_MAX};
use rhumb_state::{
    NamespacePolicy, Op, Query, Reply,
    op::{Deadline, Presence, SetExpiry},
    query::Cursor,
};
use rhumb_types::{AckLevel, Consistency, ErrorCode, record::VersionVector};
use serde_json::{Map, Value, json};

mod condition;
mod look;
mod strong;

use condition::Condition;
pub(crate) use look::Found;

use crate::{
    encode,
    limits::{KEY_BYTES_MAX, KEYS_DEFAULT, KEYS_MAX},
    params::{Params, duration_millis},
    problem::Problem,
    request::{Call, Outcome},
    session::{self, SESSION_HEADER},
};

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Freshness {
    /// What this region has.
    Local,
    /// At least what the client's session has seen.
    Session,
    /// What all regions agreed on.
    Strong,
}

impl Freshness {
    fn read(text: &str) -> Option<Self> {
        match text {
            "local" => Some(Self::Local),
            "session" => Some(Self::Session),
            "strong" => Some(Self::Strong),
            _ => None,
        }
    }

    /// What is asked for, or else what the key's namespace says. Whoever sends a session means it.
    fn of(call: &Call, params: &mut Params, policy: &NamespacePolicy) -> Result<Self, Problem> {
        let asked = params.read("consistency", "local, session or strong", Self::read)?;
        let strong = policy.consistency == Consistency::Strong;
        match asked {
            None if strong => Ok(Self::Strong),
            None if policy.consistency == Consistency::Session => Ok(Self::Session),
            None if call.headers.contains_key(SESSION_HEADER) => Ok(Self::Session),
            None => Ok(Self::Local),
            Some(Self::Strong) if !strong => Err(Problem::invalid(
                "the key does not lie in a strong namespace, so no region can read it strongly",
            )
            .help("Drop `consistency=strong`, or use a key of a strong namespace: see /admin/namespaces.")),
            Some(asked) if strong && asked != Self::Strong => Err(Problem::invalid(
                "the key lies in a strong namespace, whose reads are always agreed on",
            )
            .help("Drop `consistency`, or ask for `strong`.")),
            Some(asked) => Ok(asked),
        }
    }
}

/// The key of a request, within the bearer's reach.
fn key_of(call: &Call) -> Result<Bytes, Problem> {
    let key = call.part("key")?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let detail = format!("a key has 1 to {KEY_BYTES_MAX} bytes, and this one {}", key.len());
        return Err(Problem::invalid(detail));
    }
    call.principal.check(&key)?;
    Ok(key)
}

fn ack(text: &str) -> Option<AckLevel> {
    match text {
        "memory" => Some(AckLevel::Memory),
        "local" => Some(AckLevel::Local),
        "one_remote" => Some(AckLevel::OneRemote),
        "quorum" => Some(AckLevel::Quorum),
        _ => None,
    }
}

fn ack_of(params: &mut Params, policy: &NamespacePolicy) -> Result<Option<AckLevel>, Problem> {
    let ack = params.read("ack", "memory, local, one_remote or quorum", ack)?;
    if policy.consistency == Consistency::Strong && ack.is_some_and(|ack| ack != AckLevel::Quorum) {
        let detail = "the key lies in a strong namespace, whose writes are always `quorum`";
        return Err(Problem::invalid(detail).help("Drop `ack`."));
    }
    Ok(ack)
}

/// The time to live that a write gives its key.
fn expiry_of(params: &mut Params, policy: &NamespacePolicy) -> Result<SetExpiry, Problem> {
    let read = |text: &str| match text {
        "keep" => Some(SetExpiry::Keep),
        span => {
            let millis = duration_millis(span).filter(|millis| *millis > 0)?;
            Some(SetExpiry::Until(Deadline::In(millis)))
        }
    };
    let asked = params.read("ttl", "a time such as 30s, 250ms or 2h, or keep", read)?;
    let usual = policy.ttl.map_or(SetExpiry::Clear, |ttl| SetExpiry::Until(Deadline::after(ttl)));
    Ok(asked.unwrap_or(usual))
}

/// Refuses a key that another jurisdiction keeps, and says where to ask (RFC 9110 section 15.5.20).
fn must_lie_here(call: &Call, policy: &NamespacePolicy) -> Result<(), Problem> {
    if policy.consistency == Consistency::Strong || call.engine().carries(policy.domain) {
        return Ok(());
    }
    let regions = call.engine().carriers(policy.domain);
    let names: Vec<&str> = regions.iter().map(|region| region.as_str()).collect();
    let detail = format!("the key stays in {}", names.join(", "));
    let help = "Ask a node of one of these regions.";
    let problem = Problem::http(StatusCode::MISDIRECTED_REQUEST, "elsewhere", detail, help);
    Err(problem.with("regions", names))
}

pub(crate) async fn read(call: Call) -> Outcome {
    let key = key_of(&call)?;
    let mut params = call.params()?;
    let policy = call.engine().policy(&key).clone();
    must_lie_here(&call, &policy)?;
    let freshness = Freshness::of(&call, &mut params, &policy)?;
    params.done()?;
    let condition = Condition::of(&call)?;
    let mut seen = call.session()?.unwrap_or_default();
    if freshness == Freshness::Strong {
        let found = strong::read(call.engine(), &key).await?;
        return answer_read(found, &condition, None);
    }
    if freshness == Freshness::Session && !call.engine().has_applied(&seen, SESSION_WAIT_MAX).await
    {
        let detail = "this region has not caught up with the session within its time";
        return Err(Problem::new(ErrorCode::Unavailable, detail));
    }
    // What was durable before the read is in what the read sees.
    seen.merge(&call.engine().status().durable);
    let found = call.shared.look(&key)?;
    if let Some(found) = &found {
        seen.merge(&found.seen);
    }
    answer_read(found, &condition, Some(&seen))
}

fn answer_read(
    found: Option<Found>,
    condition: &Condition,
    seen: Option<&VersionVector>,
) -> Outcome {
    let Some(found) = found else {
        let session = seen.map(session::encode);
        let mut problem = Problem::new(ErrorCode::NotFound, "there is no such key");
        if let Some(session) = session.and_then(|text| text.try_into().ok()) {
            problem = problem.header(header::HeaderName::from_static(SESSION_HEADER), session);
        }
        return Err(problem);
    };
    let mut response = if condition.is_unmodified(&found.tag) {
        encode::empty(StatusCode::NOT_MODIFIED)
    } else {
        condition.check(Some(&found.tag))?;
        encode::bytes(found.value, "application/octet-stream")
    };
    encode::set_etag(&mut response, &found.tag);
    if let Some(version) = found.version {
        encode::set(&mut response, "rhumb-version", version);
    }
    if let Some(region) = found.region {
        encode::set(&mut response, "rhumb-origin-region", region);
    }
    if let Some(at) = found.expires {
        encode::set(&mut response, "rhumb-expires-unix-ms", at.0);
    }
    if let Some(fence) = found.fence {
        encode::set(&mut response, "rhumb-fence", fence);
    }
    if let Some(seen) = seen {
        encode::set(&mut response, SESSION_HEADER, session::encode(seen));
    }
    Ok(response)
}

pub(crate) async fn write(call: Call) -> Outcome {
    let key = key_of(&call)?;
    let mut params = call.params()?;
    let policy = call.engine().policy(&key).clone();
    must_lie_here(&call, &policy)?;
    let ack = ack_of(&mut params, &policy)?;
    let expiry = expiry_of(&mut params, &policy)?;
    params.done()?;
    let condition = Condition::of_write(&call)?;
    let (when, value) = (condition.presence(), call.body.clone());
    let op = Op::Set { key: key.clone(), value, when, get: false, expiry };
    if policy.consistency == Consistency::Strong {
        return strong::write(&call, key, op, &condition).await;
    }
    let answer = submit(&call, key, op, ack, &condition).await?;
    match answer.replies.first() {
        Some(Reply::Ok) => Ok(written(&call, &answer, call.session()?.unwrap_or_default())),
        Some(Reply::Error(error)) => Err(error.clone().into()),
        _ => Err(condition.failed()),
    }
}

pub(crate) async fn remove(call: Call) -> Outcome {
    let key = key_of(&call)?;
    let mut params = call.params()?;
    let policy = call.engine().policy(&key).clone();
    must_lie_here(&call, &policy)?;
    let ack = ack_of(&mut params, &policy)?;
    params.done()?;
    let condition = Condition::of_write(&call)?;
    if condition.presence() == Presence::Absent {
        return Err(Problem::invalid("a key that must be absent cannot be removed"));
    }
    let op = Op::Del { keys: vec![key.clone()] };
    if policy.consistency == Consistency::Strong {
        return strong::write(&call, key, op, &condition).await;
    }
    let answer = submit(&call, key, op, ack, &condition).await?;
    match answer.replies.first() {
        Some(Reply::Int(0)) if condition.is_any() => {
            Err(Problem::new(ErrorCode::NotFound, "there is no such key"))
        }
        Some(Reply::Int(0)) => Err(condition.failed()),
        Some(Reply::Error(error)) => Err(error.clone().into()),
        _ => Ok(written(&call, &answer, call.session()?.unwrap_or_default())),
    }
}

/// Writes here; under a watch where the condition names a version.
async fn submit(
    call: &Call,
    key: Bytes,
    op: Op,
    ack: Option<AckLevel>,
    condition: &Condition,
) -> Result<Answer, Problem> {
    let request = Request { ack, ..Request::new(vec![op]) };
    match condition {
        Condition::Tag(tag) => look::write_if(&call.shared, key, tag.clone(), request).await,
        _ => Ok(call.engine().write(request).await?),
    }
}

/// The answer to a write that was done.
fn written(call: &Call, answer: &Answer, mut session: VersionVector) -> axum::response::Response {
    let mut response = encode::empty(StatusCode::NO_CONTENT);
    if let Some((origin, version)) = answer.written.iter().next() {
        encode::set(&mut response, "rhumb-version", format_args!("{origin}:{version}"));
        let region = &call.shared.surroundings.region;
        encode::set(&mut response, "rhumb-origin-region", region);
    }
    session.merge(&answer.written);
    encode::set(&mut response, SESSION_HEADER, session::encode(&session));
    response
}

pub(crate) async fn list(call: Call) -> Outcome {
    let mut params = call.params()?;
    let prefix = params.bytes("prefix").unwrap_or_default();
    let after = params.bytes("cursor");
    let limit = params.number("limit", 1..=KEYS_MAX as u64)?;
    params.done()?;
    call.principal.check(&prefix)?;
    let after = after.map(|text| decode_cursor(&text)).transpose()?;
    let count = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(KEYS_DEFAULT);
    let query = Query::Scan {
        cursor: Cursor { after, pattern: Some(pattern(&prefix)), count },
        kind: None,
    };
    let strong = call.engine().policy(&prefix).consistency == Consistency::Strong;
    let reply = if strong {
        strong::client(call.engine())?.query(query).await?
    } else {
        call.engine().query(&query)?
    };
    let page = match reply {
        Reply::Page(page) => page,
        Reply::Error(error) => return Err(error.into()),
        other => return Err(Problem::new(ErrorCode::Internal, format!("not a page: {other:?}"))),
    };
    let keys = page.items.iter().map(|key| {
        let mut named = Map::new();
        encode::put_bytes(&mut named, "key", key);
        Value::from(named)
    });
    let keys: Vec<Value> = keys.collect();
    let next = page.next.as_deref().map(encode_cursor);
    Ok(encode::json(&json!({ "keys": keys, "cursor": next })))
}

/// A pattern that matches what starts with a prefix.
fn pattern(prefix: &[u8]) -> Bytes {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix {
        if b"*?[]\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern.into()
}

fn encode_cursor(place: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(place)
}

fn decode_cursor(text: &[u8]) -> Result<Bytes, Problem> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let place = URL_SAFE_NO_PAD.decode(text);
    let refuse = |_| Problem::invalid("`cursor` is not one that a page of this list gave");
    place.map(Bytes::from).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use rhumb_state::glob;

    use super::*;

    #[test]
    fn a_prefix_is_matched_as_it_is_written() {
        for prefix in [&b"a*b"[..], b"[x]", b"q?", b"\\", b""] {
            let pattern = pattern(prefix);
            assert!(glob::matches(&pattern, &[prefix, b"tail"].concat()));
            assert!(glob::matches(&pattern, prefix));
        }
        assert!(!glob::matches(&pattern(b"a*b"), b"axb"));
    }
}
