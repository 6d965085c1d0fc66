//! Who asks, and what they may do.
//!
//! A bearer sends a token. Its digest is kept in the configuration or in the agreed state; both are
//! looked up on this node alone, so that authentication works while the control plane is away.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, header};
use rhumb_engine::Engine;
use rhumb_engine::telemetry::Metrics;
use rhumb_front::{
    Bearer, Buckets, is_local_host,
    token::{Token, digest_of},
};
use rhumb_types::{
    ErrorCode, UnixMillis,
    control::{ApiRole, ApiToken, Digest},
};
use subtle::ConstantTimeEq;

use crate::{
    config::StaticToken,
    limits::{FAILURES_BURST, FAILURES_PER_SECOND, TOKEN_BYTES_MAX},
    problem::Problem,
    routes::{Access, Reach, Route},
};

/// Who asks, once that is proved.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    /// The token's id; what the audit chain names.
    pub(crate) id: Arc<str>,
    roles: Vec<ApiRole>,
    scopes: Vec<String>,
}

impl Principal {
    /// Whoever reaches a server that asks for no token.
    fn anybody() -> Self {
        Self { id: "anybody".into(), roles: vec![ApiRole::Admin], scopes: vec![] }
    }

    /// Nobody in particular, on a route that is open to all.
    fn nobody() -> Self {
        Self { id: "nobody".into(), roles: vec![], scopes: vec![] }
    }

    /// Whether some role of the bearer's suffices.
    fn may(&self, access: Access) -> bool {
        self.roles.iter().any(|role| access.allows(*role))
    }

    /// Whether the bearer may read and write a key.
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|scope| key.starts_with(scope.as_bytes()))
    }

    /// Whether a removal of all keys with a prefix touches keys that the bearer may see.
    pub(crate) fn touches(&self, prefix: &[u8]) -> bool {
        self.covers(prefix) || self.scopes.iter().any(|scope| scope.as_bytes().starts_with(prefix))
    }

    /// Refuses a key out of the bearer's reach.
    pub(crate) fn check(&self, key: &[u8]) -> Result<(), Problem> {
        if self.covers(key) {
            return Ok(());
        }
        let scopes = self.scopes.join("`, `");
        let detail = format!("the token `{}` is limited to keys under `{scopes}`", self.id);
        Err(Problem::new(ErrorCode::Forbidden, detail))
    }

    /// Whether the bearer sees every key.
    pub(crate) fn sees_all(&self) -> bool {
        self.scopes.is_empty()
    }
}

/// Why a bearer was refused; the names are those of the metric.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Missing,
    Malformed,
    Unknown,
    Expired,
    Revoked,
}

impl Refusal {
    const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Missing => "this needs a token, and none was sent",
            Self::Malformed => "the authorization header is not `Bearer rhumb_ID_SECRET`",
            Self::Unknown => "the token is not known here",
            Self::Expired => "the token has expired",
            Self::Revoked => "the token was revoked",
        }
    }
}

/// The door.
#[derive(Debug)]
pub(crate) struct Door {
    asks: bool,
    tokens: Vec<StaticToken>,
    failures: Buckets,
    metrics: Arc<Metrics>,
}

impl Door {
    pub(crate) fn new(asks: bool, tokens: Vec<StaticToken>, metrics: Arc<Metrics>) -> Self {
        let failures = Buckets::new(FAILURES_PER_SECOND, FAILURES_BURST);
        Self { asks, tokens, failures, metrics }
    }

    /// The ids of the configured tokens.
    pub(crate) fn configured(&self) -> Vec<&str> {
        self.tokens.iter().map(|token| token.id.as_str()).collect()
    }

    /// Whether a configured token has this id.
    pub(crate) fn configures(&self, id: &str) -> bool {
        self.tokens.iter().any(|token| token.id == id)
    }

    /// Finds out who asks.
    pub(crate) fn identify(
        &self,
        engine: &Engine,
        route: &Route,
        headers: &HeaderMap,
        client: SocketAddr,
    ) -> Result<Principal, Problem> {
        if route.access == Access::Open {
            return Ok(Principal::nobody());
        }
        if !self.asks {
            self.refuse_foreign_pages(headers)?;
            return Ok(Principal::anybody());
        }
        let bearer = self.look_up(engine, headers)?;
        bearer.map_err(|refusal| self.refused(engine, route, refusal, client.ip()))
    }

    /// Lets a bearer do what a route does, or says why not.
    pub(crate) fn allow(
        &self,
        route: &Route,
        bearer: &Principal,
        client: SocketAddr,
    ) -> Result<(), Problem> {
        let id = &bearer.id;
        let detail = if route.access != Access::Open && !bearer.may(route.access) {
            let least = route.access.least();
            format!("this needs the role {least}, and the token `{id}` has not got it")
        } else if route.reach == Reach::Everything && !bearer.sees_all() {
            format!("the token `{id}` is limited to some keys, and this concerns all")
        } else {
            return Ok(());
        };
        self.metrics.http_refused("forbidden").inc();
        tracing::warn!(token = %id, %client, route = route.path, "not allowed");
        Err(Problem::new(ErrorCode::Forbidden, detail))
    }

