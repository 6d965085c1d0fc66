//! Every route, in one table. What is not in it does not exist; the tests walk it.

use std::future::{Future, ready};

use futures_util::future::BoxFuture;
use rhumb_types::control::ApiRole;

use crate::{
    admin::{audit, documents, invite, members, namespaces, operate, regions, tokens},
    api::{
        self, buckets, events, feed, health, kv, metrics, queues, route, status, webhooks, workers,
    },
    limits::{JSON_BYTES_MAX, VALUE_BYTES_MAX, WEBHOOK_BYTES_MAX},
    request::{Call, Outcome},
};

/// A method that routes use. HEAD is answered where GET is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// The least that a bearer must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Anybody, without a token.
    Open,
    /// Whoever reads.
    Reader,
    /// Whoever operates.
    Operator,
    /// Whoever administers.
    Admin,
    /// Whoever audits.
    Auditor,
}

impl Access {
    /// Whether a role suffices.
    pub(crate) const fn allows(self, role: ApiRole) -> bool {
        match self {
            Self::Open => true,
            Self::Reader => role.includes(ApiRole::Reader),
            Self::Operator => role.includes(ApiRole::Operator),
            Self::Admin => role.includes(ApiRole::Admin),
            Self::Auditor => role.includes(ApiRole::Auditor),
        }
    }

    /// The least role, in words.
    pub(crate) const fn least(self) -> &'static str {
        match self {
            Self::Open => "none",
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }
}

/// Which keys a route is about; a token may be limited to some.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// None: it says nothing about keys' contents.
    Nothing,
    /// Those that the request names; the handler holds it to the token's scopes.
    Keys,
    /// All: a token with scopes is refused.
    Everything,
}

/// What a handler is.
pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Outcome>;

/// One route.
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// The path, with named parts.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) reach: Reach,
    /// Most bytes of the body; 0 where there is none.
    pub(crate) body_bytes_max: usize,
    pub(crate) handler: Handler,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb.name(), self.path)
    }
}

const fn route(verb: Verb, path: &'static str, access: Access, handler: Handler) -> Route {
    let reach = match access {
        Access::Open => Reach::Nothing,
        _ => Reach::Everything,
    };
    let body_bytes_max = match verb {
        Verb::Get | Verb::Delete => 0,
        Verb::Put | Verb::Post => JSON_BYTES_MAX,
    };
    Route { verb, path, access, reach, body_bytes_max, handler }
}

const fn get(path: &'static str, access: Access, handler: Handler) -> Route {
    route(Verb::Get, path, access, handler)
}

const fn put(path: &'static str, access: Access, handler: Handler) -> Route {
    route(Verb::Put, path, access, handler)
}

const fn post(path: &'static str, access: Access, handler: Handler) -> Route {
    route(Verb::Post, path, access, handler)
}

const fn delete(path: &'static str, access: Access, handler: Handler) -> Route {
    route(Verb::Delete, path, access, handler)
}

impl Route {
    const fn about(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    const fn with_body(mut self, bytes_max: usize) -> Self {
        self.body_bytes_max = bytes_max;
        self
    }
}

/// A handler that waits for nothing.
fn at_once(outcome: Outcome) -> BoxFuture<'static, Outcome> {
    Box::pin(ready(outcome))
}

