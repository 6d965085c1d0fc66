//! Answers, and the JSON of things whose own form does not suit it.
//!
//! Ids are 64-bit numbers, which JavaScript cannot hold, so they are written as in logs: `n2a`,
//! `o1f`. Keys and values are bytes: text where they are UTF-8, else base64 under a name that says
//! so.

use std::fmt::Display;

use axum::{body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use rhumb_types::record::VersionVector;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// An answer in JSON.
pub(crate) fn json(value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value);
    let text = text.unwrap_or_else(|error| unreachable!("an answer is not JSON: {error}"));
    let mut response = Response::new(Body::from(text));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// An answer in JSON with a status of its own.
pub(crate) fn json_as(status: StatusCode, value: &impl Serialize) -> Response {
    let mut response = json(value);
    *response.status_mut() = status;
    response
}

/// Serializes something as it is shown.
pub(crate) fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer of bytes.
pub(crate) fn bytes(body: Bytes, content_type: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Sets a header; a value that cannot be one is left out.
pub(crate) fn set(response: &mut Response, name: &'static str, value: impl Display) {
    if let Ok(value) = HeaderValue::try_from(value.to_string()) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// Sets an entity tag.
pub(crate) fn set_etag(response: &mut Response, tag: impl Display) {
    set(response, "etag", format_args!("\"{tag}\""));
}

/// A vector as an object of origins and versions.
pub(crate) fn vector(vector: &VersionVector) -> Value {
    vector.iter().map(|(origin, version)| (origin.to_string(), Value::from(version))).collect()
}

/// Adds a member to an object.
pub(crate) fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

/// Puts bytes into an object: under `name` as text, or under `name_base64`.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

/// Names the key that an answer is about.
pub(crate) fn put_key(body: &mut Value, key: &[u8]) {
    if let Some(object) = body.as_object_mut() {
        put_bytes(object, "key", key);
    }
}
