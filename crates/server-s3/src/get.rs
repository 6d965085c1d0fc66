//! Reading objects.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use rhumb_engine::{ByteStream, Opened};
use rhumb_objects::condition::Verdict;
use rhumb_types::record::{BucketName, Content, ObjectRecord};
use s3s::{
    Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, Range as Asked,
        StreamingBlob,
    },
    s3_error,
};

use crate::{
    about,
    conditions::{Conditions, validators},
    fault, names,
    service::{Objects, along, int, long, place},
    with_checksums,
};

/// What is read of an object.
struct Reading {
    bucket: BucketName,
    opened: Opened,
    content: Content,
    range: Range<u64>,
    /// Whether it is a part of the whole.
    partial: bool,
    parts: Option<i32>,
    checksums: bool,
}

/// What a read asks for.
struct Question<'q> {
    bucket: &'q str,
    key: &'q str,
    version: Option<&'q str>,
    range: Option<Asked>,
    part: Option<i32>,
    checksums: bool,
    /// Whether its bytes are wanted too.
    reads: bool,
}

/// The question of a request: the two kinds of them have the same fields.
macro_rules! question {
    ($input:expr, reads: $reads:expr) => {
        Question {
            bucket: &$input.bucket,
            key: &$input.key,
            version: $input.version_id.as_deref(),
            range: $input.range,
            part: $input.part_number,
            checksums: $input.checksum_mode.is_some(),
            reads: $reads,
        }
    };
}

/// The answer to a request, and so have the two kinds of answers.
macro_rules! told {
    ($output:ident, $reading:expr) => {{
        let reading: &Reading = $reading;
        let output = $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(reading.length()),
            content_range: reading.content_range(),
            e_tag: Some(about::etag(&reading.content.etag)),
            last_modified: Some(about::time(reading.opened.record.modified)),
            metadata: about::metadata_of(&reading.content),
            parts_count: reading.parts,
            version_id: about::version(&reading.opened.record),
            ..$output::default()
        };
        if reading.checksums {
            let checksum_type = about::checksum_type(&reading.content.checksums);
            let output = $output { checksum_type, ..output };
            with_checksums!(output, &reading.content.checksums)
        } else {
            output
        }
    }};
}

impl Reading {
    async fn of<I>(
        objects: &Objects,
        request: &S3Request<I>,
        question: Question<'_>,
    ) -> S3Result<Self> {
        let (bucket, _, key) = place(objects, question.bucket, question.key)?;
        let which = names::which(question.version)?;
        let client = objects.client()?;
        let from_start = question.range.is_none() && question.part.is_none();
        let opened = if question.reads && from_start {
            client.open(&bucket, &key, which).await
        } else {
            client.head(&bucket, &key, which).await.map(Opened::from)
        };
        let opened = opened.map_err(fault::of)?;
        let record = &opened.record;
        let content = record.content.clone().ok_or_else(fault::no_content)?;
        let conditions: &Conditions = along(request)?;
        match conditions.target.of_read(validators(record, &content)) {
            Verdict::Pass => {}
            Verdict::NotModified => return Err(not_modified(record, &content)),
            Verdict::Fails => return Err(fault::unmet()),
        }
        let (range, partial) = range_of(&content, question.range, question.part)?;
        let parts = question.part.map(|_| int(content.parts.len().max(1)));
        let whole = range == (0..content.bytes);
        // Checksums are those of the whole.
        let checksums = question.checksums && whole;
        Ok(Self { bucket, opened, content, range, partial, parts, checksums })
    }

    fn content_range(&self) -> Option<String> {
        let Range { start, end } = self.range;
        let last = end.saturating_sub(1);
        self.partial.then(|| format!("bytes {start}-{last}/{}", self.content.bytes))
    }

    fn status(&self) -> Option<StatusCode> {
        self.partial.then_some(StatusCode::PARTIAL_CONTENT)
    }

    fn length(&self) -> i64 {
        long(self.range.end - self.range.start)
    }
}

/// What a client has is what is there.
fn not_modified(record: &ObjectRecord, content: &Content) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = format!("\"{}\"", content.etag).try_into() {
        headers.insert(header::ETAG, etag);
    }
    if let Some(Ok(version)) = about::version(record).map(TryInto::try_into) {
        headers.insert("x-amz-version-id", version);
    }
    if let Some(Ok(cached)) = content.headers.get("cache-control").map(|it| it.as_str().try_into())
    {
        headers.insert(header::CACHE_CONTROL, cached);
    }
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_status_code(StatusCode::NOT_MODIFIED);
    error.set_headers(headers);
    error
}

/// Which bytes are asked for, and whether they are a part.
fn range_of(
    content: &Content,
    range: Option<Asked>,
    part: Option<i32>,
) -> S3Result<(Range<u64>, bool)> {
    match (range, part) {
        (Some(_), Some(_)) => {
            let message = "Cannot specify both Range header and partNumber query parameter";
            Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message))
        }
        (Some(range), None) => {
            let range = range.check(content.bytes).map_err(|_| {
                let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
                if let Ok(all) = format!("bytes */{}", content.bytes).try_into() {
                    let headers = HeaderMap::from_iter([(header::CONTENT_RANGE, all)]);
                    fault::with_headers(&mut error, headers);
                }
                error
            })?;
            Ok((range, true))
        }
        (None, Some(number)) => part_range(content, number).map(|range| (range, true)),
        (None, None) => Ok((0..content.bytes, false)),
    }
}

