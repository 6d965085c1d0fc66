//! The access keys that requests are signed with, and whose signature a request carries.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use http::{header, request::Parts};
use rhumb_sigv4::{
    Authorization, Content, DerivedKeys, Refusal, Request, Rules, Secret, Seed, verify,
};
use rhumb_types::UnixMillis;

use crate::limits::ACCESS_KEY_BYTES_MAX;

/// A key that requests are signed with.
#[derive(Clone, Debug)]
pub struct SignedKey<G> {
    /// Its public id.
    pub id: String,
    /// Its secret. Signatures need it in clear.
    pub secret: Secret,
    /// What its bearer may do, in the words of the server.
    pub grant: G,
}

/// Why nobody is believed to have sent a request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Doubt {
    /// What is wrong with its signature.
    #[error(transparent)]
    Signature(#[from] Refusal),
    /// Nobody here has that key.
    #[error("the access key is not known here")]
    UnknownKey,
    /// It comes with the token of a temporary key.
    #[error("there are no temporary access keys here: leave the session token out")]
    SessionToken,
}

struct Known<G> {
    secret: Secret,
    grant: G,
}

/// The keys of a server, and the rules for what is signed with them.
pub struct Keys<G> {
    keys: BTreeMap<String, Known<G>>,
    rules: Rules,
    /// A lock, because requests on all threads share it for a few instructions.
    derived: Mutex<DerivedKeys>,
}

impl<G> std::fmt::Debug for Keys<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl<G> Keys<G> {
    /// Keys under rules. Of two with the same id the later counts.
    pub fn new(keys: impl IntoIterator<Item = SignedKey<G>>, rules: Rules) -> Self {
        let known = |key: SignedKey<G>| (key.id, Known { secret: key.secret, grant: key.grant });
        Self { keys: keys.into_iter().map(known).collect(), rules, derived: Mutex::default() }
    }

    /// What the head of a request says of who sent it, as far as it can be held against anything before
    /// its body is there.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn claim(&self, parts: &Parts, now: UnixMillis) -> Result<Authorization, Doubt> {
        let authorization = with_request(parts, Authorization::of)?;
        self.known(&authorization)?;
        if authorization.session_token {
            return Err(Doubt::SessionToken);
        }
        self.rules.check(&authorization, now)?;
        Ok(authorization)
    }

    /// Whose signature it is, and what the signatures of a chunked body are chained to.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn prove(
        &self,
        authorization: &Authorization,
        parts: &Parts,
        content: Content,
        now: UnixMillis,
    ) -> Result<(&G, Seed), Doubt> {
        let known = self.known(authorization)?;
        let key = {
            let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
            derived.get(&authorization.access_key, &known.secret, &authorization.scope)
        };
        let seed = with_request(parts, |request| {
            verify(request, authorization, &self.rules, &key, content, now)
        })?;
        Ok((&known.grant, seed))
    }

    fn known(&self, authorization: &Authorization) -> Result<&Known<G>, Doubt> {
        let id = &authorization.access_key;
        let known = self.keys.get(id).filter(|_| id.len() <= ACCESS_KEY_BYTES_MAX);
        known.ok_or(Doubt::UnknownKey)
    }
}

/// The head of a request, as signatures see it.
pub fn with_request<T>(parts: &Parts, look: impl FnOnce(&Request<'_>) -> T) -> T {
    let mut headers: Vec<(&str, &[u8])> =
        parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let authority = parts.uri.authority().filter(|_| !parts.headers.contains_key(header::HOST));
    if let Some(authority) = authority {
        headers.push(("host", authority.as_str().as_bytes()));
    }
    look(&Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
    })
}
