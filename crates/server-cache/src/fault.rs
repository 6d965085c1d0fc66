//! What goes wrong, as clients are told.

use std::time::Duration;

use http::StatusCode;
use rhumb_engine::ObjectError;
use rhumb_types::ErrorCode;

/// A refusal or a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) code: ErrorCode,
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = match code {
            ErrorCode::Invalid => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Unavailable | ErrorCode::Unconfirmed => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { code, status, message: message.into(), retry_after: None }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// It is longer than may be.
    pub(crate) fn too_large(bytes_max: u64) -> Self {
        let message = format!("the body may have {bytes_max} bytes at most");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..Self::invalid(message) }
    }

    /// The cache has not got it.
    pub(crate) fn miss() -> Self {
        Self::not_found("the cache has no such entry")
    }

    /// The node has just started.
    pub(crate) fn starting() -> Self {
        Self::new(ErrorCode::Unavailable, "the objects of this node have not started")
    }
}

impl From<ObjectError> for Fault {
    fn from(error: ObjectError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
