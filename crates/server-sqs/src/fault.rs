//! What goes wrong, in the words of SQS.
//!
//! A client of the JSON protocol finds the name of the error in the body, and the name that the older
//! query protocol had for it in the header `x-amzn-query-error`, from which botocore takes the code that
//! programs compare with.

use std::time::Duration;

use rhumb_engine::{AdminError, DefineError};
use rhumb_front::Doubt;
use rhumb_queue::Refused;
use rhumb_sigv4::Refusal;
use rhumb_types::ErrorCode;

/// Every kind of error that a client sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    AccessDenied,
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    IncompleteSignature,
    Internal,
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidBatchEntryId,
    InvalidClientTokenId,
    InvalidMessageContents,
    InvalidParameterValue,
    MessageNotInflight,
    MissingAuthentication,
    MissingParameter,
    OverLimit,
    PurgeQueueInProgress,
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleIsInvalid,
    RequestExpired,
    RequestThrottled,
    Serialization,
    ServiceUnavailable,
    SignatureDoesNotMatch,
    TooManyEntriesInBatchRequest,
    UnknownOperation,
    UnsupportedOperation,
}

/// How a code is spelled.
struct Spelling {
    /// In the JSON protocol.
    json: &'static str,
    /// In the query protocol.
    query: &'static str,
    status: u16,
}

impl Code {
    const fn spelling(self) -> Spelling {
        let (json, query, status) = match self {
            Self::AccessDenied => ("AccessDeniedException", "AccessDenied", 403),
            Self::BatchEntryIdsNotDistinct => {
                ("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400)
            }
            Self::BatchRequestTooLong => {
                ("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", 400)
            }
            Self::EmptyBatchRequest => {
                ("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", 400)
            }
            Self::IncompleteSignature => {
                ("IncompleteSignatureException", "IncompleteSignature", 400)
            }
            Self::Internal => ("InternalFailure", "InternalFailure", 500),
            Self::InvalidAttributeName => ("InvalidAttributeName", "InvalidAttributeName", 400),
            Self::InvalidAttributeValue => ("InvalidAttributeValue", "InvalidAttributeValue", 400),
            Self::InvalidBatchEntryId => {
                ("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", 400)
            }
            Self::InvalidClientTokenId => {
                ("UnrecognizedClientException", "InvalidClientTokenId", 403)
            }
            Self::InvalidMessageContents => {
                ("InvalidMessageContents", "InvalidMessageContents", 400)
            }
            Self::InvalidParameterValue => {
                ("InvalidParameterValueException", "InvalidParameterValue", 400)
            }
            Self::MessageNotInflight => {
                ("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", 400)
            }
            Self::MissingAuthentication => {
                ("MissingAuthenticationTokenException", "MissingAuthenticationToken", 403)
            }
            Self::MissingParameter => {
                ("MissingRequiredParameterException", "MissingParameter", 400)
            }
            Self::OverLimit => ("OverLimit", "OverLimit", 403),
            Self::PurgeQueueInProgress => {
                ("PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", 403)
            }
            Self::QueueDoesNotExist => {
                ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400)
            }
            Self::QueueNameExists => ("QueueNameExists", "QueueAlreadyExists", 400),
            Self::ReceiptHandleIsInvalid => {
                ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404)
            }
            Self::RequestExpired => ("RequestExpired", "RequestExpired", 403),
            Self::RequestThrottled => ("RequestThrottled", "RequestThrottled", 403),
            Self::Serialization => ("SerializationException", "MalformedInput", 400),
            Self::ServiceUnavailable => ("ServiceUnavailable", "ServiceUnavailable", 503),
            Self::SignatureDoesNotMatch => {
                ("InvalidSignatureException", "SignatureDoesNotMatch", 403)
            }
            Self::TooManyEntriesInBatchRequest => (
                "TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                400,
            ),
            Self::UnknownOperation => ("UnknownOperationException", "InvalidAction", 400),
            Self::UnsupportedOperation => {
                ("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", 400)
            }
        };
        Spelling { json, query, status }
    }

    pub(crate) const fn status(self) -> u16 {
        self.spelling().status
    }

    /// As the body of the JSON protocol names it.
    pub(crate) fn json(self) -> String {
        format!("com.amazonaws.sqs#{}", self.spelling().json)
    }

    /// As the query protocol names it, and entries of batches.
    pub(crate) const fn query(self) -> &'static str {
        self.spelling().query
    }

    /// Whether the client is to blame, and ought not to send the same again.
    pub(crate) const fn is_senders(self) -> bool {
        !matches!(self, Self::Internal | Self::ServiceUnavailable)
    }

    /// How it counts among the errors of all protocols.
    pub(crate) const fn class(self) -> ErrorCode {
        match self {
            Self::AccessDenied => ErrorCode::Forbidden,
            Self::IncompleteSignature
            | Self::InvalidClientTokenId
            | Self::MissingAuthentication
            | Self::RequestExpired
            | Self::SignatureDoesNotMatch => ErrorCode::Unauthenticated,
            Self::QueueDoesNotExist => ErrorCode::NotFound,
            Self::MessageNotInflight | Self::PurgeQueueInProgress | Self::QueueNameExists => {
                ErrorCode::Conflict
            }
            Self::OverLimit | Self::RequestThrottled => ErrorCode::Overloaded,
            Self::ServiceUnavailable => ErrorCode::Unavailable,
            Self::Internal => ErrorCode::Internal,
            _ => ErrorCode::Invalid,
        }
    }
}