/// A handler that waits.
fn boxed(work: impl Future<Output = Outcome> + Send + 'static) -> BoxFuture<'static, Outcome> {
    Box::pin(work)
}

use Access::{Admin, Auditor, Open, Operator, Reader};
use Reach::{Keys, Nothing};

/// The table.
pub(crate) static ROUTES: &[Route] = &[
    get("/healthz", Open, |call| at_once(health::alive(&call))),
    get("/readyz", Open, |call| at_once(health::ready(&call))),
    get("/metrics", Reader, |call| at_once(metrics::show(&call))).about(Nothing),
    get("/v1/status", Reader, |call| at_once(status::show(&call))).about(Nothing),
    get("/v1/regions", Reader, |call| at_once(api::regions::show(&call))).about(Nothing),
    get("/v1/route", Reader, |call| at_once(route::plan(&call))).about(Nothing),
    get("/v1/home", Reader, |call| at_once(route::home(&call))).about(Nothing),
    get("/v1/residency", Reader, |call| at_once(api::residency::show(&call))).about(Nothing),
    get("/v1/log", Reader, |call| boxed(feed::read(call))).about(Keys),
    get("/v1/kv", Reader, |call| boxed(kv::list(call))).about(Keys),
    get("/v1/kv/{*key}", Reader, |call| boxed(kv::read(call))).about(Keys),
    put("/v1/kv/{*key}", Operator, |call| boxed(kv::write(call)))
        .about(Keys)
        .with_body(VALUE_BYTES_MAX),
    delete("/v1/kv/{*key}", Operator, |call| boxed(kv::remove(call))).about(Keys),
    post("/webhooks/github", Open, |call| boxed(webhooks::github(call)))
        .with_body(WEBHOOK_BYTES_MAX),
    get("/v1/runners", Reader, |call| at_once(webhooks::show(&call))).about(Nothing),
    get("/v1/queues", Reader, |call| at_once(queues::list(&call))).about(Keys),
    get("/v1/queues/{queue}", Reader, |call| at_once(queues::show(&call))).about(Keys),
    put("/v1/queues/{queue}", Operator, |call| boxed(queues::put(call))).about(Keys),
    delete("/v1/queues/{queue}", Operator, |call| boxed(queues::remove(call))).about(Keys),
    get("/v1/queues/{queue}/stats", Reader, |call| boxed(queues::look::stats(call))).about(Keys),
    get("/v1/queues/{queue}/jobs", Reader, |call| boxed(queues::look::jobs(call))).about(Keys),
    get("/v1/queues/{queue}/jobs/{id}", Reader, |call| boxed(queues::look::why(call))).about(Keys),
    post("/v1/queues/{queue}/jobs", Operator, |call| boxed(queues::send::enqueue(call)))
        .about(Keys),
    post("/v1/queues/{queue}/receive", Operator, |call| boxed(queues::work::receive(call)))
        .about(Keys),
    post("/v1/queues/{queue}/complete", Operator, |call| boxed(queues::work::complete(call)))
        .about(Keys),
    post("/v1/queues/{queue}/fail", Operator, |call| boxed(queues::work::fail(call))).about(Keys),
    post("/v1/queues/{queue}/extend", Operator, |call| boxed(queues::work::extend(call)))
        .about(Keys),
    post("/v1/queues/{queue}/release", Operator, |call| boxed(queues::work::release(call)))
        .about(Keys),
    post("/v1/queues/{queue}/heartbeat", Operator, |call| at_once(workers::beat(&call)))
        .about(Keys),
    post("/v1/queues/{queue}/purge", Operator, |call| boxed(queues::tend::purge(call))).about(Keys),
    post("/v1/queues/{queue}/redrive", Operator, |call| boxed(queues::tend::redrive(call)))
        .about(Keys),
    get("/v1/buckets", Reader, |call| at_once(buckets::list(&call))).about(Keys),
    get("/v1/buckets/{bucket}", Reader, |call| at_once(buckets::show(&call))).about(Keys),
    put("/v1/buckets/{bucket}", Operator, |call| boxed(buckets::put(call))).about(Keys),
    delete("/v1/buckets/{bucket}", Operator, |call| boxed(buckets::remove(call))).about(Keys),
    post("/v1/events/{topic}", Operator, |call| boxed(events::publish(call))).about(Keys),
    get("/api/health/workers", Reader, |call| boxed(workers::show(call))).about(Keys),
    post("/admin/failover/{region}", Operator, |call| boxed(operate::failover(call))),
    post("/admin/drain/{region}", Operator, |call| boxed(operate::drain(call))),
    post("/admin/failback/{region}", Operator, |call| boxed(operate::failback(call))),
    get("/admin/failovers", Reader, |call| at_once(operate::list(&call))),
    get("/admin/failovers/{id}", Reader, |call| boxed(operate::show(call))),
    post("/admin/failovers/{id}/approve", Operator, |call| boxed(operate::approve(call))),
    post("/admin/failovers/{id}/cancel", Operator, |call| boxed(operate::cancel(call))),
    put("/admin/regions/{region}", Operator, |call| boxed(regions::set_state(call))),
    post("/admin/regions/{region}/lift-verdict", Operator, |call| {
        boxed(regions::lift_verdict(call))
    }),
    get("/admin/rules", Reader, |call| at_once(documents::rules(&call))),
    put("/admin/rules", Operator, |call| boxed(documents::put_rules(call))),
    get("/admin/rules/versions", Reader, |call| at_once(documents::rules_versions(&call))),
    post("/admin/rules/rollback", Operator, |call| boxed(documents::roll_rules_back(call))),
    get("/admin/config", Operator, |call| at_once(documents::config(&call))),
    put("/admin/config", Admin, |call| boxed(documents::put_config(call))),
    get("/admin/config/versions", Operator, |call| at_once(documents::config_versions(&call))),
    get("/admin/config/versions/{version}", Operator, |call| at_once(documents::config_at(&call))),
    post("/admin/config/rollback", Admin, |call| boxed(documents::roll_config_back(call))),
    get("/admin/namespaces", Reader, |call| at_once(namespaces::list(&call))),
    get("/admin/members", Reader, |call| at_once(members::list(&call))),
    post("/admin/members", Admin, |call| boxed(members::add(call))),
    put("/admin/members/{node}", Admin, |call| boxed(members::set_role(call))),
    delete("/admin/members/{node}", Admin, |call| boxed(members::remove(call))),
    post("/admin/members/{node}/replace", Admin, |call| boxed(members::replace(call))),
    get("/admin/tokens", Admin, |call| at_once(tokens::list(&call))),
    post("/admin/tokens", Admin, |call| boxed(tokens::create(call))),
    delete("/admin/tokens/{id}", Admin, |call| boxed(tokens::revoke(call))),
    post("/admin/join-tokens", Admin, |call| boxed(invite::create(call))),
    get("/admin/audit", Auditor, |call| at_once(audit::read(&call))),
    get("/admin/audit/verify", Auditor, |call| at_once(audit::check(&call))),
];
