//! Answers: JSON, with the headers that SQS's clients look at.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use crate::fault::{Code, Fault};

/// What every answer is.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What is spoken.
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
/// Names a request in the client's logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// The older name of an error, and who is to blame.
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// What a handler answers: the bytes of a JSON object.
pub(crate) type Outcome = Result<Bytes, Fault>;

/// An object as bytes.
pub(crate) fn json<T: Serialize>(value: &T) -> Outcome {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        Fault::new(Code::Internal, format!("The answer cannot be written: {error}."))
    });
    bytes.map(Bytes::from)
}

/// An object without members.
pub(crate) fn nothing() -> Outcome {
    Ok(Bytes::from_static(b"{}"))
}

#[derive(Serialize)]
struct Error<'f> {
    #[serde(rename = "__type")]
    kind: String,
    message: &'f str,
}

/// An outcome as an answer.
pub(crate) fn answer(outcome: Outcome, request_id: &str) -> Answer {
    let mut response = match outcome {
        Ok(body) => Response::new(Full::new(body)),
        Err(fault) => error(&fault),
    };
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_TYPE).or_insert(JSON);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

fn error(fault: &Fault) -> Answer {
    let code = fault.code;
    let body = Error { kind: code.json(), message: &fault.message };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status(code);
    let blame = if code.is_senders() { "Sender" } else { "Receiver" };
    if let Ok(named) = HeaderValue::try_from(format!("{};{blame}", code.query())) {
        response.headers_mut().insert(QUERY_ERROR, named);
    }
    if let Some(wait) = fault.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
    }
    response
}

/// The answer to the protocol that SQS's clients spoke before 2023, in its own form, so that they show
/// their users why nothing works.
pub(crate) fn query_protocol(request_id: &str) -> Answer {
    let code = Code::UnsupportedOperation;
    let body = format!(
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">\
         <Error><Type>Sender</Type><Code>{}</Code><Message>This server speaks the JSON protocol of SQS \
         (AWS JSON 1.0), and not the older query protocol. Update the client: boto3 from 1.28.82, AWS \
         SDKs from November 2023.</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        code.query()
    );
    let mut response = answer(Ok(body.into()), request_id);
    *response.status_mut() = status(code);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_both_of_their_names() {
        let response = answer(Err(Fault::no_queue()), "id");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let named = response.headers().get("x-amzn-query-error").unwrap();
        assert_eq!(named, "AWS.SimpleQueueService.NonExistentQueue;Sender");
        let away = answer(Err(Fault::starting()), "id");
        let named = away.headers().get("x-amzn-query-error").unwrap();
        assert_eq!(
            (away.status().as_u16(), named.to_str().unwrap()),
            (503, "ServiceUnavailable;Receiver")
        );
    }
}
