//! The access keys that requests are signed with, and whose signature a request carries.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http::{header, request::Parts};
use rhumb_sigv4::{
    Authorization, Content, DerivedKeys, Refusal, Request, Rules, Secret, Seed, verify,
};
use rhumb_types::{UnixMillis, control::ApiRole};

use crate::{Bearer, Listener, ListenerError, limits::ACCESS_KEY_BYTES_MAX};

/// How a server whose requests are signed listens, and whom it believes.
#[derive(Clone, Debug)]
pub struct SignedConfig {
    /// Where. Where it asks for no proof, signatures are not looked at.
    pub listener: Listener,
    /// Who may ask.
    pub keys: Vec<AccessKey>,
    /// The regions whose signatures are taken: any region of the cluster serves whatever it has.
    pub regions: BTreeSet<String>,
}

/// A key that requests are signed with.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Its public id.
    pub id: String,
    /// Its secret. Signatures need it in clear.
    pub secret: Secret,
    /// What its bearer may do.
    pub role: ApiRole,
    /// Prefixes of the names (of buckets, of queues) that it is limited to; none means all.
    pub reach: Vec<String>,
}

/// What somebody may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    key: Option<Arc<str>>,
    role: ApiRole,
    reach: Arc<[String]>,
}

impl Grant {
    /// What whoever reaches a server may do that asks for no key.
    #[must_use]
    pub fn anything() -> Self {
        Self { key: None, role: ApiRole::Admin, reach: Arc::default() }
    }

    /// What the bearer of a key may do, within reach.
    #[must_use]
    pub fn new(key: &str, role: ApiRole, reach: &[String]) -> Self {
        Self { key: Some(key.into()), role, reach: reach.into() }
    }

    /// The id of the access key; none where none is asked for.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// As logs, audits and owners are named.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key().unwrap_or("anybody")
    }

    /// Whether a role is among what is granted.
    #[must_use]
    pub const fn includes(&self, role: ApiRole) -> bool {
        self.role.includes(role)
    }

    /// Whether a name is within reach.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.reach.is_empty() || self.reach.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Whose rate and places are counted.
    #[must_use]
    pub fn bearer(&self, client: IpAddr) -> Bearer {
        self.key.as_ref().map_or_else(|| Bearer::address(client), |key| Bearer::Token(key.clone()))
    }
}

/// Two keys have the same id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there are two access keys `{0}`")]
pub struct KeyTwice(String);

/// Why a server whose requests are signed is not built.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    /// The address or the certificate cannot be used.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyTwice),
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

struct Known {
    secret: Secret,
    grant: Grant,
}

/// The keys of a server, and the rules for what is signed with them.
pub struct Keys {
    keys: BTreeMap<String, Known>,
    rules: Rules,
    /// A lock, because requests on all threads share it for a few instructions.
    derived: Mutex<DerivedKeys>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Keys {
    /// Keys under rules.
    ///
    /// # Errors
    /// [`KeyTwice`]: a signature would have two meanings.
    pub fn new(keys: &[AccessKey], rules: Rules) -> Result<Self, KeyTwice> {
        let mut known = BTreeMap::new();
        for AccessKey { id, secret, role, reach } in keys {
            let grant = Grant::new(id, *role, reach);
            if known.insert(id.clone(), Known { secret: secret.clone(), grant }).is_some() {
                return Err(KeyTwice(id.clone()));
            }
        }
        Ok(Self { keys: known, rules, derived: Mutex::default() })
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
    ) -> Result<(&Grant, Seed), Doubt> {
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

    /// What is granted to who sends a key's id and its secret themselves. Without TLS anybody on the way
    /// reads both.
    ///
    /// # Errors
    /// [`Doubt::UnknownKey`], also for another secret.
    pub fn password(&self, id: &str, secret: &str) -> Result<&Grant, Doubt> {
        let known = self.keys.get(id).filter(|known| known.secret.is(secret));
        known.map(|known| &known.grant).ok_or(Doubt::UnknownKey)
    }

    fn known(&self, authorization: &Authorization) -> Result<&Known, Doubt> {
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

#[cfg(test)]
mod tests {
    use rhumb_sigv4::PathStyle;

    use super::*;

    fn key() -> AccessKey {
        AccessKey {
            id: "AKID".to_owned(),
            secret: Secret::new("secret".to_owned()),
            role: ApiRole::Reader,
            reach: vec!["team-".to_owned()],
        }
    }

    #[test]
    fn two_keys_are_never_the_same_and_secrets_are_not_shown() {
        let rules = || Rules::new("s3", PathStyle::Plain, BTreeSet::new());
        let one = Keys::new(&[key()], rules()).unwrap();
        assert!(!format!("{one:?} {:?}", key()).contains("secret\""));
        assert_eq!(Keys::new(&[key(), key()], rules()).unwrap_err(), KeyTwice("AKID".to_owned()));
    }

    #[test]
    fn a_password_is_a_key_and_its_own_secret() {
        let rules = Rules::new("s3", PathStyle::Plain, BTreeSet::new());
        let keys = Keys::new(&[key()], rules).unwrap();
        assert_eq!(keys.password("AKID", "secret").unwrap().name(), "AKID");
        for (id, secret) in [("AKID", "secre"), ("AKID", ""), ("AKID", "secret2"), ("", "secret")] {
            assert_eq!(keys.password(id, secret), Err(Doubt::UnknownKey));
        }
    }

    #[test]
    fn a_grant_reaches_the_names_with_its_prefixes() {
        let AccessKey { id, role, reach, .. } = key();
        let grant = Grant::new(&id, role, &reach);
        assert!(grant.covers("team-a") && !grant.covers("tea") && !grant.covers("other"));
        assert!(grant.includes(ApiRole::Reader) && !grant.includes(ApiRole::Operator));
        assert!(Grant::anything().covers("other") && Grant::anything().includes(ApiRole::Admin));
        assert_eq!((grant.name(), Grant::anything().name()), ("AKID", "anybody"));
    }
}
