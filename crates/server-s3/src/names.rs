//! Names as S3's clients write them: keys, buckets, versions.

use bytes::Bytes;
use rhumb_objects::index::Which;
use rhumb_types::record::{BucketName, JobId, VersionId, object::OBJECT_KEY_BYTES_MAX};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

/// What the version of an object is called that has no id.
pub(crate) const NULL: &str = "null";

/// A request as answers name it.
pub(crate) fn request_id(random: JobId) -> String {
    random.0.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The key of an object. Keys are opaque: `..`, `//` and whatever a second decoding would find stay as
/// they are. Only NUL is refused, because it ends keys in the index.
pub(crate) fn key(text: &str) -> S3Result<Bytes> {
    if text.is_empty() {
        return Err(s3_error!(InvalidArgument, "The key of an object cannot be empty."));
    }
    if text.len() > OBJECT_KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError, "Your key is too long"));
    }
    without_nul(text)
}

/// Some beginning of keys, or a place among them.
pub(crate) fn part_of_key(text: &str) -> S3Result<Bytes> {
    if text.len() > OBJECT_KEY_BYTES_MAX {
        return Err(s3_error!(KeyTooLongError, "Your key is too long"));
    }
    without_nul(text)
}

fn without_nul(text: &str) -> S3Result<Bytes> {
    if text.contains('\0') {
        return Err(s3_error!(InvalidArgument, "A key cannot hold the character NUL."));
    }
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

/// A key as text. Keys come in as UTF-8 and in no other way.
pub(crate) fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// The name of a bucket.
pub(crate) fn bucket(text: &str) -> S3Result<BucketName> {
    BucketName::new(text).map_err(|_| {
        S3Error::with_message(S3ErrorCode::InvalidBucketName, "The specified bucket is not valid.")
    })
}

/// A version as clients see it.
pub(crate) fn version(id: Option<VersionId>) -> String {
    id.map_or_else(|| NULL.to_owned(), |id| id.to_string())
}

/// The version that a request is about.
pub(crate) fn which(version: Option<&str>) -> S3Result<Which> {
    let Some(text) = version.filter(|text| !text.is_empty()) else { return Ok(Which::Newest) };
    Which::parse(text).ok_or_else(|| s3_error!(InvalidArgument, "Invalid version id specified"))
}

/// The id of an upload.
pub(crate) fn upload(text: &str) -> S3Result<VersionId> {
    VersionId::parse(text).ok_or_else(no_upload)
}

pub(crate) fn no_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
         aborted or completed."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_opaque() {
        for good in ["a", "..", "../../etc/passwd", "a//b", "./a", "%2e%2e%2f", "a b+c", "ä", "/"]
        {
            assert_eq!(key(good).unwrap(), good.as_bytes(), "{good}");
        }
        let refused = |text: &str| key(text).unwrap_err().code().clone();
        assert_eq!(refused(""), S3ErrorCode::InvalidArgument);
        assert_eq!(refused("a\0b"), S3ErrorCode::InvalidArgument);
        assert_eq!(refused(&"x".repeat(1_025)), S3ErrorCode::KeyTooLongError);
        assert!(key(&"x".repeat(1_024)).is_ok());
        assert!(part_of_key("").is_ok() && part_of_key("\0").is_err());
    }
}
