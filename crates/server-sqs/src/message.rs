//! Messages: which texts they may hold, their attributes, and the checksums that clients compare.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use md5::{Digest, Md5};
use rhumb_types::record::JobAttribute;
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Code, Fault},
    limits::{ATTRIBUTE_NAME_BYTES_MAX, MESSAGE_ATTRIBUTES_MAX, TOKEN_BYTES_MAX},
};

/// The kind of an attribute that is SQS's own; the kinds of clients begin with other words.
const SYSTEM_KIND: &str = "System";
/// The system attribute that clients may send.
pub(crate) const TRACE_HEADER: &str = "AWSTraceHeader";
/// The group of a message in a queue that is not FIFO; it orders nothing.
pub(crate) const GROUP: &str = "MessageGroupId";

/// A value of an attribute, as clients write it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Value {
    pub(crate) data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) string_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binary_value: Option<String>,
    #[serde(skip_serializing)]
    string_list_values: Vec<serde_json::Value>,
    #[serde(skip_serializing)]
    binary_list_values: Vec<serde_json::Value>,
}

/// Attributes by name.
pub(crate) type Values = BTreeMap<String, Value>;

/// Whether a text has only the characters that SQS takes: those of XML 1.0 (section 2.2).
pub(crate) fn is_text(text: &str) -> bool {
    text.chars().all(|letter| {
        matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}')
            || letter >= '\u{10000}'
    })
}

/// Checks a body.
pub(crate) fn check_body(body: &str) -> Result<(), Fault> {
    if body.is_empty() {
        return Err(Fault::missing("MessageBody"));
    }
    if is_text(body) {
        return Ok(());
    }
    let message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to \
                   #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Err(Fault::new(Code::InvalidMessageContents, message))
}

/// Checks a group, a deduplication id or an attempt id.
pub(crate) fn check_token(parameter: &str, token: &str) -> Result<(), Fault> {
    let fits = (1..=TOKEN_BYTES_MAX).contains(&token.len());
    if fits && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let reason = "It can only include alphanumeric and punctuation characters. 1 to 128 in length";
    Err(Fault::value(parameter, reason))
}

/// The attributes of a message, checked, in the order of their names.
pub(crate) fn attributes(values: Values) -> Result<Vec<JobAttribute>, Fault> {
    if values.len() > MESSAGE_ATTRIBUTES_MAX {
        let reason = format!("a message has at most {MESSAGE_ATTRIBUTES_MAX} attributes");
        return Err(Fault::value("MessageAttributes", reason));
    }
    values.into_iter().map(|(name, value)| attribute(name, value)).collect()
}

fn attribute(name: String, value: Value) -> Result<JobAttribute, Fault> {
    if !is_attribute_name(&name) {
        let reason = format!(
            "`{name}` is not a name of an attribute: use 1 to 256 of a-z, A-Z, 0-9, `_`, `-` and `.`, \
             not beginning with AWS. or Amazon., and without periods at the ends or in a row"
        );
        return Err(Fault::value("MessageAttributes", reason));
    }
    let refuse = |reason: &str| {
        let message = format!("The message attribute '{name}' {reason}.");
        Fault::new(Code::InvalidParameterValue, message)
    };
    if !value.string_list_values.is_empty() || !value.binary_list_values.is_empty() {
        return Err(refuse("has a list, and lists are not supported, by Amazon either"));
    }
    let base = value.data_type.split('.').next().unwrap_or_default();
    let bytes: Bytes = match (base, value.string_value, value.binary_value) {
        ("String" | "Number", Some(text), None) if is_text(&text) => text.into(),
        ("String" | "Number", Some(_), None) => return Err(refuse("has invalid characters")),
        ("Binary", None, Some(text)) => match STANDARD.decode(&text) {
            Ok(bytes) => bytes.into(),
            Err(_) => return Err(refuse("has a BinaryValue that is not base64")),
        },
        ("String" | "Number" | "Binary", ..) => {
            return Err(refuse("must have the one value of its type: StringValue or BinaryValue"));
        }
        _ => return Err(refuse("has an invalid type: it begins with String, Number or Binary")),
    };
    if value.data_type.len() > ATTRIBUTE_NAME_BYTES_MAX {
        return Err(refuse("has a type of more than 256 bytes"));
    }
    if bytes.is_empty() {
        return Err(refuse("must have a value that is not empty"));
    }
    if base == "Number" && !is_number(&bytes) {
        return Err(refuse("is not a number"));
    }
    Ok(JobAttribute { name, kind: value.data_type, value: bytes })
}

