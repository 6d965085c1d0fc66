//! Any request: no panic, and what is read of a signature is believed only if the request was signed
//! so; the request as it came, signed here, is believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb_sigv4::{
    Authorization, Content, PathStyle, Refusal, Request, Rules, Secret, SigningKey, sign, verify,
};

const SCOPE: &str = "20261122/us-east-1/sqs/aws4_request";
const STAMP: &str = "20261122T120000Z";

/// The path, the query, headers, the style of paths, how it is signed, and the access key.
type Input<'a> = (&'a str, &'a str, Vec<(String, Vec<u8>)>, bool, u8, &'a str);

/// Puts a signature into a request, so that the fuzzer need not find its form.
fn put_signature(
    (how, access_key): (u8, &str),
    query: &str,
    headers: &mut Vec<(String, Vec<u8>)>,
) -> String {
    let mut names: Vec<String> = headers.iter().map(|(name, _)| name.clone()).collect();
    let mut add = |name: &str, value: &str| {
        names.push(name.to_owned());
        headers.push((name.to_owned(), value.as_bytes().to_vec()));
    };
    add("host", "127.0.0.1");
    if how == 1 {
        add("x-amz-date", STAMP);
    }
    names.sort_unstable();
    names.dedup();
    let (names, signature) = (names.join(";"), "0".repeat(64));
    if how == 1 {
        let text = format!(
            "AWS4-HMAC-SHA256 Credential={access_key}/{SCOPE}, SignedHeaders={names}, \
             Signature={signature}"
        );
        headers.push(("authorization".to_owned(), text.into_bytes()));
        return query.to_owned();
    }
    format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={access_key}/{SCOPE}&X-Amz-Date={STAMP}\
         &X-Amz-Expires=60&X-Amz-SignedHeaders={names}&X-Amz-Signature={signature}&{query}"
    )
}

fuzz_target!(|input: Input<'_>| {
    let (path, query, mut headers, plain, how, access_key) = input;
    let query = match how % 3 {
        0 => query.to_owned(),
        how => put_signature((how, access_key), query, &mut headers),
    };
    let headers: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let request = Request { method: "POST", path, query: &query, headers: &headers };
    let Ok(mut it) = Authorization::of(&request) else { return };
    let style = if plain { PathStyle::Plain } else { PathStyle::Normalized };
    let rules = Rules::new("sqs", style, Default::default());
    let key = SigningKey::derive(&Secret::new("secret".to_owned()), &it.scope);
    let (content, now) = (Content::of_body(b"body"), it.stamp.time());
    let by = (&key, &it.scope, it.stamp);
    let own = sign(&request, style, &it.signed_headers, content, by);
    let verified = |it: &Authorization, content| verify(&request, it, &rules, &key, content, now);
    assert!(verified(&it, content).is_err() || own == it.signature);
    // The signature itself is not covered, so that the same request is believed with it.
    it.signature = own;
    assert!(!matches!(verified(&it, content), Err(Refusal::Mismatch)));
    assert!(verified(&it, Content::of_body(b"other")).is_err());
});
