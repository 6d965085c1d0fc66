//! AWS's own vectors, and requests that botocore signed.

#![expect(clippy::unwrap_used, reason = "a vector that cannot be read is a failure")]

use std::{collections::BTreeSet, time::Duration};

use rhumb_sigv4::{
    Authorization, Content, Form, PathStyle, Refusal, Request, Rules, Secret, Seed, SigningKey,
    Stamp, sign, verify,
};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A request as it stands in a file.
#[derive(Clone)]
struct Written {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Written {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let line = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: lines.map(header).collect(),
            body: body.trim_end_matches('\n').to_owned(),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let Self { method, path, query, .. } = self;
        look(&Request { method, path, query, headers: &headers })
    }

    fn content(&self) -> Content {
        let header = self.headers.iter().find(|(name, _)| name == "x-amz-content-sha256");
        header.map_or_else(
            || Content::of_body(self.body.as_bytes()),
            |(_, value)| Content::declared(value).unwrap(),
        )
    }
}

fn rules(service: &'static str, path: PathStyle) -> Rules {
    Rules::new(service, path, BTreeSet::from(["us-east-1".to_owned()]))
}

fn checked(
    written: &Written,
    secret: &str,
    rules: &Rules,
    content: Content,
    after: Duration,
) -> Result<Seed, Refusal> {
    written.with(|request| {
        let authorization = Authorization::of(request)?;
        let key = SigningKey::derive(&Secret::new(secret.to_owned()), &authorization.scope);
        let now = authorization.stamp.time().saturating_add(after);
        verify(request, &authorization, rules, &key, content, now)
    })
}

const SOON: Duration = Duration::from_secs(1);

#[test]
fn signs_and_believes_the_requests_of_the_published_suite() {
    let suite = include_str!("vectors/aws4_testsuite.txt");
    let mut seen = 0;
    for vector in suite.split("=== ").skip(1) {
        let (name, rest) = vector.split_once("\n--- request\n").unwrap();
        let (request, rest) = rest.split_once("\n--- canonical\n").unwrap();
        let (_, header) = rest.split_once("\n--- header\n").unwrap();
        let mut written = Written::parse(request);
        written.headers.push(("authorization".to_owned(), header.trim_end().to_owned()));
        let content = written.content();
        let made = written.with(|request| {
            let it = Authorization::of(request).unwrap();
            assert_eq!(it.access_key, "AKIDEXAMPLE");
            let key = SigningKey::derive(&Secret::new(SECRET.to_owned()), &it.scope);
            let by = (&key, &it.scope, it.stamp);
            (sign(request, PathStyle::Normalized, &it.signed_headers, content, by), it.signature)
        });
        assert_eq!(made.0, made.1, "{name}");
        let rules = rules("service", PathStyle::Normalized);
        let believed = checked(&written, SECRET, &rules, content, SOON);
        assert!(believed.is_ok(), "{name}: {believed:?}");
        seen += 1;
    }
    assert_eq!(seen, 33);
}

fn of_botocore() -> Vec<(String, Written)> {
    let requests = include_str!("vectors/botocore.txt").split("=== ").skip(1);
    requests
        .map(|one| {
            let (name, request) = one.split_once('\n').unwrap();
            (name.to_owned(), Written::parse(request))
        })
        .collect()
}

fn rules_of(name: &str) -> Rules {
    match name.ends_with("s3") {
        true => rules("s3", PathStyle::Plain),
        false => rules("sqs", PathStyle::Normalized),
    }
}

/// A presigned address of S3 says nothing of the body.
fn content_of(name: &str, written: &Written) -> Content {
    if name.starts_with("s3query") { Content::Unsigned } else { written.content() }
}

#[test]
fn believes_botocore() {
    let requests = of_botocore();
    assert_eq!(requests.len(), 6);
    for (name, written) in requests {
        let content = content_of(&name, &written);
        let seed = checked(&written, SECRET, &rules_of(&name), content, SOON);
        let seed = seed.unwrap_or_else(|error| panic!("{name} {}: {error}", written.path));
        assert_eq!(seed.scope.region, "us-east-1");
    }
}

