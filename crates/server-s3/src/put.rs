//! Writing objects.

use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use rhumb_engine::{About, ByteStream, CopyResult, Digests, Done, ObjectError, Put};
use rhumb_objects::checksum::Algorithm;
use rhumb_sigv4::Content as Signed;
use rhumb_types::record::Checksums;
use s3s::{
    S3Error, S3Request, S3Response, S3Result,
    dto::{PutObjectInput, PutObjectOutput, StreamingBlob},
    s3_error,
};

use crate::{
    about,
    conditions::Conditions,
    declared::Declared,
    fault,
    intake::Verdict,
    limits::OBJECT_TAGS_MAX,
    service::{Objects, along, long, place},
    tags, with_checksums,
};

/// The result of each region.
const REGIONS: &str = "x-rhumb-regions";
/// That there are fewer copies than the bucket asks for.
const DEGRADED: &str = "x-rhumb-degraded";

/// The bytes of an object or a part, as they come in.
pub(crate) struct Incoming {
    pub(crate) body: ByteStream,
    pub(crate) bytes: Option<u64>,
    pub(crate) digests: Digests,
    verdict: Verdict,
}

impl Incoming {
    /// The body of a request.
    pub(crate) fn of<I>(
        request: &S3Request<I>,
        body: Option<StreamingBlob>,
        wanted: Option<&str>,
    ) -> S3Result<Self> {
        let declared: &Declared = along(request)?;
        let verdict: &Verdict = along(request)?;
        let wanted = wanted.map(algorithm).transpose()?;
        let digests = digests(declared, verdict.clone(), wanted);
        let body: ByteStream = match body {
            Some(body) => Box::pin(
                body.map(|part| part.map_err(|error| ObjectError::Body(error.to_string()))),
            ),
            None => Box::pin(futures_util::stream::empty()),
        };
        Ok(Self { body, bytes: declared.bytes, digests, verdict: verdict.clone() })
    }

    /// What went wrong with the body itself, of which the engine knows only that it broke off.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }
}

/// An error of the engine, or of the body in its place.
pub(crate) fn fault_of(error: ObjectError, verdict: &Verdict) -> S3Error {
    verdict.fault().unwrap_or_else(|| fault::of(error))
}

/// A checksum by its name.
pub(crate) fn algorithm(name: &str) -> S3Result<Algorithm> {
    Algorithm::parse(name).ok_or_else(|| {
        s3_error!(
            InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
             [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
        )
    })
}

/// What the engine computes over a body, and holds it against.
fn digests(declared: &Declared, verdict: Verdict, wanted: Option<Algorithm>) -> Digests {
    let mut expected = Checksums::default();
    if let Some((algorithm, text)) = &declared.sum {
        algorithm.set(&mut expected, text.clone());
    }
    let late = declared.trailer.map(|algorithm| {
        let late = move || {
            let mut sums = Checksums::default();
            if let Some(text) = verdict.trailer() {
                algorithm.set(&mut sums, text);
            }
            Ok(sums)
        };
        Box::new(late) as rhumb_engine::Late
    });
    Digests {
        md5: declared.md5,
        sha256: match declared.content {
            Signed::Hash(hash) => Some(hash),
            _ => None,
        },
        expected,
        late,
        compute: wanted.into_iter().chain(declared.trailer).collect(),
    }
}

/// What came of the copies, as headers.
pub(crate) fn told(done: &Done) -> HeaderMap {
    let word = |copy: &CopyResult| {
        let word = if copy.outcome.is_ok() { "ok" } else { "failed" };
        format!("{}={word}", copy.region)
    };
    let words: Vec<String> = done.regions.iter().map(word).collect();
    let mut headers = HeaderMap::new();
    if let Ok(text) = HeaderValue::try_from(words.join(", ")) {
        headers.insert(REGIONS, text);
    }
    if done.degraded {
        headers.insert(DEGRADED, HeaderValue::from_static("true"));
    }
    headers
}

/// PutObject.
pub(crate) async fn put(
    objects: &Objects,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let (bucket, _, key) = place(objects, &request.input.bucket, &request.input.key)?;
    let tags = request.input.tagging.as_deref();
    let tags = tags.map(|text| tags::of_header(text, OBJECT_TAGS_MAX)).transpose()?;
    let about = About {
        headers: about::kept(&request.headers)?,
        metadata: about::metadata(request.input.metadata.take()),
        tags: tags.unwrap_or_default(),
    };
    let body = request.input.body.take();
    let wanted = request.input.checksum_algorithm.take();
    let incoming = Incoming::of(&request, body, wanted.as_ref().map(|it| it.as_str()))?;
    let conditions: &Conditions = along(&request)?;
    let verdict = incoming.verdict();
    let put = Put {
        bucket,
        key,
        body: incoming.body,
        bytes: incoming.bytes,
        about,
        digests: incoming.digests,
        condition: conditions.target.clone(),
    };
    let done = objects.client()?.put(put).await;
    let done = done.map_err(|error| fault_of(error, &verdict))?;
    let content = done.record.content.as_ref().ok_or_else(fault::no_content)?;
    let output = PutObjectOutput {
        e_tag: Some(about::etag(&content.etag)),
        checksum_type: about::checksum_type(&content.checksums),
        size: Some(long(content.bytes)),
        version_id: about::version(&done.record),
        ..PutObjectOutput::default()
    };
    let output = with_checksums!(output, &content.checksums);
    Ok(S3Response::with_headers(output, told(&done)))
}

#[cfg(test)]
mod tests {
    use rhumb_types::{
        Hlc, RegionId, UnixMillis,
        record::{ObjectRecord, VersionId},
    };

    use super::*;

    #[test]
    fn fewer_copies_than_asked_for_are_said_beside_the_result_of_each_region() {
        let copy = |name: &str, outcome: Result<(), String>| CopyResult {
            region: RegionId::new(name).unwrap(),
            outcome,
        };
        let record = ObjectRecord {
            version: VersionId { hlc: Hlc::from_millis(UnixMillis(1)), entropy: 1 },
            versioned: false,
            modified: UnixMillis(0),
            region: RegionId::new("us").unwrap(),
            content: None,
        };
        let regions = vec![
            copy("us", Ok(())),
            copy("eu", Err("its disk is full".to_owned())),
            copy("ap", Ok(())),
        ];
        for (degraded, said) in [(true, Some("true")), (false, None)] {
            let headers =
                told(&Done { record: record.clone(), regions: regions.clone(), degraded });
            let value = |name| headers.get(name).map(|it: &HeaderValue| it.to_str().unwrap());
            assert_eq!(value("x-rhumb-degraded"), said);
            assert_eq!(value("x-rhumb-regions"), Some("us=ok, eu=failed, ap=ok"));
        }
    }
}
