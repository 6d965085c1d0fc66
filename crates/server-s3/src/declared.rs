//! What a request says of its body, before that has come.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, header, request::Parts};
use rhumb_objects::checksum::Algorithm;
use rhumb_sigv4::Content;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::{
    limits::{DOCUMENT_BYTES_MAX, FRAMING_BYTES_MAX, PUT_BYTES_MAX},
    tags,
};

/// What the signature says of the body.
const PAYLOAD: &str = "x-amz-content-sha256";
/// The length of a body without its framing.
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
/// The names of trailers to come.
const TRAILER: &str = "x-amz-trailer";
/// The encoding that is the framing, and no property of the object.
pub(crate) const FRAMING: &str = "aws-chunked";

/// What a request says of its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Declared {
    /// What its signature says.
    pub(crate) content: Content,
    /// Whether it is framed in chunks.
    pub(crate) chunked: bool,
    /// Its length in bytes, without the framing.
    pub(crate) bytes: Option<u64>,
    /// Its MD5.
    pub(crate) md5: Option<[u8; 16]>,
    /// Its checksum.
    pub(crate) sum: Option<(Algorithm, String)>,
    /// Which checksum follows it.
    pub(crate) trailer: Option<Algorithm>,
    /// Whether it is the bytes of an object or a part, and no document.
    pub(crate) is_object: bool,
}

impl Declared {
    /// What the head of a request says.
    ///
    /// # Errors
    /// What a client is told of a head that contradicts itself or goes beyond the bounds.
    pub(crate) fn of(parts: &Parts) -> S3Result<Self> {
        let headers = &parts.headers;
        let content = content(headers)?;
        let chunked = matches!(
            content,
            Content::Chunks | Content::ChunksAndTrailers | Content::UnsignedTrailers
        ) || encodings(headers).any(|encoding| encoding == FRAMING);
        let length = number(headers, header::CONTENT_LENGTH.as_str())?;
        let bytes = if chunked {
            let decoded = number(headers, DECODED_LENGTH)?;
            Some(decoded.ok_or_else(|| s3_error!(MissingContentLength))?)
        } else {
            length
        };
        let is_object = is_object(parts);
        let most = if is_object { PUT_BYTES_MAX } else { DOCUMENT_BYTES_MAX as u64 };
        let framed = length.is_some_and(|length| length > most + FRAMING_BYTES_MAX);
        if framed || bytes.is_some_and(|bytes| bytes > most) {
            return Err(too_large(is_object));
        }
        let describes_body = !completes_upload(parts);
        let sum = sum(headers)?.filter(|_| describes_body);
        let trailer = trailer(headers)?;
        if trailer.is_some() && (sum.is_some() || !chunked) {
            let message = "A checksum is either in a header or, in a body of chunks, in a trailer.";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
        }
        Ok(Self { content, chunked, bytes, md5: md5(headers)?, sum, trailer, is_object })
    }
}

/// Whether the body is the bytes of an object or of a part.
fn is_object(parts: &Parts) -> bool {
    let in_bucket = parts.uri.path().trim_start_matches('/').split_once('/');
    let has_key = in_bucket.is_some_and(|(_, key)| !key.is_empty());
    let query = parts.uri.query().unwrap_or_default();
    let documents = ["acl", "legal-hold", "retention", "tagging"];
    parts.method == Method::PUT && has_key && !documents.iter().any(|name| asks(query, name))
}

/// Whether the checksums in the head are those of the object that an upload becomes.
fn completes_upload(parts: &Parts) -> bool {
    parts.method == Method::POST && asks(parts.uri.query().unwrap_or_default(), "uploadId")
}

/// Whether a parameter is in the query, by its name as it is read later: decoded.
pub(crate) fn asks(query: &str, name: &str) -> bool {
    let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
    names.any(|one| tags::decoded(one).is_some_and(|one| one == name))
}

pub(crate) fn too_large(is_object: bool) -> S3Error {
    if is_object {
        s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size of 5 GiB.")
    } else {
        s3_error!(MaxMessageLengthExceeded, "Your request was too big.")
    }
}

/// The words of a `Content-Encoding`.
fn encodings(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONTENT_ENCODING).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

/// The `Content-Encoding` that an object has: the given one without the framing.
pub(crate) fn own_encoding(headers: &HeaderMap) -> Option<String> {
    let own: Vec<&str> =
        encodings(headers).filter(|word| *word != FRAMING && !word.is_empty()).collect();
    (!own.is_empty()).then(|| own.join(","))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> S3Result<Option<&'h str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| invalid(name))?;
    Ok(Some(text.trim()))
}

fn invalid(name: &str) -> S3Error {
    s3_error!(InvalidRequest, "Value for {name} header is invalid.")
}

fn number(headers: &HeaderMap, name: &str) -> S3Result<Option<u64>> {
    let text = text(headers, name)?;
    text.map(|text| text.parse().map_err(|_| invalid(name))).transpose()
}

fn content(headers: &HeaderMap) -> S3Result<Content> {
    let Some(text) = text(headers, PAYLOAD)? else { return Ok(Content::Unsigned) };
    Content::declared(text).ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, \
             STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-UNSIGNED-PAYLOAD-TRAILER or a \
             valid sha256 value."
        )
    })
}

/// Whether the header that says what is signed of the body is there.
pub(crate) fn says_content(headers: &HeaderMap) -> bool {
    headers.contains_key(PAYLOAD)
}