/// Where a part lies. What came in one piece is one part.
fn part_range(content: &Content, number: i32) -> S3Result<Range<u64>> {
    let invalid = || {
        let code = "InvalidPartNumber";
        let said = "The requested partnumber is not satisfiable";
        fault::custom(code, StatusCode::RANGE_NOT_SATISFIABLE, said)
    };
    let at = usize::try_from(number).ok().and_then(|it| it.checked_sub(1)).ok_or_else(invalid)?;
    if content.parts.is_empty() {
        return if at == 0 { Ok(0..content.bytes) } else { Err(invalid()) };
    }
    let length = *content.parts.get(at).ok_or_else(invalid)?;
    let start: u64 = content.parts.iter().take(at).sum();
    Ok(start..start + length)
}

/// GetObject.
pub(crate) async fn get(
    objects: &Objects,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let input = &request.input;
    let reading = Reading::of(objects, &request, question!(input, reads: true)).await?;
    let client = objects.client()?;
    let stream = client.read_opened(&reading.bucket, &reading.opened, reading.range.clone());
    let body = begun(stream).await?;
    let mut headers = about::given_back(&reading.content);
    // What the client asks to be told in their place is set by the codec.
    let asked = [
        (header::CONTENT_TYPE, input.response_content_type.is_some()),
        (header::CONTENT_LANGUAGE, input.response_content_language.is_some()),
        (header::EXPIRES, input.response_expires.is_some()),
        (header::CACHE_CONTROL, input.response_cache_control.is_some()),
        (header::CONTENT_DISPOSITION, input.response_content_disposition.is_some()),
        (header::CONTENT_ENCODING, input.response_content_encoding.is_some()),
    ];
    for (name, _) in asked.iter().filter(|(_, asked)| *asked) {
        headers.remove(name);
    }
    let output = GetObjectOutput {
        body: Some(body),
        tag_count: Some(int(reading.content.tags.len())).filter(|count| *count > 0),
        ..told!(GetObjectOutput, &reading)
    };
    let mut response = S3Response::with_headers(output, headers);
    response.status = reading.status();
    Ok(response)
}

/// A stream of which the first bytes are there: until then a failure can still be told.
async fn begun(mut stream: ByteStream) -> S3Result<StreamingBlob> {
    let first = stream.next().await.transpose().map_err(fault::of)?;
    let first = stream::iter(first.map(Ok::<Bytes, rhumb_engine::ObjectError>));
    let frames = first.chain(stream).map_ok(Frame::data).inspect_err(|error| {
        tracing::warn!(%error, "S3: an object broke off while it was read");
    });
    Ok(Body::http_body_unsync(StreamBody::new(frames)).into())
}

/// HeadObject.
pub(crate) async fn head(
    objects: &Objects,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let question = question!(&request.input, reads: false);
    let reading = Reading::of(objects, &request, question).await?;
    let output = told!(HeadObjectOutput, &reading);
    let mut response = S3Response::with_headers(output, about::given_back(&reading.content));
    response.status = reading.status();
    Ok(response)
}

#[cfg(test)]
mod tests {
    use rhumb_types::record::Body as Bytes;

    use super::*;

    fn content(bytes: u64, parts: &[u64]) -> Content {
        Content {
            bytes,
            etag: "e".into(),
            body: Bytes::Blobs(Vec::new()),
            parts: parts.to_vec(),
            checksums: Default::default(),
            headers: Default::default(),
            metadata: Default::default(),
            tags: Default::default(),
        }
    }

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        let of = |bytes, text: &str| {
            let range = Asked::parse(text).unwrap();
            let range = range_of(&content(bytes, &[]), Some(range), None);
            range.map(|(range, _)| range).map_err(|error| error.code().clone())
        };
        assert_eq!(of(10, "bytes=2-4"), Ok(2..5));
        assert_eq!(of(10, "bytes=2-"), Ok(2..10));
        assert_eq!(of(10, "bytes=8-99"), Ok(8..10));
        assert_eq!(of(10, "bytes=-3"), Ok(7..10));
        assert_eq!(of(10, "bytes=-99"), Ok(0..10));
        assert_eq!(of(10, "bytes=10-"), Err(S3ErrorCode::InvalidRange));
        assert_eq!(of(0, "bytes=0-"), Err(S3ErrorCode::InvalidRange));
    }

    #[test]
    fn parts_are_read_by_their_number() {
        let three = content(11, &[5, 5, 1]);
        assert_eq!(part_range(&three, 1).unwrap(), 0..5);
        assert_eq!(part_range(&three, 3).unwrap(), 10..11);
        for bad in [0, -1, 4] {
            assert!(part_range(&three, bad).is_err(), "{bad}");
        }
        assert_eq!(part_range(&content(7, &[]), 1).unwrap(), 0..7);
        assert!(part_range(&content(7, &[]), 2).is_err());
    }
}
