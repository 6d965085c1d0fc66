//! GetObjectAttributes.

use rhumb_objects::condition::Verdict;
use rhumb_types::record::Content;
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        Checksum, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts,
        ObjectPart, StorageClass,
    },
    s3_error,
};

use crate::{
    about,
    conditions::{Conditions, validators},
    fault,
    limits::LIST_MAX,
    names,
    service::{Objects, along, answer, int, long, page_max, place},
    with_checksums,
};

/// The attributes that can be asked for.
const KNOWN: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

/// GetObjectAttributes.
pub(crate) async fn get(
    objects: &Objects,
    request: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let input = &request.input;
    let (bucket, _, key) = place(objects, &input.bucket, &input.key)?;
    let asked: Vec<&str> = input
        .object_attributes
        .iter()
        .flat_map(|it| it.as_str().split(','))
        .map(str::trim)
        .collect();
    if asked.is_empty() || asked.iter().any(|it| !KNOWN.contains(it)) {
        return Err(s3_error!(InvalidArgument, "Invalid attribute name specified."));
    }
    let which = names::which(input.version_id.as_deref())?;
    let record = objects.client()?.head(&bucket, &key, which).await.map_err(fault::of)?;
    let content = record.content.as_ref().ok_or_else(fault::no_content)?;
    let conditions: &Conditions = along(&request)?;
    if conditions.target.of_read(validators(&record, content)) != Verdict::Pass {
        return Err(fault::unmet());
    }
    let wants = |name| asked.contains(&name);
    let checksum =
        Checksum { checksum_type: about::checksum_type(&content.checksums), ..Checksum::default() };
    let checksum = with_checksums!(checksum, &content.checksums);
    let has_checksum = checksum.checksum_type.is_some();
    let parts = parts(content, input.part_number_marker, page_max(input.max_parts, LIST_MAX)?);
    answer(GetObjectAttributesOutput {
        checksum: Some(checksum).filter(|_| wants("Checksum") && has_checksum),
        e_tag: wants("ETag").then(|| about::etag(&content.etag)),
        last_modified: Some(about::time(record.modified)),
        object_parts: parts.filter(|_| wants("ObjectParts")),
        object_size: wants("ObjectSize").then(|| long(content.bytes)),
        storage_class: wants("StorageClass")
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        version_id: about::version(&record),
        ..GetObjectAttributesOutput::default()
    })
}

/// The parts of an object that came in parts, after a number.
fn parts(content: &Content, after: Option<i32>, most: usize) -> Option<GetObjectAttributesParts> {
    if content.parts.is_empty() {
        return None;
    }
    let after = after.unwrap_or_default().max(0);
    let skipped = usize::try_from(after).unwrap_or(usize::MAX);
    let numbered = content.parts.iter().enumerate().skip(skipped).take(most);
    let page: Vec<ObjectPart> = numbered
        .map(|(at, bytes)| ObjectPart {
            part_number: Some(int(at + 1)),
            size: Some(long(*bytes)),
            ..ObjectPart::default()
        })
        .collect();
    let more = content.parts.len() > skipped.saturating_add(page.len());
    let next = page.last().and_then(|part| part.part_number);
    Some(GetObjectAttributesParts {
        is_truncated: Some(more),
        max_parts: Some(int(most)),
        next_part_number_marker: next.filter(|_| more),
        part_number_marker: Some(after),
        parts: Some(page),
        total_parts_count: Some(int(content.parts.len())),
    })
}
