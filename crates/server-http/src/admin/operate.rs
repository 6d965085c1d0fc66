//! Failovers, drains and fail-backs, and their records.

use http::StatusCode;
use rhumb_engine::Operation;
use rhumb_regions::failover::DryRun;
use rhumb_types::{
    RegionId,
    control::{
        AdminQuery, AdminQueryAnswer, FailoverId, FailoverKind, FailoverRecord, FailoverStrategy,
        limits::FAILOVERS_MAX,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Because, check_reason, foreign};
use crate::{
    auth::random_hex,
    encode,
    limits::{FAILOVERS_DEFAULT, REQUEST_KEY_BYTES},
    problem::Problem,
    request::{Call, Outcome},
};

/// The header under whose value asking twice starts one failover.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    reason: String,
    #[serde(default)]
    strategy: Option<FailoverStrategy>,
}

pub(crate) async fn failover(call: Call) -> Outcome {
    start(call, FailoverKind::Failover).await
}

pub(crate) async fn drain(call: Call) -> Outcome {
    start(call, FailoverKind::Drain).await
}

pub(crate) async fn failback(call: Call) -> Outcome {
    start(call, FailoverKind::FailBack).await
}

async fn start(call: Call, kind: FailoverKind) -> Outcome {
    let region = call.read_part("region", "a region", |text| RegionId::new(text).ok())?;
    let mut params = call.params()?;
    let dry_run = kind != FailoverKind::FailBack && params.flag("dry_run")?;
    params.done()?;
    if dry_run {
        let dry_run = call.engine().dry_run(&region)?;
        return Ok(encode::json(&shown(&region, &dry_run)));
    }
    let Start { reason, strategy } = call.json()?;
    check_reason(&reason)?;
    let key = match call.header(IDEMPOTENCY_HEADER)? {
        Some(key) => key.to_owned(),
        None => random_hex::<REQUEST_KEY_BYTES>()?,
    };
    let actor = call.principal.id.to_string();
    let operation = Operation { actor, reason, key, strategy };
    let engine = call.engine();
    let record = match kind {
        FailoverKind::Failover => engine.failover(&region, operation).await?,
        FailoverKind::Drain => engine.drain(&region, operation).await?,
        FailoverKind::FailBack => engine.failback(&region, operation).await?,
    };
    let mut response = encode::json_as(StatusCode::ACCEPTED, &json!(record));
    encode::set(&mut response, "location", format_args!("/admin/failovers/{}", record.id.0));
    Ok(response)
}

fn shown(region: &RegionId, dry_run: &DryRun) -> Value {
    let after = dry_run.after.iter().map(|survivor| {
        json!({
            "region": survivor.region,
            "capacity": survivor.capacity,
            "used": survivor.used,
        })
    });
    json!({
        "dry_run": true,
        "region": region,
        "carried": dry_run.is_carried(),
        "successor": dry_run.successor,
        "moves": dry_run.moves,
        "pinned": dry_run.pinned,
        "stranded": dry_run.stranded().collect::<Vec<_>>(),
        "survivors": after.collect::<Vec<_>>(),
    })
}

pub(crate) fn list(call: &Call) -> Outcome {
    let mut params = call.params()?;
    let limit = params.number("limit", 1..=FAILOVERS_MAX as u64)?.unwrap_or(FAILOVERS_DEFAULT);
    params.done()?;
    match call.admin()?.query_local(&AdminQuery::Failovers { limit })? {
        AdminQueryAnswer::Failovers(records) => Ok(encode::json(&json!({ "failovers": records }))),
        _ => Err(foreign()),
    }
}

fn id_of(call: &Call) -> Result<FailoverId, Problem> {
    call.read_part("id", "a failover's number", |text| text.parse().ok().map(FailoverId))
}

pub(crate) async fn show(call: Call) -> Outcome {
    call.params()?.done()?;
    let record = call.engine().failover_record(id_of(&call)?).await?;
    Ok(encode::json(&json!(record)))
}

pub(crate) async fn approve(call: Call) -> Outcome {
    let (id, operation) = decision(&call)?;
    answer(&call.engine().approve_failover(id, &operation).await?)
}

pub(crate) async fn cancel(call: Call) -> Outcome {
    let (id, operation) = decision(&call)?;
    answer(&call.engine().cancel_failover(id, &operation).await?)
}

fn decision(call: &Call) -> Result<(FailoverId, Operation), Problem> {
    call.params()?.done()?;
    let Because { reason } = call.json()?;
    check_reason(&reason)?;
    let (actor, key) = (call.principal.id.to_string(), String::new());
    Ok((id_of(call)?, Operation { actor, reason, key, strategy: None }))
}

fn answer(record: &FailoverRecord) -> Outcome {
    Ok(encode::json(&json!(record)))
}
