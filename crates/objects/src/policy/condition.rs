//! Conditions of statements: an operator, a key of the request, and values.
//!
//! Of several values one must match. What is asked about a key that the request does not have does not
//! hold, except when it is asked that something is not so, or only `IfExists`.

use std::net::IpAddr;

use super::{Request, wildcard::Pattern};

/// What of a request is a text. Each is one that servers tell: a policy about anything else would never
/// deny what it is meant to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextKey {
    /// `aws:Referer`.
    Referer,
    /// `aws:UserAgent`.
    UserAgent,
    /// `s3:prefix`: what listed keys start with.
    Prefix,
    /// `s3:delimiter` of a listing.
    Delimiter,
    /// `s3:VersionId`.
    VersionId,
}

/// A key that conditions name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Text(TextKey),
    Username,
    SourceIp,
    SecureTransport,
    MaxKeys,
}

const KEYS: &[(&str, Key)] = &[
    ("aws:Referer", Key::Text(TextKey::Referer)),
    ("aws:UserAgent", Key::Text(TextKey::UserAgent)),
    ("aws:username", Key::Username),
    ("aws:SourceIp", Key::SourceIp),
    ("aws:SecureTransport", Key::SecureTransport),
    ("s3:prefix", Key::Text(TextKey::Prefix)),
    ("s3:delimiter", Key::Text(TextKey::Delimiter)),
    ("s3:max-keys", Key::MaxKeys),
    ("s3:VersionId", Key::Text(TextKey::VersionId)),
];

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    key: Key,
    test: Test,
    /// Whether none of the values may match.
    not: bool,
    /// Whether a request without the key meets it.
    if_exists: bool,
}

/// What a key's value must be one of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Equals(Vec<String>),
    EqualsIgnoringCase(Vec<String>),
    Like(Vec<Pattern>),
    Within(Vec<Network>),
    Is(Vec<bool>),
    Number(Order, Vec<u64>),
    /// Whether the request does not have the key.
    Absent(Vec<bool>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

/// What an operator compares with.
#[derive(Debug, Clone, Copy)]
enum Operator {
    Equals,
    EqualsIgnoringCase,
    Like,
    Within,
    Is,
    Number(Order),
    Absent,
}

const OPERATORS: &[(&str, Operator, bool)] = &[
    ("StringEquals", Operator::Equals, false),
    ("StringNotEquals", Operator::Equals, true),
    ("StringEqualsIgnoreCase", Operator::EqualsIgnoringCase, false),
    ("StringNotEqualsIgnoreCase", Operator::EqualsIgnoringCase, true),
    ("StringLike", Operator::Like, false),
    ("StringNotLike", Operator::Like, true),
    ("IpAddress", Operator::Within, false),
    ("NotIpAddress", Operator::Within, true),
    ("Bool", Operator::Is, false),
    ("NumericEquals", Operator::Number(Order::Equal), false),
    ("NumericNotEquals", Operator::Number(Order::Equal), true),
    ("NumericLessThan", Operator::Number(Order::Less), false),
    ("NumericLessThanEquals", Operator::Number(Order::LessOrEqual), false),
    ("NumericGreaterThan", Operator::Number(Order::Greater), false),
    ("NumericGreaterThanEquals", Operator::Number(Order::GreaterOrEqual), false),
    ("Null", Operator::Absent, false),
];

/// Why a condition is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unknown {
    /// The operator.
    Operator,
    /// The key.
    Key,
    /// The operator does not go with the key.
    Pair,
    /// This value.
    Value(String),
}

impl Condition {
    pub(super) fn new(operator: &str, key: &str, values: &[String]) -> Result<Self, Unknown> {
        let (name, if_exists) =
            operator.strip_suffix("IfExists").map_or((operator, false), |name| (name, true));
        let (_, operator, not) =
            OPERATORS.iter().find(|(one, ..)| *one == name).ok_or(Unknown::Operator)?;
        let (_, key) =
            KEYS.iter().find(|(one, _)| one.eq_ignore_ascii_case(key)).ok_or(Unknown::Key)?;
        if if_exists && matches!(operator, Operator::Absent) {
            return Err(Unknown::Operator);
        }
        if !operator.goes_with(*key) {
            return Err(Unknown::Pair);
        }
        Ok(Self { key: *key, test: Test::new(*operator, values)?, not: *not, if_exists })
    }

