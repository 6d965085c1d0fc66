//! The routes, with GitHub's paths, parameters and statuses.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Fault, LocalJob, LocalRunner, Shared, What, runner::JitConfig, shapes};
use crate::{capacity::Scope, job::Action};

/// How long a runner that asks for a job waits.
const TAKE_WAIT: Duration = Duration::from_millis(500);

type Named = BTreeMap<String, String>;

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let hooks = "/hook/deliveries";
    let hook_of = |base: &str| format!("{base}/hooks/{{hook_id}}/deliveries");
    let (org, repo) = ("/orgs/{org}", "/repos/{owner}/{repo}");
    let mut router = Router::new()
        .route("/_local/take", post(take))
        .route("/_local/done", post(done))
        .route(&format!("{repo}/actions/jobs/{{job_id}}"), get(job))
        .route(&format!("{repo}/actions/runs"), get(runs))
        .route(&format!("{repo}/actions/runs/{{run_id}}/jobs"), get(jobs))
        .route("/app/installations/{installation_id}/access_tokens", post(access_token));
    for base in [org, repo] {
        router = router
            .route(&format!("{base}/actions/runners"), get(runners))
            .route(&format!("{base}/actions/runners/generate-jitconfig"), post(generate))
            .route(&format!("{base}/actions/runners/{{runner_id}}"), delete(remove));
    }
    for base in [format!("/app{hooks}"), hook_of(org), hook_of(repo)] {
        router = router
            .route(&base, get(deliveries))
            .route(&format!("{base}/{{delivery_id}}/attempts"), post(redeliver));
    }
    let guarded = middleware::from_fn_with_state(shared.clone(), guard);
    router.layer(guarded).with_state(shared.clone())
}

