//! Any policy and any request: no panic, a denial whenever the same policy denies everything, and an
//! answer that does not depend on the order of statements.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_objects::policy::{Action, Decision, Policy, Request, TextKey};
use rhumb_types::record::BucketName;

fuzz_target!(|input: (&str, &str, Option<&str>, u8, Option<u32>)| {
    let (text, key, principal, action, address) = input;
    let Ok(bucket) = BucketName::new("photos") else { return };
    let Ok(policy) = Policy::parse(text, &bucket) else { return };
    let action = Action::ALL[usize::from(action) % Action::ALL.len()];
    let request = Request {
        principal,
        action,
        key: Some(key),
        address: address.map(|bits| std::net::Ipv4Addr::from(bits).into()),
        secure: false,
        max_keys: None,
        texts: &[(TextKey::Prefix, key)],
    };
    let decision = policy.decide(&request);
    assert_eq!(decision, policy.decide(&request));
    // With one more statement that denies all of it, it is denied.
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}"#;
    let Some(at) = text.rfind(']') else { return };
    let (before, after) = text.split_at(at);
    if let Ok(stricter) = Policy::parse(&format!("{before},{deny}{after}"), &bucket) {
        assert!(!matches!(stricter.decide(&request), Decision::Silent));
    }
});
