//! What goes wrong, as `application/problem+json` (RFC 9457), and the one place where error codes
//! become statuses.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use rhumb_engine::{
    AdminError, LogCursorError, OperateError, ReadError, RoutingError, StrongError, WriteError,
};
use rhumb_state::{OpError, QueryError};
use rhumb_types::{ErrorCode, control::AdminRefusal};
use serde_json::{Map, Value, json};

/// An answer that says what was wrong, where, and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// A name that programs can rely on.
    code: &'static str,
    detail: String,
    help: &'static str,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The status, the name and the advice of an error code.
const fn words(code: ErrorCode) -> (StatusCode, &'static str, &'static str) {
    match code {
        ErrorCode::Invalid => {
            (StatusCode::BAD_REQUEST, "invalid", "Correct the request; repeating it cannot help.")
        }
        ErrorCode::Unauthenticated => (
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Send `Authorization: Bearer rhumb_ID_SECRET` with a valid token.",
        ),
        ErrorCode::Forbidden => (
            StatusCode::FORBIDDEN,
            "forbidden",
            "Use a token whose role and scopes allow this, or ask an admin for one.",
        ),
        ErrorCode::NotFound => (
            StatusCode::NOT_FOUND,
            "not_found",
            "Check the name; what was just written in another region may still be on its way.",
        ),
        ErrorCode::Conflict => {
            (StatusCode::CONFLICT, "conflict", "Read the present state and decide again.")
        }
        ErrorCode::Overloaded => (
            StatusCode::TOO_MANY_REQUESTS,
            "overloaded",
            "Try again after the time in `retry-after`, with backoff.",
        ),
        ErrorCode::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Nothing was done: try again, or ask a node of another region.",
        ),
        ErrorCode::Unconfirmed => (
            StatusCode::GATEWAY_TIMEOUT,
            "unconfirmed",
            "It may be in effect, or come into effect: read before you repeat it.",
        ),
        ErrorCode::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "This node has a fault: see its log and /readyz, and ask a node of another region.",
        ),
    }
}

/// Seconds after which to try again, where nothing better is known.
const RETRY_SECONDS: u64 = 1;

impl Problem {
    /// A problem of a kind.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let (status, name, help) = words(code);
        let problem = Self {
            status,
            code: name,
            detail: detail.into(),
            help,
            more: Map::new(),
            headers: Vec::new(),
        };
        match code {
            ErrorCode::Overloaded | ErrorCode::Unavailable => problem.retry_after(RETRY_SECONDS),
            _ => problem,
        }
    }

    /// A malformed request.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, detail)
    }

    /// A problem that only HTTP knows.
    pub(crate) fn http(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        help: &'static str,
    ) -> Self {
        let (more, headers) = (Map::new(), Vec::new());
        Self { status, code, detail: detail.into(), help, more, headers }
    }

    /// A condition of the request that does not hold.
    pub(crate) fn precondition(detail: impl Into<String>) -> Self {
        Self::http(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            detail,
            "Read the present state and decide again.",
        )
    }

    /// Other advice than the kind's own.
    pub(crate) const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// A further member, for programs.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// A header of the answer.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// When to try again, in seconds.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        let mut kept = self;
        kept.headers.retain(|(name, _)| name != header::RETRY_AFTER);
        kept.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn error(code: ErrorCode, error: &(dyn std::error::Error + 'static)) -> Self {
        let chain = std::iter::successors(Some(error), |error| error.source());
        let words: Vec<String> = chain.map(ToString::to_string).collect();
        Self::new(code, words.join(": "))
    }
}

impl Problem {
    /// What it says.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "help": self.help,
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(self.more.clone());
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

macro_rules! by_its_code {
    ($($error:ty),*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::error(error.code(), &error)
            }
        }
    )*};
}

by_its_code!(WriteError, StrongError, RoutingError, OpError);

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let code = match &error {
            QueryError::Scan(store) => store.code(),
            other => other.code().unwrap_or(ErrorCode::Internal),
        };
        Self::error(code, &error)
    }
}

impl From<AdminRefusal> for Problem {
    fn from(refusal: AdminRefusal) -> Self {
        let problem = match &refusal {
            AdminRefusal::VersionChanged { found } => {
                Self::precondition(refusal.to_string()).with("version", *found)
            }
            AdminRefusal::FailoverOpen(id) | AdminRefusal::KeyReused(id) => {
                Self::error(refusal.code(), &refusal).with("failover", id.0)
            }
            _ => Self::error(refusal.code(), &refusal),
        };
        problem.with("refusal", refusal.name())
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Refused(refusal) => refusal.into(),
            other => Self::error(other.code(), &other),
        }
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Admin(error) => error.into(),
            other => Self::error(other.code(), &other),
        }
    }
}

impl From<LogCursorError> for Problem {
    fn from(error: LogCursorError) -> Self {
        let code = match &error {
            LogCursorError::Gone { .. } => {
                return Self::http(
                    StatusCode::GONE,
                    "gone",
                    error.to_string(),
                    "Read the state anew and follow from `present`, or accept the gap and follow \
                     from `oldest`.",
                );
            }
            LogCursorError::Store(store) => store.code(),
            LogCursorError::Record { .. } => ErrorCode::Internal,
        };
        Self::error(code, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_of_its_own_and_its_own_name() {
        let codes = [
            (ErrorCode::Invalid, 400),
            (ErrorCode::Unauthenticated, 401),
            (ErrorCode::Forbidden, 403),
            (ErrorCode::NotFound, 404),
            (ErrorCode::Conflict, 409),
            (ErrorCode::Overloaded, 429),
            (ErrorCode::Unavailable, 503),
            (ErrorCode::Unconfirmed, 504),
            (ErrorCode::Internal, 500),
        ];
        for (code, status) in codes {
            let response = Problem::new(code, "x").into_response();
            assert_eq!(response.status().as_u16(), status);
            let name = serde_json::to_value(code).unwrap();
            assert_eq!(name, words(code).1, "the code's name in JSON");
            let retry = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(retry, matches!(status, 429 | 503), "{code:?}");
        }
    }
}
