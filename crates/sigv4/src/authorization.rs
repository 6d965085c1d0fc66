//! Who signed what: the authorization header, or the query of a presigned address.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    ALGORITHM, HASH_BYTES, HEADER_BYTES_MAX, PRESIGNED_MAX, Refusal, Request, SIGNED_HEADERS_MAX,
    Stamp,
    canonical::{decode, parameters},
    key::TERMINATOR,
    unhex,
};

/// What a signing key is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Scope {
    /// The day, as in `20150830`.
    pub day: String,
    /// The region that the client believes to talk to.
    pub region: String,
    /// The service, such as `sqs`.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{TERMINATOR}", self.day, self.region, self.service)
    }
}

/// Where a request carries its signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// In the `Authorization` header.
    Header,
    /// In the query: an address that whoever has it may use for a while.
    Query {
        /// For how long.
        lasting: Duration,
    },
}

/// Who signed what. Nothing of it is proved yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authorization {
    /// The id of the access key.
    pub access_key: String,
    /// What the signing key is for.
    pub scope: Scope,
    /// The headers that are signed: lower case, sorted, `host` among them.
    pub signed_headers: Vec<String>,
    /// The signature.
    pub signature: [u8; HASH_BYTES],
    /// When it was made.
    pub stamp: Stamp,
    /// Where it was found.
    pub form: Form,
    /// Whether the key is a temporary one, whose session token was sent along.
    pub session_token: bool,
}

impl Authorization {
    /// What a request says of its signature.
    ///
    /// # Errors
    /// [`Refusal::Missing`] for a request without one, and [`Refusal::Malformed`].
    pub fn of(request: &Request<'_>) -> Result<Self, Refusal> {
        let in_header = request.headers.iter().any(|(name, _)| *name == "authorization");
        let in_query = parameters(request.query).any(|(name, _)| name == "X-Amz-Algorithm");
        match (in_header, in_query) {
            (true, true) => {
                Err(Refusal::Malformed("it is signed both in a header and in the query"))
            }
            (true, false) => Self::in_header(request),
            (false, true) => Self::in_query(request),
            (false, false) => Err(Refusal::Missing),
        }
    }

    fn in_header(request: &Request<'_>) -> Result<Self, Refusal> {
        let text = text_of(request, "authorization")
            .filter(|text| text.len() <= HEADER_BYTES_MAX)
            .ok_or(Refusal::Malformed("the authorization header cannot be read"))?;
        let (algorithm, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
        if algorithm != ALGORITHM {
            return Err(Refusal::Algorithm);
        }
        let mut parts = Parts::default();
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=').unwrap_or((part.trim(), ""));
            parts.add(name, value.to_owned())?;
        }
        let stamp = text_of(request, "x-amz-date").map(str::to_owned);
        Ok(Self {
            session_token: request.headers.iter().any(|(name, _)| *name == "x-amz-security-token"),
            ..parts.read(["Credential", "SignedHeaders", "Signature"], stamp, Form::Header)?
        })
    }

    fn in_query(request: &Request<'_>) -> Result<Self, Refusal> {
        let mut parts = Parts::default();
        for (name, value) in parameters(request.query) {
            if name.starts_with("X-Amz-") {
                let value = String::from_utf8(decode(value))
                    .map_err(|_| Refusal::Malformed("a parameter is not UTF-8"))?;
                parts.add(name, value)?;
            }
        }
        if parts.0.get("X-Amz-Algorithm").map(String::as_str) != Some(ALGORITHM) {
            return Err(Refusal::Algorithm);
        }
        let lasting = parts.0.get("X-Amz-Expires").and_then(|text| text.parse().ok());
        let lasting = lasting
            .map(Duration::from_secs)
            .filter(|lasting| (Duration::from_secs(1)..=PRESIGNED_MAX).contains(lasting))
            .ok_or(Refusal::Malformed("X-Amz-Expires is not 1 to 604800 seconds"))?;
        let session_token = parts.0.contains_key("X-Amz-Security-Token");
        let stamp = parts.0.get("X-Amz-Date").cloned();
        let names = ["X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature"];
        Ok(Self { session_token, ..parts.read(names, stamp, Form::Query { lasting })? })
    }
}

fn text_of<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    request.header(name).and_then(|value| std::str::from_utf8(value).ok())
}

/// Named parts, each at most once.
#[derive(Default)]
struct Parts(BTreeMap<String, String>);

impl Parts {
    fn add(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        match self.0.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(Refusal::Malformed("a part of the signature is there twice")),
        }
    }

    fn read(
        &self,
        [credential, signed, signature]: [&'static str; 3],
        stamp: Option<String>,
        form: Form,
    ) -> Result<Authorization, Refusal> {
        let part = |name: &str| self.0.get(name).map(String::as_str).unwrap_or_default();
        let (access_key, scope) = read_credential(part(credential)).ok_or(Refusal::Malformed(
            "the credential is not KEY/YYYYMMDD/REGION/SERVICE/aws4_request",
        ))?;
        let signature = unhex(part(signature))
            .ok_or(Refusal::Malformed("the signature is not 64 hexadecimal digits"))?;
        let stamp = stamp
            .and_then(|text| Stamp::parse(&text))
            .ok_or(Refusal::Malformed("X-Amz-Date is not a time as in 20150830T123600Z"))?;
        Ok(Authorization {
            access_key,
            scope,
            signed_headers: read_signed(part(signed))?,
            signature,
            stamp,
            form,
            session_token: false,
        })
    }
}

