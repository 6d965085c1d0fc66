//! What can be seen of queues: how full they are, which jobs are in them, and why a job is where it is.

use std::collections::BTreeMap;

use rhumb_engine::queue::{Place, Refused, Stats, Whereabouts};
use rhumb_engine::{JobSummary, JobView, QueueClient};
use rhumb_types::{
    MonoTime, RegionId,
    record::{Ending, Job, JobId, JobKey, Progress, QueueName},
};
use serde_json::{Value, json};

use super::send::{Attribute, progress};
use crate::{
    encode,
    limits::{JOBS_DEFAULT, JOBS_MAX, MOVES_MAX},
    problem::Problem,
    request::{Call, Outcome},
    span::millis,
};

pub(crate) async fn stats(call: Call) -> Outcome {
    call.params()?.done()?;
    let queue = call.queue()?;
    let client = known(&call, &queue)?;
    let by_home = client.stats(&queue).await;
    let total = by_home.values().copied().fold(Stats::default(), sum);
    let regions: BTreeMap<&RegionId, Value> =
        by_home.iter().map(|(home, stats)| (home, figures(stats))).collect();
    let body = json!({ "queue": queue, "total": figures(&total), "regions": regions });
    Ok(encode::json(&body))
}

/// The queues, once one of them is known to be there.
fn known(call: &Call, queue: &QueueName) -> Result<QueueClient, Problem> {
    let client = call.queues()?;
    let known = client.agreed().borrow().entries.contains_key(queue);
    if known { Ok(client) } else { Err(super::no_queue(queue)) }
}

fn sum(left: Stats, right: Stats) -> Stats {
    Stats {
        ready: left.ready + right.ready,
        delayed: left.delayed + right.delayed,
        behind: left.behind + right.behind,
        leased: left.leased + right.leased,
        held: left.held + right.held,
        dead: left.dead + right.dead,
        // Those who wait are this node's, whichever home is asked about.
        waiters: left.waiters.max(right.waiters),
        oldest_age: left.oldest_age.max(right.oldest_age),
    }
}

fn figures(stats: &Stats) -> Value {
    json!({
        "ready": stats.ready,
        "delayed": stats.delayed,
        "behind": stats.behind,
        "leased": stats.leased,
        "held": stats.held,
        "dead": stats.dead,
        "waiters": stats.waiters,
        "oldest_age_ms": millis(stats.oldest_age),
    })
}

/// The names of places, as they are asked for and shown.
const PLACES: [(Place, &str); 7] = [
    (Place::Ready, "ready"),
    (Place::Delayed, "delayed"),
    (Place::Held, "held"),
    (Place::Behind, "behind"),
    (Place::Leased, "leased"),
    (Place::Busy, "busy"),
    (Place::Dead, "dead"),
];

fn place_name(place: Place) -> &'static str {
    PLACES.iter().find(|(known, _)| *known == place).map_or("unknown", |(_, name)| name)
}

pub(crate) async fn jobs(call: Call) -> Outcome {
    let queue = call.queue()?;
    let mut params = call.params()?;
    let named = |text: &str| PLACES.iter().find(|(_, name)| *name == text).map(|(place, _)| *place);
    let what = "ready, delayed, held, behind, leased, busy or dead";
    let place = params.read("place", what, named)?;
    let after = params.read("cursor", "one that a page of this list gave", JobId::parse)?;
    let limit = params.number("limit", 1..=JOBS_MAX as u64)?;
    params.done()?;
    let most = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(JOBS_DEFAULT);
    let jobs = known(&call, &queue)?.jobs(&queue, place, after, most).await?;
    let now = call.engine().clock().now().mono;
    let next = jobs.last().filter(|_| jobs.len() >= most).map(|job| job.id.to_string());
    let jobs: Vec<Value> = jobs.iter().map(|job| summary(job, now)).collect();
    Ok(encode::json(&json!({ "jobs": jobs, "cursor": next })))
}

fn summary(job: &JobSummary, now: MonoTime) -> Value {
    let mut shown = json!({
        "id": job.id.to_string(),
        "priority": job.priority,
        "group": job.group,
        "enqueued_unix_ms": job.enqueued_at,
        "last_failure": said(&job.last_failure),
        "body_bytes": job.body_bytes,
    });
    put_whereabouts(&mut shown, &job.whereabouts, now);
    shown
}

fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn put_whereabouts(shown: &mut Value, whereabouts: &Whereabouts, now: MonoTime) {
    let Whereabouts { home, pinned, place, worker, attempts } = whereabouts;
    encode::put(shown, "home", home.as_str());
    encode::put(shown, "pinned", *pinned);
    encode::put(shown, "place", place_name(*place));
    encode::put(shown, "attempts", *attempts);
    let worker = worker.as_ref().map(|(name, ends)| {
        json!({ "name": name.as_ref(), "lease_ms": millis(ends.saturating_since(now)) })
    });
    encode::put(shown, "worker", worker);
}

/// Where a job is and why: every decision about it that was recorded, from the first, over all moves
/// that this region knows of.
pub(crate) async fn why(call: Call) -> Outcome {
    call.params()?.done()?;
    let queue = call.queue()?;
    let id = call.read_part("id", "a job's id", JobId::parse)?;
    let client = call.queues()?;
    let mut key = JobKey { queue, id };
    let mut jobs: Vec<Value> = Vec::new();
    let now = call.engine().clock().now().mono;
    for _ in 0..MOVES_MAX {
        // A token that is limited to some queues sees that the job went on, and not how.
        if !call.principal.covers(&super::scoped(&key.queue)) {
            break;
        }
        let Some(view) = client.job(&key).await? else { break };
        let next = moved_to(&view.job).cloned();
        jobs.push(told(&key, &view, now));
        let Some(next) = next else { break };
        key = next;
    }
    if jobs.is_empty() {
        return Err(Refused::Gone.into());
    }
    Ok(encode::json(&json!({ "jobs": jobs })))
}

fn moved_to(job: &Job) -> Option<&JobKey> {
    match &job.progress {
        Progress::Ended { how: Ending::Moved { to, .. }, .. } => Some(to),
        _ => None,
    }
}

fn told(key: &JobKey, view: &JobView, now: MonoTime) -> Value {
    let job = &view.job;
    let attributes: BTreeMap<&str, Attribute> =
        job.attributes.iter().map(|it| (it.name.as_str(), Attribute::shown(it))).collect();
    let mut shown = json!({
        "queue": key.queue,
        "id": key.id.to_string(),
        "home": view.home,
        "pinned": view.pinned,
        "progress": progress(&job.progress),
        "decisions": decisions(view),
        "attempts": job.attempts,
        "last_failure": said(&job.last_failure),
        "priority": job.priority,
        "group": job.group,
        "key": job.key,
        "tenant": job.tenant,
        "workflow": job.workflow,
        "order": job.order,
        "enqueued_unix_ms": job.enqueued_at,
        "not_before_unix_ms": (job.not_before.0 > 0).then_some(job.not_before),
        "attributes": attributes,
        "body_bytes": job.body.len(),
    });
    if let Some(whereabouts) = &view.whereabouts {
        put_whereabouts(&mut shown, whereabouts, now);
    }
    shown
}

/// What was decided about a job, in the order of time; each with what programs need.
fn decisions(view: &JobView) -> Vec<Value> {
    let JobView { job, home, pinned, .. } = view;
    let mut all = Vec::new();
    let why = said(&job.provenance.why);
    if let Some(from) = &job.provenance.spilled_from {
        all.push(json!({ "decision": "spilled", "from": from, "to": home, "why": why }));
    }
    if let Some(from) = &job.provenance.moved_from {
        let (queue, id) = (&from.queue, from.id.to_string());
        all.push(json!({ "decision": "came", "from_queue": queue, "from_id": id, "why": why }));
    } else if job.provenance.spilled_from.is_none() && !job.provenance.why.is_empty() {
        all.push(json!({ "decision": "stayed", "to": home, "why": why }));
    }
    if *pinned {
        let why = "it was taken in without the region's lease, so that only that region runs it";
        all.push(json!({ "decision": "pinned", "to": home, "why": why }));
    }
    match &job.progress {
        Progress::Waiting => {}
        Progress::Dead { at, why } => {
            all.push(json!({ "decision": "dead", "at_unix_ms": at, "why": said(why) }));
        }
        Progress::Ended { at, how } => all.push(ending(at.0, how)),
    }
    all
}

fn ending(at: u64, how: &Ending) -> Value {
    let word = match how {
        Ending::Completed => "completed",
        Ending::Purged => "purged",
        Ending::Expired => "expired",
        Ending::Moved { to, region, why } => {
            return json!({
                "decision": "moved",
                "at_unix_ms": at,
                "to_queue": to.queue,
                "to_id": to.id.to_string(),
                "to": region,
                "why": said(why),
            });
        }
    };
    json!({ "decision": word, "at_unix_ms": at })
}