    /// Finds the bearer; the outer error is that nobody can say.
    fn look_up(
        &self,
        engine: &Engine,
        headers: &HeaderMap,
    ) -> Result<Result<Principal, Refusal>, Problem> {
        let Some(sent) = headers.get(header::AUTHORIZATION) else {
            return Ok(Err(Refusal::Missing));
        };
        let Some(Token { id, secret }) = sent.to_str().ok().and_then(parse) else {
            return Ok(Err(Refusal::Malformed));
        };
        let digest = digest_of(secret);
        let now = engine.clock().now().wall;
        if let Some(token) = self.tokens.iter().find(|token| token.id == id) {
            return Ok(known(token, digest, now));
        }
        let Some(admin) = engine.admin() else {
            let detail = "tokens cannot be checked: this node's control plane has not started";
            return Err(Problem::new(ErrorCode::Unavailable, detail));
        };
        let token = admin.api_token(id, digest)?;
        Ok(token.map_or(Err(Refusal::Unknown), |token| agreed(token, digest, now)))
    }

    /// A refusal that is counted, logged, and slowed down.
    ///
    /// Who fails too often is told so, and not logged any more. A valid token is never held back by
    /// the failures of others behind the same address: secrets are too long to be guessed, so that
    /// would only help those who want to lock somebody out.
    fn refused(&self, engine: &Engine, route: &Route, refusal: Refusal, client: IpAddr) -> Problem {
        self.metrics.http_refused(refusal.name()).inc();
        match self.failures.take(Bearer::address(client), engine.clock().now().mono) {
            Ok(()) => {
                let reason = refusal.name();
                tracing::warn!(%client, route = route.path, reason, "not authenticated");
                let challenge = HeaderValue::from_static("Bearer realm=\"rhumb\"");
                Problem::new(ErrorCode::Unauthenticated, refusal.detail())
                    .header(header::WWW_AUTHENTICATE, challenge)
            }
            Err(wait) => {
                let detail = format!("{}; this address has failed too often", refusal.detail());
                Problem::new(ErrorCode::Overloaded, detail)
                    .help("Stop, find a valid token, and come back after `retry-after`.")
                    .retry_after(wait.as_secs() + 1)
            }
        }
    }

    /// Without tokens, a page of some web site that runs in a browser on this machine must not get
    /// through: neither by a request that browsers send unasked, nor under a name that was made to
    /// point here.
    fn refuse_foreign_pages(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().ok());
        let host = text(header::HOST);
        let local = host.is_none_or(|host| host.is_some_and(is_local_host));
        let own_page = text(header::ORIGIN).is_none_or(|origin| {
            let origin = origin.and_then(|origin| origin.split_once("://"));
            origin.is_some_and(|(_, authority)| host == Some(Some(authority)))
        });
        if local && own_page {
            return Ok(());
        }
        self.metrics.http_refused("foreign_origin").inc();
        let detail = "this server asks for no token, so it answers only to its loopback address \
                      and to no page of another site";
        Err(Problem::new(ErrorCode::Forbidden, detail)
            .help("Use http://127.0.0.1 or http://localhost, or turn `auth` on."))
    }
}

fn known(token: &StaticToken, digest: Digest, now: UnixMillis) -> Result<Principal, Refusal> {
    if !same(token.secret, digest) {
        return Err(Refusal::Unknown);
    }
    if token.expires.is_some_and(|end| end <= now) {
        return Err(Refusal::Expired);
    }
    let (roles, scopes) = (token.roles.clone(), token.scopes.clone());
    Ok(Principal { id: token.id.as_str().into(), roles, scopes })
}

fn agreed(token: ApiToken, digest: Digest, now: UnixMillis) -> Result<Principal, Refusal> {
    if !same(token.secret, digest) {
        return Err(Refusal::Unknown);
    }
    if token.revoked.is_some() {
        return Err(Refusal::Revoked);
    }
    if !token.is_valid(now) {
        return Err(Refusal::Expired);
    }
    Ok(Principal { id: token.id.into(), roles: vec![token.role], scopes: token.scopes })
}

/// Compares in a time that does not depend on where the two differ.
fn same(one: Digest, other: Digest) -> bool {
    one.0.ct_eq(&other.0).into()
}

/// Random bytes as hexadecimal digits, for secrets and keys.
pub(crate) fn random_hex<const BYTES: usize>() -> Result<String, Problem> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        Problem::new(ErrorCode::Internal, format!("there is no randomness: {error}"))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The token of an authorization header (RFC 6750 section 2.1).
fn parse(header: &str) -> Option<Token<'_>> {
    let (scheme, token) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    Token::parse(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_bearer_with_an_id_and_a_secret() {
        let token = Some(Token { id: "ci", secret: "s3cret" });
        assert_eq!(parse("Bearer rhumb_ci_s3cret"), token);
        assert_eq!(parse("bearer  rhumb_ci_s3cret "), token);
        for bad in ["", "Bearer", "Basic rhumb_ci_s", "Bearer ci_s", "Bearer rhumb_ci"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&format!("Bearer rhumb_a_{}", "x".repeat(TOKEN_BYTES_MAX))), None);
    }

    #[test]
    fn scopes_limit_keys_by_prefix() {
        let scoped = Principal {
            id: "ci".into(),
            roles: vec![ApiRole::Reader],
            scopes: vec!["ci:".to_owned(), "logs/".to_owned()],
        };
        assert!(scoped.covers(b"ci:1") && scoped.covers(b"logs/"));
        assert!(!scoped.covers(b"c") && !scoped.covers(b"user:1"));
        assert!(scoped.touches(b"") && scoped.touches(b"ci") && scoped.touches(b"ci:x"));
        assert!(!scoped.touches(b"user:"));
        assert!(Principal::anybody().covers(b"user:1"));
    }
}
