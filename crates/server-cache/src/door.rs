//! Who asks, and what they may do.
//!
//! Tools for builds send a user and a password (RFC 7617) or a bearer token (RFC 6750). A user is an
//! access key of the S3 server and its secret, a token one of the HTTP interface; where a tool knows
//! passwords only, a token is the password of any user.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, header};
use rhumb_engine::{Engine, telemetry::Metrics};
use rhumb_front::{
    Bearer, Buckets, Grant, KeyTwice, Keys, SignedConfig, is_foreign_page,
    token::{Token, digest_of},
};
use rhumb_sigv4::{PathStyle, Rules};
use rhumb_types::{ErrorCode, control::ApiRole};

use crate::{
    fault::Fault,
    limits::{AUTHORIZATION_BYTES_MAX, FAILURES_BURST, FAILURES_PER_SECOND},
};

/// What a bucket's name has before it in a token's scopes.
const SCOPE: &str = "bucket:";

/// What somebody shows.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Shown {
    /// An access key and its secret.
    Key(String, String),
    /// A token: its id and its secret.
    Token(String, String),
}

/// The door.
#[derive(Debug)]
pub(crate) struct Door {
    asks: bool,
    keys: Keys,
    failures: Buckets,
    metrics: Arc<Metrics>,
}

impl Door {
    pub(crate) fn new(config: &SignedConfig, metrics: Arc<Metrics>) -> Result<Self, KeyTwice> {
        // Nothing is signed here.
        let rules = Rules::new("cache", PathStyle::Plain, config.regions.clone());
        Ok(Self {
            asks: config.listener.auth,
            keys: Keys::new(&config.keys, rules)?,
            failures: Buckets::new(FAILURES_PER_SECOND, FAILURES_BURST),
            metrics,
        })
    }

    /// Finds out who asks.
    pub(crate) fn identify(
        &self,
        engine: &Engine,
        headers: &HeaderMap,
        client: SocketAddr,
    ) -> Result<Grant, Fault> {
        if !self.asks {
            return refuse_foreign_pages(headers).map(|()| Grant::anything());
        }
        let Some(sent) = headers.get(header::AUTHORIZATION) else {
            return Err(self.refused(engine, "missing", client));
        };
        let shown = sent.to_str().ok().and_then(parse);
        match shown {
            None => Err(self.refused(engine, "malformed", client)),
            Some(Shown::Key(id, secret)) => {
                let grant = self.keys.password(&id, &secret).cloned();
                grant.map_err(|_| self.refused(engine, "unknown", client))
            }
            Some(Shown::Token(id, secret)) => {
                let grant = token(engine, &id, &secret)?;
                grant.ok_or_else(|| self.refused(engine, "unknown", client))
            }
        }
    }

    /// A refusal that is counted and logged. Who fails too often is not logged any more, and told to
    /// wait; who shows a valid key is never held back by others behind the same address.
    fn refused(&self, engine: &Engine, reason: &'static str, client: SocketAddr) -> Fault {
        self.metrics.http_refused(reason).inc();
        let now = engine.clock().now().mono;
        let fault = Fault::new(
            ErrorCode::Unauthenticated,
            "this needs an access key as user and password, or a bearer token",
        );
        match self.failures.take(Bearer::address(client.ip()), now) {
            Ok(()) => {
                tracing::warn!(%client, reason, "cache: not authenticated");
                fault
            }
            Err(wait) => Fault { retry_after: Some(wait.max(Duration::from_secs(1))), ..fault },
        }
    }
}

/// What a method needs.
pub(crate) fn role(method: &Method) -> ApiRole {
    if matches!(*method, Method::GET | Method::HEAD) { ApiRole::Reader } else { ApiRole::Operator }
}

/// Refuses what is not granted.
pub(crate) fn check(grant: &Grant, method: &Method, bucket: &str) -> Result<(), Fault> {
    let who = grant.name();
    let message = if !grant.covers(bucket) {
        format!("`{who}` is limited to other buckets")
    } else if !grant.includes(role(method)) {
        format!("`{who}` has not got the role that {method} needs")
    } else {
        return Ok(());
    };
    Err(Fault::new(ErrorCode::Forbidden, message))
}

