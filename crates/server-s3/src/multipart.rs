//! Uploads in parts.

use std::ops::Range;

use rhumb_engine::Digests;
use rhumb_objects::{
    list::ListedPart,
    multipart::{ChosenPart, Whole},
};
use rhumb_types::{
    UnixMillis,
    record::{UploadRecord, object::OBJECT_PARTS_MAX},
};
use s3s::{
    S3Error, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CompletedPart, CopyPartResult, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, Initiator, ListPartsInput, ListPartsOutput, Part,
        StorageClass, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};

use crate::{
    about, buckets, checksums_of,
    conditions::Conditions,
    copy::Source,
    fault,
    limits::{LIST_MAX, OBJECT_TAGS_MAX, PUT_BYTES_MAX},
    names,
    put::{Incoming, algorithm, fault_of},
    service::{Objects, along, answer, caller, int, long, page_max, place},
    tags, with_checksums,
};

/// The number of a part.
fn number(given: i32) -> S3Result<u16> {
    let number = u16::try_from(given).ok();
    number.filter(|it| (1..=OBJECT_PARTS_MAX).contains(&usize::from(*it))).ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and {OBJECT_PARTS_MAX}, inclusive"
        )
    })
}

/// CreateMultipartUpload.
pub(crate) async fn create(
    objects: &Objects,
    mut request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let (bucket, _, key) = place(objects, &request.input.bucket, &request.input.key)?;
    let tags = request.input.tagging.as_deref();
    let tags = tags.map(|text| tags::of_header(text, OBJECT_TAGS_MAX)).transpose()?;
    let checksum = request.input.checksum_algorithm.as_ref().map(|it| it.as_str().to_owned());
    checksum.as_deref().map(algorithm).transpose()?;
    let checksum_type = request.input.checksum_type.as_ref().map(|it| it.as_str().to_owned());
    let record = UploadRecord {
        // The engine says when it began.
        begun: UnixMillis(0),
        owner: caller(&request)?.name().to_owned(),
        headers: about::kept(&request.headers)?,
        metadata: about::metadata(request.input.metadata.take()),
        tags: tags.unwrap_or_default(),
        checksum: checksum.clone(),
        checksum_type: checksum_type.clone(),
    };
    let id = objects.client()?.begin_upload(&bucket, key, record).await.map_err(fault::of)?;
    answer(CreateMultipartUploadOutput {
        bucket: Some(bucket.to_string()),
        checksum_algorithm: checksum.map(Into::into),
        checksum_type: checksum_type.map(Into::into),
        key: Some(request.input.key),
        upload_id: Some(id.to_string()),
        ..CreateMultipartUploadOutput::default()
    })
}

/// UploadPart.
pub(crate) async fn part(
    objects: &Objects,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let input = &request.input;
    let (bucket, _, key) = place(objects, &input.bucket, &input.key)?;
    let (upload, number) = (names::upload(&input.upload_id)?, number(input.part_number)?);
    let client = objects.client()?;
    // What the parts of this upload need is computed where the client does not give it.
    let known = client.upload(&bucket, &key, upload).await.map_err(fault::of)?;
    let wanted = input.checksum_algorithm.as_ref().map(|it| it.as_str().to_owned());
    let wanted = wanted.or(known.checksum);
    let body = request.input.body.take();
    let incoming = Incoming::of(&request, body, wanted.as_deref())?;
    let verdict = incoming.verdict();
    let Incoming { body, bytes, digests, .. } = incoming;
    let part = client.put_part(&bucket, key, (upload, number), (body, bytes), digests).await;
    let part = part.map_err(|error| fault_of(error, &verdict))?;
    let output =
        UploadPartOutput { e_tag: Some(about::etag(&part.etag)), ..UploadPartOutput::default() };
    answer(with_checksums!(output, &part.checksums))
}

/// UploadPartCopy.
pub(crate) async fn part_copy(
    objects: &Objects,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = &request.input;
    let (bucket, _, key) = place(objects, &input.bucket, &input.key)?;
    let (upload, number) = (names::upload(&input.upload_id)?, number(input.part_number)?);
    let client = objects.client()?;
    let known = client.upload(&bucket, &key, upload).await.map_err(fault::of)?;
    let conditions: &Conditions = along(&request)?;
    let source = Source::of(objects, caller(&request)?, &input.copy_source, conditions).await?;
    let range = source_range(input.copy_source_range.as_deref(), source.content.bytes)?;
    let bytes = range.end - range.start;
    if bytes > PUT_BYTES_MAX {
        return Err(crate::declared::too_large(true));
    }
    let body = client.read(&source.bucket, &source.record, range);
    let compute = known.checksum.as_deref().map(algorithm).transpose()?;
    let digests = Digests { compute: compute.into_iter().collect(), ..Digests::default() };
    let part = client
        .put_part(&bucket, key, (upload, number), (body, Some(bytes)), digests)
        .await
        .map_err(fault::of)?;
    let result = CopyPartResult {
        e_tag: Some(about::etag(&part.etag)),
        last_modified: Some(about::time(part.modified)),
        ..CopyPartResult::default()
    };
    answer(UploadPartCopyOutput {
        copy_part_result: Some(with_checksums!(result, &part.checksums)),
        copy_source_version_id: source.version(),
        ..UploadPartCopyOutput::default()
    })
}

