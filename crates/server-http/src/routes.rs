//! Every route, in one table. What is not in it does not exist; the tests walk it.

use std::future::Future;

use futures_util::future::BoxFuture;
use http::Method;
use rhumb_types::control::ApiRole;

use crate::{
    api::{health, kv, metrics, regions, route, status},
    limits::{JSON_BYTES_MAX, VALUE_BYTES_MAX},
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

    pub(crate) const fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Put => Method::PUT,
            Self::Post => Method::POST,
            Self::Delete => Method::DELETE,
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
    /// Whether a role suffices. An admin may everything, an operator what a reader may; an auditor
    /// audits and nothing else.
    pub(crate) const fn allows(self, role: ApiRole) -> bool {
        match (self, role) {
            (Self::Open, _) | (_, ApiRole::Admin) => true,
            (Self::Reader, role) => matches!(role, ApiRole::Reader | ApiRole::Operator),
            (Self::Operator, role) => matches!(role, ApiRole::Operator),
            (Self::Auditor, role) => matches!(role, ApiRole::Auditor),
            (Self::Admin, _) => false,
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

fn boxed(work: impl Future<Output = Outcome> + Send + 'static) -> BoxFuture<'static, Outcome> {
    Box::pin(work)
}

use Access::{Open, Operator, Reader};
use Reach::{Keys, Nothing};

/// The table.
pub(crate) static ROUTES: &[Route] = &[
    get("/healthz", Open, |call| boxed(health::alive(call))),
    get("/readyz", Open, |call| boxed(health::ready(call))),
    get("/metrics", Reader, |call| boxed(metrics::show(call))).about(Nothing),
    get("/v1/status", Reader, |call| boxed(status::show(call))).about(Nothing),
    get("/v1/regions", Reader, |call| boxed(regions::show(call))).about(Nothing),
    get("/v1/route", Reader, |call| boxed(route::plan(call))).about(Nothing),
    get("/v1/home", Reader, |call| boxed(route::home(call))).about(Nothing),
    get("/v1/kv", Reader, |call| boxed(kv::list(call))).about(Keys),
    get("/v1/kv/{*key}", Reader, |call| boxed(kv::read(call))).about(Keys),
    put("/v1/kv/{*key}", Operator, |call| boxed(kv::write(call)))
        .about(Keys)
        .with_body(VALUE_BYTES_MAX),
    delete("/v1/kv/{*key}", Operator, |call| boxed(kv::remove(call))).about(Keys),
];