fn read_credential(text: &str) -> Option<(String, Scope)> {
    let mut parts = text.split('/').map(str::to_owned);
    let access_key = parts.next()?;
    let scope = Scope { day: parts.next()?, region: parts.next()?, service: parts.next()? };
    let ends = parts.next().as_deref() == Some(TERMINATOR) && parts.next().is_none();
    (ends && !access_key.is_empty()).then_some((access_key, scope))
}

fn read_signed(text: &str) -> Result<Vec<String>, Refusal> {
    let names: Vec<String> =
        text.split(';').take(SIGNED_HEADERS_MAX + 1).map(str::to_owned).collect();
    if names.len() > SIGNED_HEADERS_MAX {
        return Err(Refusal::Malformed("it signs too many headers"));
    }
    let lower = |name: &String| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
    let sorted = names.windows(2).all(|pair| matches!(pair, [one, next] if one < next));
    if !sorted || !names.iter().all(lower) {
        return Err(Refusal::Malformed("the signed headers are not sorted words in lower case"));
    }
    if names.iter().any(|name| name == "host") {
        Ok(names)
    } else {
        Err(Refusal::Uncovered("host".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIAL: &str = "AKIDEXAMPLE/20150830/us-east-1/sqs/aws4_request";
    const SIGNATURE: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

    fn of(authorization: &str, date: &str) -> Result<Authorization, Refusal> {
        let headers =
            [("authorization", authorization.as_bytes()), ("x-amz-date", date.as_bytes())];
        Authorization::of(&Request { method: "POST", path: "/", query: "", headers: &headers })
    }

    fn of_query(query: &str) -> Result<Authorization, Refusal> {
        Authorization::of(&Request { method: "GET", path: "/", query, headers: &[] })
    }

    #[test]
    fn reads_a_header_with_and_without_spaces() {
        for space in ["", " "] {
            let text = format!(
                "AWS4-HMAC-SHA256 Credential={CREDENTIAL},{space}SignedHeaders=host;x-amz-date,\
                 {space}Signature={SIGNATURE}"
            );
            let read = of(&text, "20150830T123600Z").unwrap();
            assert_eq!((read.access_key.as_str(), read.form), ("AKIDEXAMPLE", Form::Header));
            assert_eq!(read.scope.to_string(), &CREDENTIAL["AKIDEXAMPLE/".len()..]);
            assert_eq!(read.signed_headers, ["host", "x-amz-date"]);
        }
    }

    #[test]
    fn refuses_what_is_no_signature() {
        let good = format!("Credential={CREDENTIAL}, SignedHeaders=host, Signature={SIGNATURE}");
        let malformed = |text: &str, date: &str| {
            let refused = of(text, date);
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{text} {date}: {refused:?}");
        };
        let whole = format!("{ALGORITHM} {good}");
        assert!(of(&whole, "20150830T123600Z").is_ok());
        malformed(&whole, "2015-08-30");
        malformed(&format!("{whole}, Signature={SIGNATURE}"), "20150830T123600Z");
        for (from, to) in [
            ("/aws4_request", ""),
            ("/aws4_request", "/aws5_request"),
            ("AKIDEXAMPLE", ""),
            ("/sqs", "/sqs/sqs"),
            ("5fa0", "5fA0"),
            ("5fa0", ""),
            ("SignedHeaders=host", "SignedHeaders=host;date"),
            ("SignedHeaders=host", "SignedHeaders=Host"),
            ("SignedHeaders=host", "SignedHeaders=host;host"),
        ] {
            malformed(&whole.replace(from, to), "20150830T123600Z");
        }
        for other in ["AWS4-HMAC-SHA1", "Bearer", "AWS AKID:x", ""] {
            assert_eq!(of(other, "20150830T123600Z"), Err(Refusal::Algorithm), "{other}");
        }
        let uncovered = whole.replace("=host", "=date");
        assert_eq!(of(&uncovered, "20150830T123600Z"), Err(Refusal::Uncovered("host".to_owned())));
        assert_eq!(of_query("Action=ListQueues"), Err(Refusal::Missing));
    }

    #[test]
    fn reads_a_presigned_query() {
        let query = |expires: &str| {
            format!(
                "Action=x&X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date=\
                 20150830T123600Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature={SIGNATURE}",
                CREDENTIAL.replace('/', "%2F")
            )
        };
        let read = of_query(&query("600")).unwrap();
        assert_eq!(read.form, Form::Query { lasting: Duration::from_secs(600) });
        assert_eq!(read.scope.service, "sqs");
        for bad in ["", "0", "-1", "604801", "x"] {
            assert!(matches!(of_query(&query(bad)), Err(Refusal::Malformed(_))), "{bad}");
        }
        let twice = format!("{}&X-Amz-Date=20150830T123600Z", query("600"));
        assert!(matches!(of_query(&twice), Err(Refusal::Malformed(_))));
    }
}
