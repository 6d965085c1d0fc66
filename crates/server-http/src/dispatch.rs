//! The way of every request: route, bearer, rate, body, handler, answer.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use rhumb_engine::telemetry::metrics::HttpRoute;
use rhumb_front::{Bearer, linger};
use rhumb_types::ErrorCode;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, timeout},
};

use crate::{
    auth::Principal,
    limits::{BODIES_KIB_MAX, BODY_WAIT_MAX, REQUEST_WAIT_MAX},
    problem::Problem,
    request::{Call, Outcome},
    routes::{Access, ROUTES, Route, Verb},
    server::Shared,
};

/// Who is at the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) SocketAddr);

/// All routes, as a service.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let meter = shared.surroundings.metrics.http_route(route.verb.name(), route.path);
        let shared = shared.clone();
        let handler = move |request: Request| answer(shared.clone(), route, meter.clone(), request);
        let filter = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Put => MethodFilter::PUT,
            Verb::Post => MethodFilter::POST,
            Verb::Delete => MethodFilter::DELETE,
        };
        router = router.route(route.path, on(filter, handler));
    }
    let unmatched = shared.surroundings.metrics.http_route("ANY", "unmatched");
    let (lost, misused) = (shared.clone(), shared.clone());
    let meter = unmatched.clone();
    router
        .fallback(move |_request: Request| {
            let problem = Problem::new(ErrorCode::NotFound, "there is nothing at this path");
            let problem = problem.help("See the table of routes in docs/http.md.");
            let response = lost.finish(problem.into_response());
            unmatched.record(response.status().as_u16(), std::time::Duration::ZERO);
            async move { response }
        })
        .method_not_allowed_fallback(move |path: MatchedPath| {
            let response = misused.finish(not_allowed(path.as_str()).into_response());
            meter.record(response.status().as_u16(), std::time::Duration::ZERO);
            async move { response }
        })
}

fn not_allowed(path: &str) -> Problem {
    let verbs = ROUTES.iter().filter(|route| route.path == path).map(|route| route.verb.name());
    let verbs = verbs.collect::<Vec<_>>().join(", ");
    let detail = format!("this path knows only {verbs}");
    let help = "Use one of the methods in `allow`.";
    let problem = Problem::http(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail, help);
    match HeaderValue::try_from(verbs) {
        Ok(verbs) => problem.header(header::ALLOW, verbs),
        Err(_) => problem,
    }
}

async fn answer(
    shared: Arc<Shared>,
    route: &'static Route,
    meter: HttpRoute,
    request: Request,
) -> Response {
    let began = Instant::now();
    let response = serve(&shared, route, request).await.unwrap_or_else(Problem::into_response);
    meter.record(response.status().as_u16(), began.elapsed());
    shared.finish(response)
}

async fn serve(shared: &Arc<Shared>, route: &'static Route, request: Request) -> Outcome {
    let (parts, mut body) = request.into_parts();
    let client = parts.extensions.get::<Client>().map_or_else(unknown, |Client(client)| *client);
    let (uri, headers) = (parts.uri, parts.headers);
    let taken = match admit(shared, route, &headers, client) {
        Ok(principal) => take_body(shared, route, &mut body).await.map(|bytes| (principal, bytes)),
        Err(problem) => Err(problem),
    };
    let (principal, body) = match taken {
        Ok(taken) => taken,
        Err(problem) => {
            if !headers.contains_key(header::EXPECT) {
                linger(body).await;
            }
            return Err(problem);
        }
    };
    if route.verb != Verb::Get && route.path.starts_with("/admin/") {
        tracing::info!(token = %principal.id, %client, %uri, route = ?route, "administration");
    }
    let call = Call { shared: shared.clone(), route, principal, client, uri, headers, body };
    match timeout(REQUEST_WAIT_MAX, (route.handler)(call)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let code = match route.verb {
                Verb::Get => ErrorCode::Unavailable,
                _ => ErrorCode::Unconfirmed,
            };
            Err(Problem::new(code, format!("it took longer than {REQUEST_WAIT_MAX:?}")))
        }
    }
}

fn admit(
    shared: &Shared,
    route: &Route,
    headers: &HeaderMap,
    client: SocketAddr,
) -> Result<Principal, Problem> {
    let principal = shared.door.identify(&shared.engine, route, headers, client)?;
    pace(shared, route, &principal, client)?;
    shared.door.allow(route, &principal, client)?;
    Ok(principal)
}

async fn take_body(shared: &Shared, route: &Route, body: &mut Body) -> Result<Bytes, Problem> {
    let _room = shared.room_for(route, body)?;
    read_body(route, body).await
}

/// A connection's task always names its client; this is only for the compiler.
fn unknown() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

fn pace(
    shared: &Shared,
    route: &Route,
    principal: &Principal,
    client: SocketAddr,
) -> Result<(), Problem> {
    let bearer = match route.access {
        Access::Open => Bearer::address(client.ip()),
        _ if shared.asks => Bearer::Token(principal.id.clone()),
        _ => Bearer::address(client.ip()),
    };
    shared.rates.take(bearer, shared.engine.clock().now().mono).map_err(|wait| {
        let detail = "more requests than one token or address may send";
        Problem::new(ErrorCode::Overloaded, detail).retry_after(wait.as_secs() + 1)
    })
}

async fn read_body(route: &Route, body: &mut Body) -> Result<Bytes, Problem> {
    let most = route.body_bytes_max;
    let reading = Limited::new(body, most).collect();
    let late = || {
        let detail = format!("the body did not arrive within {BODY_WAIT_MAX:?}");
        let help = "Send it faster, or in smaller parts.";
        Problem::http(StatusCode::REQUEST_TIMEOUT, "timeout", detail, help)
    };
    match timeout(BODY_WAIT_MAX, reading).await.map_err(|_| late())? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(most)),
        Err(error) => Err(Problem::invalid(format!("the body broke off: {error}"))),
    }
}

fn too_large(most: usize) -> Problem {
    let detail = match most {
        0 => "this request takes no body".to_owned(),
        _ => format!("the body is larger than {most} bytes"),
    };
    let help = "Send less; large objects belong into an object store, with their name in a key.";
    Problem::http(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail, help).with("bytes_max", most)
}

impl Shared {
    /// Room for a body among all those that are being read.
    fn room_for(&self, route: &Route, body: &Body) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        let most = route.body_bytes_max;
        let size = body.size_hint();
        let expected = usize::try_from(size.upper().unwrap_or(most as u64)).unwrap_or(usize::MAX);
        if expected > most && size.upper().is_some() {
            return Err(too_large(most));
        }
        if expected == 0 {
            return Ok(None);
        }
        let kib = u32::try_from(expected.div_ceil(1 << 10)).unwrap_or(BODIES_KIB_MAX);
        self.bodies.try_acquire_many(kib).map(Some).map_err(|_| {
            Problem::new(ErrorCode::Overloaded, "too many large bodies are on their way")
        })
    }

    /// What every answer carries: nothing may be cached, guessed at, framed, or run.
    fn finish(&self, mut response: Response) -> Response {
        const ALWAYS: [(HeaderName, HeaderValue); 4] = [
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
            ),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("same-origin"),
            ),
        ];
        let headers = response.headers_mut();
        headers.extend(ALWAYS);
        let no_store = HeaderValue::from_static("no-store");
        headers.entry(header::CACHE_CONTROL).or_insert(no_store);
        if self.encrypted {
            let year = HeaderValue::from_static("max-age=31536000");
            headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
        }
        response
    }
}
