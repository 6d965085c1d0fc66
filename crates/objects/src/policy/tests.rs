use proptest::prelude::*;

use super::*;

fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

fn policy(statements: &str) -> Policy {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": {statements}}}"#);
    Policy::parse(&text, &bucket()).unwrap()
}

fn ask(action: Action, key: Option<&'static str>) -> Request<'static> {
    Request {
        principal: None,
        action,
        key,
        address: None,
        secure: true,
        max_keys: None,
        texts: &[],
    }
}

const ALLOWED: Decision = Decision::Allowed { statement: 0 };

/// "Granting read-only permission to an anonymous user", from the S3 user guide.
#[test]
fn a_public_bucket_is_read_by_everyone_and_written_by_nobody() {
    let policy = policy(
        r#"[{
            "Sid": "PublicRead",
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": ["arn:aws:s3:::photos/*"]
        }]"#,
    );
    assert!(policy.is_public());
    assert_eq!(policy.decide(&ask(Action::GetObject, Some("a/b"))), ALLOWED);
    assert_eq!(policy.decide(&ask(Action::GetObjectVersion, Some("a"))), ALLOWED);
    assert_eq!(policy.decide(&ask(Action::PutObject, Some("a"))), Decision::Silent);
    assert_eq!(policy.decide(&ask(Action::ListBucket, None)), Decision::Silent);
}

/// "Managing access to specific IP addresses" and "Restrict access to HTTPS", from there too.
#[test]
fn an_explicit_denial_wins() {
    let policy = policy(
        r#"[
            {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:*",
             "Resource": ["arn:aws:s3:::photos", "arn:aws:s3:::photos/*"]},
            {"Effect": "Deny", "Principal": "*", "Action": "s3:*",
             "Resource": ["arn:aws:s3:::photos", "arn:aws:s3:::photos/*"],
             "Condition": {"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]}}},
            {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
             "Condition": {"Bool": {"aws:SecureTransport": false}}}
        ]"#,
    );
    let from = |address: &str, secure| {
        let address = Some(address.parse().unwrap());
        policy.decide(&Request { address, secure, ..ask(Action::GetObject, Some("a")) })
    };
    assert_eq!(from("192.0.2.7", true), ALLOWED);
    assert_eq!(from("::ffff:192.0.2.7", true), ALLOWED);
    assert_eq!(from("2001:db8:1::1", true), ALLOWED);
    assert_eq!(from("192.0.3.7", true), Decision::Denied { statement: 1 });
    assert_eq!(from("2001:db9::1", true), Decision::Denied { statement: 1 });
    assert_eq!(from("192.0.2.7", false), Decision::Denied { statement: 2 });
    // Without an address it is not in the network: denied, as what is negated holds.
    let unknown = policy.decide(&ask(Action::GetObject, Some("a")));
    assert_eq!(unknown, Decision::Denied { statement: 1 });
}

/// "Granting access to a specific folder", and the limit of keys, from there too.
#[test]
fn listings_are_allowed_by_prefix_and_length() {
    let policy = policy(
        r#"{
            "Effect": "Allow",
            "Principal": {"AWS": ["arn:aws:iam::111122223333:user/carlos", "dora"]},
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::photos",
            "Condition": {
                "StringLike": {"s3:prefix": ["home/", "home/carlos/*"]},
                "NumericLessThanEquals": {"s3:max-keys": "10"},
                "StringEqualsIfExists": {"s3:delimiter": "/"}
            }
        }"#,
    );
    let list = |principal: Option<&str>, texts: &[(TextKey, &str)], max_keys| {
        let request = Request { principal, texts, max_keys, ..ask(Action::ListBucket, None) };
        policy.decide(&request)
    };
    let of_carlos = [(TextKey::Prefix, "home/carlos/2026/")];
    assert_eq!(list(Some("carlos"), &of_carlos, Some(10)), ALLOWED);
    assert_eq!(list(Some("dora"), &[(TextKey::Prefix, "home/")], Some(1)), ALLOWED);
    assert_eq!(list(Some("eve"), &of_carlos, Some(10)), Decision::Silent);
    assert_eq!(list(None, &of_carlos, Some(10)), Decision::Silent);
    assert_eq!(list(Some("carlos"), &of_carlos, Some(11)), Decision::Silent);
    assert_eq!(list(Some("carlos"), &of_carlos, None), Decision::Silent);
    assert_eq!(list(Some("carlos"), &[], Some(1)), Decision::Silent);
    let split = [of_carlos[0], (TextKey::Delimiter, "-")];
    assert_eq!(list(Some("carlos"), &split, Some(1)), Decision::Silent);
    assert!(!policy.is_public());
}

#[test]
fn what_is_not_named_can_be_meant() {
    let policy = policy(
        r#"[
            {"Effect": "Allow", "Principal": "*", "NotAction": ["s3:Delete*", "s3:put*"],
             "NotResource": "arn:aws:s3:::photos/private/*"}
        ]"#,
    );
    assert_eq!(policy.decide(&ask(Action::GetObject, Some("a"))), ALLOWED);
    assert_eq!(policy.decide(&ask(Action::GetObject, Some("private/a"))), Decision::Silent);
    assert_eq!(policy.decide(&ask(Action::DeleteObject, Some("a"))), Decision::Silent);
    assert_eq!(policy.decide(&ask(Action::PutObject, Some("a"))), Decision::Silent);
}

#[test]
fn operators_hold_as_documented() {
    let holds = |condition: &str, request: Request<'_>| {
        let statement = format!(
            r#"{{"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket",
                "Resource": "*", "Condition": {{{condition}}}}}"#
        );
        policy(&statement).decide(&request) == ALLOWED
    };
    let list = ask(Action::ListBucket, None);
    let prefix = |text: &'static str| Request {
        texts: Box::leak(Box::new([(TextKey::Prefix, text)])),
        ..list
    };
    for (operator, value, given, wanted) in [
        ("StringEquals", "a", "a", true),
        ("StringEquals", "a*", "ab", false),
        ("StringNotEquals", "a", "a", false),
        ("StringNotEquals", "a", "b", true),
        ("StringEqualsIgnoreCase", "aB", "Ab", true),
        ("StringNotEqualsIgnoreCase", "aB", "Ab", false),
        ("StringLike", "a?c*", "abcd", true),
        ("StringNotLike", "a?c*", "abcd", false),
    ] {
        let condition = format!(r#""{operator}": {{"S3:Prefix": "{value}"}}"#);
        assert_eq!(holds(&condition, prefix(given)), wanted, "{operator} {value} {given}");
    }
    // Without the key only what is negated holds, or what is asked only if it exists.
    assert!(!holds(r#""StringEquals": {"s3:prefix": "a"}"#, list));
    assert!(holds(r#""StringNotEquals": {"s3:prefix": "a"}"#, list));
    assert!(holds(r#""StringEqualsIfExists": {"s3:prefix": "a"}"#, list));
    assert!(holds(r#""Null": {"s3:prefix": "true"}"#, list));
    assert!(!holds(r#""Null": {"s3:prefix": true}"#, prefix("")));
    let named = Request { principal: Some("anna"), ..list };
    assert!(holds(r#""StringEquals": {"aws:username": ["otto", "anna"]}"#, named));
    for (operator, wanted) in [
        ("NumericEquals", [false, true, false]),
        ("NumericNotEquals", [true, false, true]),
        ("NumericLessThan", [true, false, false]),
        ("NumericLessThanEquals", [true, true, false]),
        ("NumericGreaterThan", [false, false, true]),
        ("NumericGreaterThanEquals", [false, true, true]),
    ] {
        let condition = format!(r#""{operator}": {{"s3:max-keys": 5}}"#);
        let got = [4, 5, 6].map(|keys| holds(&condition, Request { max_keys: Some(keys), ..list }));
        assert_eq!(got, wanted, "{operator}");
    }
    // All of several conditions must hold.
    let both = r#""StringLike": {"s3:prefix": "a*"}, "Bool": {"aws:SecureTransport": "true"}"#;
    assert!(holds(both, prefix("ab")));
    assert!(!holds(both, Request { secure: false, ..prefix("ab") }));
    assert!(!holds(both, prefix("b")));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let said = |change: &dyn Fn(&str) -> String| {
        let good = r#"{
"Version": "2012-10-17",
"Statement": [{
"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
"Resource": "arn:aws:s3:::photos/*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}
}]}"#;
        assert!(Policy::parse(good, &bucket()).is_ok());
        let bad = change(good);
        assert_ne!(bad, good);
        Policy::parse(&bad, &bucket()).unwrap_err().to_string()
    };
    for (good, bad, wanted) in [
        ("2012-10-17", "2013-01-01", "Version of the policy: `2013-01-01` is not known"),
        ("s3:GetObject", "s3:GetObjcet", "Statement[0].Action of the policy: `s3:GetObjcet`"),
        ("\"s3:GetObject\"", "[]", "Statement[0].Action of the policy: there must be"),
        ("\"Action\"", "\"NotAction\": \"s3:*\", \"Action\"", "both Action and NotAction"),
        ("\"Action\": \"s3:GetObject\",", "", "it names no Action"),
        ("photos/*", "other/*", "Statement[0].Resource of the policy: `arn:aws:s3:::other/*`"),
        ("photos/*", "photos/${aws:username}", "variables are not known"),
        ("\"Principal\": \"*\",", "", "it names no Principal"),
        ("\"*\"", "\"anna\"", "Statement[0].Principal of the policy: `anna` must be `*`"),
        ("\"*\"", "{\"AWS\": \"123456789012\"}", "`123456789012` is nobody here"),
        ("\"*\"", "{\"AWS\": \"arn:aws:iam::123456789012:root\"}", "is nobody here"),
        ("\"*\"", "{\"AWS\": []}", "it names nobody"),
        ("\"*\"", "{\"Service\": \"s3\"}", "`Service` is not known"),
        ("\"Bool\"", "\"Boole\"", "the operator `Boole` is not known"),
        ("aws:SecureTransport", "aws:Moon", "the key `aws:Moon` is not known"),
        ("aws:SecureTransport", "s3:authType", "the key `s3:authType` is not known"),
        ("\"Bool\"", "\"IpAddress\"", "`IpAddress` does not go with `aws:SecureTransport`"),
        ("\"true\"}", "\"yes\"}", "`yes` is no value for `Bool`"),
        ("\"true\"}", "[]}", "Statement[0].Condition.Bool.aws:SecureTransport of the policy"),
        ("\"Bool\"", "\"Bool\": {}, \"Bool\"", "line 5, column"),
        ("Allow", "Permit", "line 4, column 18 of the policy: unknown variant `Permit`"),
        ("\"Principal\"", "\"NotPrincipal\"", "unknown field `NotPrincipal`"),
        ("\"Effect\"", "\"Effect\": \"Deny\", \"Effect\"", "duplicate field `Effect`"),
        ("}]}", "}]", "line 6, column"),
    ] {
        let error = said(&|text| text.replacen(good, bad, 1));
        assert!(error.contains(wanted), "{error:?} does not say {wanted:?}");
    }
    let empty = Policy::parse(r#"{"Statement": []}"#, &bucket()).unwrap_err();
    assert_eq!(empty.to_string(), "Statement of the policy: there must be at least one");
    let long = Policy::parse(&" ".repeat(20_481), &bucket()).unwrap_err();
    assert!(matches!(long, PolicyError::TooLong { bytes: 20_481, .. }));
    let deep = Policy::parse(&"[".repeat(20_000), &bucket()).unwrap_err();
    assert!(matches!(deep, PolicyError::Form { .. }), "{deep}");
}

#[test]
fn networks_that_are_none_are_refused() {
    for bad in ["", "1.2.3", "1.2.3.4/33", "::/129", "1.2.3.4/+8", "1.2.3.4/", "1.2.3.4/8/8"] {
        let text = format!(
            r#"{{"Statement": {{"Effect": "Deny", "Principal": "*", "Action": "*",
                "Resource": "*", "Condition": {{"IpAddress": {{"aws:SourceIp": "{bad}"}}}}}}}}"#
        );
        assert!(Policy::parse(&text, &bucket()).is_err(), "{bad}");
    }
}

/// The plain meaning of wildcards, by trying everything.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
        (Some((one, rest)), Some((char, left))) => {
            (*one == '?' || one == char) && naive(rest, left)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn wildcards_match_what_trying_everything_finds(
        pattern in "[ab*?é]{0,8}",
        text in "[abé]{0,10}",
    ) {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let wanted = naive(&chars(&pattern), &chars(&text));
        prop_assert_eq!(Pattern::new(&pattern).matches(&text), wanted);
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "\\PC{0,200}") {
        let _ = Policy::parse(&text, &bucket());
        let text = format!(r#"{{"Statement": {{"Effect": "Deny", "Principal": {text}}}}}"#);
        let _ = Policy::parse(&text, &bucket());
    }
}

#[test]
fn many_stars_cost_no_more_than_text_times_pattern() {
    let pattern = Pattern::new(&"*a".repeat(5_000));
    assert!(!pattern.matches(&"a".repeat(4_999)));
    let hard = Pattern::new(&format!("*{}b*", "a".repeat(1_000)));
    assert!(!hard.matches(&"a".repeat(20_000)));
}
