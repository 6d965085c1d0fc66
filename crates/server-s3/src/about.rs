//! What is told of an object, as headers.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use rhumb_objects::checksum::Algorithm;
use rhumb_types::{
    UnixMillis,
    record::{Checksums, Content, ObjectRecord},
};
use s3s::{
    S3Result,
    dto::{ChecksumType, ETag, Metadata, Timestamp},
    s3_error,
};

use crate::names;

/// The headers that an object keeps and gives back.
const KEPT: [HeaderName; 6] = [
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::EXPIRES,
];
/// What an object is of whose kind nobody said anything.
const UNTOLD: &str = "binary/octet-stream";

/// The headers of a request that the object keeps.
pub(crate) fn kept(headers: &HeaderMap) -> S3Result<BTreeMap<String, String>> {
    let mut kept = BTreeMap::new();
    for name in KEPT {
        let Some(value) = headers.get(&name) else { continue };
        let text = value
            .to_str()
            .map_err(|_| s3_error!(InvalidArgument, "The header {name} must be ASCII."))?;
        if !text.is_empty() {
            kept.insert(name.as_str().to_owned(), text.to_owned());
        }
    }
    Ok(kept)
}

/// A user's own metadata. Names are in lower case.
pub(crate) fn metadata(given: Option<Metadata>) -> BTreeMap<String, String> {
    let pairs = given.unwrap_or_default().into_iter();
    pairs.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

/// The headers that an object gives back.
pub(crate) fn given_back(content: &Content) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(UNTOLD));
    for (name, text) in &content.headers {
        let value = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(text).ok());
        if let Some((name, value)) = value {
            headers.insert(name, value);
        }
    }
    headers
}

/// The user's own metadata, as the codec writes it.
pub(crate) fn metadata_of(content: &Content) -> Option<Metadata> {
    let pairs = content.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
    (!content.metadata.is_empty()).then(|| pairs.collect())
}

/// An entity tag as the codec writes it.
pub(crate) fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

/// A time as the codec writes it.
pub(crate) fn time(at: UnixMillis) -> Timestamp {
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_millis(at.0))
}

/// The id of a version, where clients see ids.
pub(crate) fn version(record: &ObjectRecord) -> Option<String> {
    record.versioned.then(|| names::version(Some(record.version)))
}

/// Over what a checksum is.
pub(crate) fn checksum_type(checksums: &Checksums) -> Option<ChecksumType> {
    let any = Algorithm::ALL.into_iter().any(|it| it.of(checksums).is_some());
    let kind =
        if checksums.composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
    any.then(|| ChecksumType::from_static(kind))
}

/// Sets the checksums of something that the codec writes.
macro_rules! with_checksums {
    ($output:expr, $checksums:expr) => {{
        let (mut output, checksums) = ($output, $checksums);
        output.checksum_crc32 = checksums.crc32.clone();
        output.checksum_crc32c = checksums.crc32c.clone();
        output.checksum_crc64nvme = checksums.crc64nvme.clone();
        output.checksum_sha1 = checksums.sha1.clone();
        output.checksum_sha256 = checksums.sha256.clone();
        output
    }};
}

/// The checksums that something read by the codec carries.
macro_rules! checksums_of {
    ($input:expr) => {{
        let input = &$input;
        rhumb_types::record::Checksums {
            crc32: input.checksum_crc32.clone(),
            crc32c: input.checksum_crc32c.clone(),
            crc64nvme: input.checksum_crc64nvme.clone(),
            sha1: input.checksum_sha1.clone(),
            sha256: input.checksum_sha256.clone(),
            composite: false,
        }
    }};
}

pub(crate) use {checksums_of, with_checksums};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were_given() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=x"));
        headers.insert(header::EXPIRES, HeaderValue::from_static("some day"));
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        let kept = kept(&headers).unwrap();
        assert_eq!(kept.len(), 2);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(super::kept(&headers).is_err());
    }
}