fn is_attribute_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(known)
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.")
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
}

fn is_number(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    numeric && text.parse::<f64>().is_ok()
}

/// The system attributes of a message: the header of a trace, and nothing else.
pub(crate) fn system_attributes(values: Values) -> Result<Vec<JobAttribute>, Fault> {
    let system = |(name, value): (String, Value)| {
        let text = value.string_value.filter(|text| !text.is_empty() && is_text(text));
        match text {
            Some(text) if name == TRACE_HEADER && value.data_type == "String" => {
                Ok(system(TRACE_HEADER, text))
            }
            _ => {
                let reason = "only AWSTraceHeader, of the type String, can be sent";
                Err(Fault::value("MessageSystemAttributes", reason))
            }
        }
    };
    values.into_iter().map(system).collect()
}

/// An attribute of SQS's own.
pub(crate) fn system(name: &str, value: String) -> JobAttribute {
    JobAttribute { name: name.to_owned(), kind: SYSTEM_KIND.to_owned(), value: value.into() }
}

/// The value of a system attribute.
pub(crate) fn system_value(attributes: &[JobAttribute], name: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.kind == SYSTEM_KIND && it.name == name);
    found.map(|it| String::from_utf8_lossy(&it.value).into_owned())
}

/// The attributes that a client asks for, by names, `All`, or `prefix.*`.
pub(crate) fn wanted<'a>(
    attributes: &'a [JobAttribute],
    names: &[String],
) -> Vec<&'a JobAttribute> {
    let fits = |it: &JobAttribute| {
        names.iter().any(|name| match name.as_str() {
            "All" | ".*" => true,
            name => match name.strip_suffix(".*") {
                Some(prefix) => it.name.starts_with(prefix),
                None => it.name == name,
            },
        })
    };
    attributes.iter().filter(|it| is_clients(it) && fits(it)).collect()
}

/// Whether an attribute is one that SQS's clients understand. Jobs of other clients may have others.
fn is_clients(attribute: &JobAttribute) -> bool {
    let base = attribute.kind.split('.').next().unwrap_or_default();
    match base {
        "String" | "Number" => std::str::from_utf8(&attribute.value).is_ok(),
        "Binary" => true,
        _ => false,
    }
}

/// An attribute as clients read it.
pub(crate) fn value(attribute: &JobAttribute) -> Value {
    let data_type = attribute.kind.clone();
    if is_binary(attribute) {
        let binary_value = Some(STANDARD.encode(&attribute.value));
        return Value { data_type, binary_value, ..Value::default() };
    }
    let text = String::from_utf8_lossy(&attribute.value).into_owned();
    Value { data_type, string_value: Some(text), ..Value::default() }
}

fn is_binary(attribute: &JobAttribute) -> bool {
    attribute.kind.starts_with("Binary")
}

/// Bytes of a message as SQS counts them: the body, and names, types and values of its attributes.
pub(crate) fn bytes(body: &str, attributes: &[JobAttribute]) -> usize {
    let of = |it: &JobAttribute| it.name.len() + it.kind.len() + it.value.len();
    body.len() + attributes.iter().map(of).sum::<usize>()
}

/// The MD5 of a body, in hexadecimal digits. It finds damage, not malice.
pub(crate) fn md5_of_body(body: &[u8]) -> String {
    hex(&Md5::digest(body))
}