/// The bytes of the source of a copied part: all of them, or `bytes=first-last` within them.
fn source_range(text: Option<&str>, length: u64) -> S3Result<Range<u64>> {
    let Some(text) = text else { return Ok(0..length) };
    let invalid = || {
        s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last \
             are the zero-based offsets of the first and last bytes to copy"
        )
    };
    let (first, last) =
        text.strip_prefix("bytes=").and_then(|it| it.split_once('-')).ok_or_else(invalid)?;
    let offset = |text: &str| text.parse::<u64>().map_err(|_| invalid());
    let (first, last) = (offset(first)?, offset(last)?);
    if first > last {
        return Err(invalid());
    }
    if last >= length {
        return Err(s3_error!(
            InvalidRange,
            "Range specified is not valid for source object of size: {length}"
        ));
    }
    Ok(first..last + 1)
}

fn chosen(part: CompletedPart) -> S3Result<ChosenPart> {
    let malformed = || s3_error!(MalformedXML, "Each part has a PartNumber and an ETag.");
    let checksums = checksums_of!(part);
    let number = number(part.part_number.ok_or_else(malformed)?)?;
    let etag = part.e_tag.ok_or_else(malformed)?.into_value();
    Ok(ChosenPart { number, etag, checksums })
}

/// CompleteMultipartUpload.
pub(crate) async fn complete(
    objects: &Objects,
    mut request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let conditions: Conditions = along::<_, Conditions>(&request)?.clone();
    let input = &mut request.input;
    let (bucket, _, key) = place(objects, &input.bucket, &input.key)?;
    let upload = names::upload(&input.upload_id)?;
    let parts = input.multipart_upload.take().and_then(|it| it.parts).unwrap_or_default();
    if parts.is_empty() {
        return Err(s3_error!(MalformedXML, "You must specify at least one part"));
    }
    let chosen = parts.into_iter().map(chosen).collect::<S3Result<Vec<ChosenPart>>>()?;
    let bytes =
        input.mpu_object_size.map(u64::try_from).transpose().map_err(|_| {
            s3_error!(InvalidRequest, "The value of x-amz-mp-object-size is invalid.")
        })?;
    let whole = Whole { bytes, checksums: checksums_of!(input) };
    let record = objects
        .client()?
        .complete_upload(&bucket, key, upload, (chosen, whole), conditions.target)
        .await
        .map_err(fault::of)?;
    let content = record.content.as_ref().ok_or_else(fault::no_content)?;
    let output = CompleteMultipartUploadOutput {
        bucket: Some(bucket.to_string()),
        checksum_type: about::checksum_type(&content.checksums),
        e_tag: Some(about::etag(&content.etag)),
        key: Some(input.key.clone()),
        location: Some(format!("/{bucket}/{}", input.key)),
        version_id: about::version(&record),
        ..CompleteMultipartUploadOutput::default()
    };
    answer(with_checksums!(output, &content.checksums))
}

/// AbortMultipartUpload.
pub(crate) async fn abort(
    objects: &Objects,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = &request.input;
    let (bucket, _, key) = place(objects, &input.bucket, &input.key)?;
    let upload = names::upload(&input.upload_id)?;
    objects.client()?.abort_upload(&bucket, key, upload).await.map_err(fault::of)?;
    let mut response = S3Response::new(AbortMultipartUploadOutput::default());
    response.status = Some(http::StatusCode::NO_CONTENT);
    Ok(response)
}

/// ListParts.
pub(crate) async fn parts(
    objects: &Objects,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = &request.input;
    let (bucket, _, key) = place(objects, &input.bucket, &input.key)?;
    let upload = names::upload(&input.upload_id)?;
    let client = objects.client()?;
    let known = client.upload(&bucket, &key, upload).await.map_err(fault::of)?;
    let most = page_max(input.max_parts, LIST_MAX)?;
    let after =
        u16::try_from(input.part_number_marker.unwrap_or_default()).map_err(|_| bad_marker())?;
    let (listed, more) = client.list_parts(upload, after, most).map_err(fault::of)?;
    let next = listed.last().map_or(after, |listed| listed.number);
    let parts: Vec<Part> = listed
        .into_iter()
        .map(|ListedPart { number, part }| {
            let listed = Part {
                e_tag: Some(about::etag(&part.etag)),
                last_modified: Some(about::time(part.modified)),
                part_number: Some(i32::from(number)),
                size: Some(long(part.bytes)),
                ..Part::default()
            };
            with_checksums!(listed, &part.checksums)
        })
        .collect();
    let owner = known.owner;
    answer(ListPartsOutput {
        bucket: Some(bucket.to_string()),
        checksum_algorithm: known.checksum.map(Into::into),
        checksum_type: known.checksum_type.map(Into::into),
        initiator: Some(Initiator { display_name: Some(owner.clone()), id: Some(owner.clone()) }),
        is_truncated: Some(more),
        key: Some(input.key.clone()),
        max_parts: Some(int(most)),
        next_part_number_marker: Some(i32::from(next)),
        owner: Some(buckets::owner(&owner)),
        part_number_marker: Some(i32::from(after)),
        parts: (!parts.is_empty()).then_some(parts),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(input.upload_id.clone()),
        ..ListPartsOutput::default()
    })
}

fn bad_marker() -> S3Error {
    s3_error!(InvalidArgument, "The part number marker is no number of a part.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_numbers_from_one() {
        assert_eq!((number(1).unwrap(), number(10_000).unwrap()), (1, 10_000));
        for bad in [0, -1, 10_001, 65_537] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_copied_part_is_within_its_source() {
        assert_eq!(source_range(None, 7).unwrap(), 0..7);
        assert_eq!(source_range(Some("bytes=2-6"), 7).unwrap(), 2..7);
        for bad in ["bytes=2-7", "bytes=3-2", "bytes=-2", "bytes=2-", "2-6", "bytes=a-b"] {
            assert!(source_range(Some(bad), 7).is_err(), "{bad}");
        }
    }
}