/// An error as a client sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Fault {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// A parameter whose value cannot be.
    pub(crate) fn value(parameter: &str, reason: impl AsRef<str>) -> Self {
        let reason = reason.as_ref();
        let message = format!("Value for parameter {parameter} is invalid. Reason: {reason}.");
        Self::new(Code::InvalidParameterValue, message)
    }

    /// A parameter that is not there.
    pub(crate) fn missing(parameter: &str) -> Self {
        let message = format!("The request must contain the parameter {parameter}.");
        Self::new(Code::MissingParameter, message)
    }

    pub(crate) fn no_queue() -> Self {
        Self::new(Code::QueueDoesNotExist, "The specified queue does not exist.")
    }

    pub(crate) fn starting() -> Self {
        Self::new(Code::ServiceUnavailable, "The queues of this node have not started yet.")
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let code = match &refused {
            Refused::NoQueue(_) => return Self::no_queue(),
            Refused::Stale | Refused::Gone => Code::ReceiptHandleIsInvalid,
            Refused::Overloaded => Code::RequestThrottled,
            Refused::Invalid(_) | Refused::ChangedParameters { .. } => Code::InvalidParameterValue,
            other => of_class(other.code()),
        };
        Self::new(code, sentence(&refused.to_string()))
    }
}

impl From<AdminError> for Fault {
    fn from(error: AdminError) -> Self {
        Self::new(of_class(error.code()), sentence(&error.to_string()))
    }
}

impl From<DefineError> for Fault {
    fn from(error: DefineError) -> Self {
        let code = match &error {
            DefineError::NoQueue(_) => return Self::no_queue(),
            DefineError::Setting(_) | DefineError::Invalid(_) => Code::InvalidAttributeValue,
            other => of_class(other.code()),
        };
        Self::new(code, sentence(&error.to_string()))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Missing => Code::MissingAuthentication,
            Refusal::Algorithm | Refusal::Malformed(_) => Code::IncompleteSignature,
            Refusal::Scope { .. } | Refusal::Uncovered(_) | Refusal::Mismatch => {
                Code::SignatureDoesNotMatch
            }
            Refusal::Skewed { .. } => Code::SignatureDoesNotMatch,
            Refusal::Expired { .. } => Code::RequestExpired,
        };
        Self::new(code, sentence(&refusal.to_string()))
    }
}

impl From<Doubt> for Fault {
    fn from(doubt: Doubt) -> Self {
        let message = match doubt {
            Doubt::Signature(refusal) => return refusal.into(),
            Doubt::UnknownKey => {
                "The security token included in the request is invalid.".to_owned()
            }
            Doubt::SessionToken => sentence(&doubt.to_string()),
        };
        Self::new(Code::InvalidClientTokenId, message)
    }
}

/// What failed on the way is tried again by clients; what cannot be is not.
const fn of_class(code: ErrorCode) -> Code {
    match code {
        ErrorCode::Invalid | ErrorCode::Conflict => Code::InvalidParameterValue,
        ErrorCode::NotFound => Code::QueueDoesNotExist,
        ErrorCode::Forbidden | ErrorCode::Unauthenticated => Code::AccessDenied,
        ErrorCode::Overloaded => Code::RequestThrottled,
        ErrorCode::Unavailable | ErrorCode::Unconfirmed => Code::ServiceUnavailable,
        ErrorCode::Internal => Code::Internal,
    }
}

/// A fragment as a sentence.
fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    let first = letters.next().map(char::to_uppercase);
    first.map_or_else(String::new, |first| {
        format!("{}{}.", first.collect::<String>(), letters.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_botocore_maps() {
        let queue = Fault::no_queue().code;
        assert_eq!(queue.json(), "com.amazonaws.sqs#QueueDoesNotExist");
        assert_eq!(queue.query(), "AWS.SimpleQueueService.NonExistentQueue");
        assert!(queue.is_senders() && queue.status() == 400);
        assert!(!Code::ServiceUnavailable.is_senders());
    }

    #[test]
    fn refusals_become_sentences() {
        let fault = Fault::from(Refused::Unavailable("no lease".into()));
        assert_eq!(fault.code, Code::ServiceUnavailable);
        assert_eq!(fault.message, "It cannot be done now: no lease.");
        assert_eq!(sentence(""), "");
    }
}
