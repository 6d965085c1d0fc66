//! Who asks, and what they may do.
//!
//! A signature covers the body, so that it can be checked only once that is there. What it says of
//! itself is held against the keys and the time before, so that a stranger's body is not read.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, request::Parts};
use rhumb_engine::telemetry::Metrics;
use rhumb_front::{Bearer, Buckets, Grant, KeyTwice, Keys, SignedConfig, is_foreign_page};
use rhumb_sigv4::{Authorization, Content, PathStyle, Rules};
use rhumb_types::{Timestamp, record::QueueName};

use crate::{
    fault::{Code, Fault},
    limits::{FAILURES_BURST, FAILURES_PER_SECOND},
    operation::Operation,
};

/// The service of the scopes that are taken.
const SERVICE: &str = "sqs";

/// Whether an operation is allowed at all.
///
/// # Errors
/// What a client is told whose key has not got the role.
pub(crate) fn check_role(grant: &Grant, operation: Operation) -> Result<(), Fault> {
    if grant.includes(operation.role()) {
        return Ok(());
    }
    let (key, name) = (grant.name(), operation.name());
    let message = format!("The access key {key} has not got the role that {name} needs.");
    Err(Fault::new(Code::AccessDenied, message))
}

/// Refuses a queue out of reach.
///
/// # Errors
/// What a client is told whose key is limited to other queues.
pub(crate) fn check_queue(grant: &Grant, queue: &QueueName) -> Result<(), Fault> {
    if grant.covers(queue.as_str()) {
        return Ok(());
    }
    let message = format!("The access key {} is limited to other queues.", grant.name());
    Err(Fault::new(Code::AccessDenied, message))
}

/// What a request says of who sent it, before that is proved.
pub(crate) enum Claim {
    /// Nothing is asked.
    Anybody,
    /// It is signed.
    Signed(Box<Authorization>),
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
        let rules = Rules::new(SERVICE, PathStyle::Normalized, config.regions.clone());
        Ok(Self {
            asks: config.listener.auth,
            keys: Keys::new(&config.keys, rules)?,
            failures: Buckets::new(FAILURES_PER_SECOND, FAILURES_BURST),
            metrics,
        })
    }

    /// What the head of a request says, as far as it can be held against anything.
    pub(crate) fn hear(
        &self,
        parts: &Parts,
        client: SocketAddr,
        now: Timestamp,
    ) -> Result<Claim, Fault> {
        if !self.asks {
            return refuse_foreign_pages(&parts.headers).map(|()| Claim::Anybody);
        }
        let claim = self.keys.claim(parts, now.wall);
        let claim = claim.map_err(|doubt| self.refused(doubt.into(), client, now))?;
        Ok(Claim::Signed(Box::new(claim)))
    }

    /// Who asks, now that the body is there.
    pub(crate) fn prove(
        &self,
        claim: &Claim,
        parts: &Parts,
        body: &[u8],
        client: SocketAddr,
        now: Timestamp,
    ) -> Result<Grant, Fault> {
        let Claim::Signed(authorization) = claim else { return Ok(Grant::anything()) };
        let proved = self.keys.prove(authorization, parts, Content::of_body(body), now.wall);
        let grant = proved.map(|(grant, _)| grant.clone());
        grant.map_err(|doubt| self.refused(doubt.into(), client, now))
    }

    /// A refusal that is counted and logged. Who fails too often is not logged any more, and told to
    /// wait; a valid key is never held back by the failures of others behind the same address.
    fn refused(&self, fault: Fault, client: SocketAddr, now: Timestamp) -> Fault {
        self.metrics.http_refused(fault.code.query()).inc();
        match self.failures.take(Bearer::address(client.ip()), now.mono) {
            Ok(()) => {
                tracing::warn!(%client, reason = fault.code.query(), "SQS: not authenticated");
                fault
            }
            Err(wait) => Fault { retry_after: Some(wait), ..fault },
        }
    }
}

/// Without keys, a page of some web site that runs in a browser on this machine must not get through,
/// under a name that was made to point here either.
fn refuse_foreign_pages(headers: &HeaderMap) -> Result<(), Fault> {
    if !is_foreign_page(headers) {
        return Ok(());
    }
    let message = "This server asks for no access key, so it answers only to its loopback address and \
                   to no web page. Use http://127.0.0.1 or http://localhost, or turn `auth` on.";
    Err(Fault::new(Code::AccessDenied, message))
}

#[cfg(test)]
mod tests {
    use rhumb_front::{AccessKey, Listener, with_request};
    use rhumb_sigv4::{Scope, Secret, SigningKey, Stamp, sign};
    use rhumb_types::{MonoTime, RegionId, UnixMillis, control::ApiRole};

    use super::*;

    const NOW: Timestamp =
        Timestamp { wall: UnixMillis(1_795_266_900_000), mono: MonoTime(1_000_000) };

