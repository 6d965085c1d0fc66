//! From replies and errors to frames.

use rhumb_engine::{
    ForwardError, ReadError, StrongError, WriteError, node::SubmitError,
    telemetry::metrics::Outcome,
};
use rhumb_resp::Writer;
use rhumb_state::{OpError, QueryError, Reply, number, reply};
use rhumb_types::ErrorCode;

use crate::{command::Shape, cursors::Cursors};

/// Writes a reply.
pub(crate) fn reply(out: &mut Writer<'_>, reply: Reply, shape: Shape, cursors: &Cursors) {
    match (shape, reply) {
        (_, Reply::Error(error)) => out.error(&op_error(&error)),
        (Shape::Flag, Reply::Ok) => out.integer(1),
        (Shape::Flag, Reply::Nil) => out.integer(0),
        (Shape::Done, _) => out.ok(),
        (Shape::Only, Reply::Set(members)) => out.bulk_or_null(members.first().map(AsRef::as_ref)),
        (Shape::Only, Reply::Pairs(pairs)) => {
            out.array(pairs.len() * 2);
            for (name, value) in pairs {
                out.bulk(&name);
                plain(out, value);
            }
        }
        (Shape::Only, Reply::Array(mut items)) => match items.pop() {
            Some(item) => plain(out, item),
            None => out.null(),
        },
        (_, Reply::Page(page)) => {
            let next = page.next.map_or(0, |place| cursors.keep(place));
            out.array(2);
            out.bulk(next.to_string().as_bytes());
            out.array(page.items.len());
            page.items.iter().for_each(|item| out.bulk(item));
        }
        (Shape::Text, Reply::Float(value)) => out.bulk(&number::plain_float(value)),
        (_, other) => plain(out, other),
    }
}

fn plain(out: &mut Writer<'_>, reply: Reply) {
    match reply {
        Reply::Ok => out.ok(),
        Reply::Nil => out.null(),
        Reply::Int(number) => out.integer(number),
        Reply::Float(score) => out.double(score),
        Reply::Bytes(bytes) => out.bulk(&bytes),
        Reply::Type(kind) => out.simple(reply::type_name(kind)),
        Reply::Array(items) => {
            out.array(items.len());
            items.into_iter().for_each(|item| plain(out, item));
        }
        Reply::Map(pairs) => {
            out.map(pairs.len());
            for (field, value) in pairs {
                out.bulk(&field);
                out.bulk(&value);
            }
        }
        Reply::Set(members) => {
            out.set(members.len());
            members.iter().for_each(|member| out.bulk(member));
        }
        Reply::Pairs(pairs) => pairs_of(out, pairs),
        Reply::Page(_) => unreachable!("a page is a reply of its own"),
        Reply::Error(error) => out.error(&op_error(&error)),
    }
}

/// Nested in RESP3, flat in RESP2.
fn pairs_of(out: &mut Writer<'_>, pairs: Vec<(bytes::Bytes, Reply)>) {
    let nested = out.protocol() == rhumb_resp::Protocol::Resp3;
    out.array(if nested { pairs.len() } else { pairs.len() * 2 });
    for (name, value) in pairs {
        if nested {
            out.array(2);
        }
        out.bulk(&name);
        plain(out, value);
    }
}

/// An operation's error in Redis's words.
pub(crate) fn op_error(error: &OpError) -> String {
    let words = match error {
        OpError::WrongType => {
            return "WRONGTYPE Operation against a key holding the wrong kind of value".to_owned();
        }
        OpError::NotAnInteger => "value is not an integer or out of range",
        OpError::NotAFloat => "value is not a valid float",
        OpError::HashNotAnInteger => "hash value is not an integer",
        OpError::HashNotAFloat => "hash value is not a float",
        OpError::Overflow => "increment or decrement would overflow",
        OpError::NotFinite => "increment would produce NaN or Infinity",
        OpError::ScoreNotANumber => "resulting score is not a number (NaN)",
        OpError::TooLong => "string exceeds maximum allowed size (proto-max-bulk-len)",
        OpError::InvalidExpire => "invalid expire time",
        OpError::Stale | OpError::Missing(_) => {
            return "TRYAGAIN the key changed while the command was prepared".to_owned();
        }
        OpError::Full => {
            return "OOM the strong namespace is full: delete keys of it, or give them a time to \
                    live"
                .to_owned();
        }
        other => return format!("ERR {other}"),
    };
    format!("ERR {words}")
}

/// A write's refusal.
pub(crate) fn write_error(error: &WriteError) -> String {
    let code = match error {
        WriteError::Refused(SubmitError::CrossDomain) => "CROSSSLOT",
        other => word(other.code()),
    };
    format!("{code} {}", chain(error))
}

/// A read's failure.
pub(crate) fn read_error(error: &ReadError) -> String {
    match error {
        QueryError::WrongType => op_error(&OpError::WrongType),
        other => format!("ERR {}", chain(other)),
    }
}

/// Why a key that lies elsewhere has no answer.
pub(crate) fn forward_error(error: &ForwardError) -> String {
    format!("{} {}", word(error.code()), chain(error))
}

/// A strong namespace's refusal.
pub(crate) fn strong_error(error: &StrongError) -> String {
    format!("{} {}", word(error.code()), chain(error))
}

/// The word in front of an error, by which clients tell errors apart.
const fn word(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Invalid | ErrorCode::NotFound => "ERR",
        ErrorCode::Unauthenticated => "NOAUTH",
        ErrorCode::Forbidden => "NOPERM",
        ErrorCode::Conflict => "CONFLICT",
        ErrorCode::Overloaded => "OVERLOADED",
        ErrorCode::Unavailable => "UNAVAILABLE",
        ErrorCode::Unconfirmed => "UNCONFIRMED",
        ErrorCode::Internal => "MISCONF",
    }
}

/// How a command ended, as its reply tells.
pub(crate) fn outcome(reply: &[u8]) -> Outcome {
    let Some((b'-', error)) = reply.split_first() else { return Outcome::Ok };
    let word = error.split(|byte| b" \r".contains(byte)).next().unwrap_or_default();
    Outcome::Failed(match word {
        b"NOAUTH" | b"WRONGPASS" => ErrorCode::Unauthenticated,
        b"NOPERM" => ErrorCode::Forbidden,
        b"NOSCRIPT" => ErrorCode::NotFound,
        b"CONFLICT" | b"WRONGTYPE" | b"CROSSSLOT" | b"EXECABORT" => ErrorCode::Conflict,
        b"OVERLOADED" | b"OOM" => ErrorCode::Overloaded,
        b"UNAVAILABLE" | b"TRYAGAIN" => ErrorCode::Unavailable,
        b"UNCONFIRMED" => ErrorCode::Unconfirmed,
        b"MISCONF" => ErrorCode::Internal,
        _ => ErrorCode::Invalid,
    })
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_word_tells_its_code() {
        for code in [
            ErrorCode::Invalid,
            ErrorCode::Unauthenticated,
            ErrorCode::Forbidden,
            ErrorCode::Conflict,
            ErrorCode::Overloaded,
            ErrorCode::Unavailable,
            ErrorCode::Unconfirmed,
            ErrorCode::Internal,
        ] {
            let reply = format!("-{} why\r\n", word(code));
            assert_eq!(outcome(reply.as_bytes()), Outcome::Failed(code));
        }
        for reply in ["+OK\r\n", "$-1\r\n", ":-1\r\n", ""] {
            assert_eq!(outcome(reply.as_bytes()), Outcome::Ok);
        }
    }
}