/// The MD5 of attributes: of each, in the order of names, the name and the type with their lengths, one
/// byte for the transport of the value, and the value with its length ("Calculating the MD5 message
/// digest for message attributes" in SQS's developer guide). Nothing without attributes.
pub(crate) fn md5_of_attributes(attributes: &[&JobAttribute]) -> Option<String> {
    const STRING: u8 = 1;
    const BINARY: u8 = 2;
    let mut sorted = attributes.to_vec();
    sorted.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut hash = Md5::new();
    let part = |hash: &mut Md5, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        hash.update(length.to_be_bytes());
        hash.update(bytes);
    };
    for attribute in &sorted {
        part(&mut hash, attribute.name.as_bytes());
        part(&mut hash, attribute.kind.as_bytes());
        hash.update([if is_binary(attribute) { BINARY } else { STRING }]);
        part(&mut hash, &attribute.value);
    }
    (!sorted.is_empty()).then(|| hex(&hash.finalize()))
}

/// The MD5 of system attributes, which travel as strings.
pub(crate) fn md5_of_system(attributes: &[JobAttribute]) -> Option<String> {
    let sent: Vec<JobAttribute> = attributes
        .iter()
        .filter(|it| it.name == TRACE_HEADER)
        .map(|it| JobAttribute { kind: "String".to_owned(), ..it.clone() })
        .collect();
    md5_of_attributes(&sent.iter().collect::<Vec<_>>())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*, sample::select};

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        const KINDS: [&str; 6] = ["String", "Number", "Binary", "string", "Text", ""];
        let kind = (select(&KINDS[..]), r"(\..{0,4})?|.{0,4}")
            .prop_map(|(base, rest)| format!("{base}{rest}"));
        let text = prop_oneof![".{0,8}", "[-+.eE0-9]{0,6}"].boxed();
        let binary = prop_oneof![
            ".{0,8}",
            prop::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| STANDARD.encode(bytes)),
        ]
        .boxed();
        let values = prop_oneof![
            text.clone().prop_map(|text| (Some(text), None)),
            binary.clone().prop_map(|binary| (None, Some(binary))),
            (option::of(text), option::of(binary)),
        ];
        (kind, values).prop_map(|(kind, (text, binary))| Value {
            data_type: kind,
            string_value: text,
            binary_value: binary,
            ..Value::default()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_attribute_comes_back_as_it_was_or_is_refused(
            name in "[a-z0-9_.-]{1,6}|.{0,6}",
            given in any_value(),
        ) {
            if let Ok(kept) = one(&name, given.clone()) {
                prop_assert_eq!(value(&kept[0]), given);
                prop_assert!(md5_of_attributes(&[&kept[0]]).is_some());
                prop_assert_eq!(wanted(&kept, &[name]).len(), 1);
            }
        }
    }

    fn value_of(data_type: &str, string: Option<&str>, binary: Option<&str>) -> Value {
        Value {
            data_type: data_type.to_owned(),
            string_value: string.map(str::to_owned),
            binary_value: binary.map(str::to_owned),
            ..Value::default()
        }
    }

    fn one(name: &str, value: Value) -> Result<Vec<JobAttribute>, Fault> {
        attributes(Values::from([(name.to_owned(), value)]))
    }

    #[test]
    fn texts_have_the_characters_of_xml() {
        for good in ["a\tb\r\n", "\u{20}", "\u{D7FF}\u{E000}\u{FFFD}", "\u{10000}\u{10FFFF}"] {
            assert!(check_body(good).is_ok(), "{good:?}");
        }
        for bad in ["\0", "a\u{8}", "\u{B}", "\u{1F}", "\u{FFFE}", "\u{FFFF}"] {
            assert_eq!(check_body(bad).unwrap_err().code, Code::InvalidMessageContents, "{bad:?}");
        }
        assert_eq!(check_body("").unwrap_err().code, Code::MissingParameter);
    }

    #[test]
    fn attributes_have_names_types_and_values() {
        let text = || value_of("String", Some("v"), None);
        for good in ["a", "a.b-c_1", &"x".repeat(256)] {
            assert!(one(good, text()).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a.", "a..b", "aws.x", "AMAZON.x", "a b", "ä", &"x".repeat(257)] {
            assert!(one(bad, text()).is_err(), "{bad}");
        }
        for good in [
            value_of("String.json", Some("{}"), None),
            value_of("Number", Some("-1.5e3"), None),
            value_of("Number.int", Some("7"), None),
            value_of("Binary", None, Some("AAEC")),
        ] {
            let kept = one("n", good.clone()).unwrap();
            assert_eq!(value(&kept[0]), good);
        }
        for bad in [
            value_of("", Some("v"), None),
            value_of("Text", Some("v"), None),
            value_of("String", Some(""), None),
            value_of("String", None, None),
            value_of("String", Some("v"), Some("AAEC")),
            value_of("String", Some("\0"), None),
            value_of("Number", Some("seven"), None),
            value_of("Number", Some("inf"), None),
            value_of("Binary", None, Some("?")),
            value_of("Binary", Some("v"), None),
            value_of(&format!("String.{}", "x".repeat(250)), Some("v"), None),
        ] {
            assert!(one("n", bad.clone()).is_err(), "{bad:?}");
        }
        let many = |count: usize| (0..count).map(|nth| (format!("n{nth}"), text())).collect();
        assert!(attributes(many(10)).is_ok() && attributes(many(11)).is_err());
    }

    #[test]
    fn attributes_are_asked_for_by_name_and_prefix() {
        let names = ["foo.a", "foo.b", "bar"];
        let all: Values = names
            .iter()
            .map(|it| ((*it).to_owned(), value_of("String", Some("v"), None)))
            .collect();
        let mut all = attributes(all).unwrap();
        all.push(system(TRACE_HEADER, "Root=1".to_owned()));
        let asked = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            wanted(&all, &names).iter().map(|it| it.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(asked(&["All"]), ["bar", "foo.a", "foo.b"]);
        assert_eq!(asked(&[".*"]).len(), 3);
        assert_eq!(asked(&["foo.*"]), ["foo.a", "foo.b"]);
        assert_eq!(asked(&["bar", "nothing"]), ["bar"]);
        assert_eq!(asked(&[]), [""; 0]);
        assert_eq!(system_value(&all, TRACE_HEADER).as_deref(), Some("Root=1"));
    }

    /// Made by a second implementation of the published steps, in Python.
    #[test]
    fn checksums_are_those_that_clients_compute() {
        assert_eq!(md5_of_body(b"This is a test message"), "fafb00f5732ab283681e124bf8747ed1");
        let values = Values::from([
            ("city".to_owned(), value_of("String", Some("Any City"), None)),
            ("age".to_owned(), value_of("Number.int", Some("42"), None)),
            ("picture".to_owned(), value_of("Binary.png", None, Some("AAECAw=="))),
        ]);
        let kept = attributes(values).unwrap();
        let refs: Vec<&JobAttribute> = kept.iter().collect();
        assert_eq!(md5_of_attributes(&refs).as_deref(), Some(MD5_OF_THREE));
        let reversed: Vec<&JobAttribute> = kept.iter().rev().collect();
        assert_eq!(md5_of_attributes(&reversed), md5_of_attributes(&refs));
        assert_eq!(md5_of_attributes(&[]), None);
        let traced = [system(TRACE_HEADER, "Root=1-5759e988".to_owned())];
        assert_eq!(md5_of_system(&traced).as_deref(), Some(MD5_OF_TRACE));
    }

    const MD5_OF_THREE: &str = "7094881049ded1d3c3d338fe3429b6bb";
    const MD5_OF_TRACE: &str = "1093703a9379955b75098a87e549ba88";
}
