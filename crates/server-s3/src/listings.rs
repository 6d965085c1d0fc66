//! Listings of objects, of their versions, and of uploads in parts.

use bytes::Bytes;
use rhumb_engine::ObjectClient;
use rhumb_objects::list::{ListedObject, ListedUpload, ListedVersion, Listing, Page, Position};
use rhumb_types::record::{BucketEntry, BucketName};
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        CommonPrefix, DeleteMarkerEntry, EncodingType, Initiator, ListMultipartUploadsInput,
        ListMultipartUploadsOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
        ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
        MultipartUpload, Object, ObjectStorageClass, ObjectVersion, ObjectVersionStorageClass,
        StorageClass,
    },
    s3_error,
};

use crate::{
    about, buckets, fault,
    limits::LIST_MAX,
    names,
    service::{Objects, answer, int, long, page_max},
};

/// How keys are written in an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(_) => {
                Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request"))
            }
        }
    }

    fn key(self, key: &[u8]) -> String {
        match self {
            Self::Plain => names::text(key),
            Self::Url => encoded(key),
        }
    }

    fn text(self, text: &str) -> String {
        self.key(text.as_bytes())
    }

    fn told(self) -> Option<EncodingType> {
        (self == Self::Url).then(|| EncodingType::from_static(EncodingType::URL))
    }

    fn prefixes(self, prefixes: &[Bytes]) -> Option<Vec<CommonPrefix>> {
        let prefix = |prefix: &Bytes| CommonPrefix { prefix: Some(self.key(prefix)) };
        (!prefixes.is_empty()).then(|| prefixes.iter().map(prefix).collect())
    }
}