/// The header, and the trailer, that carries a checksum.
pub(crate) const fn header_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "x-amz-checksum-crc32",
        Algorithm::Crc32c => "x-amz-checksum-crc32c",
        Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        Algorithm::Sha1 => "x-amz-checksum-sha1",
        Algorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

fn of_header(name: &str) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|it| header_of(*it).eq_ignore_ascii_case(name))
}

fn md5(headers: &HeaderMap) -> S3Result<Option<[u8; 16]>> {
    let Some(text) = text(headers, "content-md5")? else { return Ok(None) };
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let md5 = bytes
        .ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified is not valid."))?;
    Ok(Some(md5))
}

fn sum(headers: &HeaderMap) -> S3Result<Option<(Algorithm, String)>> {
    let mut found = None;
    for algorithm in Algorithm::ALL {
        let name = header_of(algorithm);
        let Some(text) = text(headers, name)? else { continue };
        let plain = !text.contains('-') && algorithm.read(text).is_ok();
        if !plain {
            return Err(invalid(name));
        }
        if found.replace((algorithm, text.to_owned())).is_some() {
            return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header."));
        }
    }
    Ok(found)
}

fn trailer(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
    let Some(text) = text(headers, TRAILER)? else { return Ok(None) };
    of_header(text).map(Some).ok_or_else(|| {
        s3_error!(
            InvalidRequest,
            "The value specified in the x-amz-trailer header is not supported"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Declared, S3ErrorCode> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        Declared::of(&parts).map_err(|error| error.code().clone())
    }

    #[test]
    fn parameters_are_known_however_their_names_are_written() {
        assert!(asks("a=b&versionId=1", "versionId"));
        assert!(asks("version%49d=1", "versionId"));
        assert!(asks("versionId", "versionId"));
        assert!(!asks("versionid=1&x=versionId", "versionId"));
    }

    #[test]
    fn objects_may_be_large_and_documents_may_not() {
        let length = |method, uri, bytes: u64| {
            of(method, uri, &[("content-length", &bytes.to_string())]).map(|it| it.bytes)
        };
        assert_eq!(length("PUT", "/b/k", PUT_BYTES_MAX), Ok(Some(PUT_BYTES_MAX)));
        let part = "/b/k?partNumber=1&uploadId=x";
        assert_eq!(length("PUT", part, PUT_BYTES_MAX), Ok(Some(PUT_BYTES_MAX)));
        assert_eq!(length("PUT", "/b/k", PUT_BYTES_MAX + 1), Err(S3ErrorCode::EntityTooLarge));
        let large = DOCUMENT_BYTES_MAX as u64 + 1;
        for (method, uri) in
            [("PUT", "/b"), ("PUT", "/b/?policy"), ("PUT", "/b/k?tagging"), ("POST", "/b?delete")]
        {
            let refused = Err(S3ErrorCode::MaxMessageLengthExceeded);
            assert_eq!(length(method, uri, large), refused, "{method} {uri}");
        }
    }

    #[test]
    fn a_body_in_chunks_has_a_length_of_its_own() {
        let streaming = ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
        let length = ("content-length", "178");
        let decoded = ("x-amz-decoded-content-length", "5");
        let declared = of("PUT", "/b/k", &[streaming, length, decoded]).unwrap();
        assert_eq!((declared.chunked, declared.bytes), (true, Some(5)));
        let refused = of("PUT", "/b/k", &[streaming, length]);
        assert_eq!(refused, Err(S3ErrorCode::MissingContentLength));
        let bad = of("PUT", "/b/k", &[streaming, ("x-amz-decoded-content-length", "-5")]);
        assert_eq!(bad, Err(S3ErrorCode::InvalidRequest));
    }

    #[test]
    fn one_checksum_and_a_sound_one() {
        let (crc, sha) = (("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-sha1", "x"));
        assert_eq!(
            of("PUT", "/b/k", &[crc]).unwrap().sum,
            Some((Algorithm::Crc32, "y/Q5Jg==".to_owned()))
        );
        assert_eq!(of("PUT", "/b/k", &[sha]), Err(S3ErrorCode::InvalidRequest));
        let both = [crc, ("x-amz-checksum-crc32c", "4waSgw==")];
        assert_eq!(of("PUT", "/b/k", &both), Err(S3ErrorCode::InvalidRequest));
        assert_eq!(of("POST", "/b/k?uploadId=x", &[crc]).unwrap().sum, None, "the object's own");
        assert_eq!(of("PUT", "/b/k", &[("content-md5", "x")]), Err(S3ErrorCode::InvalidDigest));
        let trailer = ("x-amz-trailer", "x-amz-checksum-crc32");
        assert_eq!(of("PUT", "/b/k", &[trailer]), Err(S3ErrorCode::InvalidRequest), "no chunks");
        assert_eq!(
            of("PUT", "/b/k", &[("x-amz-trailer", "x-other")]),
            Err(S3ErrorCode::InvalidRequest)
        );
    }

    #[test]
    fn the_framing_is_no_encoding_of_the_object() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, text.parse().unwrap());
            own_encoding(&headers)
        };
        assert_eq!(of("aws-chunked"), None);
        assert_eq!(of("aws-chunked, gzip"), Some("gzip".to_owned()));
        assert_eq!(of("gzip,aws-chunked"), Some("gzip".to_owned()));
        assert_eq!(of("gzip"), Some("gzip".to_owned()));
    }
}