/// What a token's bearer may do; nothing for one that nobody has given out, or not any more.
fn token(engine: &Engine, id: &str, secret: &str) -> Result<Option<Grant>, Fault> {
    let admin = engine.admin().ok_or_else(Fault::starting)?;
    // The digest of a long random secret is looked up: comparing it tells nothing of the secret.
    let found = admin.api_token(id, digest_of(secret));
    let found = found.map_err(|error| Fault::new(error.code(), error.to_string()))?;
    let now = engine.clock().now().wall;
    Ok(found.filter(|token| token.is_valid(now)).and_then(|token| {
        let reach = reach(&token.scopes)?;
        Some(Grant::new(&token.id, token.role, &reach))
    }))
}

/// The prefixes of names of buckets that scopes leave: a bucket is within one when `bucket:NAME` is.
/// `None` where they leave no bucket.
fn reach(scopes: &[String]) -> Option<Vec<String>> {
    if scopes.iter().any(|scope| SCOPE.starts_with(scope.as_str())) {
        return Some(Vec::new());
    }
    let names = scopes.iter().filter_map(|scope| scope.strip_prefix(SCOPE));
    let names: Vec<String> = names.map(str::to_owned).collect();
    (scopes.is_empty() || !names.is_empty()).then_some(names)
}

fn parse(header: &str) -> Option<Shown> {
    let (scheme, rest) = header.split_once(' ')?;
    if rest.len() > AUTHORIZATION_BYTES_MAX {
        return None;
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return as_token(rest.trim());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = plain.split_once(':')?;
    as_token(password).or_else(|| Some(Shown::Key(user.to_owned(), password.to_owned())))
}

fn as_token(text: &str) -> Option<Shown> {
    let Token { id, secret } = Token::parse(text)?;
    Some(Shown::Token(id.to_owned(), secret.to_owned()))
}

/// Without keys, a page of some web site that runs in a browser on this machine must not get through.
fn refuse_foreign_pages(headers: &HeaderMap) -> Result<(), Fault> {
    if !is_foreign_page(headers) {
        return Ok(());
    }
    let message = "this server asks nobody who they are, so it answers only to its loopback address \
                   and to no web page: use http://127.0.0.1, or turn `auth` on";
    Err(Fault::new(ErrorCode::Forbidden, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn users_passwords_and_tokens_are_read() {
        let key = |id: &str, secret: &str| Some(Shown::Key(id.to_owned(), secret.to_owned()));
        let token = |id: &str, secret: &str| Some(Shown::Token(id.to_owned(), secret.to_owned()));
        assert_eq!(parse(&basic("AKID:a:b")), key("AKID", "a:b"));
        assert_eq!(parse("Bearer rhumb_ci_s3_cret"), token("ci", "s3_cret"));
        assert_eq!(parse(&basic("anybody:rhumb_ci_s3cret")), token("ci", "s3cret"));
        let long = basic(&format!("AKID:{}", "x".repeat(AUTHORIZATION_BYTES_MAX)));
        for bad in ["", "Basic", "Basic !", &basic("AKID"), "Bearer ci", "Digest x", &long] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_tokens_scopes_are_those_of_the_http_interface() {
        let reach = |scopes: &[&str]| {
            let scopes: Vec<String> = scopes.iter().map(|it| (*it).to_owned()).collect();
            reach(&scopes)
        };
        assert_eq!(reach(&[]), Some(Vec::new()));
        assert_eq!(reach(&["bucket:ci-", "queue:x"]), Some(vec!["ci-".to_owned()]));
        assert_eq!(reach(&["bucket"]), Some(Vec::new()));
        assert_eq!(reach(&["session:"]), None);
    }

    #[test]
    fn readers_read_and_operators_write_within_reach() {
        let reader = Grant::new("r", ApiRole::Reader, &["ci-".to_owned()]);
        assert_eq!(check(&reader, &Method::GET, "ci-a"), Ok(()));
        assert_eq!(check(&reader, &Method::HEAD, "ci-a"), Ok(()));
        for (method, bucket) in
            [(Method::PUT, "ci-a"), (Method::DELETE, "ci-a"), (Method::GET, "a")]
        {
            let refused = check(&reader, &method, bucket).unwrap_err();
            assert_eq!(refused.code, ErrorCode::Forbidden, "{method} {bucket}");
        }
        let operator = Grant::new("o", ApiRole::Operator, &[]);
        assert_eq!(check(&operator, &Method::PUT, "a"), Ok(()));
    }
}
