//! Any request: no panic, and what is read of a signature is believed only if the request was signed
//! so; the request as it came, signed here, is believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_sigv4::{
    Authorization, Content, PathStyle, Request, Rules, Secret, SigningKey, sign, verify,
};

fuzz_target!(|input: (&str, &str, Vec<(String, Vec<u8>)>, bool)| {
    let (path, query, headers, plain) = input;
    let headers: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let request = Request { method: "POST", path, query, headers: &headers };
    let Ok(mut it) = Authorization::of(&request) else { return };
    let style = if plain { PathStyle::Plain } else { PathStyle::Normalized };
    let rules = Rules::new("sqs", style, Default::default());
    let key = SigningKey::derive(&Secret::new("secret".to_owned()), &it.scope);
    let (content, now) = (Content::of_body(b"body"), it.stamp.time());
    let by = (&key, &it.scope, it.stamp);
    let own = sign(&request, style, &it.signed_headers, content, by);
    let believed = verify(&request, &it, &rules, &key, content, now).is_ok();
    assert!(!believed || own == it.signature);
    it.signature = own;
    // The signature itself is not covered, so that the same request is believed with it.
    let other = Content::of_body(b"other");
    assert!(verify(&request, &it, &rules, &key, other, now).is_err());
});