    pub(super) fn holds(&self, request: &Request<'_>) -> bool {
        let text = |key| request.texts.iter().find(|(one, _)| *one == key).map(|(_, text)| *text);
        let found = match self.key {
            Key::Text(key) => text(key).map(Given::Text),
            Key::Username => request.principal.map(Given::Text),
            Key::SourceIp => request.address.map(|address| Given::Address(address.to_canonical())),
            Key::SecureTransport => Some(Given::Bool(request.secure)),
            Key::MaxKeys => request.max_keys.map(Given::Number),
        };
        if let Test::Absent(values) = &self.test {
            return values.contains(&found.is_none());
        }
        match found {
            None => self.not || self.if_exists,
            Some(found) => self.test.matches(&found) != self.not,
        }
    }
}

/// What a request has for a key.
#[derive(Debug, Clone, Copy)]
enum Given<'a> {
    Text(&'a str),
    Address(IpAddr),
    Bool(bool),
    Number(u64),
}

impl Operator {
    const fn goes_with(self, key: Key) -> bool {
        match self {
            Self::Equals | Self::EqualsIgnoringCase | Self::Like => {
                matches!(key, Key::Text(_) | Key::Username)
            }
            Self::Within => matches!(key, Key::SourceIp),
            Self::Is => matches!(key, Key::SecureTransport),
            Self::Number(_) => matches!(key, Key::MaxKeys),
            Self::Absent => true,
        }
    }
}

impl Test {
    fn new(operator: Operator, values: &[String]) -> Result<Self, Unknown> {
        Ok(match operator {
            Operator::Equals => Self::Equals(values.to_vec()),
            Operator::EqualsIgnoringCase => {
                Self::EqualsIgnoringCase(values.iter().map(|value| value.to_lowercase()).collect())
            }
            Operator::Like => Self::Like(values.iter().map(|value| Pattern::new(value)).collect()),
            Operator::Within => Self::Within(each(values, Network::parse)?),
            Operator::Is => Self::Is(each(values, truth)?),
            Operator::Number(order) => {
                Self::Number(order, each(values, |value| value.parse().ok())?)
            }
            Operator::Absent => Self::Absent(each(values, truth)?),
        })
    }

    fn matches(&self, given: &Given<'_>) -> bool {
        match (self, *given) {
            (Self::Equals(values), Given::Text(text)) => values.iter().any(|value| value == text),
            (Self::EqualsIgnoringCase(values), Given::Text(text)) => {
                values.contains(&text.to_lowercase())
            }
            (Self::Like(values), Given::Text(text)) => {
                values.iter().any(|value| value.matches(text))
            }
            (Self::Within(values), Given::Address(address)) => {
                values.iter().any(|network| network.has(address))
            }
            (Self::Is(values), Given::Bool(is)) => values.contains(&is),
            (Self::Number(order, values), Given::Number(number)) => {
                values.iter().any(|value| order.holds(number, *value))
            }
            // No operator goes with a key of another kind.
            _ => false,
        }
    }
}

fn each<T>(values: &[String], read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Unknown> {
    values.iter().map(|value| read(value).ok_or_else(|| Unknown::Value(value.clone()))).collect()
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

impl Order {
    const fn holds(self, number: u64, value: u64) -> bool {
        match self {
            Self::Equal => number == value,
            Self::Less => number < value,
            Self::LessOrEqual => number <= value,
            Self::Greater => number > value,
            Self::GreaterOrEqual => number >= value,
        }
    }
}

impl Network {
    /// An address, or a network in the notation of RFC 4632, section 3.1.
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
        };
        (bits <= most).then_some(Self { address, bits })
    }

    fn has(&self, address: IpAddr) -> bool {
        let same = |left: u128, right: u128, width: u32| {
            let left_over = width - u32::from(self.bits);
            left.checked_shr(left_over).unwrap_or(0) == right.checked_shr(left_over).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}