#[test]
fn a_change_of_any_part_is_found() {
    for (name, written) in of_botocore() {
        let rules = rules_of(&name);
        let content = content_of(&name, &written);
        let refused = |changed: &Written, what: &str| {
            let refused = checked(changed, SECRET, &rules, content, SOON);
            assert_eq!(refused.err(), Some(Refusal::Mismatch), "{name}: {what}");
        };
        let changed = |change: &dyn Fn(&mut Written)| {
            let mut other = written.clone();
            change(&mut other);
            other
        };
        refused(&changed(&|it| it.method = "DELETE".to_owned()), "method");
        refused(&changed(&|it| it.path.push('x')), "path");
        refused(&changed(&|it| it.query.push_str("&x=1")), "query");
        refused(&changed(&|it| it.headers[0].1.push('0')), "host");
        if content != Content::Unsigned {
            let other = Content::of_body(b"other");
            let refused = checked(&written, SECRET, &rules, other, SOON);
            assert_eq!(refused.err(), Some(Refusal::Mismatch), "{name}: body");
        }
        let other = checked(&written, "other", &rules, content, SOON);
        assert_eq!(other.err(), Some(Refusal::Mismatch), "{name}: secret");
    }
}

#[test]
fn a_header_that_somebody_added_is_found() {
    let (name, mut written) = of_botocore().remove(0);
    written.headers.push(("x-amz-target".to_owned(), "AmazonSQS.PurgeQueue".to_owned()));
    let content = written.content();
    let refused = checked(&written, SECRET, &rules_of(&name), content, SOON);
    assert_eq!(refused.err(), Some(Refusal::Mismatch));
    let (name, mut written) = of_botocore().remove(0);
    written.headers.push(("x-amz-acl".to_owned(), "public".to_owned()));
    let refused = checked(&written, SECRET, &rules_of(&name), content, SOON);
    assert_eq!(refused.err(), Some(Refusal::Uncovered("x-amz-acl".to_owned())));
}

#[test]
fn the_clocks_may_differ_by_a_quarter_of_an_hour() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    for (name, written) in of_botocore() {
        let content = content_of(&name, &written);
        let rules = rules_of(&name);
        let late = |after| checked(&written, SECRET, &rules, content, after).err();
        let presigned = name.contains("query");
        assert_eq!(late(minutes(15)), None, "{name}");
        match (presigned, late(minutes(16))) {
            (true, None) | (false, Some(Refusal::Skewed { .. })) => {}
            (_, other) => panic!("{name}: {other:?}"),
        }
        if presigned {
            assert_eq!(late(minutes(60)), None, "{name}: good for an hour");
            let over = late(minutes(60) + SOON);
            assert!(matches!(over, Some(Refusal::Expired { .. })), "{name}: {over:?}");
        }
        let early = written.with(|request| {
            let it = Authorization::of(request).unwrap();
            let time = |before: u64| Stamp::at(it.stamp.time()).time().0 - before * 1_000;
            let at = |before| rules.check(&it, rhumb_types::UnixMillis(time(before)));
            (at(900), at(901))
        });
        assert_eq!(early.0, Ok(()), "{name}");
        assert!(matches!(early.1, Err(Refusal::Skewed { .. })), "{name}");
    }
}

#[test]
fn a_signature_for_another_scope_is_not_taken() {
    let (name, written) = of_botocore().remove(0);
    let refused = |rules: Rules| {
        let refused = checked(&written, SECRET, &rules, written.content(), SOON).err();
        assert!(matches!(refused, Some(Refusal::Scope { .. })), "{refused:?}");
        refused.unwrap().to_string()
    };
    let elsewhere = BTreeSet::from(["eu-west-1".to_owned()]);
    let said = refused(Rules { regions: elsewhere, ..rules_of(&name) });
    assert!(said.contains("us-east-1") && said.contains("eu-west-1"), "{said}");
    refused(rules("s3", PathStyle::Normalized));
    let anywhere = Rules { regions: BTreeSet::new(), ..rules_of(&name) };
    assert!(checked(&written, SECRET, &anywhere, written.content(), SOON).is_ok());
    let mut other_day = written.clone();
    for (header, value) in &mut other_day.headers {
        if header == "authorization" {
            *value = value.replace("/20261121/", "/20261120/");
        }
    }
    let refused = checked(&other_day, SECRET, &rules_of(&name), written.content(), SOON).err();
    assert!(matches!(refused, Some(Refusal::Scope { part: "day", .. })), "{refused:?}");
}

#[test]
fn a_form_is_told() {
    for (name, written) in of_botocore() {
        let form = written.with(|request| Authorization::of(request).unwrap().form);
        assert_eq!(name.contains("query"), matches!(form, Form::Query { .. }), "{name}");
    }
}
