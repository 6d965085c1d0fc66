//! Events from requests, by the HTTP binding of CloudEvents 1.0.2 and its JSON format.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use rhumb_types::record::Topic;
use serde_json::{Map, Value};

use crate::{
    event::{Event, ID, KIND, SOURCE, VERSION},
    limits::{ATTRIBUTES_MAX, BATCH_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX},
};

/// The content type of one event in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The content type of a batch.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// What headers of binary mode begin with.
const HEADER_PREFIX: &str = "ce-";
/// The attribute that says what the data is.
const CONTENT_TYPE: &str = "datacontenttype";

/// Why something is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    Json(String),
    /// The body is not of the form that its content type says.
    #[error("the body is not {0}")]
    Form(&'static str),
    /// A required attribute is missing or empty.
    #[error("the event has no `{0}`")]
    Missing(&'static str),
    /// It is of another version.
    #[error("the event is of version `{0}`, and only 1.0 is known")]
    Version(String),
    /// An attribute has a name or a value that it may not have.
    #[error("the attribute `{name}` {problem}")]
    Attribute {
        /// Which.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The data cannot be read.
    #[error("the event's data {0}")]
    Data(&'static str),
    /// There is too much of something.
    #[error("{0}")]
    TooMany(String),
}

/// One event in structured mode (HTTP binding, section 3.2).
///
/// # Errors
/// [`Malformed`].
pub fn structured(topic: &Topic, body: &[u8]) -> Result<Event, Malformed> {
    event(topic, json(body)?)
}

/// Events in batch mode (section 3.3); an empty batch is one.
///
/// # Errors
/// [`Malformed`]; one event that is wrong makes the batch wrong.
pub fn batch(topic: &Topic, body: &[u8]) -> Result<Vec<Event>, Malformed> {
    let Value::Array(events) = json(body)? else { return Err(Malformed::Form("a list of events")) };
    if events.len() > BATCH_MAX {
        return Err(Malformed::TooMany(format!("a batch has at most {BATCH_MAX} events")));
    }
    events.into_iter().map(|one| event(topic, one)).collect()
}

/// One event in binary mode (section 3.1): the context in headers, the data in the body.
///
/// # Errors
/// [`Malformed`].
pub fn binary<'h>(
    topic: &Topic,
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    body: Bytes,
) -> Result<Event, Malformed> {
    let mut context = BTreeMap::new();
    for (header, value) in headers {
        let name = match header.strip_prefix(HEADER_PREFIX) {
            Some(name) => name,
            None if header == "content-type" => CONTENT_TYPE,
            None => continue,
        };
        let wrong = |problem| Malformed::Attribute { name: name.to_owned(), problem };
        let text = decoded(value).ok_or_else(|| wrong("is not percent-encoded UTF-8"))?;
        context.insert(name.to_owned(), text);
    }
    checked(Event { topic: topic.clone(), context, data: body })
}

/// A header's value (section 3.1.3.2): percent-encoded UTF-8.
fn decoded(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn json(body: &[u8]) -> Result<Value, Malformed> {
    serde_json::from_slice(body).map_err(|error| Malformed::Json(error.to_string()))
}

/// An event in the JSON format.
fn event(topic: &Topic, value: Value) -> Result<Event, Malformed> {
    let Value::Object(mut members) = value else { return Err(Malformed::Form("an event")) };
    let data = data(&mut members)?;
    let mut context = BTreeMap::new();
    for (name, value) in members {
        let text = match value {
            // An attribute that is null is as one that is not there (JSON format, section 2.2).
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(yes) => yes.to_string(),
            Value::Number(number) if number.is_i64() => number.to_string(),
            _ => {
                let problem = "is neither a text, a whole number nor a yes or no";
                return Err(Malformed::Attribute { name, problem });
            }
        };
        context.insert(name, text);
    }
    checked(Event { topic: topic.clone(), context, data })
}

/// The data of an event in the JSON format (section 3.1).
fn data(members: &mut Map<String, Value>) -> Result<Bytes, Malformed> {
    let of_json = match members.get(CONTENT_TYPE).and_then(Value::as_str) {
        None => true,
        Some(kind) => is_json(kind),
    };
    match (members.remove("data"), members.remove("data_base64")) {
        (None, None) => Ok(Bytes::new()),
        (Some(_), Some(_)) => Err(Malformed::Data("is there twice")),
        (None, Some(Value::String(text))) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| Malformed::Data("is not base64 (RFC 4648 section 4)")),
        (None, Some(_)) => Err(Malformed::Data("is not base64 (RFC 4648 section 4)")),
        (Some(Value::String(text)), None) if !of_json => Ok(text.into()),
        (Some(value), None) => Ok(value.to_string().into()),
    }
}

/// Whether a content type is JSON: its subtype is `json`, or ends with `+json`.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.split_once('/').is_some_and(|(_, sub)| sub == "json" || sub.ends_with("+json"))
}

/// Refuses what is not an event.
fn checked(event: Event) -> Result<Event, Malformed> {
    for required in [ID, SOURCE, KIND, VERSION] {
        if event.get(required).is_empty() {
            return Err(Malformed::Missing(required));
        }
    }
    if event.get(VERSION) != "1.0" {
        return Err(Malformed::Version(event.get(VERSION).to_owned()));
    }
    if event.context.len() > ATTRIBUTES_MAX {
        return Err(Malformed::TooMany(format!(
            "an event has at most {ATTRIBUTES_MAX} attributes"
        )));
    }
    for (name, value) in &event.context {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let named = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain);
        let problem = if !named {
            "has a name of other characters than a-z and 0-9, or too long a one"
        } else if value.len() > VALUE_BYTES_MAX {
            "has more than 2048 bytes"
        } else if value.chars().any(char::is_control) {
            "has control characters"
        } else {
            continue;
        };
        return Err(Malformed::Attribute { name: name.clone(), problem });
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn topic() -> Topic {
        Topic::new("orders").unwrap()
    }

    fn whole() -> Value {
        json!({ "specversion": "1.0", "id": "7", "source": "/shop", "type": "paid" })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut event = whole();
        event.as_object_mut().unwrap().insert(name.to_owned(), value);
        event
    }

    fn read(event: &Value) -> Result<Event, Malformed> {
        structured(&topic(), event.to_string().as_bytes())
    }

    #[test]
    fn data_is_json_text_or_bytes() {
        let data = |event: Value| read(&event).unwrap().data;
        assert_eq!(&data(whole())[..], b"");
        assert_eq!(&data(with("data", json!({ "a": 1 })))[..], br#"{"a":1}"#);
        assert_eq!(&data(with("data", json!("text")))[..], br#""text""#, "JSON unless said");
        assert_eq!(&data(with("data_base64", json!("/wA=")))[..], b"\xff\0");
        let mut plain = with("data", json!("text"));
        plain["datacontenttype"] = json!("text/plain; charset=utf-8");
        assert_eq!(&data(plain)[..], b"text");
        let mut other = with("data", json!("text"));
        other["datacontenttype"] = json!("application/vnd.shop+json");
        assert_eq!(&data(other)[..], br#""text""#);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for name in ["id", "source", "type", "specversion"] {
            let mut event = whole();
            event.as_object_mut().unwrap().remove(name);
            assert_eq!(read(&event), Err(Malformed::Missing(name)));
            assert_eq!(read(&with(name, json!(""))), Err(Malformed::Missing(name)));
        }
        assert_eq!(read(&with("specversion", json!("0.3"))), Err(Malformed::Version("0.3".into())));
        for (name, value) in [
            ("Upper", json!("x")),
            ("under_score", json!("x")),
            ("list", json!([])),
            ("share", json!(0.5)),
            ("line", json!("a\nb")),
            ("long", json!("x".repeat(VALUE_BYTES_MAX + 1))),
        ] {
            let refused = read(&with(name, value));
            assert!(matches!(refused, Err(Malformed::Attribute { .. })), "{name}: {refused:?}");
        }
        let both = json!({ "specversion": "1.0", "id": "7", "source": "/s", "type": "t",
                           "data": 1, "data_base64": "" });
        assert_eq!(read(&both), Err(Malformed::Data("is there twice")));
        assert!(matches!(structured(&topic(), b"{"), Err(Malformed::Json(_))));
        assert!(matches!(structured(&topic(), b"[]"), Err(Malformed::Form(_))));
    }

    #[test]
    fn extensions_of_the_known_types_are_kept() {
        let read = read(&with("count", json!(5))).unwrap();
        assert_eq!(read.get("count"), "5");
        assert_eq!(super::tests::read(&with("last", json!(true))).unwrap().get("last"), "true");
        assert_eq!(super::tests::read(&with("none", json!(null))).unwrap().get("none"), "");
    }

    #[test]
    fn a_batch_is_a_list_of_events() {
        let read = |value: Value| batch(&topic(), value.to_string().as_bytes());
        assert_eq!(read(json!([])).unwrap().len(), 0);
        assert_eq!(read(json!([whole(), whole()])).unwrap().len(), 2);
        assert!(read(json!([whole(), {}])).is_err());
        assert!(read(whole()).is_err());
        assert!(matches!(read(json!(vec![whole(); BATCH_MAX + 1])), Err(Malformed::TooMany(_))));
    }

    #[test]
    fn headers_carry_the_context_of_binary_mode() {
        let headers: [(&str, &[u8]); 7] = [
            ("ce-specversion", b"1.0"),
            ("ce-id", b"7"),
            ("ce-source", b"/shop"),
            ("ce-type", b"paid"),
            ("ce-subject", b"Euro %E2%82%AC"),
            ("content-type", b"image/png"),
            ("user-agent", b"curl"),
        ];
        let data = Bytes::from_static(b"\x89PNG");
        let read = binary(&topic(), headers.into_iter(), data.clone()).unwrap();
        assert_eq!((read.get("subject"), read.get("datacontenttype")), ("Euro €", "image/png"));
        assert_eq!(read.data, data);
        let bad: [(&str, &[u8]); 1] = [("ce-id", b"%zz")];
        assert!(binary(&topic(), bad.into_iter(), data).is_err());
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _read_or_refused = structured(&topic(), &body);
            let _read_or_refused = batch(&topic(), &body);
        }

        #[test]
        fn any_header_is_read_or_refused(value in prop::collection::vec(any::<u8>(), 0..60)) {
            let headers = [("ce-id", &value[..])];
            let _read_or_refused = binary(&topic(), headers.into_iter(), Bytes::new());
        }
    }
}
