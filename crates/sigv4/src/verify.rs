//! Whether a signature is true.

use std::{collections::BTreeSet, time::Duration};

use rhumb_types::UnixMillis;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    ALGORITHM, Authorization, Content, Form, HASH_BYTES, PathStyle, Request, SKEW_MAX, Scope,
    SigningKey, Stamp, canonical::canonical_request, hex,
};

/// Why a request is not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It carries no signature.
    #[error("the request is not signed")]
    Missing,
    /// It is signed in another way.
    #[error("the request is not signed with AWS4-HMAC-SHA256")]
    Algorithm,
    /// What it says of its signature cannot be read.
    #[error("{0}")]
    Malformed(&'static str),
    /// The signing key is for something else.
    #[error("the signature is for the {part} `{found}`; this takes {wanted}")]
    Scope {
        /// Which part of the scope.
        part: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        wanted: String,
    },
    /// The clocks of client and server are too far apart.
    #[error("the request was signed at {signed}, and it is {now}: more than 15 minutes apart")]
    Skewed {
        /// The client's time.
        signed: Stamp,
        /// The server's time.
        now: Stamp,
    },
    /// A presigned address has ended.
    #[error("the presigned address was good until {ended}, and it is {now}")]
    Expired {
        /// When it ended.
        ended: Stamp,
        /// The server's time.
        now: Stamp,
    },
    /// A header that must be signed is not.
    #[error("the header `{0}` must be signed, and is not")]
    Uncovered(String),
    /// The signature is not the one of this request under this secret.
    #[error(
        "the signature is not the one of this request: check the secret and the signing method"
    )]
    Mismatch,
}

/// What a service takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Its name in scopes.
    pub service: &'static str,
    /// The regions whose signatures it takes; without any, those of all.
    pub regions: BTreeSet<String>,
    /// How it wants the path.
    pub path: PathStyle,
    /// How far a client's clock may be off.
    pub skew_max: Duration,
}

impl Rules {
    /// The rules of a service, with the usual skew.
    #[must_use]
    pub const fn new(service: &'static str, path: PathStyle, regions: BTreeSet<String>) -> Self {
        Self { service, regions, path, skew_max: SKEW_MAX }
    }

    /// Holds what a signature says of itself against the rules and the time.
    ///
    /// # Errors
    /// [`Refusal::Scope`], [`Refusal::Skewed`] or [`Refusal::Expired`].
    pub fn check(&self, authorization: &Authorization, now: UnixMillis) -> Result<(), Refusal> {
        let Scope { day, region, service } = &authorization.scope;
        let other = |part, found: &str, wanted: String| {
            Err(Refusal::Scope { part, found: found.to_owned(), wanted })
        };
        if *day != authorization.stamp.day() {
            return other("day", day, authorization.stamp.day());
        }
        if service != self.service {
            return other("service", service, format!("`{}`", self.service));
        }
        if !self.regions.is_empty() && !self.regions.contains(region) {
            let known: Vec<&str> = self.regions.iter().map(String::as_str).collect();
            return other("region", region, format!("`{}`", known.join("`, `")));
        }
        self.in_time(authorization, now)
    }

    fn in_time(&self, authorization: &Authorization, now: UnixMillis) -> Result<(), Refusal> {
        let signed = authorization.stamp;
        let early = signed.time().saturating_since(now);
        let late = now.saturating_since(signed.time());
        let stamp = Stamp::at(now);
        match authorization.form {
            Form::Header if early.max(late) > self.skew_max => {
                Err(Refusal::Skewed { signed, now: stamp })
            }
            Form::Query { .. } if early > self.skew_max => {
                Err(Refusal::Skewed { signed, now: stamp })
            }
            Form::Query { lasting } if late > lasting => Err(Refusal::Expired {
                ended: Stamp::at(signed.time().saturating_add(lasting)),
                now: stamp,
            }),
            _ => Ok(()),
        }
    }
}

/// What the signatures of a chunked body are chained to.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The signature of the request.
    pub signature: [u8; HASH_BYTES],
    /// The key that signs the chunks too.
    pub key: SigningKey,
    /// What that key is for.
    pub scope: Scope,
    /// The time that the chunks are signed with.
    pub stamp: Stamp,
}

/// The signature of a request.
#[must_use]
pub fn sign(
    request: &Request<'_>,
    style: PathStyle,
    signed_headers: &[String],
    content: Content,
    (key, scope, stamp): (&SigningKey, &Scope, Stamp),
) -> [u8; HASH_BYTES] {
    let canonical = canonical_request(request, style, signed_headers, content);
    let hash = hex(&Sha256::digest(canonical));
    key.sign(format!("{ALGORITHM}\n{stamp}\n{scope}\n{hash}").as_bytes())
}

/// Whether a request was signed with a key, and in time.
///
/// # Errors
/// Why it is not believed.
pub fn verify(
    request: &Request<'_>,
    authorization: &Authorization,
    rules: &Rules,
    key: &SigningKey,
    content: Content,
    now: UnixMillis,
) -> Result<Seed, Refusal> {
    rules.check(authorization, now)?;
    let Authorization { scope, stamp, signed_headers, signature, .. } = authorization;
    if let Some(open) = uncovered(request, authorization) {
        return Err(Refusal::Uncovered(open));
    }
    let own = sign(request, rules.path, signed_headers, content, (key, scope, *stamp));
    if !bool::from(own.ct_eq(signature)) {
        return Err(Refusal::Mismatch);
    }
    Ok(Seed { signature: own, key: key.clone(), scope: scope.clone(), stamp: *stamp })
}

/// A header that changes what the request means, and that somebody on the way could have added.
fn uncovered(request: &Request<'_>, authorization: &Authorization) -> Option<String> {
    let signed = |name: &str| authorization.signed_headers.iter().any(|known| known == name);
    let mut names = request.headers.iter().map(|(name, _)| *name);
    names.find(|name| name.starts_with("x-amz-") && !signed(name)).map(str::to_owned)
}