/// A key as it stands in an address; slashes stay.
fn encoded(key: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(key.len());
    for &byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~/*".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// What every listing is asked, and what is listed.
struct Asked<'a> {
    bucket: BucketName,
    entry: BucketEntry,
    client: ObjectClient,
    encoding: Encoding,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    listing: Listing,
}

/// What a request asks: all kinds of them have the same fields, but for the length of a page.
macro_rules! asked {
    ($objects:expr, $input:expr, $max:ident) => {{
        let input = $input;
        let (bucket, entry) = $objects.bucket(&input.bucket)?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let delimiter = input.delimiter.as_deref();
        Asked {
            bucket,
            entry,
            client: $objects.client()?,
            encoding: Encoding::of(input.encoding_type.as_ref())?,
            prefix,
            delimiter,
            listing: Listing {
                prefix: names::part_of_key(prefix)?,
                delimiter: names::part_of_key(delimiter.unwrap_or_default())?,
                after: None,
                max: page_max(input.$max, LIST_MAX)?,
            },
        }
    }};
}

/// An answer, with the fields that all kinds of them have.
macro_rules! told {
    ($output:ident, $asked:expr, $page:expr, { $($field:ident: $value:expr,)* }) => {{
        let (asked, page): (&Asked<'_>, &Page<_>) = (&$asked, &$page);
        answer($output {
            common_prefixes: asked.encoding.prefixes(&page.prefixes),
            delimiter: asked.delimiter.map(|it| asked.encoding.text(it)),
            encoding_type: asked.encoding.told(),
            is_truncated: Some(page.next.is_some()),
            prefix: Some(asked.encoding.text(asked.prefix)),
            $($field: $value,)*
            ..$output::default()
        })
    }};
}

/// Nothing where nothing is listed, as answers have it.
fn some<T>(listed: Vec<T>) -> Option<Vec<T>> {
    (!listed.is_empty()).then_some(listed)
}

/// What a client gave, if it gave something.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// The place after a key that a client names.
fn marker(text: Option<&str>, listing: &Listing) -> S3Result<Option<Position>> {
    let Some(text) = given(text) else { return Ok(None) };
    let key = names::part_of_key(text)?;
    Ok(Some(Position::marker(key, &listing.prefix, &listing.delimiter)))
}

fn object(encoding: Encoding, listed: &ListedObject) -> Object {
    let content = listed.summary.content.as_ref();
    Object {
        e_tag: content.map(|content| about::etag(&content.etag)),
        key: Some(encoding.key(&listed.key)),
        last_modified: Some(about::time(listed.summary.modified)),
        size: content.map(|content| long(content.bytes)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Object::default()
    }
}

fn contents(encoding: Encoding, page: &Page<ListedObject>) -> Option<Vec<Object>> {
    some(page.entries.iter().map(|listed| object(encoding, listed)).collect())
}

/// ListObjects, the first version.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn objects(
    objects: &Objects,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = &request.input;
    let mut asked = asked!(objects, input, max_keys);
    asked.listing.after = marker(input.marker.as_deref(), &asked.listing)?;
    let page = asked.client.list(&asked.bucket, &asked.listing).map_err(fault::of)?;
    let encoding = asked.encoding;
    told!(ListObjectsOutput, asked, page, {
        contents: contents(encoding, &page),
        marker: Some(encoding.text(input.marker.as_deref().unwrap_or_default())),
        max_keys: Some(int(asked.listing.max)),
        name: Some(asked.bucket.to_string()),
        next_marker: page.next.as_ref().map(|next| encoding.key(next.key())),
    })
}

/// ListObjects, the second version.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn objects_v2(
    objects: &Objects,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = &request.input;
    let mut asked = asked!(objects, input, max_keys);
    asked.listing.after = match input.continuation_token.as_deref() {
        Some(token) => Some(Position::from_token(token).map_err(|_| {
            s3_error!(InvalidArgument, "The continuation token provided is incorrect")
        })?),
        None => marker(input.start_after.as_deref(), &asked.listing)?,
    };
    let page = asked.client.list(&asked.bucket, &asked.listing).map_err(fault::of)?;
    let encoding = asked.encoding;
    let mut contents = contents(encoding, &page);
    if input.fetch_owner.unwrap_or_default() {
        let owned = contents.iter_mut().flatten();
        owned.for_each(|object| object.owner = Some(buckets::owner(&asked.entry.owner)));
    }
    told!(ListObjectsV2Output, asked, page, {
        contents: contents,
        continuation_token: input.continuation_token.clone(),
        key_count: Some(int(page.entries.len() + page.prefixes.len())),
        max_keys: Some(int(asked.listing.max)),
        name: Some(asked.bucket.to_string()),
        next_continuation_token: page.next.as_ref().map(Position::token),
        start_after: input.start_after.as_deref().map(|it| encoding.text(it)),
    })
}

/// Versions and delete markers, each by themselves, as answers have them.
fn split(
    encoding: Encoding,
    page: &Page<ListedVersion>,
    owner: &str,
) -> (Vec<ObjectVersion>, Vec<DeleteMarkerEntry>) {
    let owner = buckets::owner(owner);
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for listed in &page.entries {
        let key = Some(encoding.key(&listed.key));
        let last_modified = Some(about::time(listed.summary.modified));
        let (is_latest, version_id) =
            (Some(listed.is_latest), Some(names::version(listed.summary.id())));
        let owner = Some(owner.clone());
        match &listed.summary.content {
            Some(content) => versions.push(ObjectVersion {
                e_tag: Some(about::etag(&content.etag)),
                is_latest,
                key,
                last_modified,
                owner,
                size: Some(long(content.bytes)),
                storage_class: Some(ObjectVersionStorageClass::from_static(
                    ObjectVersionStorageClass::STANDARD,
                )),
                version_id,
                ..ObjectVersion::default()
            }),
            None => {
                markers.push(DeleteMarkerEntry { is_latest, key, last_modified, owner, version_id })
            }
        }
    }
    (versions, markers)
}

/// ListObjectVersions.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn versions(
    objects: &Objects,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = &request.input;
    let mut asked = asked!(objects, input, max_keys);
    let key = given(input.key_marker.as_deref());
    asked.listing.after = match (key, given(input.version_id_marker.as_deref())) {
        (Some(key), Some(version)) => {
            let (key, which) = (names::part_of_key(key)?, names::which(Some(version))?);
            Some(asked.client.after_version(&asked.bucket, key, which).map_err(fault::of)?)
        }
        (None, Some(_)) => {
            return Err(s3_error!(
                InvalidArgument,
                "A version-id marker cannot be specified without a key marker."
            ));
        }
        (key, None) => marker(key, &asked.listing)?,
    };
    let page = asked.client.list_versions(&asked.bucket, &asked.listing).map_err(fault::of)?;
    let encoding = asked.encoding;
    let (versions, markers) = split(encoding, &page, &asked.entry.owner);
    let next_version = page.next.as_ref().and_then(Position::id).and_then(|id| {
        let listed = page.entries.iter().rev().find(|it| it.summary.version == id)?;
        Some(names::version(listed.summary.id()))
    });
    told!(ListObjectVersionsOutput, asked, page, {
        delete_markers: some(markers),
        key_marker: Some(encoding.text(input.key_marker.as_deref().unwrap_or_default())),
        max_keys: Some(int(asked.listing.max)),
        name: Some(asked.bucket.to_string()),
        next_key_marker: page.next.as_ref().map(|next| encoding.key(next.key())),
        next_version_id_marker: next_version,
        version_id_marker: Some(input.version_id_marker.clone().unwrap_or_default()),
        versions: some(versions),
    })
}

fn upload(encoding: Encoding, listed: &ListedUpload) -> MultipartUpload {
    let owner = &listed.upload.owner;
    MultipartUpload {
        checksum_algorithm: listed.upload.checksum.clone().map(Into::into),
        checksum_type: listed.upload.checksum_type.clone().map(Into::into),
        initiated: Some(about::time(listed.upload.begun)),
        initiator: Some(Initiator { display_name: Some(owner.clone()), id: Some(owner.clone()) }),
        key: Some(encoding.key(&listed.key)),
        owner: Some(buckets::owner(owner)),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(listed.id.to_string()),
    }
}

/// ListMultipartUploads.
#[expect(clippy::unused_async, reason = "operations are called with await")]
pub(crate) async fn uploads(
    objects: &Objects,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = &request.input;
    let mut asked = asked!(objects, input, max_uploads);
    let key = given(input.key_marker.as_deref());
    asked.listing.after = match (key, given(input.upload_id_marker.as_deref())) {
        (Some(key), Some(id)) => {
            Some(Position::Id { key: names::part_of_key(key)?, id: names::upload(id)? })
        }
        (key, _) => marker(key, &asked.listing)?,
    };
    let page = asked.client.list_uploads(&asked.bucket, &asked.listing).map_err(fault::of)?;
    let encoding = asked.encoding;
    let uploads = page.entries.iter().map(|listed| upload(encoding, listed)).collect();
    told!(ListMultipartUploadsOutput, asked, page, {
        bucket: Some(asked.bucket.to_string()),
        key_marker: Some(encoding.text(input.key_marker.as_deref().unwrap_or_default())),
        max_uploads: Some(int(asked.listing.max)),
        next_key_marker: page.next.as_ref().map(|next| encoding.key(next.key())),
        next_upload_id_marker: page.next.as_ref().and_then(Position::id).map(|id| id.to_string()),
        upload_id_marker: Some(input.upload_id_marker.clone().unwrap_or_default()),
        uploads: some(uploads),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_where_clients_ask_for_that() {
        assert_eq!(Encoding::Url.text("a b/ä+%\u{1}"), "a%20b/%C3%A4%2B%25%01");
        assert_eq!(Encoding::Plain.text("a b/ä+%"), "a b/ä+%");
        let other = EncodingType::from("base64".to_owned());
        assert!(Encoding::of(Some(&other)).is_err());
    }
}
