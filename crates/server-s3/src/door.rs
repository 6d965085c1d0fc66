//! Who asks.
//!
//! What is signed of a body is declared in the head, so that a signature is believed or not before any
//! of the body is read. A request without one is nobody's; it may do what a bucket's policy allows to
//! everybody.

use std::{net::SocketAddr, sync::Arc};

use http::{StatusCode, request::Parts};
use rhumb_engine::telemetry::Metrics;
use rhumb_front::{Bearer, Buckets, Doubt, Grant, KeyTwice, Keys, SignedConfig, is_foreign_page};
use rhumb_sigv4::{Chain, Content, Form, PathStyle, Refusal, Rules};
use rhumb_types::Timestamp;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::{
    access::Told,
    declared::{Declared, asks, says_content},
    limits::{FAILURES_BURST, FAILURES_PER_SECOND},
};

/// The service of the scopes that are taken.
const SERVICE: &str = "s3";
/// The region that clients sign for when nobody told them one.
const UNTOLD_REGION: &str = "us-east-1";

/// Who asks, once that is proved.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// What is granted to them; nothing to those who did not sign.
    pub(crate) grant: Option<Grant>,
    /// Whence.
    pub(crate) client: SocketAddr,
    /// Whether over TLS.
    pub(crate) secure: bool,
    /// What conditions of policies ask about.
    pub(crate) told: Arc<Told>,
}

impl Caller {
    /// As logs and buckets' owners name it.
    pub(crate) fn name(&self) -> &str {
        self.grant.as_ref().map_or("anonymous", Grant::name)
    }

    /// Whose rate is counted.
    pub(crate) fn bearer(&self) -> Bearer {
        let client = self.client.ip();
        self.grant.as_ref().map_or_else(|| Bearer::address(client), |grant| grant.bearer(client))
    }
}

/// The door.
#[derive(Debug)]
pub(crate) struct Door {
    asks: bool,
    secure: bool,
    keys: Keys,
    failures: Buckets,
    metrics: Arc<Metrics>,
}

impl Door {
    pub(crate) fn new(config: &SignedConfig, metrics: Arc<Metrics>) -> Result<Self, KeyTwice> {
        let mut regions = config.regions.clone();
        regions.insert(UNTOLD_REGION.to_owned());
        Ok(Self {
            asks: config.listener.auth,
            secure: config.listener.tls.is_some(),
            keys: Keys::new(&config.keys, Rules::new(SERVICE, PathStyle::Plain, regions))?,
            failures: Buckets::new(FAILURES_PER_SECOND, FAILURES_BURST),
            metrics,
        })
    }

    /// Who asks, and what the signatures of the chunks of the body are chained to.
    ///
    /// # Errors
    /// What a client is told of a signature that is not believed.
    pub(crate) fn enter(
        &self,
        parts: &Parts,
        declared: &Declared,
        client: SocketAddr,
        now: Timestamp,
    ) -> S3Result<(Caller, Option<Chain>)> {
        let told = Told::of(&parts.headers, parts.uri.query().unwrap_or_default());
        let told = Arc::new(told);
        let caller = |grant| Caller { grant, client, secure: self.secure, told };
        if !self.asks {
            refuse_foreign_pages(parts)?;
            return Ok((caller(Some(Grant::anything())), None));
        }
        match self.prove(parts, declared, now) {
            Ok(Some((grant, chain))) => Ok((caller(Some(grant)), Some(chain))),
            Ok(None) => Ok((caller(None), None)),
            Err(error) => Err(self.refused(error, client, now)),
        }
    }

    fn prove(
        &self,
        parts: &Parts,
        declared: &Declared,
        now: Timestamp,
    ) -> S3Result<Option<(Grant, Chain)>> {
        let query = parts.uri.query().unwrap_or_default();
        if asks(query, "AWSAccessKeyId") {
            // The version before, in a query.
            return Err(error_of(&Doubt::Signature(Refusal::Algorithm), true));
        }
        let in_query = asks(query, "X-Amz-Algorithm");
        let claim = match self.keys.claim(parts, now.wall) {
            Ok(claim) => claim,
            Err(Doubt::Signature(Refusal::Missing)) => return Ok(None),
            Err(doubt) => return Err(error_of(&doubt, in_query)),
        };
        if claim.form == Form::Header && !says_content(&parts.headers) {
            let message = "Missing required header for this request: x-amz-content-sha256";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
        }
        if in_query && !matches!(declared.content, Content::Unsigned | Content::Hash(_)) {
            let message = "The body of a presigned request cannot come in signed chunks.";
            return Err(S3Error::with_message(S3ErrorCode::NotImplemented, message));
        }
        let proved = self.keys.prove(&claim, parts, declared.content, now.wall);
        let (grant, seed) = proved.map_err(|doubt| error_of(&doubt, in_query))?;
        Ok(Some((grant.clone(), seed.into())))
    }