/// Refuses who shows no token, and fails or lies where it was told to.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/_local/") {
        return next.run(request).await;
    }
    if !request.headers().contains_key(header::AUTHORIZATION) {
        return refuse(StatusCode::UNAUTHORIZED, "Requires authentication");
    }
    let fault = shared.state().faults.pop_front().unwrap_or(Fault::Good);
    match fault {
        Fault::Good => next.run(request).await,
        Fault::Broken => {
            let mut response = Response::new(Body::from("<html>Unicorn!</html>"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
        Fault::Limited(seconds) => {
            let mut response =
                refuse(StatusCode::TOO_MANY_REQUESTS, "You have exceeded a secondary rate limit");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
        Fault::Nonsense => {
            let made = request.method() == http::Method::POST;
            let status = if made { StatusCode::CREATED } else { StatusCode::OK };
            answer(status, &json!({ "surprise": true }))
        }
        Fault::Lie => lie(next.run(request).await).await,
    }
}

/// The same answer about something else.
async fn lie(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(name) = body.pointer_mut("/runner/name") {
        *name = json!("somebody-else");
    }
    if let Some(count) = body.pointer_mut("/total_count") {
        *count = json!(1_000_000);
    }
    if let Some(id) = body.pointer_mut("/id") {
        *id = json!(1);
    }
    Response::from_parts(parts, Body::from(body.to_string()))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn refuse(status: StatusCode, message: &str) -> Response {
    let url = "https://docs.github.com/rest";
    answer(
        status,
        &json!({ "message": message, "documentation_url": url, "status": status.as_str() }),
    )
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn scope(named: &Named) -> Scope {
    let of = |name: &str| named.get(name).cloned().unwrap_or_default();
    match named.get("org") {
        Some(org) => Scope::Organisation(org.clone()),
        None => Scope::Repository(format!("{}/{}", of("owner"), of("repo"))),
    }
}

fn number(named: &Named, name: &str) -> u64 {
    named.get(name).and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// A page of a list: `page` counts from 1.
fn page<T>(all: Vec<T>, query: &Named) -> Vec<T> {
    let size = query.get("per_page").and_then(|it| it.parse().ok()).unwrap_or(30_usize).min(100);
    let page = query.get("page").and_then(|it| it.parse::<usize>().ok()).unwrap_or(1).max(1);
    all.into_iter().skip((page - 1) * size).take(size).collect()
}

async fn generate(
    State(shared): State<Arc<Shared>>,
    Path(named): Path<Named>,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        all.map(str::to_lowercase).collect()
    };
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let labels = body.get("labels").map(texts).unwrap_or_default();
    let group = body.get("runner_group_id").and_then(Value::as_u64);
    if name.is_empty() || name.len() > 64 || labels.is_empty() || group.is_none() {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "Validation failed");
    }
    let scope = scope(&named);
    let made = {
        let mut state = shared.state();
        if state.runners.values().any(|it| it.name == name && it.scope == scope) {
            return refuse(StatusCode::CONFLICT, "Already exists - A runner with the name exists");
        }
        let id = state.fresh_id();
        let runner = LocalRunner { id, name, scope, labels, online: false, job: None };
        state.runners.insert(id, runner.clone());
        let url = state.address.map(|it| format!("http://{it}")).unwrap_or_default();
        let config = JitConfig { url, id, name: runner.name.clone() }.encode();
        (runner, config)
    };
    let (runner, config) = made;
    shared.happened(What::Registered(runner.name.clone()));
    let body = json!({ "runner": shapes::runner(&runner), "encoded_jit_config": config });
    answer(StatusCode::CREATED, &body)
}

async fn runners(
    State(shared): State<Arc<Shared>>,
    Path(named): Path<Named>,
    Query(query): Query<Named>,
) -> Response {
    let scope = scope(&named);
    let name = query.get("name");
    let all: Vec<Value> = shared
        .state()
        .runners
        .values()
        .filter(|it| it.scope == scope && name.is_none_or(|name| it.name == *name))
        .map(shapes::runner)
        .collect();
    let total = all.len();
    answer(StatusCode::OK, &json!({ "total_count": total, "runners": page(all, &query) }))
}

async fn remove(State(shared): State<Arc<Shared>>, Path(named): Path<Named>) -> Response {
    let id = number(&named, "runner_id");
    let removed = {
        let mut state = shared.state();
        if state.runners.get(&id).is_some_and(|runner| runner.job.is_some()) {
            let message = "Runner is currently running a job and cannot be deleted.";
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, message);
        }
        state.runners.remove(&id)
    };
    match removed {
        Some(runner) => {
            shared.happened(What::Removed(runner.name));
            empty(StatusCode::NO_CONTENT)
        }
        None => refuse(StatusCode::NOT_FOUND, "Not Found"),
    }
}

async fn job(State(shared): State<Arc<Shared>>, Path(named): Path<Named>) -> Response {
    match shared.state().jobs.get(&number(&named, "job_id")) {
        Some(job) => answer(StatusCode::OK, &shapes::job(job)),
        None => refuse(StatusCode::NOT_FOUND, "Not Found"),
    }
}

async fn runs(
    State(shared): State<Arc<Shared>>,
    Path(named): Path<Named>,
    Query(query): Query<Named>,
) -> Response {
    let Scope::Repository(name) = scope(&named) else {
        return refuse(StatusCode::NOT_FOUND, "Not Found");
    };
    let state = shared.state();
    let wanted = query.get("status").and_then(|it| Action::of(it));
    let fits = |job: &&LocalJob| job.repository == name && wanted.is_none_or(|it| job.state == it);
    let repository = state.repositories.get(&name).copied().unwrap_or_default();
    let all: Vec<Value> =
        state.jobs.values().filter(fits).map(|job| shapes::run(job, repository)).collect();
    let total = all.len();
    answer(StatusCode::OK, &json!({ "total_count": total, "workflow_runs": page(all, &query) }))
}

async fn jobs(
    State(shared): State<Arc<Shared>>,
    Path(named): Path<Named>,
    Query(query): Query<Named>,
) -> Response {
    let run = number(&named, "run_id");
    let state = shared.state();
    let all: Vec<Value> =
        state.jobs.values().filter(|job| job.run == run).map(shapes::job).collect();
    answer(StatusCode::OK, &json!({ "total_count": all.len(), "jobs": page(all, &query) }))
}

async fn deliveries(State(shared): State<Arc<Shared>>, Query(query): Query<Named>) -> Response {
    // Newest first; the cursor is the id before which to go on.
    let before = query.get("cursor").and_then(|it| it.parse().ok()).unwrap_or(u64::MAX);
    let size = query.get("per_page").and_then(|it| it.parse().ok()).unwrap_or(30_usize).min(100);
    let state = shared.state();
    let older = state.sent.iter().rev().filter(|sent| sent.id < before);
    let found: Vec<_> = older.take(size + 1).collect();
    let shown = found.get(..size.min(found.len())).unwrap_or_default();
    let body = Value::Array(shown.iter().map(|sent| shapes::delivery(sent)).collect());
    let mut response = answer(StatusCode::OK, &body);
    if found.len() > size
        && let Some(last) = shown.last()
        && let Ok(link) = format!("<https://x/?cursor={}>; rel=\"next\"", last.id).try_into()
    {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

async fn redeliver(State(shared): State<Arc<Shared>>, Path(named): Path<Named>) -> Response {
    if shared.repeat(number(&named, "delivery_id")) {
        answer(StatusCode::ACCEPTED, &json!({}))
    } else {
        refuse(StatusCode::BAD_REQUEST, "there is no such delivery")
    }
}

async fn access_token(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.now();
    let until = shapes::time(now.saturating_add(Duration::from_secs(3_600)));
    let body = json!({ "token": "ghs_local", "expires_at": until, "permissions": {} });
    answer(StatusCode::CREATED, &body)
}

/// A runner asks for a job, and waits a little for one.
async fn take(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = body.get("id").and_then(Value::as_u64).unwrap_or_default();
    let came = {
        let mut state = shared.state();
        let Some(runner) = state.runners.get_mut(&id) else { return empty(StatusCode::GONE) };
        let first = !runner.online;
        runner.online = true;
        first.then(|| runner.name.clone())
    };
    if let Some(name) = came {
        shared.happened(What::Connected(name));
    }
    let changed = shared.changed.notified();
    let mut job = shared.state().assign(id);
    if job.is_none() {
        // Whether it changed or not, it is looked at again.
        let _late = timeout(TAKE_WAIT, changed).await;
        job = shared.state().assign(id);
    }
    let Some(job) = job else { return empty(StatusCode::NO_CONTENT) };
    let runner = job.runner.as_ref().map(|(_, name)| name.clone()).unwrap_or_default();
    shared.happened(What::Started { job: job.id, runner });
    let id = job.id;
    let sender = shared.clone();
    shared.tasks.spawn_until_stopped(async move {
        sender.send(&job, Action::InProgress).await;
    });
    answer(StatusCode::OK, &json!({ "job": id }))
}

/// A runner is through, and goes: it was for one job.
async fn done(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let of = |name: &str| body.get(name).and_then(Value::as_u64).unwrap_or_default();
    let job = {
        let mut state = shared.state();
        state.runners.remove(&of("id"));
        state.jobs.get_mut(&of("job")).map(|job| {
            job.state = Action::Completed;
            job.clone()
        })
    };
    let Some(job) = job else { return empty(StatusCode::NOT_FOUND) };
    shared.happened(What::Completed(job.id));
    let sender = shared.clone();
    shared.tasks.spawn_until_stopped(async move {
        sender.send(&job, Action::Completed).await;
    });
    empty(StatusCode::NO_CONTENT)
}
