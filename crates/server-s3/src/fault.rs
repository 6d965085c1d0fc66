//! What goes wrong with objects, in the words of S3.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use rhumb_engine::ObjectError;
use rhumb_objects::{
    index::{CopyRefused, ReadRefused, Refused},
    multipart::{CompleteRefused, PartRefused},
};
use rhumb_types::{ErrorCode, record::VersionId};
use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::{door::sentence, names};

/// How soon what is unavailable may be there again, in seconds.
const RETRY_SECONDS: u64 = 2;
/// Tells of a change that may be done, or may be done later. S3 has no word for it; without this header
/// what is answered with 503 was not done.
const UNCONFIRMED: &str = "x-rhumb-unconfirmed";

/// An error as a client sees it.
pub(crate) fn of(error: ObjectError) -> S3Error {
    let said = sentence(&error.to_string());
    match error {
        ObjectError::NoBucket(_) => no_bucket(),
        ObjectError::BucketExists(_) => s3_error!(
            BucketAlreadyExists,
            "The requested bucket name is not available. The names of buckets are shared by the cluster."
        ),
        ObjectError::NotEmpty(_) => {
            s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty")
        }
        ObjectError::BucketChanged(_) => s3_error!(
            OperationAborted,
            "A conflicting conditional operation is currently in progress against this resource. Try again."
        ),
        ObjectError::Read(refused) => unread(refused),
        ObjectError::Change(refused) => unchanged(refused, said),
        ObjectError::Copy(CopyRefused::Same) => s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without \
             changing the object's metadata, storage class, website redirect location or encryption \
             attributes."
        ),
        ObjectError::Copy(CopyRefused::Marker) => {
            s3_error!(
                InvalidRequest,
                "The source of a copy request may not specifically refer to a \
                                       delete marker by version id."
            )
        }
        ObjectError::NoUpload(_)
        | ObjectError::Part(PartRefused::NoUpload)
        | ObjectError::Complete(CompleteRefused::NoUpload) => names::no_upload(),
        ObjectError::Begin(_) => S3Error::with_message(S3ErrorCode::InvalidRequest, said),
        ObjectError::Part(refused) => part(&refused, said),
        ObjectError::Complete(refused) => uncompleted(refused, said),
        ObjectError::Digest("SHA-256 of the payload") => {
            custom("XAmzContentSHA256Mismatch", StatusCode::BAD_REQUEST, said)
        }
        ObjectError::Digest(_) => S3Error::with_message(S3ErrorCode::BadDigest, said),
        ObjectError::Length { .. } | ObjectError::Body(_) => {
            S3Error::with_message(S3ErrorCode::IncompleteBody, said)
        }
        ObjectError::Lifecycle(_) => S3Error::with_message(S3ErrorCode::InvalidRequest, said),
        other => of_class(other.code(), said),
    }
}

/// What is known of an error by its class alone.
pub(crate) fn of_class(class: ErrorCode, said: String) -> S3Error {
    let code = match class {
        ErrorCode::Invalid => S3ErrorCode::InvalidArgument,
        ErrorCode::NotFound => S3ErrorCode::NoSuchKey,
        ErrorCode::Conflict => S3ErrorCode::PreconditionFailed,
        ErrorCode::Forbidden | ErrorCode::Unauthenticated => S3ErrorCode::AccessDenied,
        ErrorCode::Overloaded => S3ErrorCode::SlowDown,
        ErrorCode::Unavailable | ErrorCode::Unconfirmed => S3ErrorCode::ServiceUnavailable,
        ErrorCode::Internal => S3ErrorCode::InternalError,
    };
    let again = matches!(code, S3ErrorCode::SlowDown | S3ErrorCode::ServiceUnavailable);
    let mut error = S3Error::with_message(code, said);
    if again {
        let mut headers = HeaderMap::from_iter([(header::RETRY_AFTER, RETRY_SECONDS.into())]);
        if class == ErrorCode::Unconfirmed {
            headers.insert(UNCONFIRMED, HeaderValue::from_static("true"));
        }
        with_headers(&mut error, headers);
    }
    error
}

/// An error that comes with headers. The codec takes them in place of its own.
pub(crate) fn with_headers(error: &mut S3Error, mut headers: HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    error.set_headers(headers);
}

/// An error whose code the codec does not know.
pub(crate) fn custom(code: &'static str, status: StatusCode, said: impl Into<String>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), said.into());
    error.set_status_code(status);
    error
}

pub(crate) fn no_bucket() -> S3Error {
    s3_error!(NoSuchBucket, "The specified bucket does not exist")
}

pub(crate) fn starting() -> S3Error {
    of_class(ErrorCode::Unavailable, "The objects of this node have not started yet.".to_owned())
}

