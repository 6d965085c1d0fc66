//! A request without its signature and its framing, as the protocol's codec takes it.

use http::{HeaderValue, Uri, header, request::Parts, uri::PathAndQuery};
use s3s::{S3Result, dto::Range, s3_error};

use crate::declared::{Declared, own_encoding};

/// What a presigned address adds to the query.
const QUERY: [&str; 8] = [
    "X-Amz-Algorithm",
    "X-Amz-Content-Sha256",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];
/// Headers that are about the signature and the framing.
const HEADERS: [&str; 6] = [
    "authorization",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-security-token",
    "x-amz-trailer",
];

/// Takes the signature off, and the framing.
pub(crate) fn strip(parts: &mut Parts, declared: &Declared) -> S3Result<()> {
    if let Some(query) = parts.uri.query() {
        let kept = query.split('&').filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !QUERY.contains(&name)
        });
        let kept: Vec<&str> = kept.collect();
        parts.uri = with_query(&parts.uri, &kept.join("&"))?;
    }
    for name in HEADERS {
        parts.headers.remove(name);
    }
    // Several ranges, and what is no range, are the whole (RFC 9110, section 14.2).
    let range = parts.headers.get(header::RANGE).map(|range| range.to_str().unwrap_or_default());
    if range.is_some_and(|range| Range::parse(range).is_err()) {
        parts.headers.remove(header::RANGE);
    }
    if declared.chunked {
        match own_encoding(&parts.headers).map(HeaderValue::try_from) {
            Some(Ok(encoding)) => parts.headers.insert(header::CONTENT_ENCODING, encoding),
            _ => parts.headers.remove(header::CONTENT_ENCODING),
        };
        parts.headers.remove(header::CONTENT_LENGTH);
        if let Some(bytes) = declared.bytes {
            parts.headers.insert(header::CONTENT_LENGTH, bytes.into());
        }
    }
    Ok(())
}

fn with_query(uri: &Uri, query: &str) -> S3Result<Uri> {
    let text =
        if query.is_empty() { uri.path().to_owned() } else { format!("{}?{query}", uri.path()) };
    let text = PathAndQuery::try_from(text).map_err(|_| s3_error!(InvalidURI))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text);
    Uri::from_parts(parts).map_err(|_| s3_error!(InvalidURI))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::put(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let declared = Declared::of(&parts).unwrap();
        strip(&mut parts, &declared).unwrap();
        parts
    }

    #[test]
    fn only_the_signature_goes() {
        let uri = "/b/a%2Fb%20?X-Amz-Signature=00&versionId=1&X-Amz-Date=2&prefix=%20";
        let parts = stripped(uri, &[("authorization", "x"), ("x-amz-meta-a", "b")]);
        assert_eq!(parts.uri, "/b/a%2Fb%20?versionId=1&prefix=%20");
        assert!(!parts.headers.contains_key("authorization"));
        assert_eq!(parts.headers["x-amz-meta-a"], "b");
        assert_eq!(stripped("/b/k?X-Amz-Signature=00", &[]).uri, "/b/k");
    }

    #[test]
    fn only_one_range_is_a_range() {
        for (range, kept) in [("bytes=0-1", true), ("bytes=0-1,3-4", false), ("lines=1", false)] {
            let parts = stripped("/b/k", &[("range", range)]);
            assert_eq!(parts.headers.contains_key("range"), kept, "{range}");
        }
    }

    #[test]
    fn the_framing_leaves_the_lengths_and_encodings_of_the_content() {
        let parts = stripped(
            "/b/k",
            &[
                ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
                ("x-amz-decoded-content-length", "5"),
                ("content-length", "60"),
                ("content-encoding", "aws-chunked,gzip"),
            ],
        );
        assert_eq!(parts.headers["content-length"], "5");
        assert_eq!(parts.headers["content-encoding"], "gzip");
    }
}