    /// A refusal that is counted and logged. Who fails too often is not logged any more; a valid key is
    /// never held back by the failures of others behind the same address.
    fn refused(&self, error: S3Error, client: SocketAddr, now: Timestamp) -> S3Error {
        let reason = match error.code() {
            S3ErrorCode::InvalidAccessKeyId => "InvalidAccessKeyId",
            S3ErrorCode::RequestTimeTooSkewed => "RequestTimeTooSkewed",
            S3ErrorCode::SignatureDoesNotMatch => "SignatureDoesNotMatch",
            S3ErrorCode::AccessDenied => "AccessDenied",
            _ => "Malformed",
        };
        self.metrics.http_refused(reason).inc();
        if self.failures.take(Bearer::address(client.ip()), now.mono).is_ok() {
            tracing::warn!(%client, reason, "S3: not authenticated");
        }
        error
    }
}

fn refuse_foreign_pages(parts: &Parts) -> S3Result<()> {
    if !is_foreign_page(&parts.headers) {
        return Ok(());
    }
    let message = "This server asks for no access key, so it answers only to its loopback address and \
                   to no web page. Use http://127.0.0.1 or http://localhost, or turn `auth` on.";
    Err(S3Error::with_message(S3ErrorCode::AccessDenied, message))
}

/// A doubt as clients see it.
fn error_of(doubt: &Doubt, in_query: bool) -> S3Error {
    let refusal = match doubt {
        Doubt::Signature(refusal) => refusal,
        Doubt::UnknownKey => {
            let message = "The AWS Access Key Id you provided does not exist in our records.";
            return S3Error::with_message(S3ErrorCode::InvalidAccessKeyId, message);
        }
        Doubt::SessionToken => {
            let message = "There are no temporary access keys here: leave the session token out.";
            return S3Error::with_message(S3ErrorCode::InvalidToken, message);
        }
    };
    let code = match refusal {
        Refusal::Missing => S3ErrorCode::AccessDenied,
        Refusal::Algorithm => {
            let message = "The authorization mechanism you have provided is not supported. Please use \
                           AWS4-HMAC-SHA256.";
            return S3Error::with_message(S3ErrorCode::InvalidRequest, message);
        }
        Refusal::Malformed(_) | Refusal::Scope { .. } if in_query => {
            S3ErrorCode::AuthorizationQueryParametersError
        }
        Refusal::Malformed(_) | Refusal::Scope { .. } => S3ErrorCode::AuthorizationHeaderMalformed,
        Refusal::Skewed { .. } => S3ErrorCode::RequestTimeTooSkewed,
        Refusal::Expired { .. } => return s3_error!(AccessDenied, "Request has expired"),
        Refusal::Uncovered(_) => S3ErrorCode::AccessDenied,
        Refusal::Mismatch => S3ErrorCode::SignatureDoesNotMatch,
    };
    let mut error = S3Error::with_message(code, sentence(&refusal.to_string()));
    if error.status_code().is_none() {
        error.set_status_code(StatusCode::BAD_REQUEST);
    }
    error
}

/// A fragment as a sentence.
pub(crate) fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    let first = letters.next().map(char::to_uppercase);
    first.map_or_else(String::new, |first| {
        format!("{}{}.", first.collect::<String>(), letters.as_str())
    })
}

#[cfg(test)]
mod tests {
    use rhumb_front::{AccessKey, Listener, with_request};
    use rhumb_sigv4::{Scope, Secret, SigningKey, Stamp, sign};
    use rhumb_types::{MonoTime, RegionId, UnixMillis, control::ApiRole};

    use super::*;