/// A version that holds nothing where one was to hold something.
pub(crate) fn no_content() -> S3Error {
    no_key()
}

fn no_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

fn no_version() -> S3Error {
    s3_error!(NoSuchVersion, "The specified version does not exist.")
}

/// The headers of an answer about a delete marker.
pub(crate) fn marker_headers(marker: Option<VersionId>) -> HeaderMap {
    let id = names::version(marker);
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert("x-amz-version-id", id);
    }
    headers
}

fn unread(refused: ReadRefused) -> S3Error {
    match refused {
        ReadRefused::NoKey => no_key(),
        ReadRefused::NoVersion => no_version(),
        ReadRefused::Deleted { marker } => {
            let mut error = no_key();
            with_headers(&mut error, marker_headers(marker));
            error
        }
        ReadRefused::Marker { marker } => {
            let mut error = s3_error!(
                MethodNotAllowed,
                "The specified method is not allowed against this resource."
            );
            with_headers(&mut error, marker_headers(marker));
            error
        }
    }
}

fn unchanged(refused: Refused, said: String) -> S3Error {
    match refused {
        Refused::NoObject => no_key(),
        Refused::NoVersion => no_version(),
        Refused::Marker => s3_error!(
            MethodNotAllowed,
            "The specified method is not allowed against this resource."
        ),
        Refused::Precondition => unmet(),
        Refused::About { what: "metadata", .. } => s3_error!(
            MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size"
        ),
        Refused::TooLarge { .. } | Refused::TooMany { .. } => {
            S3Error::with_message(S3ErrorCode::EntityTooLarge, said)
        }
        Refused::Key | Refused::About { .. } => {
            S3Error::with_message(S3ErrorCode::InvalidArgument, said)
        }
    }
}

fn part(refused: &PartRefused, said: String) -> S3Error {
    let code = match refused {
        PartRefused::NoUpload => return names::no_upload(),
        PartRefused::Number => S3ErrorCode::InvalidArgument,
        PartRefused::TooLarge => S3ErrorCode::EntityTooLarge,
        PartRefused::Checksum(_) => S3ErrorCode::InvalidRequest,
        PartRefused::Inline => S3ErrorCode::InternalError,
    };
    S3Error::with_message(code, said)
}

fn uncompleted(refused: CompleteRefused, said: String) -> S3Error {
    let code = match refused {
        CompleteRefused::NoUpload => return names::no_upload(),
        CompleteRefused::Object(refused) => return unchanged(refused, said),
        CompleteRefused::Count => S3ErrorCode::MalformedXML,
        CompleteRefused::Order { .. } => S3ErrorCode::InvalidPartOrder,
        CompleteRefused::Part { .. } => S3ErrorCode::InvalidPart,
        CompleteRefused::TooSmall { .. } => S3ErrorCode::EntityTooSmall,
        CompleteRefused::Size { .. } => S3ErrorCode::InvalidRequest,
        CompleteRefused::Checksum(_) => S3ErrorCode::BadDigest,
    };
    S3Error::with_message(code, said)
}

/// A condition does not hold.
pub(crate) fn unmet() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unavailable_says_when_to_try_again() {
        let error = of(ObjectError::Unavailable("no quorum answers".into()));
        assert_eq!(error.code(), &S3ErrorCode::ServiceUnavailable);
        assert_eq!(error.status_code(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(error.headers().unwrap().contains_key(header::RETRY_AFTER));
        assert!(!error.headers().unwrap().contains_key(UNCONFIRMED), "it was not done");
    }

    #[test]
    fn an_object_of_too_many_blobs_is_too_large_whoever_finds_it() {
        let many = || Refused::TooMany { blobs: 25_001 };
        for error in [
            ObjectError::Change(many()),
            ObjectError::Complete(CompleteRefused::Object(many())),
            ObjectError::Part(PartRefused::TooLarge),
        ] {
            let error = of(error);
            assert_eq!(error.code(), &S3ErrorCode::EntityTooLarge);
            assert_eq!(error.code().status_code(), Some(StatusCode::BAD_REQUEST));
        }
    }

    #[test]
    fn what_may_have_been_done_says_so() {
        let error = of(ObjectError::Unconfirmed("the region may have done it".into()));
        assert_eq!(error.code(), &S3ErrorCode::ServiceUnavailable);
        assert_eq!(error.headers().unwrap()[UNCONFIRMED], "true");
    }

    #[test]
    fn a_deleted_object_is_told_with_its_marker() {
        let error = of(ObjectError::Read(ReadRefused::Deleted { marker: None }));
        assert_eq!(error.code(), &S3ErrorCode::NoSuchKey);
        assert_eq!(error.headers().unwrap()["x-amz-version-id"], "null");
    }
}