    fn door(auth: bool) -> Door {
        let key = |id: &str, role, reach: &[&str]| AccessKey {
            id: id.to_owned(),
            secret: Secret::new(format!("secret of {id}")),
            role,
            reach: reach.iter().map(|it| (*it).to_owned()).collect(),
        };
        let config = SignedConfig {
            listener: Listener { auth, ..Listener::open(([127, 0, 0, 1], 0).into()) },
            keys: vec![
                key("OPERATOR", ApiRole::Operator, &[]),
                key("READER", ApiRole::Reader, &["team-"]),
            ],
            regions: ["us-east-1".to_owned()].into(),
        };
        let metrics = Metrics::new("0", &RegionId::new("us-east-1").unwrap());
        Door::new(&config, Arc::new(metrics)).unwrap()
    }

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// A request of an access key, signed with a secret at a time.
    fn signed(id: &str, secret: &str, at: UnixMillis, body: &[u8]) -> Parts {
        let stamp = Stamp::at(at);
        let (region, service) = ("us-east-1".to_owned(), SERVICE.to_owned());
        let scope = Scope { day: stamp.day(), region, service };
        let key = SigningKey::derive(&Secret::new(secret.to_owned()), &scope);
        let date = stamp.to_string();
        let heads = [("host", "localhost:7404"), ("x-amz-date", date.as_str())];
        let names = heads.map(|(name, _)| name.to_owned());
        let plain = parts(&heads);
        let content = Content::of_body(body);
        let signature = with_request(&plain, |request| {
            sign(request, PathStyle::Normalized, &names, content, (&key, &scope, stamp))
        });
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={}, Signature={}",
            names.join(";"),
            crate::message::hex(&signature)
        );
        parts(&[heads[0], heads[1], ("authorization", &authorization)])
    }

    fn client() -> SocketAddr {
        "192.0.2.1:1".parse().unwrap()
    }

    fn enter(door: &Door, parts: &Parts, body: &[u8]) -> Result<Grant, Fault> {
        let claim = door.hear(parts, client(), NOW)?;
        door.prove(&claim, parts, body, client(), NOW)
    }

    #[test]
    fn a_signed_request_is_its_keys() {
        let door = door(true);
        let request = signed("OPERATOR", "secret of OPERATOR", NOW.wall, b"{}");
        let principal = enter(&door, &request, b"{}").unwrap();
        assert_eq!(principal.name(), "OPERATOR");
        let refused = |parts: &Parts, body: &[u8]| enter(&door, parts, body).unwrap_err().code;
        assert_eq!(refused(&request, b"{ }"), Code::SignatureDoesNotMatch);
        let stranger = signed("NOBODY", "secret of OPERATOR", NOW.wall, b"{}");
        assert_eq!(refused(&stranger, b"{}"), Code::InvalidClientTokenId);
        let wrong = signed("OPERATOR", "secret of READER", NOW.wall, b"{}");
        assert_eq!(refused(&wrong, b"{}"), Code::SignatureDoesNotMatch);
        assert_eq!(refused(&parts(&[]), b""), Code::MissingAuthentication);
    }

    #[test]
    fn what_is_out_of_time_is_refused_before_its_body_is_read() {
        let door = door(true);
        let old = UnixMillis(NOW.wall.0 - 16 * 60 * 1_000);
        let request = signed("OPERATOR", "secret of OPERATOR", old, b"{}");
        let refused = door.hear(&request, client(), NOW).err().map(|fault| fault.code);
        assert_eq!(refused, Some(Code::SignatureDoesNotMatch));
    }

    #[test]
    fn who_fails_too_often_is_told_to_wait_and_a_valid_key_is_not_held_back() {
        let door = door(true);
        let mut told = None;
        for _ in 0..=12 {
            told = enter(&door, &parts(&[]), b"").unwrap_err().retry_after;
        }
        assert!(told.is_some());
        let request = signed("OPERATOR", "secret of OPERATOR", NOW.wall, b"");
        assert!(enter(&door, &request, b"").is_ok());
    }

    #[test]
    fn keys_have_roles_and_queues() {
        let door = door(true);
        let reader = signed("READER", "secret of READER", NOW.wall, b"");
        let reader = enter(&door, &reader, b"").unwrap();
        assert!(check_role(&reader, Operation::ListQueues).is_ok());
        for changes in [Operation::SendMessage, Operation::ReceiveMessage, Operation::PurgeQueue] {
            let refused = check_role(&reader, changes).unwrap_err();
            assert_eq!(refused.code, Code::AccessDenied, "{changes:?}");
        }
        let queue = |name| QueueName::new(name).unwrap();
        assert!(check_queue(&reader, &queue("team-a")).is_ok());
        assert_eq!(check_queue(&reader, &queue("a")).unwrap_err().code, Code::AccessDenied);
    }

    #[test]
    fn without_keys_no_web_page_gets_through() {
        let door = door(false);
        for local in [&[][..], &[("host", "localhost:7404")], &[("host", "127.0.0.1:7404")]] {
            assert_eq!(enter(&door, &parts(local), b"").unwrap().name(), "anybody");
        }
        for foreign in [
            &[("host", "evil.example:7404")][..],
            &[("host", "localhost:7404"), ("origin", "https://evil.example")],
        ] {
            let refused = enter(&door, &parts(foreign), b"").unwrap_err();
            assert_eq!(refused.code, Code::AccessDenied, "{foreign:?}");
        }
    }
}