    const NOW: Timestamp =
        Timestamp { wall: UnixMillis(1_795_266_900_000), mono: MonoTime(1_000_000) };
    const HOUR: u64 = 3_600_000;

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
            regions: ["eu-west-1".to_owned()].into(),
        };
        let metrics = Metrics::new("0", &RegionId::new("eu-west-1").unwrap());
        Door::new(&config, Arc::new(metrics)).unwrap()
    }

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn enter(door: &Door, parts: &Parts) -> Result<Caller, S3ErrorCode> {
        let declared = Declared::of(parts).unwrap();
        let client = "192.0.2.1:1".parse().unwrap();
        let entered = door.enter(parts, &declared, client, NOW);
        entered.map(|(caller, _)| caller).map_err(|error| error.code().clone())
    }

    /// How a test signs.
    #[derive(Clone, Copy)]
    struct Signing<'a> {
        id: &'a str,
        secret: &'a str,
        at: UnixMillis,
        region: &'a str,
        service: &'a str,
        content: &'a str,
    }

    const GOOD: Signing<'_> = Signing {
        id: "OPERATOR",
        secret: "secret of OPERATOR",
        at: NOW.wall,
        region: "eu-west-1",
        service: "s3",
        content: "UNSIGNED-PAYLOAD",
    };

    fn scope(signing: Signing<'_>) -> (Scope, Stamp, SigningKey) {
        let stamp = Stamp::at(signing.at);
        let (region, service) = (signing.region.to_owned(), signing.service.to_owned());
        let scope = Scope { day: stamp.day(), region, service };
        let key = SigningKey::derive(&Secret::new(signing.secret.to_owned()), &scope);
        (scope, stamp, key)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn in_header(signing: Signing<'_>, method: &str, uri: &str) -> Parts {
        let (scope, stamp, key) = scope(signing);
        let date = stamp.to_string();
        let heads = [
            ("host", "localhost:7403"),
            ("x-amz-content-sha256", signing.content),
            ("x-amz-date", date.as_str()),
        ];
        let names = heads.map(|(name, _)| name.to_owned());
        let content = Content::declared(signing.content).unwrap();
        let signature = with_request(&parts(method, uri, &heads), |request| {
            sign(request, PathStyle::Plain, &names, content, (&key, &scope, stamp))
        });
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={}",
            signing.id,
            names.join(";"),
            hex(&signature)
        );
        let [host, content, date] = heads;
        parts(method, uri, &[host, content, date, ("authorization", &authorization)])
    }

    fn presigned(signing: Signing<'_>, path: &str, expires: u64) -> String {
        let (scope, stamp, key) = scope(signing);
        let credential = format!("{}/{scope}", signing.id).replace('/', "%2F");
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={stamp}\
             &X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
        );
        let plain = parts("GET", &format!("{path}?{query}"), &[("host", "localhost")]);
        let signature = with_request(&plain, |request| {
            let names = ["host".to_owned()];
            sign(request, PathStyle::Plain, &names, Content::Unsigned, (&key, &scope, stamp))
        });
        format!("{path}?{query}&X-Amz-Signature={}", hex(&signature))
    }

    #[test]
    fn a_signed_request_is_its_keys() {
        let door = door(true);
        let caller = enter(&door, &in_header(GOOD, "GET", "/b/a%20b//..%2Fc")).unwrap();
        assert_eq!(caller.name(), "OPERATOR");
        for (signing, refused) in [
            (Signing { id: "NOBODY", ..GOOD }, S3ErrorCode::InvalidAccessKeyId),
            (Signing { secret: "x", ..GOOD }, S3ErrorCode::SignatureDoesNotMatch),
            (Signing { region: "mars-1", ..GOOD }, S3ErrorCode::AuthorizationHeaderMalformed),
            (Signing { service: "sqs", ..GOOD }, S3ErrorCode::AuthorizationHeaderMalformed),
            (
                Signing { at: UnixMillis(NOW.wall.0 - HOUR / 3), ..GOOD },
                S3ErrorCode::RequestTimeTooSkewed,
            ),
            (
                Signing { at: UnixMillis(NOW.wall.0 + HOUR / 3), ..GOOD },
                S3ErrorCode::RequestTimeTooSkewed,
            ),
        ] {
            assert_eq!(enter(&door, &in_header(signing, "GET", "/b/k")).unwrap_err(), refused);
        }
        let untold = Signing { region: UNTOLD_REGION, ..GOOD };
        assert!(enter(&door, &in_header(untold, "GET", "/")).is_ok());
    }

    #[test]
    fn every_part_of_a_request_is_signed() {
        let door = door(true);
        let good = in_header(GOOD, "GET", "/b/k?versionId=1");
        assert!(enter(&door, &good).is_ok());
        let changed = |change: fn(&mut Parts)| {
            let mut parts = good.clone();
            change(&mut parts);
            enter(&door, &parts).unwrap_err()
        };
        let mismatch = S3ErrorCode::SignatureDoesNotMatch;
        assert_eq!(changed(|it| it.method = http::Method::PUT), mismatch);
        assert_eq!(changed(|it| it.uri = "/b/l?versionId=1".parse().unwrap()), mismatch);
        assert_eq!(changed(|it| it.uri = "/b/k?versionId=2".parse().unwrap()), mismatch);
        let host = |it: &mut Parts| {
            it.headers.insert("host", "elsewhere".parse().unwrap());
        };
        assert_eq!(changed(host), mismatch);
        let content = |it: &mut Parts| {
            let other = "STREAMING-UNSIGNED-PAYLOAD-TRAILER".parse().unwrap();
            it.headers.insert("x-amz-content-sha256", other);
            it.headers.insert("x-amz-decoded-content-length", "1".parse().unwrap());
        };
        assert_eq!(changed(content), S3ErrorCode::AccessDenied, "a header is not signed");
        let added = |it: &mut Parts| {
            it.headers.insert("x-amz-meta-a", "b".parse().unwrap());
        };
        assert_eq!(changed(added), S3ErrorCode::AccessDenied);
        let unsaid = |it: &mut Parts| {
            it.headers.remove("x-amz-content-sha256");
        };
        assert_eq!(changed(unsaid), S3ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_presigned_address_is_good_for_its_time_and_for_what_it_names() {
        let door = door(true);
        let get = |uri: &str| enter(&door, &parts("GET", uri, &[("host", "localhost")]));
        let ago = |hours: u64| Signing { at: UnixMillis(NOW.wall.0 - hours * HOUR), ..GOOD };
        assert_eq!(get(&presigned(ago(1), "/b/k", 3_601)).unwrap().name(), "OPERATOR");
        assert_eq!(get(&presigned(ago(1), "/b/k", 3_599)).unwrap_err(), S3ErrorCode::AccessDenied);
        assert!(get(&presigned(ago(167), "/b/k", 604_800)).is_ok());
        let longer = get(&presigned(ago(1), "/b/k", 604_801)).unwrap_err();
        assert_eq!(longer, S3ErrorCode::AuthorizationQueryParametersError);
        let other = presigned(ago(1), "/b/k", 3_601).replace("/b/k", "/b/l");
        assert_eq!(get(&other).unwrap_err(), S3ErrorCode::SignatureDoesNotMatch);
        let put = parts("PUT", &presigned(ago(1), "/b/k", 3_601), &[("host", "localhost")]);
        assert_eq!(enter(&door, &put).unwrap_err(), S3ErrorCode::SignatureDoesNotMatch);
    }

    #[test]
    fn the_version_before_is_refused() {
        let door = door(true);
        let header = parts("GET", "/b", &[("authorization", "AWS OPERATOR:c2lnbmF0dXJl")]);
        assert_eq!(enter(&door, &header).unwrap_err(), S3ErrorCode::InvalidRequest);
        let query = "/b/k?AWSAccessKeyId=OPERATOR&Expires=9999999999&Signature=c2ln";
        let refused = enter(&door, &parts("GET", query, &[])).unwrap_err();
        assert_eq!(refused, S3ErrorCode::InvalidRequest);
    }

    #[test]
    fn who_does_not_sign_has_nothing_granted() {
        let caller = enter(&door(true), &parts("GET", "/b/k", &[])).unwrap();
        assert_eq!((caller.name(), caller.grant.is_none()), ("anonymous", true));
    }

    #[test]
    fn without_keys_no_web_page_gets_through() {
        let door = door(false);
        let local = parts("GET", "/", &[("host", "localhost:7403")]);
        assert_eq!(enter(&door, &local).unwrap().name(), "anybody");
        let foreign = parts("GET", "/", &[("host", "evil.example")]);
        assert_eq!(enter(&door, &foreign).unwrap_err(), S3ErrorCode::AccessDenied);
    }
}
